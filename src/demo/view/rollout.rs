//! Frames of a rollout as text.

use std::fmt::Write as _;

use watershed_control::rollout::view::{Phase, RevisionView, RolloutView, StepState};

use super::super::manifests::VERSIONS;
use super::block::{NARROW, cut, numbers, paint};
use super::{Numbers, Stage, millis, thousands};
use crate::screen::Style;

/// Columns of the judge's bar.
const JUDGE_BAR: usize = 30;

/// Everything that the view shows of a rollout at one moment.
#[derive(Debug, Clone)]
pub(crate) struct RolloutFrame<'a> {
    /// What the clients see.
    pub(crate) numbers: Numbers,
    /// The rollout, as far as it was seen.
    pub(crate) rollout: Option<&'a RolloutView>,
    /// Good answers that the clients got, per version.
    pub(crate) answered: [u64; VERSIONS.len()],
    /// Requests that a version failed, per version.
    pub(crate) failed_by: [u64; VERSIONS.len()],
}

/// A frame as lines of at most `width - 1` columns.
pub(super) fn block(frame: &RolloutFrame<'_>, style: Style) -> Vec<String> {
    let mut lines = vec![(heading(frame, style), Stage::Done), (columns(style), Stage::Ahead)];
    if let Some(rollout) = frame.rollout {
        let row = |revision| (row(frame, revision, style), stage(revision));
        lines.extend(rollout.revisions.iter().map(row));
        lines.push((judge(rollout, style), Stage::Done));
    }
    lines.extend(numbers(&frame.numbers, style).into_iter().map(|line| (line, Stage::Done)));
    let room = style.width.saturating_sub(1);
    lines.into_iter().map(|(line, stage)| paint(&cut(line.trim_end(), room), stage, style.colour)).collect()
}

/// A frame as one line for a pipe or a log.
pub(super) fn line(frame: &RolloutFrame<'_>) -> String {
    let Numbers { elapsed, rate, p50, p99, errors, .. } = &frame.numbers;
    let shown = frame.rollout.map_or_else(|| "no rollout yet".to_owned(), shown);
    format!(
        "{:6.1} s  {shown}  {} requests/s  p50 {}  p99 {}  errors {}",
        elapsed.as_secs_f64(),
        thousands(*rate),
        millis(*p50),
        millis(*p99),
        thousands(*errors),
    )
}

/// Where the rollout stands, what it gives the version that is rolled out, and what there is against it.
fn shown(rollout: &RolloutView) -> String {
    // Writing to a string cannot fail.
    let mut text = standing(rollout);
    let moving = rollout.revisions.iter().filter(|revision| stage(revision) == Stage::Now);
    for revision in moving {
        let shares = [Some(revision.desired), Some(revision.applied), revision.measured].map(percent);
        let [desired, applied, measured] = shares;
        let _ =
            write!(text, "  {} gets {desired}, applied {applied}, measured {measured}", revision.revision);
        if has_evidence(rollout) {
            let _ =
                write!(text, "  evidence {} of {:.0}", evidence(rollout.judge.evidence), rollout.judge.limit);
        }
    }
    text
}

/// `Paused, step 2 of 4 (pause: 4s)`.
fn standing(rollout: &RolloutView) -> String {
    let phase = rollout.phase.as_str();
    let step = rollout.steps.iter().position(|step| step.state == StepState::Current);
    match step {
        Some(step) => {
            format!("{phase}, step {} of {} ({})", step + 1, rollout.steps.len(), rollout.steps[step].text)
        }
        None => format!("{phase}, {} is stable", rollout.stable.as_deref().unwrap_or("nothing")),
    }
}

fn heading(frame: &RolloutFrame<'_>, style: Style) -> String {
    let time = format!("{:.1} s", frame.numbers.elapsed.as_secs_f64());
    let Some(rollout) = frame.rollout else { return time };
    let standing = standing(rollout);
    if style.width < NARROW {
        return format!("{time} {standing}");
    }
    format!("{} {}: {standing}   {time}", rollout.strategy, rollout.name)
}

fn columns(style: Style) -> String {
    if style.width < NARROW {
        "  version  weight  measured"
    } else {
        "  version   role           desired   applied  measured   answered   failed"
    }
    .to_owned()
}

fn row(frame: &RolloutFrame<'_>, revision: &RevisionView, style: Style) -> String {
    let mark = if stage(revision) == Stage::Now { '>' } else { ' ' };
    let [desired, applied, measured] =
        [Some(revision.desired), Some(revision.applied), revision.measured].map(percent);
    let name = &revision.revision;
    if style.width < NARROW {
        return format!("{mark} {name:<7} {applied:>7}  {measured:>8}");
    }
    let version = VERSIONS.iter().position(|version| version.label == *name);
    let [answered, failed] = [frame.answered, frame.failed_by]
        .map(|counts| thousands(version.map_or(0, |version| counts[version])));
    let role = &revision.role;
    format!("{mark} {name:<9} {role:<13} {desired:>8} {applied:>9} {measured:>9} {answered:>10} {failed:>8}")
}

/// Which row is the one to look at.
fn stage(revision: &RevisionView) -> Stage {
    match &*revision.role {
        "canary" | "preview" | "active" => Stage::Now,
        "old" | "aborted" => Stage::Ahead,
        _ => Stage::Done,
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{share:.2} %"))
}

/// Whether the judge compares, or did until it was sure.
fn has_evidence(rollout: &RolloutView) -> bool {
    let judge = &rollout.judge;
    let compares = !judge.state.starts_with("no comparison") || rollout.phase == Phase::Aborted;
    compares && !judge.metrics.is_empty()
}

/// The evidence on the scale of the limit: on a logarithmic one, because it is multiplied by each failure.
fn judge(rollout: &RolloutView, style: Style) -> String {
    let judge = &rollout.judge;
    if !has_evidence(rollout) {
        return format!("  judge: {}", judge.state);
    }
    let text = format!("  judge: evidence {} of {:.0}", evidence(judge.evidence), judge.limit);
    if style.width < NARROW {
        return text;
    }
    let full = (judge.evidence.max(1.0).ln() / judge.limit.max(2.0).ln() * JUDGE_BAR as f64).round() as usize;
    let full = full.min(JUDGE_BAR);
    let (on, off) = if style.unicode { ("█", "░") } else { ("#", ".") };
    format!("{text:<36}{}{}", on.repeat(full), off.repeat(JUDGE_BAR - full))
}

fn evidence(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.1}"),
        ..1e6 => format!("{value:.0}"),
        _ => "over 1000000".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use watershed_control::rollout::view::{JudgeMetricView, JudgeView, StepView};

    use super::*;

    fn rollout() -> RolloutView {
        let revision = |name: &str, role: &str, share: f64| RevisionView {
            revision: name.into(),
            number: None,
            role: role.into(),
            desired: share,
            applied: share,
            measured: Some(share + 0.02),
            clamped: false,
            requests: 0,
            failed: 0,
            in_flight: 0,
            pods: Vec::new(),
        };
        let step = |text: &str, state| StepView { text: text.into(), state };
        let metric = JudgeMetricView {
            name: "failed".into(),
            evidence: 10.0,
            canary: 200,
            bad_canary: 2,
            stable: 1800,
            bad_stable: 0,
        };
        RolloutView {
            name: "hello".into(),
            strategy: "Canary".into(),
            phase: Phase::Paused,
            steps: vec![
                step("setWeight: 10", StepState::Done),
                step("pause: 4s", StepState::Current),
                step("setWeight: 50", StepState::Pending),
            ],
            revisions: vec![revision("2.0.0", "canary", 10.0), revision("1.0.0", "stable", 90.0)],
            judge: JudgeView {
                enabled: true,
                evidence: 10.0,
                limit: 100.0,
                metrics: vec![metric],
                ..JudgeView::default()
            },
            ..RolloutView::default()
        }
    }

    fn frame(rollout: Option<&RolloutView>) -> RolloutFrame<'_> {
        let numbers = Numbers {
            elapsed: Duration::from_millis(12_400),
            rate: 1000,
            requests: 12_398,
            p50: Some(Duration::from_micros(410)),
            p99: Some(Duration::from_micros(1200)),
            errors: 2,
            in_flight: 2,
        };
        RolloutFrame { numbers, rollout, answered: [11_000, 1396, 0], failed_by: [0, 2, 0] }
    }

    fn style(width: usize) -> Style {
        Style { width, colour: false, unicode: false }
    }

    #[test]
    fn no_line_reaches_the_last_column_of_any_terminal() {
        let rollout = rollout();
        for unicode in [false, true] {
            for width in 0..200 {
                for shown in [None, Some(&rollout)] {
                    let lines = block(&frame(shown), Style { unicode, ..style(width) });
                    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
                    assert!(longest < width.max(1), "{width}: {longest}");
                }
            }
        }
    }

    #[test]
    fn a_wide_terminal_shows_shares_and_the_judge() {
        let rollout = rollout();
        let lines = block(&frame(Some(&rollout)), style(80));
        let expected = [
            "Canary hello: Paused, step 2 of 3 (pause: 4s)   12.4 s",
            "  version   role           desired   applied  measured   answered   failed",
            "> 2.0.0     canary         10.00 %   10.00 %   10.02 %      1,396        2",
            "  1.0.0     stable         90.00 %   90.00 %   90.02 %     11,000        0",
            "  judge: evidence 10 of 100         ###############...............",
            "  1,000 requests/s   p50 0.41 ms   p99 1.20 ms   errors 2",
            "  12,398 requests, 2 in flight",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters() {
        let rollout = rollout();
        let lines = block(&frame(Some(&rollout)), style(40));
        assert_eq!(lines[0], "12.4 s Paused, step 2 of 3 (pause: 4s)");
        assert_eq!(lines[2], "> 2.0.0   10.00 %   10.02 %");
        assert_eq!(lines[4], "  judge: evidence 10 of 100");
    }

    #[test]
    fn a_pipe_gets_one_line_without_escapes() {
        let rollout = rollout();
        let expected = "  12.4 s  Paused, step 2 of 3 (pause: 4s)  2.0.0 gets 10.00 %, applied 10.00 %, measured 10.02 %  \
                        evidence 10 of 100  1,000 requests/s  p50 0.41 ms  p99 1.20 ms  errors 2";
        assert_eq!(line(&frame(Some(&rollout))), expected);
        assert!(line(&frame(None)).contains("no rollout yet"));
    }
}
