//! What the data plane tells the control component about rollouts: counts by revision, shares, and evidence for the judge.
//!
//! Evidence comes in *blocks*: the eight consecutive tickets that one split and worker shuffled together. Inside a block every
//! order of the revisions was equally probable, which is all that the judge needs to know about the traffic. A block counts once
//! all of its requests have ended (or have been in flight for so long that they count as slow), by how many of its requests the
//! canary got and how many were bad on either side: 165 kinds of blocks, so nothing is lost and nothing grows.
//!
//! Deliberately absent: what any of it means. That is the judge's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::ObjectName;
use crate::snapshot::{Generation, SplitKey};

/// Requests of one block.
pub const BLOCK: usize = 8;

/// Upper bounds of the duration buckets, in microseconds.
pub const DURATION_BOUNDS_US: [u64; 20] = [
    250, 500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 25_000, 50_000, 75_000, 100_000, 250_000,
    500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 60_000_000,
];

/// Requests per duration bucket, not cumulative; one more than [`DURATION_BOUNDS_US`].
pub type DurationCounts = [u64; DURATION_BOUNDS_US.len() + 1];

/// How many latency bounds are compared at a time.
pub const SLOW_BOUNDS: usize = 3;

/// Everything that is known of rollouts at one moment; counts are since the data plane started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The oldest generation that any worker uses for new requests.
    pub acknowledged: Generation,
    /// How many workers there are.
    pub workers: usize,
    /// By name of the Rollout.
    pub rollouts: BTreeMap<ObjectName, RolloutObservation>,
}

/// What was counted for one Rollout.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RolloutObservation {
    /// One for each place where its Service's traffic is split.
    pub splits: Vec<SplitObservation>,
    /// By revision.
    pub revisions: BTreeMap<Arc<str>, RevisionCounts>,
    /// Evidence of the run of this number; a new run begins from nothing.
    pub run: u64,
    /// Blocks of that run.
    pub blocks: BlockCounts,
}

/// One sequence's decisions since its present shares came into force, of those that it made by weight: neither by header nor
/// by a sticky key.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitObservation {
    /// Which split.
    pub key: SplitKey,
    /// [`RevisionSplit::epoch`](crate::snapshot::RevisionSplit::epoch) of the shares in force.
    pub epoch: u64,
    /// Revision, millionths in force, decisions for it; in the order of the shares.
    pub decisions: Vec<(Arc<str>, u32, u64)>,
}

/// What was counted for one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RevisionCounts {
    /// Requests that ended, whoever decided that they go there.
    pub requests: u64,
    /// Those of them that failed because of the revision: a pod's answer of class 5xx, or one that we had to make because no pod
    /// answered whole and in time; where an attempt failed before another one succeeded as well. A client that goes away has not
    /// seen a failure.
    pub failed: u64,
    /// Requests that are in flight.
    pub in_flight: u64,
    /// Durations of requests that were sent there by weight.
    pub durations: DurationCounts,
}

/// How many blocks there were of each kind, for each of the things that are compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BlockCounts {
    /// Bad is a failed request.
    pub failed: BlockTable,
    /// Bad is a request slower than the bound of this number in [`Compared::slow`](crate::snapshot::Compared::slow).
    pub slow: [BlockTable; SLOW_BOUNDS],
}

/// Number of kinds of blocks.
pub const BLOCK_KINDS: usize = 165;

/// All kinds, in the order of their places: they are looked up for every rollout each second.
const KINDS: [BlockKind; BLOCK_KINDS] = {
    let mut kinds = [BlockKind { canary: 0, bad_canary: 0, bad_stable: 0 }; BLOCK_KINDS];
    let (mut place, mut canary) = (0, 0);
    while canary <= BLOCK as u8 {
        let mut bad_canary = 0;
        while bad_canary <= canary {
            let mut bad_stable = 0;
            while bad_stable <= BLOCK as u8 - canary {
                kinds[place] = BlockKind { canary, bad_canary, bad_stable };
                place += 1;
                bad_stable += 1;
            }
            bad_canary += 1;
        }
        canary += 1;
    }
    kinds
};

/// How many blocks there were of each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockTable(pub [u64; BLOCK_KINDS]);

impl Default for BlockTable {
    fn default() -> Self {
        Self([0; BLOCK_KINDS])
    }
}

/// A kind of block: of 8 requests the canary got some, and some were bad on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockKind {
    /// Requests of the canary; the other ones were stable's.
    pub canary: u8,
    /// Bad ones of the canary, at most `canary`.
    pub bad_canary: u8,
    /// Bad ones of the stable revision, at most 8 - `canary`.
    pub bad_stable: u8,
}

impl BlockKind {
    /// Its place in a [`BlockTable`].
    pub fn index(self) -> usize {
        let before: usize = (0..usize::from(self.canary)).map(|canary| (canary + 1) * (9 - canary)).sum();
        before + usize::from(self.bad_canary) * (9 - usize::from(self.canary)) + usize::from(self.bad_stable)
    }

    /// All kinds, in the order of their places.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        KINDS.into_iter()
    }
}

impl BlockTable {
    /// The kinds that occurred, with how often.
    pub fn iter(&self) -> impl Iterator<Item = (BlockKind, u64)> + '_ {
        let occurred = self.0.iter().zip(&KINDS).filter(|(count, _)| **count > 0);
        occurred.map(|(count, kind)| (*kind, *count))
    }

    /// Counts blocks of one kind.
    pub fn add(&mut self, kind: BlockKind, blocks: u64) {
        self.0[kind.index()] += blocks;
    }

    /// Adds another table.
    pub fn absorb(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// What came since an earlier state of the same table; a table that began anew is new as a whole.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let began_anew = self.0.iter().zip(&earlier.0).any(|(now, then)| now < then);
        if began_anew {
            return self.clone();
        }
        Self(std::array::from_fn(|kind| self.0[kind] - earlier.0[kind]))
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_KINDS, BlockKind};

    #[test]
    fn every_kind_of_block_has_a_place_of_its_own() {
        let places: Vec<usize> = BlockKind::all().map(BlockKind::index).collect();
        assert_eq!(places, (0..BLOCK_KINDS).collect::<Vec<_>>());
    }
}
