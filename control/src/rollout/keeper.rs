//! Keeps the rollouts of a catalog: gathers facts, lets the engine decide, writes the journal, and only then hands out plans.
//!
//! One [`Keeper::tick`] takes everything from one version of the catalog, so that specification and pods always belong together.
//! It blocks on the disk, so the driver runs it off the runtime's thread.
//!
//! Deliberately absent: deciding anything (the engine does), and the data plane (an [`Observation`] comes in).

mod gather;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use watershed_config::model::ObjectName;
use watershed_config::observation::{Observation, RolloutObservation};
use watershed_config::snapshot::Generation;

use super::board::Submitted;
use super::describe::describe;
use super::engine::{Action, advance};
use super::facts::{Facts, Fresh};
use super::journal::{Entry, Journal};
use super::plan::{Plan, Plans, plan};
use super::port::Refused;
use super::state::State;
use super::verbs;
use super::view::{Phase, RolloutView, VerbAnswer};
use crate::analysis::{self, Measured};
use crate::catalog::Catalog;
use crate::readiness::Readiness;
use gather::{Gathered, Gatherer};

/// How often evidence is written down while a run is in progress, in milliseconds.
const CHECKPOINT: u64 = 1_000;

/// How often a rollout is looked at that gets further, one that is paused, and one that rests, in milliseconds.
const PACE_BUSY: u64 = 100;
const PACE_PAUSED: u64 = 250;
const PACE_IDLE: u64 = 1_000;

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

/// One rollout.
struct Kept {
    gathered: Gathered,
    state: State,
    /// Something is not written yet.
    unwritten: bool,
    written_at: u64,
    /// Evidence that could not be remembered yet.
    carried: Fresh,
    /// The plan of the last snapshot and the first generation that had it.
    published: Option<(Plan, Generation)>,
    view: Option<RolloutView>,
    viewed_at: u64,
    view_is_new: bool,
    /// What was counted at the last tick.
    last: RolloutObservation,
    /// When it is looked at again.
    due_at: u64,
    /// Why it is not driven.
    problem: Option<String>,
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
            let now = now.filter(|plan| plan.rollout == kept.gathered.name);
            if now != kept.published.as_ref().map(|(plan, _)| plan) {
                kept.published = now.cloned().map(|plan| (plan, generation));
            }
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
                Some(format!("its journal cannot be read ({why}): mend or remove the file, then restart"))
            } else if kept.gathered.spec.is_some() && catalog.service(service).is_none() {
                Some(format!("there is no Service {service}"))
            } else if let Some(other) = taken.get(service) {
                Some(format!("the Rollout {other} moves the traffic of {service} already"))
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

/// What one rollout's tick takes.
struct Moment<'a> {
    journal: Option<&'a Journal>,
    observed: RolloutObservation,
    acknowledged: Generation,
    workers: usize,
    verbs: Vec<Submitted>,
    measured: Vec<Measurement>,
    now: u64,
}

impl Kept {
    fn new(gathered: Gathered, state: State) -> Self {
        Self {
            gathered,
            state,
            unwritten: false,
            written_at: 0,
            carried: Fresh::default(),
            published: None,
            view: None,
            viewed_at: 0,
            view_is_new: false,
            last: RolloutObservation::default(),
            due_at: 0,
            problem: None,
        }
    }

    fn take(&mut self, gathered: Gathered, now: u64) {
        if self.gathered.spec.is_some() && gathered.spec.is_none() {
            self.forget_rollout(now);
        }
        self.gathered = gathered;
    }

    /// The Rollout was deleted: all goes to the stable revision, and stays there until no other has pods.
    fn forget_rollout(&mut self, now: u64) {
        self.state.run = None;
        self.state.overridden = None;
        self.state.version += 1;
        self.state.note(
            now,
            "Warning",
            "RolloutDeleted",
            "the Rollout is gone: everything goes to the stable revision",
        );
        self.unwritten = true;
    }

    /// Whether nothing needs it any more: its Rollout is gone, and no revision but the stable one has pods.
    fn is_over(&self) -> bool {
        let others =
            |facts: &super::facts::RevisionFacts| Some(&*facts.revision) != self.state.stable.as_deref();
        self.gathered.spec.is_none() && !self.gathered.revisions.iter().any(others)
    }

    /// How long its next tick may wait, in milliseconds: a step whose gate holds is left well within a second, and hundreds of
    /// rollouts that wait for somebody cost next to nothing.
    fn pace(&self) -> u64 {
        match self.state.phase {
            _ if self.unwritten => PACE_BUSY,
            Phase::Progressing => PACE_BUSY,
            _ if self.state.active().is_some() => PACE_PAUSED,
            _ => PACE_IDLE,
        }
    }

    /// What goes into a snapshot.
    fn plan(&self) -> Option<(ObjectName, Plan)> {
        if self.problem.is_some() {
            return None;
        }
        let plan = match &self.gathered.spec {
            Some(spec) => plan(spec, &self.state)?,
            None => self.plan_without_rollout()?,
        };
        Some((self.gathered.service.clone(), plan))
    }

    fn plan_without_rollout(&self) -> Option<Plan> {
        Some(Plan {
            rollout: self.gathered.name.clone(),
            revision_label: Arc::clone(&self.gathered.revision_label),
            stable: self.state.stable.as_deref()?.into(),
            canary: None,
            run: 0,
            compared: None,
            sticky: None,
            routes: Vec::new(),
            rotation: None,
        })
    }

    fn tick(&mut self, moment: Moment<'_>) {
        let Some(spec) = self.gathered.spec.clone().filter(|_| self.problem.is_none()) else {
            for submitted in moment.verbs {
                let why = self.problem.clone().unwrap_or_else(|| "its Rollout is gone".to_owned());
                submitted.answer(Err(Refused::Refused(why)));
            }
            self.write_if_needed(moment.journal, moment.now);
            self.view_as_problem();
            return;
        };
        let fresh = self.fresh(&moment);
        self.last = moment.observed.clone();
        let Moment { journal, observed, acknowledged, workers, verbs, now, .. } = moment;
        let applied = self.published.as_ref().filter(|(_, generation)| acknowledged >= *generation);
        let mut facts = Facts {
            spec,
            revisions: self.gathered.revisions.clone(),
            applied: applied.map(|(plan, _)| plan.clone()),
            remembers: journal.is_some(),
            workers: workers as u32,
            observed,
            fresh: std::mem::take(&mut self.carried),
            templates: self.gathered.templates.clone(),
        };
        facts.fresh.absorb(fresh);
        let (answers, state) = self.act(&facts, verbs, now);
        let (next, actions) = advance(&state, &facts, now);
        let decided = next.version != self.state.version;
        let aborts = self.state.active().is_some() && next.active().is_none() && next.run.is_some();
        match self.write(journal, &next, decided, now) {
            Err(why) if decided && !aborts => {
                for (submitted, _) in answers {
                    submitted.answer(Err(Refused::Unwritable(why.clone())));
                }
                // Nothing is decided that cannot be remembered; what was seen is kept for when it can.
                self.carried = facts.fresh.clone();
                self.report(&facts, now, Some(why));
                return;
            }
            Err(why) if aborts => {
                tracing::error!(rollout = %self.gathered.name, %why, "ABORT published without being journaled");
            }
            Err(_) | Ok(()) => {}
        }
        self.state = next;
        for (submitted, answer) in answers {
            submitted
                .answer(answer.map(|message| VerbAnswer { message, journal_version: self.state.version }));
        }
        self.tell(&actions);
        self.report(&facts, now, None);
    }

    /// What came since the last tick.
    fn fresh(&self, moment: &Moment<'_>) -> Fresh {
        let (now, last) = (&moment.observed, &self.last);
        let mut blocks = now.blocks.clone();
        if now.run == last.run {
            blocks.failed = now.blocks.failed.since(&last.blocks.failed);
            for (slow, last) in blocks.slow.iter_mut().zip(&last.blocks.slow) {
                *slow = slow.since(last);
            }
        }
        let requests = now.revisions.iter().map(|(revision, counts)| {
            let before = last.revisions.get(revision).cloned().unwrap_or_default();
            let since = |now: u64, then: u64| if now < then { now } else { now - then };
            let counts = (since(counts.requests, before.requests), since(counts.failed, before.failed));
            (Arc::clone(revision), counts)
        });
        let measured = moment
            .measured
            .iter()
            .map(|(_, run, analysis, metric, measured)| (*run, *analysis, *metric, measured.clone()));
        Fresh { blocks, requests: requests.collect(), measured: measured.collect() }
    }

    /// Applies what operators ask for, one after the other.
    #[expect(clippy::type_complexity, reason = "used once, just below")]
    fn act(
        &self,
        facts: &Facts,
        verbs: Vec<Submitted>,
        now: u64,
    ) -> (Vec<(Submitted, Result<String, Refused>)>, State) {
        let mut state = self.state.clone();
        let mut answers = Vec::new();
        for submitted in verbs {
            if !facts.remembers {
                answers.push((submitted, Err(Refused::Unwritable(NO_JOURNAL.to_owned()))));
                continue;
            }
            let answer = match verbs::apply(&state, facts, submitted.verb, &submitted.request, now) {
                Ok((next, message)) => {
                    state = next;
                    Ok(message)
                }
                Err(refused) => Err(refused),
            };
            answers.push((submitted, answer));
        }
        (answers, state)
    }

    /// Writes a state if it has to be: a decision at once, evidence once a second.
    fn write(
        &mut self,
        journal: Option<&Journal>,
        next: &State,
        decided: bool,
        now: u64,
    ) -> Result<(), String> {
        let Some(journal) = journal else { return Ok(()) };
        let evidence = next.active().is_some() && *next != self.state;
        let due = now >= self.written_at.saturating_add(CHECKPOINT);
        if !(decided || self.unwritten || (evidence && due)) {
            return Ok(());
        }
        let entry = self.gathered.entry(next.clone());
        match journal.write(&entry) {
            Ok(()) => {
                (self.unwritten, self.written_at) = (false, now);
                Ok(())
            }
            Err(error) => {
                self.unwritten = true;
                let path = journal.path(&self.gathered.name);
                Err(format!("the journal {} cannot be written: {error}", path.display()))
            }
        }
    }

    fn write_if_needed(&mut self, journal: Option<&Journal>, now: u64) {
        if self.unwritten && self.gathered.spec.is_none() {
            let state = self.state.clone();
            if let Err(why) = self.write(journal, &state, true, now) {
                tracing::error!(rollout = %self.gathered.name, %why, "not remembered yet");
            }
        }
    }

    fn tell(&self, actions: &[Action]) {
        let rollout = &self.gathered.name;
        for action in actions {
            match action {
                Action::Tell(event) if event.kind == "Warning" => {
                    tracing::warn!(%rollout, reason = %event.reason, "{}", event.message);
                }
                Action::Tell(event) => tracing::info!(%rollout, reason = %event.reason, "{}", event.message),
                Action::Scale { revision, replicas } => {
                    tracing::info!(%rollout, revision, replicas, "pods are wished for; nothing here can make them");
                }
            }
        }
    }

    /// Makes the view anew where something was decided or some time has passed.
    fn report(&mut self, facts: &Facts, now: u64, trouble: Option<String>) {
        let stale = self.view.as_ref().is_none_or(|view| {
            view.journal_version != self.state.version
                || view.message != self.state.message
                || view.problem != trouble
                || now >= self.viewed_at.saturating_add(VIEW)
        });
        if !stale {
            return;
        }
        if let Some(why) =
            trouble.as_ref().filter(|_| self.view.as_ref().is_none_or(|view| view.problem.is_none()))
        {
            tracing::error!(rollout = %self.gathered.name, %why, "the rollout does not get further");
        }
        let plan = self.published.as_ref().map(|(plan, _)| plan);
        let mut view = describe(&self.state, facts, plan);
        view.problem = trouble.or_else(|| {
            (!facts.remembers).then(|| {
                "nothing can be remembered here (no writable state directory): no rollout starts".to_owned()
            })
        });
        (self.view, self.viewed_at, self.view_is_new) = (Some(view), now, true);
    }

    fn view_as_problem(&mut self) {
        let Some(spec) = &self.gathered.spec else {
            self.view = None;
            return;
        };
        let before = self.view.take();
        self.view = Some(RolloutView {
            namespace: spec.meta.name().namespace.to_string(),
            name: spec.meta.name().name.to_string(),
            service: spec.service.name.to_string(),
            strategy: spec.strategy.name().to_owned(),
            revision_label: spec.revision_label.to_string(),
            phase: Phase::Degraded,
            message: self.problem.clone().unwrap_or_default(),
            problem: self.problem.clone(),
            ..RolloutView::default()
        });
        self.view_is_new |= self.view != before;
    }
}

/// An entry of the journal belongs to somebody.
impl Gathered {
    fn entry(&self, state: State) -> Entry {
        Entry {
            namespace: self.name.namespace.to_string(),
            name: self.name.name.to_string(),
            service: self.service.name.to_string(),
            revision_label: self.revision_label.to_string(),
            state,
        }
    }
}
