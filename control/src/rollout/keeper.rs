//! Keeps the rollouts of a catalog: gathers facts, lets the engine decide, writes the journal, and only then hands out plans.
//!
//! One [`Keeper::tick`] takes everything from one version of the catalog, so that specification and pods always belong together.
//! It blocks on the disk, so the driver runs it off the runtime's thread.
//!
//! Deliberately absent: deciding anything (the engine does), and the data plane (an [`Observation`] comes in).

mod gather;
mod kept;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use watershed_config::model::ObjectName;
use watershed_config::observation::Observation;
use watershed_config::snapshot::Generation;

use super::board::Submitted;
use super::journal::{Entry, Journal};
use super::plan::Plans;
use super::port::Refused;
use super::state::{PACE_IDLE, State};
use super::view::RolloutView;
use crate::analysis::{self, Measured};
use crate::catalog::Catalog;
use crate::readiness::Readiness;
use gather::{Gathered, Gatherer};
use kept::{Kept, Moment, Problem};

/// How often evidence is written down while a run is in progress, in milliseconds.
const CHECKPOINT: u64 = 1_000;

/// How often a view is made anew although nothing was decided, in milliseconds.
const VIEW: u64 = 500;

/// What is said where there is no journal.
const NO_JOURNAL: &str = "nothing can be remembered here (no writable state directory): no rollout starts";

/// A measurement that came back: Rollout, number of its run, of the analysis and of the metric.
pub(crate) type Measurement = (ObjectName, u64, u64, usize, Measured);

/// What a tick takes.
pub(crate) struct Input<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) readiness: &'a Readiness,
    /// Whether either has changed since the last tick.
    pub(crate) changed: bool,
    pub(crate) observation: Observation,
    pub(crate) verbs: Vec<Submitted>,
    pub(crate) measurements: Vec<Measurement>,
    /// Milliseconds since 1970.
    pub(crate) now: u64,
}

/// Everything that is known of rollouts.
#[derive(Default)]
pub(crate) struct Keeper {
    journal: Option<Journal>,
    /// Journals that cannot be read: those rollouts are not driven.
    damaged: BTreeMap<ObjectName, String>,
    kept: BTreeMap<ObjectName, Kept>,
    gatherer: Gatherer,
    /// What goes into the next snapshot.
    plans: Plans,
    views: Arc<[RolloutView]>,
}

/// What goes into a snapshot where no process runs that remembers: `check` and `explain` on files. Everything is the stable
/// revision's, as far as the manifests say which one that is.
pub fn plans_without_memory(catalog: &Catalog, readiness: &Readiness) -> Plans {
    let mut keeper = Keeper::open(None);
    keeper.tick(Input {
        catalog,
        readiness,
        changed: true,
        observation: Observation::default(),
        verbs: Vec::new(),
        measurements: Vec::new(),
        now: 0,
    });
    keeper.plans
}

impl Keeper {
    /// Reads the journal of a state directory; without one nothing is remembered and no rollout begins.
    pub(crate) fn open(state_directory: Option<&Path>) -> Self {
        let mut keeper = Self::default();
        let Some(directory) = state_directory else { return keeper };
        match Journal::open(directory) {
            Ok((journal, found)) => {
                for (name, why) in &found.damaged {
                    tracing::error!(rollout = %name, %why, "journal cannot be read: the rollout is not driven");
                }
                for (name, entry) in found.entries {
                    keeper.kept.insert(name, Kept::new(Gathered::of_entry(&entry), entry.state));
                }
                (keeper.journal, keeper.damaged) = (Some(journal), found.damaged);
            }
            Err(error) => {
                let directory = directory.display();
                tracing::error!(%directory, %error, "no journal: no rollout will start");
            }
        }
        keeper
    }

    /// Whether there is anything to keep.
    pub(crate) fn is_idle(&self, catalog: &Catalog) -> bool {
        self.kept.is_empty() && catalog.rollouts().next().is_none()
    }

    /// How long the next tick may wait, in milliseconds.
    pub(crate) fn pace(&self) -> u64 {
        self.kept.values().map(Kept::pace).min().unwrap_or(PACE_IDLE)
    }

    /// What goes into the next snapshot.
    pub(crate) fn plans(&self) -> &Plans {
        &self.plans
    }

    /// The rollouts as people see them, by namespace and name.
    pub(crate) fn views(&self) -> Arc<[RolloutView]> {
        Arc::clone(&self.views)
    }

    /// The analyses of all rollouts that are driven.
    pub(crate) fn analyses(&self) -> impl Iterator<Item = (analysis::RunId, &analysis::Run)> {
        let driven =
            self.kept.iter().filter(|(_, kept)| kept.problem.is_none() && kept.gathered.spec.is_some());
        driven.filter_map(|(name, kept)| Some((name, kept.state.active()?))).flat_map(|(name, run)| {
            let of_run = run.analyses.iter();
            of_run.map(move |analysis| ((name.clone(), run.number, analysis.id), &analysis.run))
        })
    }

    /// A snapshot with the present plans has this generation.
    pub(crate) fn published(&mut self, generation: Generation) {
        for kept in self.kept.values_mut() {
            let now = self.plans.get(&kept.gathered.service).map(|plan| &**plan);
            kept.published(now.filter(|plan| plan.rollout == kept.gathered.name), generation);
        }
    }

    /// Decides, remembers, answers. True if the plans have changed.
    pub(crate) fn tick(&mut self, input: Input<'_>) -> bool {
        let Input { catalog, readiness, changed, observation, mut verbs, mut measurements, now } = input;
        if changed {
            self.gather(catalog, readiness, now);
        }
        for (name, kept) in &mut self.kept {
            let mine = |submitted: &mut Submitted| submitted.rollout == *name;
            let verbs: Vec<Submitted> = verbs.extract_if(.., mine).collect();
            let measured: Vec<Measurement> =
                measurements.extract_if(.., |(rollout, ..)| rollout == name).collect();
            if !changed && verbs.is_empty() && measured.is_empty() && now < kept.due_at {
                continue;
            }
            let observed = observation.rollouts.get(name).cloned().unwrap_or_default();
            kept.tick(Moment {
                journal: self.journal.as_ref(),
                observed,
                acknowledged: observation.acknowledged,
                workers: observation.workers,
                verbs,
                measured,
                now,
            });
            kept.due_at = now + kept.pace();
        }
        for submitted in verbs {
            submitted.answer(Err(Refused::NotFound));
        }
        self.archive();
        let plans =
            self.kept.values().filter_map(Kept::plan).map(|(service, plan)| (service, Arc::new(plan)));
        let plans: Plans = plans.collect();
        self.show();
        let changed = plans != self.plans;
        if changed {
            self.plans = plans;
        }
        changed
    }

    /// Answers the verbs of the last tick; called once their effect can be seen by whoever asks next.
    pub(crate) fn answer(&mut self) {
        for (submitted, answered) in self.kept.values_mut().flat_map(|kept| kept.answers.drain(..)) {
            submitted.answer(answered);
        }
    }

    /// Shows what has changed; hundreds of rollouts that stand still cost nothing.
    fn show(&mut self) {
        let shown = self.kept.values().filter(|kept| kept.view.is_some()).count();
        let changed = self
            .kept
            .values_mut()
            .filter_map(|kept| std::mem::take(&mut kept.view_is_new).then_some(()))
            .count()
            > 0;
        if changed || shown != self.views.len() {
            self.views = self.kept.values().filter_map(|kept| kept.view.clone()).collect();
        }
    }

    /// Takes facts from a new version of the catalog.
    fn gather(&mut self, catalog: &Catalog, readiness: &Readiness, now: u64) {
        let known = self.kept.values().map(|kept| {
            let Gathered { name, service, revision_label, .. } = &kept.gathered;
            (name.clone(), (service.clone(), Arc::clone(revision_label)))
        });
        let mut all = self.gatherer.gather(catalog, readiness, now, known.collect());
        for (name, kept) in &mut self.kept {
            match all.remove(name) {
                Some(gathered) => kept.take(gathered, now),
                None => kept.gathered.spec = None,
            }
        }
        for (name, gathered) in all {
            if gathered.spec.is_some() {
                self.kept.insert(name, Kept::new(gathered, State::default()));
            }
        }
        self.find_problems(catalog);
    }

    /// Which rollouts cannot be driven, and why.
    fn find_problems(&mut self, catalog: &Catalog) {
        let mut taken: BTreeMap<ObjectName, ObjectName> = BTreeMap::new();
        for (name, kept) in &mut self.kept {
            let service = &kept.gathered.service;
            kept.problem = if let Some(why) = self.damaged.get(name) {
                Some(Problem::Damaged(format!(
                    "its journal cannot be read ({why}): mend or remove the file, then restart; meanwhile everything goes to spec.stableRevision, if that is written"
                )))
            } else if kept.gathered.spec.is_some() && catalog.service(service).is_none() {
                Some(Problem::Other(format!("there is no Service {service}")))
            } else if let Some(other) = taken.get(service) {
                Some(Problem::Other(format!("the Rollout {other} moves the traffic of {service} already")))
            } else {
                taken.insert(service.clone(), name.clone());
                None
            };
        }
    }

    /// Puts away what no Rollout and no pod needs.
    fn archive(&mut self) {
        let Some(journal) = &self.journal else { return };
        self.kept.retain(|name, kept| {
            if !kept.is_over() {
                return true;
            }
            if let Err(error) = journal.archive(name) {
                tracing::debug!(rollout = %name, %error, "journal not put away yet");
            }
            tracing::info!(rollout = %name, "its Rollout and its other pods are gone: journal put away");
            false
        });
    }
}
