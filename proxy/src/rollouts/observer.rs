//! What the control component may ask at any time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use watershed_config::observation::{Observation, SplitObservation};
use watershed_config::snapshot::Generation;

use crate::worker::Shared;

/// A handle for the control thread: it reads what workers count and never touches them.
#[derive(Debug, Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

impl Observer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// All that is known of the rollouts of the current table.
    pub fn observe(&self) -> Observation {
        let applied = self.shared.cells.iter().map(|cells| cells.generation.load(Relaxed)).min();
        let mut observation = Observation {
            acknowledged: Generation(applied.unwrap_or(0)),
            workers: self.shared.cells.len(),
            ..Observation::default()
        };
        let table = self.shared.table.load_full();
        let mut seen = HashSet::new();
        for split in &table.rollouts {
            // A rule on several listeners is one split.
            if !seen.insert(Arc::as_ptr(&split.picks)) {
                continue;
            }
            let known = observation.rollouts.contains_key(&split.written.rollout);
            let rollout = observation.rollouts.entry(split.written.rollout.clone()).or_default();
            if !known {
                rollout.run = split.written.run;
                rollout.blocks = split.tables.sums();
            }
            for (revision, cells) in split.counted() {
                rollout.revisions.entry(Arc::clone(revision)).or_insert_with(|| cells.sums());
            }
            rollout.splits.push(SplitObservation {
                key: split.id.rule.clone(),
                epoch: split.written.epoch,
                decisions: split.decisions(),
            });
        }
        observation
    }
}
