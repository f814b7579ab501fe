//! What outlives tables of the splits that Rollouts make.

use std::sync::Arc;

use watershed_config::snapshot::{self, SplitKey};

use super::super::backend::Backend;
use super::super::revisions::{RevisionSplit, RevisionSplitId};
use super::{Compiler, Pass};
use crate::split::{Picks, SplitState};

/// What is kept of a [`RevisionSplit`] from table to table.
#[derive(Debug)]
pub(super) struct KeptRevisionSplit {
    state: Arc<SplitState>,
    picks: Arc<Picks>,
    /// What `picks` counts under.
    in_force: InForce,
    pub(super) met: u64,
}

/// Shares as far as decisions depend on them: the epoch, revisions and millionths.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InForce(u64, Vec<(Arc<str>, u32)>);

impl InForce {
    fn of(written: &snapshot::RevisionSplit) -> Self {
        let shares = written.shares.iter().map(|share| (Arc::clone(&share.revision), share.millionths));
        Self(written.epoch, shares.collect())
    }
}

impl Pass<'_> {
    /// The split behind an arm, where a Rollout has the Service.
    pub(super) fn revision_split(
        &mut self,
        rule: &SplitKey,
        backend: &Backend,
    ) -> Option<Arc<RevisionSplit>> {
        let written = Arc::clone(backend.written.rollout.as_ref()?);
        let id = RevisionSplitId {
            rule: rule.clone(),
            service: backend.written.service.clone(),
            port: backend.written.port,
        };
        let kept = self.kept_revision_split(&id, &written);
        RevisionSplit::new(id, written, kept, backend).map(Arc::new)
    }

    fn kept_revision_split(
        &mut self,
        id: &RevisionSplitId,
        written: &snapshot::RevisionSplit,
    ) -> (Arc<SplitState>, Arc<Picks>) {
        let Compiler { revision_splits, workers, pass: met, .. } = &mut *self.compiler;
        let (workers, met) = (*workers, *met);
        let new_picks = || Arc::new(Picks::new(workers, written.shares.len()));
        let in_force = InForce::of(written);
        let kept = revision_splits.entry(id.clone()).or_insert_with(|| KeptRevisionSplit {
            state: Arc::new(SplitState::new(workers, || fastrand::u64(..))),
            picks: new_picks(),
            in_force: in_force.clone(),
            met,
        });
        let state = Arc::clone(&kept.state);
        if kept.in_force != in_force {
            let picks = new_picks();
            // Of two rules with one identity only the first can be reached. Picks are indexed by share: each has its own.
            if kept.met == met {
                return (state, picks);
            }
            (kept.picks, kept.in_force) = (picks, in_force);
        }
        kept.met = met;
        (state, Arc::clone(&kept.picks))
    }

    /// Keeps what a kept rule's split points to.
    pub(super) fn keep_revision_split(&mut self, split: &RevisionSplit) {
        if let Some(kept) = self.compiler.revision_splits.get_mut(&split.id) {
            kept.met = self.compiler.pass;
        }
    }
}
