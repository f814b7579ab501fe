//! What all simulated rollouts together say, for people and programs.

use std::collections::BTreeMap;

use serde::Serialize;
use watershed_config::model::Share;
use watershed_control::rollout::steps::compares;

use super::profile::Profile;
use super::statistics::{quantile, rate_at_most};
use super::subject::Subject;
use super::world::{Ended, Outcome};

/// What became of many rollouts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Whose traffic it moves.
    pub(crate) service: String,
    /// As `get` names it.
    pub(crate) strategy: &'static str,
    /// Where the traffic was.
    pub(crate) stable: String,
    /// Where it was to go.
    pub(crate) canary: String,
    /// How many were simulated.
    pub(crate) rollouts: u64,
    /// What happened in the first.
    pub(crate) timeline: Vec<Moment>,
    /// What became of them.
    pub(crate) outcomes: Outcomes,
    /// How long the completed ones took, in milliseconds.
    pub(crate) duration_ms: Option<Quantiles>,
    /// Requests that the canary got.
    pub(crate) requests: Option<Quantiles>,
    /// Failed ones among them.
    pub(crate) failed: Option<Quantiles>,
    /// What was noticed; `None` if the canary never was different.
    pub(crate) detection: Option<Detection>,
    /// What an equal canary went through.
    pub(crate) false_alarms: FalseAlarms,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Moment {
    /// Milliseconds since the rollout began.
    pub(crate) at_ms: u64,
    /// The step that was current then; `None` while no rollout was in progress.
    pub(crate) step: Option<String>,
    /// The canary's share in percent from then on.
    pub(crate) weight: f64,
    /// `Normal` or `Warning`.
    pub(crate) kind: String,
    /// One word.
    pub(crate) reason: String,
    /// A sentence.
    pub(crate) message: String,
}

/// How many rollouts ended how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcomes {
    /// The canary has everything.
    pub(crate) completed: u64,
    /// By reason.
    pub(crate) aborted: BTreeMap<String, u64>,
    /// They wait for somebody.
    pub(crate) paused: u64,
    /// Time was up.
    pub(crate) not_over: u64,
    /// What the first that waits, or was not over, said.
    pub(crate) waiting_for: Option<String>,
}

/// Three values say enough of a distribution to plan by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) median: u64,
    pub(crate) p90: u64,
    pub(crate) max: u64,
}

/// Aborts and pauses of a canary that was different.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Detection {
    /// Rollouts in which it came to be different and had traffic.
    pub(crate) exposed: u64,
    /// Those of them that were aborted or paused.
    pub(crate) stopped: u64,
    /// From its first request as a different one until then, in milliseconds; of those.
    pub(crate) time_ms: Option<Quantiles>,
    /// Failed requests of the canary meanwhile.
    pub(crate) failed_of_canary: Option<Quantiles>,
    /// Failed requests of both revisions meanwhile.
    pub(crate) failed_of_both: Option<Quantiles>,
}

/// The same with a canary that is exactly as good as the stable revision.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FalseAlarms {
    /// How many rollouts.
    pub(crate) rollouts: u64,
    /// Those of them in which the judge found the canary worse.
    pub(crate) alarms: u64,
    /// The rate of alarms is not above this, with 95 % confidence.
    pub(crate) rate_at_most: f64,
    /// What the Rollout allows.
    pub(crate) false_alarm_rate: f64,
    /// Those that met `maxFailedRequests`, which knows no chance.
    pub(crate) over_budget: u64,
    /// Why nothing was compared, if nothing was.
    pub(crate) no_comparison: Option<String>,
}

impl Report {
    /// Of rollouts with the profile, and of those with an equal canary.
    pub(super) fn new(subject: &Subject, profile: &Profile, ended: &[Ended], equal: &[Ended]) -> Self {
        let completed = ended.iter().filter(|ended| ended.outcome == Outcome::Completed);
        let spec = &subject.spec;
        let name = spec.meta.name();
        Self {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            service: spec.service.name.to_string(),
            strategy: spec.strategy.name(),
            stable: subject.stable.to_string(),
            canary: subject.canary.to_string(),
            rollouts: ended.len() as u64,
            timeline: ended.first().map(|ended| ended.timeline.clone()).unwrap_or_default(),
            outcomes: Outcomes::of(ended),
            duration_ms: Quantiles::of(completed.map(|ended| ended.took)),
            requests: Quantiles::of(ended.iter().map(|ended| ended.requests)),
            failed: Quantiles::of(ended.iter().map(|ended| ended.failed)),
            detection: profile.different_from().map(|_| Detection::of(ended)),
            false_alarms: FalseAlarms::of(subject, equal),
        }
    }
}

impl Outcomes {
    fn of(ended: &[Ended]) -> Self {
        let mut outcomes = Self::default();
        for ended in ended {
            match &ended.outcome {
                Outcome::Completed => outcomes.completed += 1,
                Outcome::Aborted(reason) => *outcomes.aborted.entry(reason.clone()).or_default() += 1,
                Outcome::Paused(why) => {
                    outcomes.paused += 1;
                    outcomes.waiting_for.get_or_insert_with(|| why.clone());
                }
                Outcome::NotOver(why) => {
                    outcomes.not_over += 1;
                    outcomes.waiting_for.get_or_insert_with(|| why.clone());
                }
            }
        }
        outcomes
    }
}

impl Quantiles {
    /// `None` of nothing.
    fn of(values: impl Iterator<Item = u64>) -> Option<Self> {
        let values: Vec<u64> = values.collect();
        let at = |part| quantile(values.iter().copied(), values.len() as u64, part);
        Some(Self { median: at(0.5)?, p90: at(0.9)?, max: values.iter().copied().max()? })
    }
}

impl Detection {
    fn of(ended: &[Ended]) -> Self {
        let stopped = || {
            ended.iter().filter_map(|ended| match ended.outcome {
                Outcome::Aborted(_) | Outcome::Paused(_) => ended.exposed,
                Outcome::Completed | Outcome::NotOver(_) => None,
            })
        };
        Self {
            exposed: ended.iter().filter(|ended| ended.exposed.is_some()).count() as u64,
            stopped: stopped().count() as u64,
            time_ms: Quantiles::of(stopped().map(|exposed| exposed.took)),
            failed_of_canary: Quantiles::of(stopped().map(|exposed| exposed.failed)),
            failed_of_both: Quantiles::of(stopped().map(|exposed| exposed.failed_of_both)),
        }
    }
}

impl FalseAlarms {
    fn of(subject: &Subject, equal: &[Ended]) -> Self {
        let count = |what: fn(&Ended) -> bool| equal.iter().filter(|ended| what(ended)).count() as u64;
        let rollouts = equal.len() as u64;
        let alarms = count(|ended| ended.found_worse);
        let compared = equal.iter().any(|ended| ended.compared > 0);
        // Any share between nothing and everything: what stands against a comparison then, always does.
        let always = || compares(&subject.spec, Share::WHOLE.millionths() / 2).err();
        let no_comparison =
            (!compared).then(|| always().unwrap_or("no comparison: it never had a share that was compared"));
        Self {
            rollouts,
            alarms,
            rate_at_most: rate_at_most(alarms, rollouts),
            false_alarm_rate: subject.spec.judge.false_alarm_rate,
            over_budget: count(
                |ended| matches!(&ended.outcome, Outcome::Aborted(reason) if reason == "budget"),
            ),
            no_comparison: no_comparison.map(str::to_owned),
        }
    }
}
