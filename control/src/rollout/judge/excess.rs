//! How many failed requests the canary has cost: for `maxFailedRequests`, a limit that everybody understands and that needs
//! no statistics. It says nothing about chance: with a limit of a few, a canary that is as good as stable may meet it.

use serde::{Deserialize, Serialize};
use watershed_config::observation::{BLOCK, BlockTable};

/// Requests, and how many of them were bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Requests {
    /// How many.
    pub all: u64,
    /// The bad ones among them.
    pub bad: u64,
}

impl Requests {
    /// Adds so many blocks with so many requests each.
    pub(super) fn add_blocks(&mut self, blocks: u64, all: u8, bad: u8) {
        let [all, bad] = [all, bad].map(|of_one| blocks.saturating_mul(u64::from(of_one)));
        self.add(Self { all, bad });
    }

    fn add(&mut self, more: Self) {
        self.all = self.all.saturating_add(more.all);
        self.bad = self.bad.saturating_add(more.bad);
    }

    fn without(self, part: Self) -> Self {
        Self { all: self.all.saturating_sub(part.all), bad: self.bad.saturating_sub(part.bad) }
    }

    /// The part that is bad; 0 of nothing.
    pub(super) fn rate(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.bad as f64 / self.all as f64 }
    }
}

/// Failed requests of the canary in excess of the stable revision's rate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Excess {
    /// Sum over the blocks that both revisions have requests in.
    in_mixed: f64,
    /// The canary's requests in those.
    mixed: Requests,
    /// What blocks have of the canary and of stable.
    in_blocks: [Requests; 2],
    /// All that there was of the canary and of stable, as far as that was told.
    in_all: [Requests; 2],
}

impl Excess {
    pub(super) fn add_blocks(&mut self, new: &BlockTable) {
        for (kind, blocks) in new.iter() {
            let stable = BLOCK as u8 - kind.canary;
            self.in_blocks[0].add_blocks(blocks, kind.canary, kind.bad_canary);
            self.in_blocks[1].add_blocks(blocks, stable, kind.bad_stable);
            if kind.canary > 0 && stable > 0 {
                self.mixed.add_blocks(blocks, kind.canary, kind.bad_canary);
                let expected = f64::from(kind.bad_stable) * f64::from(kind.canary) / f64::from(stable);
                self.in_mixed += blocks as f64 * (f64::from(kind.bad_canary) - expected);
            }
        }
    }

    pub(super) fn add_all(&mut self, canary: Requests, stable: Requests) {
        self.in_all[0].add(canary);
        self.in_all[1].add(stable);
    }

    /// How many; 0 also where the canary failed less than stable.
    ///
    /// A block is held against stable's requests in the same block, so that an outage of both is nobody's excess even if the
    /// canary had little traffic before it and much during it. The other requests (of blocks that are the canary's as a whole,
    /// at weight 100, by header) can only be held against stable's rate in all. Where they fail less they do not make up for
    /// the ones in blocks: a route of health checks must not hide a broken canary.
    pub(super) fn failed(&self) -> f64 {
        let more = |n: usize| [self.in_blocks[n], self.in_all[n]].into_iter().max_by_key(|some| some.all);
        let [canary, stable] = [0, 1].map(|n| more(n).unwrap_or_default());
        let other = canary.without(self.mixed);
        let in_other = other.bad as f64 - other.all as f64 * stable.rate();
        (self.in_mixed + in_other.max(0.0)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use watershed_config::observation::BlockKind;

    use super::*;

    fn blocks(of: &[(u8, u8, u8, u64)]) -> BlockTable {
        let mut table = BlockTable::default();
        for (canary, bad_canary, bad_stable, blocks) in of {
            table.add(
                BlockKind { canary: *canary, bad_canary: *bad_canary, bad_stable: *bad_stable },
                *blocks,
            );
        }
        table
    }

    #[test]
    fn an_outage_of_both_costs_nothing_whatever_the_weights_were_before_it() {
        let mut excess = Excess::default();
        excess.add_blocks(&blocks(&[(0, 0, 0, 100_000), (1, 0, 0, 1_000)]));
        // At weight 50 a quarter fails on either side.
        excess.add_blocks(&blocks(&[(4, 1, 1, 1_000)]));
        assert!(excess.failed().abs() < 1e-9);
        excess.add_blocks(&blocks(&[(4, 3, 1, 10)]));
        assert!((excess.failed() - 20.0).abs() < 1e-9);
    }

    #[test]
    fn requests_outside_of_blocks_are_held_against_the_rate_of_stable() {
        let mut excess = Excess::default();
        excess.add_all(Requests { all: 100, bad: 30 }, Requests { all: 1_000, bad: 10 });
        assert!((excess.failed() - 29.0).abs() < 1e-9);
        // Those that are in blocks are not counted twice.
        excess.add_blocks(&blocks(&[(1, 1, 0, 30), (1, 0, 0, 70)]));
        assert!((excess.failed() - 30.0).abs() < 1e-9);
    }

    #[test]
    fn without_stable_requests_every_failure_is_in_excess() {
        let mut excess = Excess::default();
        excess.add_blocks(&blocks(&[(8, 2, 0, 5)]));
        assert!((excess.failed() - 10.0).abs() < 1e-9);
    }
}
