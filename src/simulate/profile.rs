//! What the world does to a rollout: traffic, failures, durations, and when they change.

use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

/// What happens, at which time since the rollout began. Times are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profile {
    /// Of each revision.
    pub(crate) pods: u32,
    /// Worker threads of the proxy, each with a sequence of its own.
    pub(crate) workers: u32,
    /// How many rollouts.
    pub(crate) seeds: u32,
    /// The first one's seed; the others follow it.
    pub(crate) seed: u64,
    /// An endless pause is promoted after this.
    pub(crate) promote_after: u64,
    /// The end of the world.
    pub(crate) limit: u64,
    /// From when on the canary may be different.
    pub(crate) onset: u64,
    /// What external analyses answer from then on; before, they pass.
    pub(crate) analysis: Answer,
    /// Sorted by time; the first holds from the beginning.
    pub(crate) conditions: Vec<Conditions>,
}

/// What an external analysis answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// The canary is well.
    #[default]
    Pass,
    /// It is not.
    Fail,
    /// Neither.
    Inconclusive,
}

/// What holds from some time on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Conditions {
    /// Since when, in milliseconds.
    pub(crate) from: u64,
    /// Requests per second.
    pub(crate) rps: f64,
    /// How the stable revision behaves.
    pub(crate) stable: Behaviour,
    /// How the canary does.
    pub(crate) canary: Behaviour,
}

/// How a revision answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Behaviour {
    /// The part of its requests that fail.
    pub(crate) errors: f64,
    /// The median of its durations.
    pub(crate) latency: Duration,
    /// The standard deviation of their logarithm.
    pub(crate) spread: f64,
}

impl Profile {
    /// The same with a canary that is exactly as good as the stable revision.
    pub(crate) fn without_difference(&self) -> Self {
        let alike = |conditions: &Conditions| Conditions { canary: conditions.stable, ..*conditions };
        Self {
            analysis: Answer::Pass,
            conditions: self.conditions.iter().map(alike).collect(),
            ..self.clone()
        }
    }

    /// From when on the canary is different from the stable revision; `None` if it never is.
    pub(crate) fn different_from(&self) -> Option<u64> {
        let behaves = self.conditions.iter().find(|conditions| conditions.canary != conditions.stable);
        let answers = (self.analysis != Answer::Pass).then_some(self.onset);
        behaves.map(|conditions| conditions.from).into_iter().chain(answers).min()
    }

    /// What external analyses answer at a time.
    pub(crate) fn answer(&self, now: u64) -> Answer {
        if now >= self.onset { self.analysis } else { Answer::Pass }
    }
}
