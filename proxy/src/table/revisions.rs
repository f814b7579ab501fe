//! How a Rollout divides a Service's traffic between the revisions of its pods.
//!
//! It stands behind an arm of a rule, once for each place where rules lead to the Service, and each has a sequence of its own: a
//! share of 1 % is 1 % of every rule's requests. What is picked here is a revision; which of its endpoints gets the request is
//! the [`Backend`]'s business, and so is what is answered if there is none: no share is moved because of that.

use std::sync::Arc;

use watershed_config::model::ObjectName;
use watershed_config::snapshot::{self, SplitKey};

use super::backend::{Backend, Goal};
use crate::reason::Reason;
use crate::split::{Picks, SplitState, Thresholds};

/// The shares of revisions in one arm of one rule.
#[derive(Debug)]
pub struct RevisionSplit {
    /// Which one.
    pub id: RevisionSplitId,
    /// What it was compiled from.
    pub written: Arc<snapshot::RevisionSplit>,
    /// The sequence, which outlives the table.
    pub state: Arc<SplitState>,
    /// Which shares were picked by weight since the present ones are in force; survives swaps that do not touch them.
    pub picks: Arc<Picks>,
    pub(super) thresholds: Thresholds,
    /// In the order written, which is that of the thresholds.
    pub(super) shares: Box<[Share]>,
}

/// Identity of a [`RevisionSplit`]'s sequence: it survives table swaps and changes of the shares.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RevisionSplitId {
    /// The rule that leads there.
    pub rule: SplitKey,
    /// The Service.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
}

/// A revision's share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Index of the revision in the backend.
    pub(super) revision: u16,
    /// What is answered if none of its endpoints can be asked.
    pub(super) nobody: Reason,
}

impl RevisionSplit {
    /// Index of the share that owns this ticket. The first share begins at ticket 0: raising it takes tickets from its
    /// neighbour and from nobody else.
    pub fn pick(&self, ticket: u64) -> usize {
        self.thresholds.pick(ticket)
    }

    /// Where a request of this worker goes that is decided by weight.
    pub(crate) fn decide(&self, backend: &Backend, worker: usize) -> Goal {
        let share = self.pick(self.state.draw(worker));
        self.picks.count(worker, share);
        let Share { revision, nobody } = self.shares[share];
        backend.only(revision, nobody)
    }

    /// Name, millionths in force and weighted decisions since then of every revision with a share.
    pub fn decisions(&self) -> Vec<(Arc<str>, u32, u64)> {
        let shares = self.written.shares.iter().zip(self.picks.sums());
        shares.map(|(share, picked)| (Arc::clone(&share.revision), share.millionths, picked)).collect()
    }
}
