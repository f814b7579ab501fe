//! What operators ask for: each verb on each state, or the sentence with which it is refused. Pure.
//!
//! Verbs change the memory only; what follows from that is decided by the engine at once, in the same step. Words and meaning are
//! those of `kubectl rollout` and `kubectl argo rollouts`.

use watershed_config::model::Share;

use super::engine::{BACKGROUND, Tick};
use super::facts::Facts;
use super::port::{Refused, Verb};
use super::state::{OperatorPause, Override, Past, Retiring, State};
use super::steps::{paused_at, scale_down_delay, works};
use super::view::VerbRequest;
use crate::analysis::Phase;

/// Applies a verb. Returns the new state and what was done, in a sentence.
///
/// # Errors
/// It is refused here and now; the sentence says why and what would help.
pub fn apply(
    state: &State,
    facts: &Facts,
    verb: Verb,
    request: &VerbRequest,
    now: u64,
) -> Result<(State, String), Refused> {
    // An abort is never too late.
    if verb != Verb::Abort && request.journal_version.is_some_and(|seen| seen != state.version) {
        return Err(Refused::Conflict { current: state.version });
    }
    let mut tick = Tick::new(state, facts, now);
    let done = match verb {
        Verb::Pause => tick.pause_by(request),
        Verb::Resume => tick.resume(request),
        Verb::Promote if request.full => tick.promote_fully(request),
        Verb::Promote => tick.promote(request),
        Verb::Abort => tick.abort_by(request),
        Verb::Retry => tick.retry(request),
        Verb::Undo => tick.undo(request),
        Verb::Restart => Err(format!(
            "nothing here can restart pods: restart them where they run; new pods of {} join as they become ready",
            tick.spec.service.name
        )),
        Verb::SetWeight => tick.set_weight(request),
    };
    let message = done.map_err(Refused::Refused)?;
    let (state, _) = tick.finish(state);
    Ok((state, message))
}

type Done = Result<String, String>;

/// `by ann` or `by ann: looks bad`.
fn by(request: &VerbRequest) -> String {
    let who = if request.by.is_empty() { "an operator" } else { &request.by };
    if request.reason.is_empty() { format!("by {who}") } else { format!("by {who}: {}", request.reason) }
}

impl Tick<'_> {
    fn name(&self) -> String {
        format!("rollout \"{}\"", self.spec.meta.name().name)
    }

    /// Why there is nothing to act on.
    fn nothing_runs(&self) -> String {
        let stable = self.state.stable.as_deref().unwrap_or("no revision");
        match self.state.run.as_ref().and_then(|run| run.aborted.as_ref().map(|_| &run.revision)) {
            Some(revision) => format!("the rollout of {revision} was aborted: `retry` begins it again"),
            None => format!("no rollout is in progress: {stable} has all the traffic"),
        }
    }

    /// The file's pause cannot be ended by a verb.
    fn file_pause(&self) -> Option<String> {
        Some(format!("{} says `paused: true`", paused_at(self.spec)?))
    }

    fn pause_by(&mut self, request: &VerbRequest) -> Done {
        if let Some(paused) = &self.state.paused {
            return Err(format!("it is paused already, by {}", paused.by));
        }
        let who = if request.by.is_empty() { "an operator".to_owned() } else { request.by.clone() };
        self.state.paused = Some(OperatorPause { since: self.now, by: who, reason: request.reason.clone() });
        self.state.normal(self.now, "RolloutPaused", format!("paused {}", by(request)));
        Ok(format!("{} paused", self.name()))
    }

    fn resume(&mut self, request: &VerbRequest) -> Done {
        let was_paused = self.state.paused.take().is_some();
        let run = self.state.run.as_mut().filter(|run| run.aborted.is_none());
        let (mut was_stopped, mut was_held) = (false, false);
        if let Some(run) = run {
            was_stopped = run.stopped.take().is_some();
            was_held = run.held.take().is_some();
            if was_stopped {
                run.progress_at = self.now;
                // Whoever resumes has seen what the analyses said.
                run.analyses.retain(|analysis| !matches!(analysis.run.phase(), Phase::Inconclusive));
                run.step_begun = false;
            }
        }
        if !was_paused && !was_stopped && !was_held {
            return Err(match self.file_pause() {
                Some(still) => format!("no operator has paused it, but {still}: edit that"),
                None => "it is not paused; a step's own pause is ended by `promote`".to_owned(),
            });
        }
        self.state.normal(self.now, "RolloutResumed", format!("resumed {}", by(request)));
        Ok(match self.file_pause() {
            Some(still) => format!("{} resumed, but it stays paused: {still}", self.name()),
            None => format!("{} resumed", self.name()),
        })
    }

    fn promote(&mut self, request: &VerbRequest) -> Done {
        let steps = works(self.spec).len();
        let Some(run) = self.state.active() else { return Err(self.nothing_runs()) };
        if let Some(still) = self.file_pause() {
            return Err(format!("{still}: edit that first"));
        }
        let step = run.step;
        if step >= steps || run.full {
            return Err("all steps are done: only the end is waited for".to_owned());
        }
        self.state.paused = None;
        let text = works(self.spec).get(step).map(super::steps::text).unwrap_or_default();
        if let Some(run) = &mut self.state.run {
            // What is promoted over is as if it had been done.
            if let (false, Some(super::steps::Work::Weight(share))) =
                (run.step_begun, works(self.spec).get(step))
            {
                run.weight = share.millionths();
            }
            run.held = None;
            run.judge_answered |= run.stopped.is_some();
            // What was measured for the step that is ended decides nothing any more.
            run.analyses.retain(|analysis| {
                matches!(
                    (&*analysis.role, analysis.run.phase()),
                    (_, Phase::Successful) | (BACKGROUND, Phase::Running)
                )
            });
        }
        self.next_step();
        let message = format!("step {} of {steps} ({text}) was ended {}", step + 1, by(request));
        self.state.normal(self.now, "RolloutPromoted", message);
        Ok(format!("{} promoted: step {} of {steps} ({text}) is ended", self.name(), step + 1))
    }

    fn promote_fully(&mut self, request: &VerbRequest) -> Done {
        if let (Some(still), true) = (self.file_pause(), self.state.active().is_some()) {
            return Err(format!("{still}: edit that first"));
        }
        let Some(run) = self.state.run.as_mut().filter(|run| run.aborted.is_none()) else {
            return Err(self.nothing_runs());
        };
        if run.full {
            return Err("it is fully promoted already: only the end is waited for".to_owned());
        }
        (run.full, run.held, run.stopped, run.progress_at) = (true, None, None, self.now);
        run.analyses.clear();
        self.state.paused = None;
        self.state.normal(self.now, "RolloutPromoted", format!("all steps were ended {}", by(request)));
        Ok(format!("{} fully promoted", self.name()))
    }

    fn abort_by(&mut self, request: &VerbRequest) -> Done {
        let Some(run) = self.state.active() else { return Err(self.nothing_runs()) };
        let message = format!("{} was aborted {}", run.revision, by(request));
        self.abort("operator", message);
        Ok(format!("{} aborted", self.name()))
    }

    fn retry(&mut self, request: &VerbRequest) -> Done {
        let aborted =
            self.state.run.as_ref().filter(|run| run.aborted.is_some()).map(|run| run.revision.clone());
        let stable = self.state.stable.clone().unwrap_or_default();
        let given_up = || self.wanted().filter(|wanted| *wanted != stable && self.is_given_up(wanted));
        // What an undo left is tried again, too: the undo is over then.
        let undone = || {
            self.state.overridden.as_ref()?;
            let target = self.spec.target_revision.as_ref().map(ToString::to_string);
            let newest = self.state.overridden.as_ref().and_then(|overridden| overridden.over_newest.clone());
            target.or(newest).filter(|revision| *revision != stable)
        };
        let Some(revision) = aborted.or_else(undone).or_else(given_up) else {
            return Err("nothing was aborted or undone: there is nothing to try again".to_owned());
        };
        self.state.overridden = None;
        self.state.run = None;
        self.state.given_up.remove(&revision);
        self.begin(&revision);
        if let Some(run) = &mut self.state.run {
            run.cause = format!("tried again {}", by(request));
        }
        Ok(format!("{} retried: {revision} begins again at step 1", self.name()))
    }

    /// The revision that an undo returns to.
    fn undo_to(&self, request: &VerbRequest) -> Result<String, String> {
        if let Some(number) = request.to_revision.filter(|number| *number != 0) {
            let past = self.state.history.iter().find(|past| past.number == number);
            return past.map(|past| past.revision.clone()).ok_or_else(|| {
                let known: Vec<String> =
                    self.state.history.iter().map(|past| past.number.to_string()).collect();
                format!("there is no revision {number} in the history, which has {}", known.join(", "))
            });
        }
        let stable = self.state.stable.as_deref().unwrap_or_default();
        if self.state.active().is_some() {
            return Ok(stable.to_owned());
        }
        let was_stable = |past: &&Past| past.outcome == "stable" && past.revision != stable;
        let before = self.state.history.iter().rev().find(was_stable);
        before
            .map(|past| past.revision.clone())
            .ok_or_else(|| format!("there was no stable revision before {stable}"))
    }

    fn undo(&mut self, request: &VerbRequest) -> Done {
        if let Some(still) = self.file_pause() {
            return Err(format!("{still}: edit that first"));
        }
        if self.state.paused.is_some() {
            return Err("it is paused: `resume` first".to_owned());
        }
        let to = self.undo_to(request)?;
        let stable = self.state.stable.clone().unwrap_or_default();
        if to == stable && self.state.active().is_none() {
            return Err(format!("{to} has all the traffic already"));
        }
        if self.facts.ready(&to) == 0 {
            return Err(format!("{to} has no ready pod: start some first"));
        }
        let newest = self.facts.revisions.iter().filter(|facts| facts.ready() > 0);
        let newest = newest.max_by_key(|facts| {
            let seen = self.state.seen.get(&*facts.revision).copied();
            (facts.number, facts.created, seen)
        });
        let over_newest = newest.map(|facts| facts.revision.to_string());
        let left = match self.state.active() {
            Some(run) => {
                let revision = run.revision.clone();
                self.abort("undo", format!("{revision} was undone {}", by(request)));
                self.state.run = None;
                revision
            }
            None => stable.clone(),
        };
        self.state.run = None;
        let fingerprint = super::steps::spec_fingerprint(self.spec);
        self.state.given_up.insert(left.clone(), fingerprint);
        self.state.given_up.remove(&to);
        self.state.retiring.retain(|retiring| retiring.revision != to);
        // Nobody may take pods away any more that were given up.
        self.state.wished.retain(|revision, replicas| *revision != to || *replicas > 0);
        if to != stable {
            self.state.last_number += 1;
            let past = Past {
                number: self.state.last_number,
                revision: to.clone(),
                outcome: "stable".to_owned(),
                cause: format!("undo {}", by(request)),
                started_at: self.now,
                ended_at: self.now,
            };
            self.remember(past);
            self.state
                .retiring
                .push(Retiring { revision: stable, not_before: self.now + scale_down_delay(self.spec) });
            self.state.stable = Some(to.clone());
        }
        self.state.overridden = Some(Override {
            revision: to.clone(),
            over_target: self.spec.target_revision.as_ref().map(ToString::to_string),
            over_newest,
            at: self.now,
            by: request.by.clone(),
            reason: request.reason.clone(),
        });
        self.state.normal(self.now, "RolloutUndone", format!("from {left} back to {to} {}", by(request)));
        Ok(format!("{} rolled back: {to} has all the traffic", self.name()))
    }

    fn set_weight(&mut self, request: &VerbRequest) -> Done {
        let percent = request.weight.ok_or("set-weight needs a percentage")?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("{percent} is not a percentage from 0 to 100"));
        }
        let share = Share::from_millionths((percent * 10_000.0).round() as u32);
        if matches!(self.spec.strategy, watershed_config::model::Strategy::RollingUpdate(_)) {
            return Err("a rolling update has no weight: every pod in rotation has an equal share".to_owned());
        }
        let (nothing, now) = (self.nothing_runs(), self.now);
        let Some(run) = self.state.run.as_mut().filter(|run| run.aborted.is_none()) else {
            return Err(nothing);
        };
        (run.held, run.held_since) = (Some(share.millionths()), now);
        let revision = run.revision.clone();
        self.state.normal(self.now, "WeightSet", format!("{revision} was set to {share} % {}", by(request)));
        Ok(format!("{} holds {revision} at {share} % until it is resumed", self.name()))
    }
}
