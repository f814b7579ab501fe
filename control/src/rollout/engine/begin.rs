//! Which revision is wanted, and whether a run begins, is superseded, or nothing is to be done.

use watershed_config::model::Strategy;

use super::super::facts::RevisionFacts;
use super::super::judge::JudgeState;
use super::super::state::{Past, Run, Tally};
use super::super::steps::{spec_fingerprint, steps_fingerprint};
use super::{Tick, past_of};

/// How new a revision is: the number of its Deployment's revision, its creation, when it was first seen. Later is newer.
type Age = (u64, u64, u64);

impl Tick<'_> {
    /// Moves the progress clock on by what does not count: stops of the process, and pauses (`react` adds those).
    pub(super) fn pass_time(&mut self) {
        self.state.file_paused_since =
            self.spec.paused.map(|_| self.state.file_paused_since.unwrap_or(self.now));
        let elapsed = self.elapsed;
        if elapsed > super::GAP_MAX
            && let Some(run) = &mut self.state.run
        {
            run.progress_at += elapsed;
        }
    }

    /// Notes revisions that have ready pods for the first time, and forgets those that nothing is left of.
    pub(super) fn see_revisions(&mut self) {
        for facts in self.facts.revisions.iter().filter(|facts| facts.ready() > 0) {
            self.state.seen.entry(facts.revision.to_string()).or_insert(self.now);
        }
        let known = |revision: &String| {
            self.facts.revision(revision).is_some()
                || self.state.stable.as_ref() == Some(revision)
                || self.state.run.as_ref().is_some_and(|run| run.revision == *revision)
                || self.state.history.iter().any(|past| past.revision == *revision)
        };
        let gone: Vec<String> = self.state.seen.keys().filter(|revision| !known(revision)).cloned().collect();
        for revision in gone {
            self.state.seen.remove(&revision);
            self.state.given_up.remove(&revision);
        }
    }

    fn age(&self, facts: &RevisionFacts) -> Age {
        let seen = self.state.seen.get(&*facts.revision).copied().unwrap_or(u64::MAX);
        (facts.number.unwrap_or(0), facts.created.unwrap_or(0), seen)
    }

    /// The newest revision with ready pods for which `may` holds; `None` if there is none, or two are equally new.
    fn newest(&self, may: impl Fn(&RevisionFacts) -> bool) -> Option<&RevisionFacts> {
        let mut candidates: Vec<&RevisionFacts> =
            self.facts.revisions.iter().filter(|facts| facts.ready() > 0 && may(facts)).collect();
        candidates.sort_by_key(|facts| self.age(facts));
        match candidates.as_slice() {
            [.., second, newest] if self.age(second) == self.age(newest) => None,
            [.., newest] => Some(newest),
            [] => None,
        }
    }

    /// The oldest revision with ready pods; `None` if there is none, or two are equally old.
    fn oldest(&self) -> Option<&RevisionFacts> {
        let mut candidates: Vec<&RevisionFacts> =
            self.facts.revisions.iter().filter(|facts| facts.ready() > 0).collect();
        candidates.sort_by_key(|facts| self.age(facts));
        match candidates.as_slice() {
            [oldest, second, ..] if self.age(oldest) == self.age(second) => None,
            [oldest, ..] => Some(oldest),
            [] => None,
        }
    }

    /// Where nothing is recorded: which revision has the traffic. Nothing is decided while it cannot be told.
    pub(super) fn settle_stable(&mut self) {
        if self.state.stable.is_some() {
            return;
        }
        let target = self.spec.target_revision.as_deref();
        let ready = |revision: &str| self.facts.ready(revision) > 0;
        let newest = || self.newest(|_| true).map(|facts| facts.revision.to_string());
        let others = || {
            let mut others = self
                .facts
                .revisions
                .iter()
                .filter(|facts| facts.ready() > 0 && Some(&*facts.revision) != target);
            let first = others.next()?;
            others.next().is_none().then(|| first.revision.to_string())
        };
        let stable = match self.spec.stable_revision.as_deref() {
            Some(stable) if ready(stable) => Some(stable.to_owned()),
            // The stable revision is not there, the target is: there is nothing to roll out from.
            Some(stable) => {
                let target = match target {
                    Some(target) => Some(target.to_owned()).filter(|target| ready(target)),
                    None => newest(),
                };
                // Pods that are only not ready yet: better no answer than one of a revision that nobody asked for.
                let named = || Some(stable.to_owned()).filter(|stable| self.facts.revision(stable).is_some());
                target.or_else(named)
            }
            None => {
                let oldest = self.oldest().map(|facts| facts.revision.to_string());
                let named = || target.filter(|target| ready(target)).map(str::to_owned);
                oldest.or_else(others).or_else(named)
            }
        };
        let Some(stable) = stable else { return };
        self.state.last_number += 1;
        let cause = self.change_cause(&stable).unwrap_or_else(|| "found when the Rollout began".to_owned());
        self.remember(Past {
            number: self.state.last_number,
            revision: stable.clone(),
            outcome: "stable".to_owned(),
            cause,
            started_at: self.now,
            ended_at: self.now,
        });
        self.state.normal(self.now, "StableFound", format!("{stable} is the stable revision"));
        self.state.stable = Some(stable);
    }

    fn change_cause(&self, revision: &str) -> Option<String> {
        Some(self.facts.revision(revision)?.change_cause.as_ref()?.to_string())
    }

    /// An undo holds until another revision is asked for.
    pub(super) fn end_override(&mut self) {
        let Some(overridden) = &self.state.overridden else { return };
        let asked = self.spec.target_revision.as_deref();
        let ends = if asked != overridden.over_target.as_deref() {
            true
        } else if asked.is_some() {
            false
        } else {
            let newest = self.newest(|_| true).map(|facts| &*facts.revision);
            newest.is_some_and(|newest| {
                Some(newest) != overridden.over_newest.as_deref()
                    && newest != overridden.revision
                    && self.is_newer(newest, overridden.over_newest.as_deref())
            })
        };
        if ends {
            let revision = overridden.revision.clone();
            self.state.overridden = None;
            self.state.normal(
                self.now,
                "OverrideEnded",
                format!("another revision is asked for than when {revision} was returned to"),
            );
        }
    }

    fn is_newer(&self, revision: &str, than: Option<&str>) -> bool {
        let age = |revision: &str| self.facts.revision(revision).map(|facts| self.age(facts));
        match (age(revision), than.and_then(age)) {
            (Some(age), Some(than)) => age > than,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Whether a revision was given up under the present specification.
    pub(in super::super) fn is_given_up(&self, revision: &str) -> bool {
        self.state.given_up.get(revision) == Some(&spec_fingerprint(self.spec))
    }

    /// The wanted revision. `None` while nothing is stable.
    pub(in super::super) fn wanted(&self) -> Option<String> {
        let stable = self.state.stable.as_deref()?;
        if let Some(overridden) = &self.state.overridden {
            return Some(overridden.revision.clone());
        }
        if let Some(target) = &self.spec.target_revision {
            return Some(target.to_string());
        }
        // Pods of the revision in progress may come and go; only a newer one takes its place.
        let current = self.state.run.as_ref().map_or(stable, |run| &run.revision);
        let newer = self.newest(|facts| {
            self.is_newer(
                &facts.revision,
                Some(current).filter(|current| self.facts.revision(current).is_some()),
            ) && *facts.revision != *current
                && *facts.revision != *stable
                && !self.is_given_up(&facts.revision)
        });
        Some(newer.map_or_else(|| current.to_owned(), |facts| facts.revision.to_string()))
    }

    /// Begins a run of the wanted revision, in place of one of another revision.
    pub(super) fn begin_or_supersede(&mut self) {
        let (Some(wanted), Some(stable)) = (self.wanted(), self.state.stable.clone()) else { return };
        match &self.state.run {
            Some(run) if run.revision == wanted => {
                if run.aborted.is_none() {
                    self.follow_edits();
                } else if !self.is_given_up(&wanted) && self.pause().is_none() {
                    // The specification has changed since: it is tried again.
                    self.state.run = None;
                    self.begin(&wanted);
                }
            }
            Some(run) => {
                let active = run.aborted.is_none();
                let (past, revision) = (past_of(run, "superseded", self.now), run.revision.clone());
                self.state.run = None;
                if active {
                    self.remember(past);
                    self.state.retiring.push(super::Retiring {
                        revision: revision.clone(),
                        not_before: self.now + super::ABORT_SCALE_DOWN_DELAY,
                    });
                    let message = format!("{wanted} is wanted now; {revision} gets nothing more");
                    self.state.normal(self.now, "RolloutSuperseded", message);
                }
                if wanted != stable && !self.is_given_up(&wanted) {
                    self.begin(&wanted);
                }
            }
            None if wanted == stable || self.is_given_up(&wanted) || self.pause().is_some() => {}
            None => self.begin(&wanted),
        }
    }

    /// Begins a run.
    pub(in super::super) fn begin(&mut self, revision: &str) {
        let Some(stable) = self.state.stable.clone().filter(|_| self.facts.remembers) else { return };
        self.state.last_number += 1;
        let named = || match &self.spec.target_revision {
            Some(_) => format!("spec.targetRevision: {revision}"),
            None => format!("pods of {revision} became ready"),
        };
        let cause = self.change_cause(revision).unwrap_or_else(named);
        self.state.given_up.remove(revision);
        self.state.retiring.retain(|retiring| retiring.revision != revision);
        self.state.wished.retain(|wished, replicas| wished != revision || *replicas > 0);
        self.state.normal(self.now, "RolloutStarted", format!("from {stable} to {revision}: {cause}"));
        self.state.run = Some(Run {
            number: self.state.last_number,
            revision: revision.to_owned(),
            from: stable,
            started_at: self.now,
            cause,
            steps_fingerprint: steps_fingerprint(self.spec),
            step: 0,
            step_started_at: self.now,
            step_begun: false,
            weight: 0,
            floor: 0,
            held: None,
            held_since: 0,
            full: false,
            stopped: None,
            progress_at: self.now,
            ready_most: 0,
            aborted: None,
            rotation: None,
            tally: Tally::default(),
            judge: JudgeState::default(),
            judge_answered: false,
            weighted_at: None,
            warm: false,
            analyses: Vec::new(),
        });
    }

    /// Edited steps begin again, without taking the revision away from anybody who is served by it.
    fn follow_edits(&mut self) {
        let fingerprint = steps_fingerprint(self.spec);
        let now = self.now;
        let current = self.exposure();
        let Some(run) = self.state.run.as_mut().filter(|run| run.steps_fingerprint != fingerprint) else {
            return;
        };
        run.steps_fingerprint = fingerprint;
        (run.step, run.step_begun, run.step_started_at) = (0, false, now);
        (run.floor, run.weight) = (current, 0);
        // A rolling update goes on from the pods that are in.
        let rolls = matches!(self.spec.strategy, Strategy::RollingUpdate(_));
        let keeps = rolls == run.rotation.is_some();
        run.rotation = run.rotation.take().filter(|_| rolls);
        run.progress_at = now;
        // What was measured for steps that are no more decides nothing.
        run.analyses.clear();
        let promise = if keeps { "nobody's share is lowered" } else { "the share that it had is its least" };
        self.state.normal(
            now,
            "StepsEdited",
            format!("the strategy was edited: it begins again, and {promise}"),
        );
    }

    /// The millionths that the run's revision has now.
    fn exposure(&self) -> u32 {
        let Some(run) = self.state.active() else { return 0 };
        if run.rotation.is_none() {
            return super::super::plan::wanted_weight(run);
        }
        let share = self.facts.observed.splits.first().and_then(|split| {
            split
                .decisions
                .iter()
                .find(|(revision, ..)| **revision == *run.revision)
                .map(|(_, share, _)| *share)
        });
        share.unwrap_or(0)
    }
}
