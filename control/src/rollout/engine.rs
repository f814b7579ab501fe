//! The engine: one pure function that decides what happens next in a rollout.
//!
//! [`advance`] is called about ten times a second, after every change of the catalog and after every verb, with everything that
//! is known. It notes evidence, reacts to what went wrong (`react`), follows the steps as far as their gates hold (`follow`), and
//! says where the rollout stands (`phase`). Which revision is wanted, and whether a run begins or is superseded, is decided in
//! `begin`. The directory, Kubernetes and the simulator run this same function.
//!
//! What holds whatever happens: an abort is one assignment and asks nobody, least of all the revision that is left; a step is over
//! only when every worker has acknowledged the plan and the measured shares agree; time alone ends nothing but a timed pause.
//!
//! Deliberately absent: clocks, files, the data plane. Time, facts and measurements come in as arguments.

mod begin;
mod follow;
mod phase;
mod react;
mod roll;

pub(super) use follow::BACKGROUND;
use watershed_config::model::Rollout;

use super::facts::Facts;
use super::plan::{Plan, plan};
use super::state::{Aborted, Past, Retiring, Run, State};
use super::steps::{paused_at, spec_fingerprint};
use super::view::EventView;

/// A gap between two decisions that is longer than this, in milliseconds, was a stop of the process or the machine: nobody could
/// have got further meanwhile, so it does not count against a deadline.
const GAP_MAX: u64 = 10_000;

/// How long an aborted revision's pods are kept warm, in milliseconds: Argo's `abortScaleDownDelaySeconds`.
const ABORT_SCALE_DOWN_DELAY: u64 = 30_000;

/// What somebody else should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Have so many pods of a revision.
    Scale {
        /// The revision.
        revision: String,
        /// How many.
        replicas: u32,
    },
    /// Log this.
    Tell(EventView),
}

/// Decides. `now` is in milliseconds since 1970; one that is earlier than the last decision counts as that.
pub fn advance(state: &State, facts: &Facts, now: u64) -> (State, Vec<Action>) {
    let mut tick = Tick::new(state, facts, now);
    tick.pass_time();
    tick.see_revisions();
    tick.settle_stable();
    tick.end_override();
    tick.begin_or_supersede();
    tick.take_evidence();
    tick.react();
    tick.follow();
    tick.retire();
    tick.name_phase();
    tick.finish(state)
}

/// One decision in the making. Verbs begin and end with one, too.
pub(super) struct Tick<'a> {
    pub(super) state: State,
    pub(super) facts: &'a Facts,
    pub(super) spec: &'a Rollout,
    pub(super) now: u64,
    /// Since the last decision, in milliseconds.
    elapsed: u64,
    pub(super) actions: Vec<Action>,
    /// What the current step waits for.
    waiting: String,
    events_before: usize,
}

impl<'a> Tick<'a> {
    pub(super) fn new(state: &State, facts: &'a Facts, now: u64) -> Self {
        let now = now.max(state.ticked_at);
        let mut state = state.clone();
        let elapsed = if state.ticked_at == 0 { 0 } else { now - state.ticked_at };
        state.ticked_at = now;
        // Events of this decision are told apart by their place after these.
        let events_before = state.events.len();
        let spec = &*facts.spec;
        Self { state, facts, spec, now, elapsed, actions: Vec::new(), waiting: String::new(), events_before }
    }

    /// The result, with its version and what is to be told.
    pub(super) fn finish(mut self, before: &State) -> (State, Vec<Action>) {
        if self.state.decides_otherwise(before) {
            self.state.version += 1;
        }
        let told = self.state.events.iter().skip(self.events_before.min(self.state.events.len()));
        self.actions.extend(told.cloned().map(Action::Tell));
        let surplus = self.state.events.len().saturating_sub(super::state::EVENTS_MAX);
        self.state.events.drain(..surplus);
        (self.state, self.actions)
    }

    /// The plan of the state as it is now.
    pub(super) fn plan(&self) -> Option<Plan> {
        plan(self.spec, &self.state)
    }

    /// Whether every worker does what is wanted now.
    pub(super) fn is_applied(&self) -> bool {
        self.facts.applied.is_some() && self.facts.applied == self.plan()
    }

    /// What stops the run: the first of the file's pause, an operator's, and the run's own.
    pub(super) fn pause(&self) -> Option<String> {
        if let Some(place) = paused_at(self.spec) {
            return Some(format!("paused by spec.paused in {place}"));
        }
        if let Some(paused) = &self.state.paused {
            let why = if paused.reason.is_empty() { String::new() } else { format!(": {}", paused.reason) };
            return Some(format!("paused by {}{why}", paused.by));
        }
        let stopped = self.state.active()?.stopped.as_ref()?;
        Some(stopped.why.clone())
    }

    /// Sends everything back to the stable revision. Asks nobody.
    pub(super) fn abort(&mut self, reason: &str, message: String) {
        let fingerprint = spec_fingerprint(self.spec);
        let Some(run) = self.state.run.as_mut().filter(|run| run.aborted.is_none()) else { return };
        run.aborted = Some(Aborted { at: self.now, reason: reason.to_owned(), message: message.clone() });
        let revision = run.revision.clone();
        let past = past_of(run, "aborted", self.now);
        self.state.given_up.insert(revision.clone(), fingerprint);
        *self.state.aborts.entry(reason.to_owned()).or_default() += 1;
        self.remember(past);
        self.state.retiring.push(Retiring { revision, not_before: self.now + ABORT_SCALE_DOWN_DELAY });
        self.state.warning(self.now, "RolloutAborted", message);
    }

    /// Adds to the history, within its limit.
    pub(super) fn remember(&mut self, past: Past) {
        self.state.history.push(past);
        let surplus = self.state.history.len().saturating_sub(self.spec.history_limit.max(1) as usize);
        self.state.history.drain(..surplus);
    }

    /// Notes that pods are wished for.
    pub(super) fn scale(&mut self, revision: &str, replicas: u32) {
        if self.state.wished.insert(revision.to_owned(), replicas) != Some(replicas) {
            self.actions.push(Action::Scale { revision: revision.to_owned(), replicas });
        }
    }

    /// Lets pods of revisions go that lost the traffic, once every worker has let go of them: nobody may still be sent there, and
    /// nobody may still be answered from there.
    fn retire(&mut self) {
        /// A request that never ends must not keep pods for ever, in milliseconds.
        const IN_FLIGHT_MAX: u64 = 600_000;
        if !self.is_applied() {
            return;
        }
        let (now, facts) = (self.now, self.facts);
        let in_use = |revision: &str| {
            self.state.stable.as_deref() == Some(revision)
                || self.state.active().is_some_and(|run| run.revision == revision)
        };
        let idle = |revision: &str| {
            facts.observed.revisions.get(revision).is_none_or(|counts| counts.in_flight == 0)
        };
        let goes = |retiring: &Retiring| {
            now >= retiring.not_before
                && (idle(&retiring.revision) || now >= retiring.not_before + IN_FLIGHT_MAX)
        };
        let unused = self.state.retiring.iter().filter(|retiring| !in_use(&retiring.revision)).cloned();
        let (going, staying): (Vec<_>, Vec<_>) = unused.partition(goes);
        self.state.retiring = staying;
        for retiring in going {
            self.scale(&retiring.revision, 0);
        }
    }
}

/// The history's entry of a run that ends.
fn past_of(run: &Run, outcome: &str, now: u64) -> Past {
    Past {
        number: run.number,
        revision: run.revision.clone(),
        outcome: outcome.to_owned(),
        cause: run.cause.clone(),
        started_at: run.started_at,
        ended_at: now,
    }
}
