//! `watershed_rollout_*`: where rollouts stand, for dashboards and alerts.
//!
//! Labels come from configuration and from small fixed sets: what people wrote as a reason is told by the API only.

use std::collections::BTreeMap;

use prometheus::proto::MetricFamily;
use watershed_control::rollout::view::{Phase, RolloutView};

use super::Family;

/// All families that there is something to say of. `now` is in milliseconds since 1970.
pub(super) fn families(views: &[RolloutView], now: u64) -> Vec<MetricFamily> {
    let all =
        [info(views), phase(views), phase_seconds(views, now), step(views), steps(views), weight(views)];
    let more = [evidence(views), limit(views), pause_seconds(views, now), aborts(views)];
    all.into_iter().chain(more).filter_map(Family::build).collect()
}

fn names(view: &RolloutView) -> [(&str, &str); 2] {
    [("namespace", &view.namespace), ("rollout", &view.name)]
}

/// A family with one series for each rollout of which there is something to say.
fn each(mut family: Family, views: &[RolloutView], value: impl Fn(&RolloutView) -> Option<f64>) -> Family {
    for view in views {
        if let Some(value) = value(view) {
            family.push(&names(view), value);
        }
    }
    family
}

fn info(views: &[RolloutView]) -> Family {
    let mut family = Family::gauge("rollout_info", "Always 1; what a rollout moves is in the labels.");
    for view in views {
        let [namespace, rollout] = names(view);
        let labels = [
            namespace,
            rollout,
            ("service", &*view.service),
            ("strategy", &*view.strategy),
            ("stable", view.stable.as_deref().unwrap_or_default()),
            ("target", view.target.as_deref().unwrap_or_default()),
        ];
        family.push(&labels, 1.0);
    }
    family
}

fn phase(views: &[RolloutView]) -> Family {
    let mut family =
        Family::gauge("rollout_phase", "1 for the phase that a rollout is in, 0 for the others.");
    for view in views {
        let [namespace, rollout] = names(view);
        for phase in Phase::ALL {
            let value = f64::from(u8::from(view.phase == phase));
            family.push(&[namespace, rollout, ("phase", phase.as_str())], value);
        }
    }
    family
}

fn phase_seconds(views: &[RolloutView], now: u64) -> Family {
    let family = Family::gauge("rollout_phase_seconds", "For how long a rollout has been in its phase.");
    each(family, views, |view| view.phase_since.map(|since| seconds(since, now)))
}

/// Clocks may be set back.
fn seconds(since: u64, now: u64) -> f64 {
    now.saturating_sub(since) as f64 / 1000.0
}

fn step(views: &[RolloutView]) -> Family {
    let help = "Index of a rollout's current step, from 0; as many as there are steps once all are done.";
    each(Family::gauge("rollout_step", help), views, |view| view.step.map(|step| step as f64))
}

fn steps(views: &[RolloutView]) -> Family {
    let family = Family::gauge("rollout_steps", "How many steps a rollout has.");
    each(family, views, |view| (!view.steps.is_empty()).then_some(view.steps.len() as f64))
}

fn weight(views: &[RolloutView]) -> Family {
    let help = "Share of a revision, from 0 to 1: wanted (target), in force (applied), measured on requests (observed).";
    let mut family = Family::gauge("rollout_weight", help);
    for view in views {
        let [namespace, rollout] = names(view);
        for revision in &view.revisions {
            let kinds = [
                ("target", Some(revision.desired)),
                ("applied", Some(revision.applied)),
                ("observed", revision.measured),
            ];
            for (kind, share) in kinds {
                let Some(share) = share else { continue };
                let labels = [namespace, rollout, ("revision", &*revision.revision), ("kind", kind)];
                family.push(&labels, share / 100.0);
            }
        }
    }
    family
}

fn evidence(views: &[RolloutView]) -> Family {
    let help = "Evidence that a rollout's new revision is worse; at the limit it counts as worse.";
    each(Family::gauge("rollout_judge_evidence", help), views, |view| {
        view.judge.enabled.then_some(view.judge.evidence)
    })
}

fn limit(views: &[RolloutView]) -> Family {
    let family =
        Family::gauge("rollout_judge_limit", "The evidence at which a new revision counts as worse.");
    each(family, views, |view| view.judge.enabled.then_some(view.judge.limit))
}

fn pause_seconds(views: &[RolloutView], now: u64) -> Family {
    let help = "Age of the oldest pause of a rollout, by what pauses it: step, manifest or operator.";
    let mut family = Family::gauge("rollout_pause_seconds", help);
    for view in views {
        let mut oldest: BTreeMap<&str, u64> = BTreeMap::new();
        for pause in &view.pauses {
            let since = oldest.entry(pause.kind().as_str()).or_insert(pause.since);
            *since = pause.since.min(*since);
        }
        let [namespace, rollout] = names(view);
        for (kind, since) in oldest {
            family.push(&[namespace, rollout, ("reason", kind)], seconds(since, now));
        }
    }
    family
}

fn aborts(views: &[RolloutView]) -> Family {
    let mut family =
        Family::counter("rollout_aborts_total", "Runs of a rollout that were aborted, by reason.");
    for view in views {
        let [namespace, rollout] = names(view);
        for (reason, count) in &view.aborts {
            family.push(&[namespace, rollout, ("reason", reason)], *count as f64);
        }
    }
    family
}

#[cfg(test)]
mod tests;
