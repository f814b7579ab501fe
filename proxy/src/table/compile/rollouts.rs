//! What outlives tables of rollouts: the sequences of their splits, what was counted for their revisions, and evidence.

use std::sync::Arc;

use watershed_config::snapshot::{self, SplitKey};

use super::super::backend::Backend;
use super::super::revisions::{Parts, RevisionSplit, RevisionSplitId};
use super::{Compiler, Map, Pass};
use crate::rollouts::blocks::{Evidence, Tables};
use crate::rollouts::cells::RevisionCells;
use crate::split::{Picks, SplitState};

/// What is kept of a [`RevisionSplit`] from table to table.
#[derive(Debug)]
pub(super) struct KeptRevisionSplit {
    state: Arc<SplitState>,
    picks: Arc<Picks>,
    /// What `picks` counts under.
    in_force: InForce,
    /// While something is compared, with the run that it belongs to.
    evidence: Option<(u64, Arc<Evidence>)>,
    met: u64,
}

/// What is kept of a Rollout from table to table.
#[derive(Debug)]
pub(super) struct KeptRollout {
    run: u64,
    tables: Arc<Tables>,
    revisions: Map<Arc<str>, KeptRevision>,
}

#[derive(Debug)]
struct KeptRevision {
    cells: Arc<RevisionCells>,
    met: u64,
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

impl Compiler {
    /// Forgets what the last compilation has not met. Requests that still hold it count on, unheard.
    pub(super) fn forget_rollouts(&mut self) {
        self.revision_splits.retain(|_, split| split.met == self.pass);
        self.rollouts.retain(|_, rollout| {
            rollout.revisions.retain(|_, revision| revision.met == self.pass);
            !rollout.revisions.is_empty()
        });
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
        let parts = self.parts(&id, &written, backend);
        let split = Arc::new(RevisionSplit::new(id, written, parts, backend)?);
        self.rollouts.push(Arc::clone(&split));
        Some(split)
    }

    fn parts(&mut self, id: &RevisionSplitId, written: &snapshot::RevisionSplit, backend: &Backend) -> Parts {
        let Compiler { rollouts, workers, pass, .. } = &mut *self.compiler;
        let (workers, met) = (*workers, *pass);
        let new_tables = || Arc::new(Tables::new(workers));
        let rollout = rollouts.entry(written.rollout.clone()).or_insert_with(|| KeptRollout {
            run: written.run,
            tables: new_tables(),
            revisions: Map::default(),
        });
        if rollout.run != written.run {
            (rollout.run, rollout.tables) = (written.run, new_tables());
        }
        let counted = backend.revisions.iter().map(|revision| {
            let kept = rollout
                .revisions
                .entry(Arc::clone(&revision.name))
                .or_insert_with(|| KeptRevision { cells: Arc::new(RevisionCells::new(workers)), met });
            kept.met = met;
            (Arc::clone(&revision.name), Arc::clone(&kept.cells))
        });
        let counted = counted.collect();
        let tables = Arc::clone(&rollout.tables);
        let kept = self.kept_revision_split(id, written);
        let evidence = kept.evidence(written, workers, &tables);
        let (state, picks) = kept.state_and_picks(written, workers, met);
        Parts { state, picks, counted, tables, evidence }
    }

    fn kept_revision_split(
        &mut self,
        id: &RevisionSplitId,
        written: &snapshot::RevisionSplit,
    ) -> &mut KeptRevisionSplit {
        let Compiler { revision_splits, workers, pass, .. } = &mut *self.compiler;
        revision_splits.entry(id.clone()).or_insert_with(|| KeptRevisionSplit {
            state: Arc::new(SplitState::new(*workers, || fastrand::u64(..))),
            picks: Arc::new(Picks::new(*workers, written.shares.len())),
            in_force: InForce::of(written),
            evidence: None,
            met: *pass,
        })
    }

    /// Keeps what a kept rule's split points to.
    pub(super) fn keep_revision_split(&mut self, split: &Arc<RevisionSplit>) {
        let Compiler { revision_splits, rollouts, pass, .. } = &mut *self.compiler;
        if let Some(kept) = revision_splits.get_mut(&split.id) {
            kept.met = *pass;
        }
        if let Some(kept) = rollouts.get_mut(&split.written.rollout) {
            for (revision, _) in split.counted() {
                if let Some(kept) = kept.revisions.get_mut(revision) {
                    kept.met = *pass;
                }
            }
        }
        self.rollouts.push(Arc::clone(split));
    }
}

impl KeptRevisionSplit {
    fn state_and_picks(
        &mut self,
        written: &snapshot::RevisionSplit,
        workers: usize,
        met: u64,
    ) -> (Arc<SplitState>, Arc<Picks>) {
        let state = Arc::clone(&self.state);
        let in_force = InForce::of(written);
        if self.in_force != in_force {
            let picks = Arc::new(Picks::new(workers, written.shares.len()));
            // Of two rules with one identity only the first can be reached. Picks are indexed by share: each has its own.
            if self.met == met {
                return (state, picks);
            }
            (self.picks, self.in_force) = (picks, in_force);
        }
        self.met = met;
        (state, Arc::clone(&self.picks))
    }

    /// A new run begins with new blocks, so that none has requests of two runs.
    fn evidence(
        &mut self,
        written: &snapshot::RevisionSplit,
        workers: usize,
        tables: &Arc<Tables>,
    ) -> Option<Arc<Evidence>> {
        let of_run = self.evidence.take_if(|(run, _)| *run == written.run && written.compared.is_some());
        self.evidence = of_run.or_else(|| {
            let evidence = || Arc::new(Evidence::new(workers, Arc::clone(tables)));
            written.compared.is_some().then(|| (written.run, evidence()))
        });
        self.evidence.as_ref().map(|(_, evidence)| Arc::clone(evidence))
    }
}
