//! What is remembered of a rollout: the content of its journal, and all that a decision may depend on besides facts.
//!
//! Times are milliseconds since 1970. Everything here is plain data that survives a restart; what can be computed from the
//! specification and the state (weights, routes, texts) is computed and not stored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::view::{EventView, Phase};

/// The shape of the journal that this build writes.
pub const FORMAT: u32 = 1;

/// Events that are kept for each rollout.
pub const EVENTS_MAX: usize = 100;

/// How often a rollout is looked at that gets further, one that is paused, and one that rests, in milliseconds.
pub(super) const PACE_BUSY: u64 = 100;
const PACE_PAUSED: u64 = 250;
pub(super) const PACE_IDLE: u64 = 1_000;

/// A rollout's whole memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// [`FORMAT`]; a journal of a newer format is not read.
    pub format: u32,
    /// Counts decisions. Evidence and clocks change without it, so that a verb is not refused for them.
    pub version: u64,
    /// The revision that has the traffic, or gets it back; `None` until one has ready pods.
    pub stable: Option<String>,
    /// The run in progress, or the one that was aborted and not followed by another.
    pub run: Option<Run>,
    /// Number of the newest entry of the history.
    pub last_number: u64,
    /// Revisions that became stable, were aborted or superseded; the oldest first.
    pub history: Vec<Past>,
    /// An undo that is in force.
    pub overridden: Option<Override>,
    /// An operator's pause.
    pub paused: Option<OperatorPause>,
    /// Since when the file has paused it.
    #[serde(default)]
    pub file_paused_since: Option<u64>,
    /// When each revision was first seen with ready pods.
    pub seen: BTreeMap<String, u64>,
    /// Revisions that do not start again by themselves, and under which specification they were given up.
    pub given_up: BTreeMap<String, u64>,
    /// Revisions that lost the traffic and whose pods may go.
    pub retiring: Vec<Retiring>,
    /// Pods that are wished for, by revision, where nothing here can make them.
    pub wished: BTreeMap<String, u32>,
    /// What happened, the newest last.
    pub events: Vec<EventView>,
    /// Aborts by reason.
    pub aborts: BTreeMap<String, u64>,
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub phase_since: u64,
    /// Why, in a sentence.
    pub message: String,
    /// The last time that anything was decided.
    pub ticked_at: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: FORMAT,
            version: 0,
            stable: None,
            run: None,
            last_number: 0,
            history: Vec::new(),
            overridden: None,
            paused: None,
            file_paused_since: None,
            seen: BTreeMap::new(),
            given_up: BTreeMap::new(),
            retiring: Vec::new(),
            wished: BTreeMap::new(),
            events: Vec::new(),
            aborts: BTreeMap::new(),
            phase: Phase::Healthy,
            phase_since: 0,
            message: String::new(),
            ticked_at: 0,
        }
    }
}

/// One way of a revision from nothing to everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its number in the history, from 1.
    pub number: u64,
    /// The revision that is rolled out.
    pub revision: String,
    /// The revision that had the traffic when it began.
    pub from: String,
    /// When it began.
    pub started_at: u64,
    /// Who or what began it.
    pub cause: String,
    /// Of the steps that it follows: another value means that they were edited.
    pub steps_fingerprint: u64,
    /// Index of the current step.
    pub step: usize,
    /// When it became current.
    pub step_started_at: u64,
    /// Whether the step has begun its work.
    pub step_begun: bool,
    /// Millionths that the revision should have.
    pub weight: u32,
    /// Millionths below which an edit of the steps must not lower it.
    pub floor: u32,
    /// Millionths that an operator holds it at.
    pub held: Option<u32>,
    /// Since when.
    #[serde(default)]
    pub held_since: u64,
    /// All steps were promoted: only the end is waited for.
    pub full: bool,
    /// Something that stopped it until somebody resumes it.
    pub stopped: Option<Stopped>,
    /// When it last got further; pauses move it on.
    pub progress_at: u64,
    /// The most ready pods of the revision that were seen: only more is progress, so that a flapping pod is none.
    pub ready_most: u32,
    /// Set once everything went back.
    pub aborted: Option<Aborted>,
    /// Which pods are in rotation, in a rolling update.
    pub rotation: Option<Rotation>,
    /// Requests and failures since it began.
    pub tally: Tally,
    /// What the judge knows.
    pub judge: super::judge::JudgeState,
    /// Whether something was done about a finding of the judge: it is done once.
    pub judge_answered: bool,
    /// When the revision was first to have a share.
    pub weighted_at: Option<u64>,
    /// Whether its pods have been at work for long enough to be compared by how fast they are.
    pub warm: bool,
    /// Analyses of this run.
    pub analyses: Vec<AnalysisRecord>,
}

/// Something that stopped a run until somebody resumes or promotes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// Since when.
    pub since: u64,
    /// Why, in a sentence.
    pub why: String,
}

/// An operator's pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorPause {
    /// Since when.
    pub since: u64,
    /// Whose.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Everything went back to the stable revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Aborted {
    /// When.
    pub at: u64,
    /// One word, the metric's label: `judge`, `budget`, `analysis`, `deadline`, `operator`, `undo`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Which pods are in rotation, in a rolling update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Pods of the stable revision when it began: surge and unavailability are counted from it.
    pub base: u32,
    /// UIDs of pods of the new revision that are in.
    pub admitted: BTreeSet<String>,
    /// UIDs of pods of the old revision that are out.
    pub withdrawn: BTreeSet<String>,
}

/// Requests and failures since a run began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Of the revision that is rolled out.
    pub canary: u64,
    /// Failed ones among them.
    pub canary_failed: u64,
    /// Of the stable revision.
    pub stable: u64,
    /// Failed ones among them.
    pub stable_failed: u64,
}

/// An analysis, as far as it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRecord {
    /// Distinct in its run.
    pub id: u64,
    /// What it is for: `step 3`, `background`, `prePromotion`, `postPromotion`.
    pub role: String,
    /// Its measurements.
    pub run: crate::analysis::Run,
}

/// An undo that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The revision that is kept to.
    pub revision: String,
    /// `spec.targetRevision` at that time: another value ends it.
    pub over_target: Option<String>,
    /// The newest revision at that time: where no target is written, a newer one ends it.
    pub over_newest: Option<String>,
    /// When.
    pub at: u64,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// An entry of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// From 1.
    pub number: u64,
    /// The revision.
    pub revision: String,
    /// `stable`, `superseded`, `aborted`.
    pub outcome: String,
    /// CHANGE-CAUSE.
    pub cause: String,
    /// When its run began.
    pub started_at: u64,
    /// When it ended.
    pub ended_at: u64,
}

/// A revision that lost the traffic and whose pods may go once nothing needs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retiring {
    /// Which one.
    pub revision: String,
    /// Not before this.
    pub not_before: u64,
}

impl State {
    /// Notes something that happened.
    pub(super) fn note(&mut self, at: u64, kind: &str, reason: &str, message: impl Into<String>) {
        let event =
            EventView { at, kind: kind.to_owned(), reason: reason.to_owned(), message: message.into() };
        // The surplus of the oldest goes when the decision is made.
        self.events.push(event);
    }

    /// Notes something good.
    pub(super) fn normal(&mut self, at: u64, reason: &str, message: impl Into<String>) {
        self.note(at, "Normal", reason, message);
    }

    /// Notes something bad.
    pub(super) fn warning(&mut self, at: u64, reason: &str, message: impl Into<String>) {
        self.note(at, "Warning", reason, message);
    }

    /// The run, unless it was aborted.
    pub fn active(&self) -> Option<&Run> {
        self.run.as_ref().filter(|run| run.aborted.is_none())
    }

    /// How long the next decision may wait, in milliseconds: a step whose gate holds is left well within a second, and hundreds of
    /// rollouts that wait for somebody cost next to nothing.
    pub fn pace(&self) -> u64 {
        match self.phase {
            Phase::Progressing => PACE_BUSY,
            _ if self.active().is_some() => PACE_PAUSED,
            _ => PACE_IDLE,
        }
    }

    /// Whether something was decided since: clocks and evidence alone are no decision. Called at every tick of every rollout, so
    /// it copies nothing; the patterns name every field, so that a new one has to be thought of.
    pub(super) fn decides_otherwise(&self, before: &Self) -> bool {
        let Self {
            format: _,
            version: _,
            stable,
            run,
            last_number,
            history,
            overridden,
            paused,
            file_paused_since,
            seen,
            given_up,
            retiring,
            wished,
            events,
            aborts,
            phase,
            phase_since,
            // Says what is waited for, with numbers that come and go.
            message: _,
            ticked_at: _,
        } = self;
        let runs_differ = match (run, &before.run) {
            (Some(now), Some(then)) => now.decides_otherwise(then),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        runs_differ
            || (stable, last_number, phase, phase_since)
                != (&before.stable, &before.last_number, &before.phase, &before.phase_since)
            || (overridden, paused, file_paused_since)
                != (&before.overridden, &before.paused, &before.file_paused_since)
            || (seen, given_up, retiring) != (&before.seen, &before.given_up, &before.retiring)
            || (wished, aborts) != (&before.wished, &before.aborts)
            || (history.len(), history.last()) != (before.history.len(), before.history.last())
            || (events.len(), events.last()) != (before.events.len(), before.events.last())
    }
}

impl Run {
    fn decides_otherwise(&self, before: &Self) -> bool {
        let Self {
            number,
            revision,
            from,
            started_at,
            cause,
            steps_fingerprint,
            step,
            step_started_at,
            step_begun,
            weight,
            floor,
            held,
            held_since: _,
            full,
            stopped,
            progress_at: _,
            ready_most,
            aborted,
            rotation,
            tally: _,
            judge: _,
            judge_answered,
            weighted_at,
            warm,
            analyses,
        } = self;
        let phases = |analyses: &[AnalysisRecord]| -> Vec<_> {
            analyses.iter().map(|analysis| (analysis.id, analysis.run.phase())).collect()
        };
        (number, revision, from, started_at, cause)
            != (&before.number, &before.revision, &before.from, &before.started_at, &before.cause)
            || (steps_fingerprint, step, step_started_at, step_begun)
                != (&before.steps_fingerprint, &before.step, &before.step_started_at, &before.step_begun)
            || (weight, floor, held, full) != (&before.weight, &before.floor, &before.held, &before.full)
            || (stopped, aborted, rotation) != (&before.stopped, &before.aborted, &before.rotation)
            || (ready_most, judge_answered) != (&before.ready_most, &before.judge_answered)
            || (weighted_at, warm) != (&before.weighted_at, &before.warm)
            || phases(analyses) != phases(&before.analyses)
    }
}
