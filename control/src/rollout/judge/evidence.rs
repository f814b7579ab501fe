//! What all blocks so far say, for one metric.
//!
//! A product of the blocks' factors would be a fair bet on a canary that is worse from the first block on. A leak or a full
//! disk comes later, and until then such a bet has lost nearly everything. So the stake is spread over the ticks from which on
//! the canary may be worse, γ(t) = 1 / (t (t + 1)) on the t-th, which is 1 in sum; what is not yet staked after t ticks is
//! 1 / (t + 1). (The e-detectors of Shin, Ramdas and Rinaldo, arXiv 2203.03532, use the same recursion with γ = 1, which bounds
//! alarms per time and not per rollout.)

use serde::{Deserialize, Serialize};
use watershed_config::observation::{BLOCK, BlockTable};

use super::excess::Requests;
use super::likelihood::{LnFactors, ODDS_RATIOS, is_informative, ln_factors};

/// Evidence of one metric, and the requests that it comes from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Evidence {
    /// Ticks that said something.
    ticks: u64,
    /// For each odds ratio the logarithm of what its bets, begun in any tick so far, are worth; of no meaning before the first
    /// tick. Logarithms, as the values themselves leave the range of floating point within seconds of a broken canary.
    ln_worth: LnFactors,
    canary: Requests,
    stable: Requests,
}

impl Evidence {
    /// Folds in the blocks of one tick.
    ///
    /// The stake of the tick comes first and all its blocks after it: a product, in which their order does not matter. One
    /// stake per *block* would be invalid, as a table does not tell the order in which blocks came: taken in the order of their
    /// kinds, the stakes of blocks without bad requests of the canary would always come just before blocks with many, and bets
    /// would be made as if their outcome were known.
    ///
    /// Each block is a factor of its own. Adding the requests of several blocks up and comparing the sums looks simpler, but
    /// only within a block is the order of the revisions random: between blocks the split is even on purpose. A client whose
    /// every n-th request is bad is in step with that, and alarmed falsely in 20 to 26 % of simulated rollouts.
    pub(super) fn fold(&mut self, minimum_effect: f64, new: &BlockTable) {
        let mut ln_product = LnFactors::default();
        let mut says_something = false;
        for (kind, blocks) in new.iter().filter(|(kind, _)| (1..BLOCK as u8).contains(&kind.canary)) {
            self.canary.add_blocks(blocks, kind.canary, kind.bad_canary);
            self.stable.add_blocks(blocks, BLOCK as u8 - kind.canary, kind.bad_stable);
            if is_informative(kind) {
                says_something = true;
                for (product, ln) in ln_product.iter_mut().zip(ln_factors(kind, minimum_effect)) {
                    *product += blocks as f64 * ln;
                }
            }
        }
        // Ticks without bad requests say nothing, and a stake on them is wasted: where failures are rare, a canary that breaks
        // after an hour would meet stakes of 10^-7. Whether a tick counts does not depend on whose the bad requests are.
        if says_something {
            self.advance(&ln_product);
        }
    }

    /// A ← (A + γ(t)) × the product of the tick's factors.
    fn advance(&mut self, ln_product: &LnFactors) {
        self.ticks += 1;
        let tick = self.ticks as f64;
        let ln_stake = -(tick * (tick + 1.0)).ln();
        for (ln_worth, ln) in self.ln_worth.iter_mut().zip(ln_product) {
            let before = if self.ticks == 1 { ln_stake } else { ln_sum(&[*ln_worth, ln_stake]) };
            *ln_worth = before + ln;
        }
    }

    /// Logarithm of what a stake of 1, evenly spread over the odds ratios, has become.
    ///
    /// Odds ratios up to the minimum effect keep their part, which is never worth more than 1: so the parts stay what they
    /// are when the minimum effect is edited in mid-rollout.
    pub(super) fn ln_value(&self) -> f64 {
        if self.ticks == 0 {
            return 0.0;
        }
        let staked = ln_sum(&self.ln_worth) - (ODDS_RATIOS.len() as f64).ln();
        ln_sum(&[staked, -(self.ticks as f64 + 1.0).ln()])
    }

    /// The canary's requests that were compared, and the stable revision's.
    pub(super) fn requests(&self) -> (Requests, Requests) {
        (self.canary, self.stable)
    }

    /// Begins to count requests anew; the evidence stays.
    pub(super) fn forget_counts(&mut self) {
        (self.canary, self.stable) = Default::default();
    }
}

/// Logarithm of the sum of the numbers whose logarithms these are; at least one, all finite.
pub(super) fn ln_sum(lns: &[f64]) -> f64 {
    let largest = lns.iter().copied().fold(f64::MIN, f64::max);
    largest + lns.iter().map(|ln| (ln - largest).exp()).sum::<f64>().ln()
}
