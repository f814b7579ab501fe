//! The judge: is the canary worse than the stable revision?
//!
//! It compares what the two revisions did *with the same requests*: of the eight requests of a block, chance alone decided
//! which ones the canary got. While there is no difference, the bad ones among them fall to the canary as balls are drawn from
//! an urn, whatever the traffic, the time of day or a shared outage does. How much better "bad requests are ψ times as likely
//! on the canary" explains a block than chance does is a bet at fair odds; the judge bets a stake of 1 on several values of ψ,
//! on failures and on latency, and finds the canary worse once the stake has become 1 / `falseAlarmRate`. Without a difference
//! that ever happens with at most that probability (Ville's inequality), however often one looks.
//!
//! ```text
//! blocks of a tick -> likelihood (of one block) -> evidence (of one metric) -> Judge (of the rollout) -> Verdict
//! durations of the stable revision -> latency (which bounds are compared next)
//! ```
//!
//! Everything is a pure function of what was counted; the state goes into the journal after each tick.
//!
//! Deliberately absent: what is done about a finding, which is the rollout's business; and requests that were sent by header
//! or by a sticky key, between which chance did not choose.

mod evidence;
mod excess;
mod latency;
mod likelihood;
mod report;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use watershed_config::model::JudgeSpec;
use watershed_config::observation::{BlockCounts, DurationCounts, SLOW_BOUNDS};

use evidence::{Evidence, ln_sum};
use excess::Excess;

pub use excess::Requests;
pub use latency::slow_bounds;

/// Part of the stake that is put on failed requests. A part v costs ln(1/v) of evidence, about as much as one bad request of a
/// canary at 10 %. Failures are what most canaries are stopped for, and what must be found first.
const FAILED_STAKE: f64 = 0.5;
/// The rest is spread evenly over the latency bounds: nobody knows beforehand whether all requests become slower or a few.
const SLOW_STAKE: f64 = (1.0 - FAILED_STAKE) / SLOW_BOUNDS as f64;

/// Evidence is shown up to here: e^230 is about 10^100, and JSON has no infinity.
const LN_SHOWN_MAX: f64 = 230.0;

/// What the judge knows of one run of a rollout. One state is one run's: the false alarm rate is spent on a run as a whole,
/// through all its steps, pauses and restarts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JudgeState {
    failed: Evidence,
    slow: [Evidence; SLOW_BOUNDS],
    /// Which latency bounds the blocks to come are counted by.
    bounds: [Option<u8>; SLOW_BOUNDS],
    excess: Excess,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Failed requests.
    Failed,
    /// Requests slower than the bound of this number.
    Slow(usize),
}

/// What the judge finds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Nothing against the canary.
    Nothing,
    /// The canary is worse by more than `minimumEffect`.
    Worse {
        /// All evidence; at least `limit`.
        evidence: f64,
        /// 1 / `falseAlarmRate`.
        limit: f64,
        /// Where most of the evidence comes from.
        metric: Metric,
    },
    /// More of its requests failed than `maxFailedRequests` allows.
    BudgetSpent {
        /// Failed requests in excess of the stable revision's rate.
        excess: f64,
        /// How many of them may be.
        allowed: u64,
    },
}

impl JudgeState {
    /// Folds in the blocks that came since the last tick; each must be folded in once.
    ///
    /// The order of the blocks within a tick is not known (their table is sorted by kind) and does not matter: see
    /// [`Evidence::fold`].
    pub fn observe(&mut self, spec: &JudgeSpec, new: &BlockCounts) {
        self.failed.fold(spec.minimum_effect, &new.failed);
        for (evidence, table) in self.slow.iter_mut().zip(&new.slow) {
            evidence.fold(spec.minimum_effect, table);
        }
        self.excess.add_blocks(&new.failed);
    }

    /// Folds in all requests that ended since the last tick, whoever decided where they go, those in blocks too. It only matters
    /// to `maxFailedRequests`, which guards where there are no blocks: at weight 100 and behind header routes.
    pub fn count(&mut self, canary: Requests, stable: Requests) {
        self.excess.add_all(canary, stable);
    }

    /// Chooses the latency bounds that the blocks to come are counted by, from all durations of the stable revision so far, and
    /// returns them. Blocks of which any part was drawn before the data plane has them must not be folded in.
    pub fn choose_bounds(&mut self, stable: &DurationCounts) -> [Option<u8>; SLOW_BOUNDS] {
        let chosen = slow_bounds(self.bounds, stable);
        for (slow, bound) in chosen.iter().enumerate() {
            if *bound != self.bounds[slow] {
                // What was counted was slower than another bound. The evidence stays: it was won fairly, and beginning anew at
                // each change would spend the false alarm rate at each change.
                self.slow[slow].forget_counts();
            }
        }
        self.bounds = chosen;
        chosen
    }

    /// The latency bounds in force: indexes into [`DURATION_BOUNDS_US`](watershed_config::observation::DURATION_BOUNDS_US).
    pub fn bounds(&self) -> [Option<u8>; SLOW_BOUNDS] {
        self.bounds
    }

    /// What there is against the canary now. Alarms are not remembered here: whoever acts upon one does.
    pub fn verdict(&self, spec: &JudgeSpec) -> Verdict {
        // A budget that somebody wrote holds whether or not anything is compared.
        let excess = self.excess();
        if let Some(allowed) = spec.max_failed_requests
            && excess > allowed as f64
        {
            return Verdict::BudgetSpent { excess, allowed };
        }
        if spec.enabled && self.ln_evidence() >= -spec.false_alarm_rate.ln() {
            return Verdict::Worse { evidence: self.evidence(), limit: limit(spec), metric: self.leading() };
        }
        Verdict::Nothing
    }

    /// Failed requests of the canary in excess of the stable revision's rate, at least 0.
    pub fn excess(&self) -> f64 {
        self.excess.failed()
    }

    /// All evidence against the canary: what has become of a stake of 1.
    pub fn evidence(&self) -> f64 {
        shown(self.ln_evidence())
    }

    /// A weighted sum of fair bets is a fair bet, however they depend on each other.
    fn ln_evidence(&self) -> f64 {
        ln_sum(&Metric::ALL.map(|metric| self.ln_part(metric)))
    }

    fn ln_part(&self, metric: Metric) -> f64 {
        let stake = if metric == Metric::Failed { FAILED_STAKE } else { SLOW_STAKE };
        stake.ln() + self.of(metric).ln_value()
    }

    fn of(&self, metric: Metric) -> &Evidence {
        match metric {
            Metric::Failed => &self.failed,
            Metric::Slow(slow) => &self.slow[slow],
        }
    }

    /// The metric that most of the evidence comes from.
    fn leading(&self) -> Metric {
        let most = |a: Metric, b: Metric| if self.ln_part(b) > self.ln_part(a) { b } else { a };
        Metric::ALL.into_iter().fold(Metric::Failed, most)
    }
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 1 + SLOW_BOUNDS] = [Self::Failed, Self::Slow(0), Self::Slow(1), Self::Slow(2)];
}

fn limit(spec: &JudgeSpec) -> f64 {
    1.0 / spec.false_alarm_rate
}

fn shown(ln: f64) -> f64 {
    ln.min(LN_SHOWN_MAX).exp()
}
