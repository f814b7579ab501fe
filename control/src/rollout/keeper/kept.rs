//! One rollout, with its memory, and what became of both.

use std::sync::Arc;

use watershed_config::model::ObjectName;
use watershed_config::observation::RolloutObservation;
use watershed_config::snapshot::Generation;

use super::gather::Gathered;
use super::{CHECKPOINT, Measurement, NO_JOURNAL, VIEW};
use crate::rollout::board::Submitted;
use crate::rollout::describe::describe;
use crate::rollout::engine::{Action, advance};
use crate::rollout::facts::{Facts, Fresh, RevisionFacts};
use crate::rollout::journal::{Entry, Journal};
use crate::rollout::plan::{Plan, plan};
use crate::rollout::port::{Answered, Refused};
use crate::rollout::state::{PACE_BUSY, State};
use crate::rollout::verbs;
use crate::rollout::view::{Phase, RolloutView, VerbAnswer};

/// Why a rollout is not driven, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// Its journal cannot be read.
    Damaged(String),
    /// Anything else.
    Other(String),
}

/// One rollout.
pub(super) struct Kept {
    pub(super) gathered: Gathered,
    pub(super) state: State,
    /// Something is not written yet.
    pub(super) unwritten: bool,
    pub(super) written_at: u64,
    /// Evidence that could not be remembered yet.
    pub(super) carried: Fresh,
    /// The plan of the last snapshot, whether its canary had a ready pod there, and the first generation of which both were so.
    pub(super) published: Option<(Plan, bool, Generation)>,
    pub(super) view: Option<RolloutView>,
    pub(super) viewed_at: u64,
    pub(super) view_is_new: bool,
    /// What was counted at the last tick.
    pub(super) last: RolloutObservation,
    /// When it is looked at again.
    pub(super) due_at: u64,
    /// What is said once it can be seen.
    pub(super) answers: Vec<(Submitted, Answered)>,
    /// Why it is not driven.
    pub(super) problem: Option<Problem>,
}

/// What one rollout's tick takes.
pub(super) struct Moment<'a> {
    pub(super) journal: Option<&'a Journal>,
    pub(super) observed: RolloutObservation,
    pub(super) acknowledged: Generation,
    pub(super) workers: usize,
    pub(super) verbs: Vec<Submitted>,
    pub(super) measured: Vec<Measurement>,
    pub(super) now: u64,
}

impl Kept {
    pub(super) fn new(gathered: Gathered, state: State) -> Self {
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
            answers: Vec::new(),
            problem: None,
        }
    }

    pub(super) fn take(&mut self, gathered: Gathered, now: u64) {
        if self.gathered.spec.is_some() && gathered.spec.is_none() {
            self.forget_rollout(now);
        }
        if gathered.spec.is_some()
            && (&gathered.service, &gathered.revision_label)
                != (&self.gathered.service, &self.gathered.revision_label)
        {
            self.begin_anew(&gathered, now);
        }
        self.gathered = gathered;
    }

    /// Revisions of another Service or label are other revisions: nothing that is recorded is true of them.
    fn begin_anew(&mut self, gathered: &Gathered, now: u64) {
        let before = std::mem::take(&mut self.state);
        self.state.version = before.version + 1;
        (self.state.last_number, self.state.events, self.state.aborts) =
            (before.last_number, before.events, before.aborts);
        let Gathered { service, revision_label, .. } = gathered;
        let message = format!(
            "revisions are those of the Service {service} by the label {revision_label} now: what was recorded before is set aside"
        );
        self.state.note(now, "Warning", "RecordSetAside", message);
        self.unwritten = true;
    }

    /// A snapshot with this plan has this generation.
    pub(super) fn published(&mut self, plan: Option<&Plan>, generation: Generation) {
        let Some(plan) = plan else {
            self.published = None;
            return;
        };
        let served = self.is_served(plan);
        let same = |(known, was_served, _): &(Plan, bool, Generation)| known == plan && *was_served == served;
        if !self.published.as_ref().is_some_and(same) {
            self.published = Some((plan.clone(), served, generation));
        }
    }

    /// Whether a plan's canary has a ready pod.
    fn is_served(&self, plan: &Plan) -> bool {
        let Some((canary, _)) = &plan.canary else { return true };
        self.gathered.revisions.iter().any(|revision| revision.revision == *canary && revision.ready() > 0)
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
    pub(super) fn is_over(&self) -> bool {
        let others = |facts: &RevisionFacts| Some(&*facts.revision) != self.state.stable.as_deref();
        self.gathered.spec.is_none() && !self.gathered.revisions.iter().any(others)
    }

    /// How long its next tick may wait, in milliseconds.
    pub(super) fn pace(&self) -> u64 {
        let acknowledged = self.view.as_ref().is_none_or(|view| view.acknowledged);
        // Where a Service is not routed to, nothing is ever acknowledged, and nobody waits for it.
        let waits = !acknowledged && self.published.is_some() && !self.last.splits.is_empty();
        if self.unwritten || waits { PACE_BUSY } else { self.state.pace() }
    }

    /// What goes into a snapshot.
    pub(super) fn plan(&self) -> Option<(ObjectName, Plan)> {
        let plan = match (&self.problem, &self.gathered.spec) {
            // Nobody knows what was aborted: what the file calls stable is the least that can be wrong.
            (Some(Problem::Damaged(_)), spec) => self.plan_of(spec.as_ref()?.stable_revision.as_deref()?),
            (Some(Problem::Other(_)), _) => return None,
            (None, Some(spec)) => plan(spec, &self.state)?,
            (None, None) => self.plan_of(self.state.stable.as_deref()?),
        };
        Some((self.gathered.service.clone(), plan))
    }

    /// Everything to one revision.
    fn plan_of(&self, stable: &str) -> Plan {
        Plan {
            rollout: self.gathered.name.clone(),
            revision_label: Arc::clone(&self.gathered.revision_label),
            stable: stable.into(),
            canary: None,
            run: 0,
            compared: None,
            sticky: None,
            routes: Vec::new(),
            rotation: None,
        }
    }

    pub(super) fn tick(&mut self, moment: Moment<'_>) {
        let Some(spec) = self.gathered.spec.clone().filter(|_| self.problem.is_none()) else {
            for submitted in moment.verbs {
                let why = self.why_not_driven();
                self.answers.push((submitted, Err(Refused::Refused(why))));
            }
            self.write_if_needed(moment.journal, moment.now);
            self.view_as_problem();
            return;
        };
        let fresh = self.fresh(&moment);
        self.last = moment.observed.clone();
        let Moment { journal, observed, acknowledged, workers, verbs, now, .. } = moment;
        let applied = self.published.as_ref().filter(|(plan, served, generation)| {
            acknowledged >= *generation && *served == self.is_served(plan)
        });
        let mut facts = Facts {
            spec,
            revisions: self.gathered.revisions.clone(),
            applied: applied.map(|(plan, ..)| plan.clone()),
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
        // An abort, or an undo in the middle: everything goes back to where it came from.
        let goes_back =
            self.state.active().is_some() && next.active().is_none() && next.stable == self.state.stable;
        let written = self.write(journal, &next, decided, now);
        let trouble = written.err();
        match &trouble {
            Some(why) if decided && !goes_back => {
                for (submitted, _) in answers {
                    self.answers.push((submitted, Err(Refused::Unwritable(why.clone()))));
                }
                // Nothing is decided that cannot be remembered; what was seen is kept for when it can.
                self.carried = facts.fresh.clone();
                return self.report(&facts, now, trouble);
            }
            Some(why) if goes_back => {
                tracing::error!(rollout = %self.gathered.name, %why, "back to stable, PUBLISHED WITHOUT BEING JOURNALED");
            }
            Some(_) | None => {}
        }
        self.state = next;
        for (submitted, answer) in answers {
            let answer = match &trouble {
                Some(why) => Err(Refused::Unwritable(format!(
                    "done and in force, but a restart will not know of it: {why}"
                ))),
                None => answer.map(|message| VerbAnswer { message, journal_version: self.state.version }),
            };
            self.answers.push((submitted, answer));
        }
        self.tell(&actions);
        self.report(&facts, now, trouble);
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
                || (!view.acknowledged && facts.applied.is_some())
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
        // What is published in a moment, not what was.
        let plan = self.plan().map(|(_, plan)| plan);
        let mut view = describe(&self.state, facts, plan.as_ref());
        view.problem = trouble.or_else(|| (!facts.remembers).then(|| NO_JOURNAL.to_owned()));
        (self.view, self.viewed_at, self.view_is_new) = (Some(view), now, true);
    }

    fn why_not_driven(&self) -> String {
        match (&self.problem, self.state.stable.as_deref()) {
            (Some(Problem::Damaged(why) | Problem::Other(why)), _) => why.clone(),
            (None, Some(stable)) => {
                format!("its Rollout is gone: everything goes to {stable} until no other revision has pods")
            }
            (None, None) => "its Rollout is gone".to_owned(),
        }
    }

    fn view_as_problem(&mut self) {
        let before = self.view.take();
        let Gathered { name, service, revision_label, spec, .. } = &self.gathered;
        let why = self.why_not_driven();
        self.view = Some(RolloutView {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            service: service.name.to_string(),
            strategy: spec.as_ref().map_or("-", |spec| spec.strategy.name()).to_owned(),
            revision_label: revision_label.to_string(),
            phase: Phase::Degraded,
            phase_since: before.as_ref().and_then(|before| before.phase_since),
            stable: self.state.stable.clone(),
            journal_version: self.state.version,
            events: self.state.events.clone(),
            message: why.clone(),
            problem: Some(why),
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
