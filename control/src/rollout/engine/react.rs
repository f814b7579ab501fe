//! What is done about evidence: the judge, the budget of failures, analyses and deadlines.

use watershed_config::model::Reaction;

use super::Tick;
use crate::analysis::Phase as AnalysisPhase;
use crate::rollout::facts::Facts;
use crate::rollout::judge::{Requests, Verdict};
use crate::rollout::plan::wanted_weight;
use crate::rollout::state::{Run, Stopped};
use crate::rollout::steps::{Work, compares, works};

/// How long a pod may be slow because its caches are cold and its code is not compiled yet, in milliseconds. Failures count from the
/// first request on: whoever gets one does not care why.
const WARM_UP: u64 = 10_000;

/// Whether every pod of the run's revision has been ready, and at work, for long enough.
fn is_warm(run: &mut Run, facts: &Facts, now: u64) -> bool {
    let share = if run.rotation.is_some() { 1 } else { wanted_weight(run) };
    if share > 0 {
        run.weighted_at.get_or_insert(now);
    }
    let long_ago = |since: u64| now >= since.saturating_add(WARM_UP);
    let pods = facts.revision(&run.revision).map_or(&[][..], |revision| &revision.pods);
    run.weighted_at.is_some_and(long_ago) && pods.iter().filter_map(|pod| pod.ready_since).all(long_ago)
}

impl Tick<'_> {
    /// Adds what came since the last decision.
    pub(super) fn take_evidence(&mut self) {
        let (facts, spec) = (self.facts, self.spec);
        let Some(run) = self.state.run.as_mut().filter(|run| run.aborted.is_none()) else { return };
        let counts = |revision: &str| facts.fresh.requests.get(revision).copied().unwrap_or_default();
        let (canary, canary_failed) = counts(&run.revision);
        let (stable, stable_failed) = counts(&run.from);
        run.tally.canary += canary;
        run.tally.canary_failed += canary_failed;
        run.tally.stable += stable;
        run.tally.stable_failed += stable_failed;
        run.judge.count(
            Requests { all: canary, bad: canary_failed },
            Requests { all: stable, bad: stable_failed },
        );
        // Blocks that another run caused are evidence of nothing here.
        if spec.judge.enabled && facts.observed.run == run.number {
            run.judge.observe(&spec.judge, &facts.fresh.blocks);
        }
        run.warm = is_warm(run, facts, self.now);
        for (number, id, metric, measured) in &facts.fresh.measured {
            let analysis = run.analyses.iter_mut().find(|analysis| analysis.id == *id);
            if let Some(analysis) = analysis.filter(|_| *number == run.number) {
                analysis.run.record(*metric, measured.clone(), self.now);
            }
        }
    }

    /// Reacts to it. The first reason counts.
    pub(super) fn react(&mut self) {
        self.react_to_judge();
        self.react_to_analyses();
        self.react_to_deadline();
        self.choose_bounds();
    }

    /// For the blocks to come. After the reaction, so that its sentence has the numbers of the bounds that were in force.
    fn choose_bounds(&mut self) {
        let facts = self.facts;
        let Some(run) = self.state.run.as_mut().filter(|run| run.aborted.is_none()) else { return };
        if let Some(stable) = facts.observed.revisions.get(run.from.as_str()) {
            run.judge.choose_bounds(&stable.durations);
        }
    }

    fn react_to_judge(&mut self) {
        let spec = &self.spec.judge;
        let Some(run) = self.state.active() else { return };
        let verdict = run.judge.verdict(spec);
        let finding = || run.judge.why(spec, &run.revision, &run.from);
        match verdict {
            Verdict::Nothing => {}
            // A hard budget knows no reaction but one.
            Verdict::BudgetSpent { .. } => self.abort("budget", finding()),
            Verdict::Worse { .. } if run.judge_answered => {}
            Verdict::Worse { .. } => {
                let finding = finding();
                if let Some(run) = &mut self.state.run {
                    run.judge_answered = true;
                }
                self.answer(spec.on_failure, "judge", &finding);
            }
        }
    }

    fn react_to_analyses(&mut self) {
        let Some(run) = self.state.active() else { return };
        let found = run.analyses.iter().find_map(|analysis| match analysis.run.phase() {
            AnalysisPhase::Failed => Some((true, analysis.role.clone(), analysis.run.sentence())),
            AnalysisPhase::Inconclusive => Some((false, analysis.role.clone(), analysis.run.sentence())),
            AnalysisPhase::Running | AnalysisPhase::Successful => None,
        });
        let Some((failed, role, sentence)) = found else { return };
        if failed {
            self.abort("analysis", format!("the analysis ({role}) failed: {sentence}"));
        } else if run.stopped.is_none() {
            self.stop("AnalysisInconclusive", &format!("the analysis ({role}) is inconclusive: {sentence}"));
        }
    }

    /// Stops the run until somebody resumes or promotes it.
    pub(super) fn stop(&mut self, reason: &str, why: &str) {
        let now = self.now;
        let Some(run) = &mut self.state.run else { return };
        run.stopped = Some(Stopped { since: now, why: why.to_owned() });
        self.state.warning(now, reason, format!("paused: {why}"));
    }

    fn answer(&mut self, reaction: Reaction, reason: &str, finding: &str) {
        match reaction {
            Reaction::Abort => self.abort(reason, finding.to_owned()),
            Reaction::Pause => self.stop("RolloutPaused", finding),
            Reaction::Proceed => {
                let message = format!("goes on all the same, as the Rollout says: {finding}");
                self.state.warning(self.now, "FindingIgnored", message);
            }
        }
    }

    /// Whether the progress deadline stands still: pauses and analyses stop it, and nobody blames a revision for a stable one
    /// that is not there.
    fn deadline_stands_still(&self) -> bool {
        let Some(run) = self.state.active() else { return true };
        let at_own_time = matches!(
            works(self.spec).get(run.step),
            Some(Work::Pause(_) | Work::Analysis(..)) if !run.full && run.step_begun
        );
        at_own_time || run.held.is_some() || self.pause().is_some() || self.facts.ready(&run.from) == 0
    }

    fn react_to_deadline(&mut self) {
        let still = self.deadline_stands_still();
        let (now, elapsed, facts) = (self.now, self.elapsed, self.facts);
        let limit = self.spec.progress_deadline.as_millis() as u64;
        let Some(run) = self.state.run.as_mut().filter(|run| run.aborted.is_none()) else { return };
        if still && elapsed <= super::GAP_MAX {
            run.progress_at += elapsed;
        }
        let ready = facts.ready(&run.revision);
        if ready > run.ready_most {
            (run.ready_most, run.progress_at) = (ready, now);
        }
        if still || now < run.progress_at.saturating_add(limit) {
            return;
        }
        let waited = humantime::format_duration(std::time::Duration::from_secs(limit / 1000));
        let step = run.step;
        let text = works(self.spec).get(step).map_or_else(|| "the end".to_owned(), super::super::steps::text);
        let finding = format!(
            "{} has not got further for {waited} (progressDeadlineSeconds) at {text}: {ready} ready pods",
            run.revision
        );
        // Otherwise it would be found again at the next decision.
        run.progress_at = now;
        if self.spec.on_deadline == Reaction::Proceed && step < works(self.spec).len() {
            self.next_step();
        }
        self.answer(self.spec.on_deadline, "deadline", &finding);
    }

    /// Whether the judge compares anything now, or why not.
    pub(in super::super) fn comparison(&self) -> Result<(), &'static str> {
        let run = self.state.active().ok_or("no comparison: no rollout is in progress")?;
        let share = if run.rotation.is_some() { 1 } else { wanted_weight(run) };
        compares(self.spec, share)
    }
}
