//! Numbers, times and states in words.

use serde_json::Value;
use watershed_control::rollout::view::{Phase, PodView, RevisionView, RolloutView};

use crate::screen::Style;
pub(super) use crate::screen::thousands as count;

pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const RED: &str = "\x1b[31m";
pub(super) const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

/// A state: its sign, its word, its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    sign: &'static str,
    word: &'static str,
    pub(super) colour: &'static str,
}

impl State {
    const fn new(sign: &'static str, word: &'static str, colour: &'static str) -> Self {
        Self { sign, word, colour }
    }

    /// The word, after its sign where the terminal has one.
    pub(super) fn text(self, style: Style) -> String {
        if style.unicode { format!("{} {}", self.sign, self.word) } else { self.word.to_owned() }
    }

    /// Of a rollout, with the signs that Argo's users know.
    pub(super) fn of_phase(phase: Phase) -> Self {
        match phase {
            Phase::Progressing => Self::new("◌", "Progressing", CYAN),
            Phase::Paused => Self::new("॥", "Paused", YELLOW),
            Phase::Healthy => Self::new("✔", "Healthy", GREEN),
            Phase::Degraded => Self::new("✖", "Degraded", RED),
            Phase::Aborted => Self::new("✖", "Aborted", RED),
        }
    }

    /// Of a revision, by its pods.
    pub(super) fn of_revision(revision: &RevisionView) -> Self {
        match (ready(revision), present(revision)) {
            (_, 0) => Self::new("•", "ScaledDown", CYAN),
            _ if revision.clamped => Self::new("⚠", "Clamped", YELLOW),
            (0, _) => Self::new("✖", "Unready", RED),
            (ready, all) if ready < all => Self::new("◌", "Progressing", CYAN),
            _ => Self::new("✔", "Healthy", GREEN),
        }
    }

    /// Of a pod.
    pub(super) fn of_pod(pod: &PodView) -> Self {
        match &*pod.state {
            "ready" => Self::new("✔", "Ready", GREEN),
            "withdrawn" => Self::new("•", "Withdrawn", CYAN),
            "terminating" => Self::new("•", "Terminating", CYAN),
            _ => Self::new("✖", "Unready", RED),
        }
    }

    /// Of an analysis.
    pub(super) fn of_analysis(phase: &str) -> Self {
        match phase {
            "Running" => Self::new("◌", "Running", CYAN),
            "Successful" => Self::new("✔", "Successful", GREEN),
            "Failed" => Self::new("✖", "Failed", RED),
            _ => Self::new("?", "Inconclusive", YELLOW),
        }
    }
}

/// Text in a colour, if there are colours.
pub(super) fn paint(text: &str, colour: &str, style: Style) -> String {
    if style.colour && !colour.is_empty() && !text.is_empty() {
        format!("{colour}{text}{RESET}")
    } else {
        text.to_owned()
    }
}

/// Pods of a revision that can take traffic.
pub(super) fn ready(revision: &RevisionView) -> usize {
    revision.pods.iter().filter(|pod| matches!(&*pod.state, "ready" | "withdrawn")).count()
}

/// Pods of a revision that are there to stay.
pub(super) fn present(revision: &RevisionView) -> usize {
    revision.pods.iter().filter(|pod| pod.state != "terminating").count()
}

/// Milliseconds as kubectl writes ages: `12s`, `4m10s`, `2h5m`, `3d4h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let two = |big: u64, big_unit: char, small: u64, small_unit: char| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, 'm', seconds % 60, 's'),
        3600..86400 => two(seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        _ => two(seconds / 86400, 'd', seconds % 86400 / 3600, 'h'),
    }
}

/// Time since then. Clocks of two machines differ: what is to come is now.
pub(super) fn since(then: u64, now: u64) -> String {
    span(now.saturating_sub(then))
}

/// A percentage with as many decimals as it needs, three at most.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{share:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A measured percentage.
pub(super) fn measured(share: Option<f64>) -> String {
    share.map_or_else(|| "unmeasured".to_owned(), |share| format!("{share:.2}"))
}

/// Evidence: decimals while they mean something.
pub(super) fn evidence(value: f64) -> String {
    if value < 1000.0 { percent((value * 100.0).round() / 100.0) } else { format!("{value:.0}") }
}

/// `1 pod`, `2 pods`.
pub(super) fn number(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The revision that is wanted, as it stands.
pub(super) fn target(view: &RolloutView) -> Option<&RevisionView> {
    let target = view.target.as_ref()?;
    view.revisions.iter().find(|revision| &revision.revision == target)
}

/// The same without control characters: a reason that somebody gave, or an answer that an analysis got, must not move the
/// cursor of whoever looks at it.
pub(super) fn cleaned(view: &RolloutView) -> RolloutView {
    let Ok(mut value) = serde_json::to_value(view) else { return view.clone() };
    clean(&mut value);
    serde_json::from_value(value).unwrap_or_else(|_| view.clone())
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean_text(text),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}

/// Text in which every control character is a space.
pub(super) fn clean_text(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fake::Fake;

    #[test]
    fn times_have_two_units_at_most() {
        let spans = [(0, "0s"), (59_999, "59s"), (60_000, "1m"), (250_000, "4m10s"), (7_500_000, "2h5m")];
        for (ms, text) in spans {
            assert_eq!(span(ms), text);
        }
        assert_eq!(span(273_600_000), "3d4h");
        assert_eq!(since(5000, 1000), "0s");
    }

    #[test]
    fn shares_have_the_decimals_they_need() {
        for (share, text) in [(0.0, "0"), (10.0, "10"), (0.05, "0.05"), (33.3333, "33.333"), (100.0, "100")] {
            assert_eq!(percent(share), text);
        }
        assert_eq!(measured(Some(9.9812)), "9.98");
        assert_eq!((evidence(2.434), evidence(1234.5)), ("2.43".to_owned(), "1234".to_owned()));
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        let mut view = Fake::sample("canary");
        view.message = "\x1b[2J\nall is well".to_owned();
        view.events[0].message = "a\tb".to_owned();
        let cleaned = cleaned(&view);
        assert_eq!((&*cleaned.message, &*cleaned.events[0].message), (" [2J all is well", "a b"));
        assert_eq!(cleaned.revisions, view.revisions);
    }
}
