//! What is said above the tree, one fact in a line.

use watershed_control::rollout::view::{PauseView, RolloutView, StepState, StepView};

use super::super::words::{
    State, evidence, measured, number, paint, percent, present, ready, since, span, target,
};
use super::Detail;
use crate::screen::{Style, wrap};

/// Columns of a key.
const KEY: usize = 17;
/// Below this width a value that does not fit beside its key stands below it.
const NARROW: usize = 60;
/// So far to the right.
const INDENT: usize = 4;

/// A key, its value, and the colour of that.
struct Fact {
    key: &'static str,
    value: String,
    colour: &'static str,
}

pub(super) fn lines(view: &RolloutView, detail: Detail, now: u64, style: Style) -> Vec<String> {
    let mut facts = identity(view, style);
    facts.extend(progress(view, detail, now, style));
    facts.extend(judge(view));
    facts.extend(pods(view));
    facts.iter().flat_map(|fact| fact.lines(style)).collect()
}

fn fact(key: &'static str, value: impl Into<String>) -> Fact {
    Fact { key, value: value.into(), colour: "" }
}

impl Fact {
    fn lines(&self, style: Style) -> Vec<String> {
        let room = style.width.saturating_sub(1);
        if self.value.chars().count() + KEY <= room {
            return vec![format!("{:KEY$}{}", self.key, paint(&self.value, self.colour, style))];
        }
        let indent = if style.width < NARROW { INDENT } else { KEY };
        let folded = wrap(&self.value, room.saturating_sub(indent).max(1));
        let values = folded.lines().map(|line| format!("{:indent$}{}", "", paint(line, self.colour, style)));
        let mut lines: Vec<String> = values.collect();
        if style.width < NARROW && !self.key.is_empty() {
            lines.insert(0, self.key.to_owned());
        } else if let Some(first) = lines.first_mut() {
            first.replace_range(..self.key.len(), self.key);
        }
        lines
    }
}

fn identity(view: &RolloutView, style: Style) -> Vec<Fact> {
    let state = State::of_phase(view.phase);
    let mut facts = vec![
        fact("Name:", &*view.name),
        fact("Namespace:", &*view.namespace),
        Fact { colour: state.colour, ..fact("Status:", state.text(style)) },
    ];
    if !view.message.is_empty() {
        facts.push(fact("Message:", &*view.message));
    }
    facts.extend(view.problem.as_ref().map(|problem| fact("Problem:", &**problem)));
    facts.extend(
        view.overridden.as_ref().map(|what| fact("Override:", what.trim_start_matches("Overridden: "))),
    );
    facts.push(fact("Service:", format!("{}, by label {}", view.service, view.revision_label)));
    facts
}

fn progress(view: &RolloutView, detail: Detail, now: u64, style: Style) -> Vec<Fact> {
    let mut facts = vec![fact("Strategy:", &*view.strategy)];
    if let Some(step) = view.step {
        let text = match view.steps.get(step) {
            Some(current) => {
                format!("{}/{} ({}{})", step + 1, view.steps.len(), current.text, left(view, now))
            }
            None => format!("{step}/{}", view.steps.len()),
        };
        facts.push(fact("  Step:", text));
    }
    if let Some(target) = target(view) {
        facts.push(fact("  SetWeight:", percent(target.desired)));
        let why = match (target.clamped, view.acknowledged) {
            (true, _) => " (no endpoint is ready)",
            (false, false) => " (not yet used by every worker)",
            (false, true) => "",
        };
        facts.push(fact("  ActualWeight:", percent(target.applied) + why));
        facts.push(fact("  Measured:", measured(target.measured)));
    }
    if detail == Detail::All {
        facts.extend(
            view.steps
                .iter()
                .enumerate()
                .map(|(index, step)| fact(if index == 0 { "  Steps:" } else { "" }, marked(step, style))),
        );
    }
    for (index, pause) in view.pauses.iter().enumerate() {
        facts.push(fact(if index == 0 { "Paused by:" } else { "" }, stopping(pause, now)));
    }
    facts
}

/// How long a pause of the current step still lasts.
fn left(view: &RolloutView, now: u64) -> String {
    let ends = view.pauses.iter().filter_map(|pause| pause.until).max();
    match ends {
        Some(until) if until > now => format!(", {} left", span(until - now)),
        _ => String::new(),
    }
}

fn marked(step: &StepView, style: Style) -> String {
    let mark = match (step.state, style.unicode) {
        (StepState::Done, true) => '✔',
        (StepState::Done, false) => 'x',
        (StepState::Current, true) => '▸',
        (StepState::Current, false) => '>',
        (StepState::Pending, _) => ' ',
    };
    format!("{mark} {}", step.text)
}

fn stopping(pause: &PauseView, now: u64) -> String {
    let until = match pause.until {
        Some(until) => format!("ends in {}", since(now, until)),
        None => "until somebody ends it".to_owned(),
    };
    format!("{}, for {}, {until}", pause.reason, since(pause.since, now))
}

fn judge(view: &RolloutView) -> Vec<Fact> {
    let judge = &view.judge;
    if !judge.enabled {
        return vec![fact("Judge:", "off")];
    }
    let mut facts = vec![fact("Judge:", &*judge.state)];
    if judge.metrics.is_empty() {
        return facts;
    }
    facts.push(fact("  Evidence:", format!("{} of {}", evidence(judge.evidence), evidence(judge.limit))));
    if let Some(most) = judge.max_failed_requests {
        facts.push(fact("  ExcessFailed:", format!("{} of {most}", evidence(judge.excess_failed))));
    }
    facts
}

fn pods(view: &RolloutView) -> Vec<Fact> {
    let current: usize = view.revisions.iter().map(present).sum();
    let ready: usize = view.revisions.iter().map(ready).sum();
    let updated = target(view).map_or(0, present);
    let mut facts = vec![fact("Pods:", format!("{current}, {ready} ready, {updated} updated"))];
    if !view.wished_replicas.is_empty() {
        let wishes = view.wished_replicas.iter();
        let wishes: Vec<String> = wishes
            .map(|(revision, pods)| format!("{} of {revision}", number(*pods as usize, "pod")))
            .collect();
        facts.push(fact("  Wished:", wishes.join(", ")));
    }
    facts
}
