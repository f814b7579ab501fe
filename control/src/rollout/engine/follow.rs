//! The steps: begins the current one and leaves it when its gate holds.

use watershed_config::model::{Analyses, CanaryScale, Share};
use watershed_config::observation::SplitObservation;

use super::Tick;
use super::past_of;
use crate::analysis::{self, Phase as AnalysisPhase};
use crate::rollout::plan::wanted_weight;
use crate::rollout::state::{AnalysisRecord, Retiring};
use crate::rollout::steps::{Work, background, scale_down_delay, text, works};

/// How far a split's count may be from its target: any window of a sequence stays within 9 of it, because it may begin inside a
/// block.
const SPLIT_BOUND: f64 = 9.0;

impl Tick<'_> {
    /// Goes as far as the gates allow.
    pub(super) fn follow(&mut self) {
        let Some(run) = self.state.active() else { return };
        if self.pause().is_some() {
            return;
        }
        if let Some(held) = run.held {
            self.waiting = format!("held at {} % until it is resumed", Share::from_millionths(held));
            return;
        }
        if self.facts.ready(&run.from) == 0 {
            self.waiting = format!(
                "the stable revision {} has no ready pod: the rollout holds; `promote --full` moves everything to {}",
                run.from, run.revision
            );
            if !run.full {
                return;
            }
        }
        // Each turn leaves one step, so this many turns leave them all.
        for _ in 0..=works(self.spec).len() {
            let Some(run) = self.state.active() else { return };
            let work = works(self.spec).get(run.step).copied().filter(|_| !run.full);
            let Some(work) = work else { return self.end() };
            if !run.step_begun {
                self.begin_step(work);
            }
            self.begin_background();
            if self.pause().is_some() || !self.gate_holds(work) {
                return;
            }
            let done = text(&work);
            self.next_step();
            self.state.normal(self.now, "RolloutStepCompleted", format!("{done} is done"));
        }
    }

    /// Makes the next step the current one.
    pub(in super::super) fn next_step(&mut self) {
        let now = self.now;
        let Some(run) = &mut self.state.run else { return };
        run.step += 1;
        run.step_started_at = now;
        run.progress_at = now;
        run.step_begun = false;
        run.stopped = None;
    }

    fn begin_step(&mut self, work: Work<'_>) {
        let Some(run) = &mut self.state.run else { return };
        run.step_begun = true;
        let revision = run.revision.clone();
        match work {
            Work::Weight(share) => {
                run.weight = share.millionths();
                self.wish_as_the_weight(&revision);
            }
            Work::Scale(scale) => self.wish(scale, &revision),
            Work::Roll => self.begin_roll(),
            Work::Analysis(role, analyses) => {
                let step = run.step;
                let role = if role == "step" { format!("step {}", step + 1) } else { role.to_owned() };
                self.start_analysis(role, analyses);
            }
            Work::Ready => self.wish_all(&revision),
            Work::Pause(_) | Work::Route(_) => {}
        }
    }

    /// Where the last scale step says so, pods are wished for as the traffic's share asks for, at every weight from there on.
    fn wish_as_the_weight(&mut self, revision: &str) {
        let step = self.state.run.as_ref().map_or(0, |run| run.step);
        let passed = works(self.spec);
        let last = passed.iter().take(step).rev().find_map(|work| match work {
            Work::Scale(scale) => Some(*scale),
            _ => None,
        });
        if last == Some(CanaryScale::MatchTrafficWeight) {
            self.wish(CanaryScale::MatchTrafficWeight, revision);
        }
    }

    fn wish(&mut self, scale: CanaryScale, revision: &str) {
        let stable = self.pods_of_stable();
        let of = |share: Share| {
            (u64::from(stable) * u64::from(share.millionths())).div_ceil(u64::from(Share::WHOLE.millionths()))
                as u32
        };
        let replicas = match scale {
            CanaryScale::Weight(share) => of(share),
            CanaryScale::Replicas(replicas) => replicas,
            CanaryScale::MatchTrafficWeight => {
                let run = self.state.run.as_ref();
                of(Share::from_millionths(run.map_or(0, wanted_weight)))
            }
        };
        self.scale(revision, replicas);
    }

    /// Wishes for as many pods of a revision as the stable one has.
    pub(super) fn wish_all(&mut self, revision: &str) {
        let replicas = self.pods_of_stable().max(1);
        self.scale(revision, replicas);
    }

    /// How many pods the stable revision has, or wants.
    pub(super) fn pods_of_stable(&self) -> u32 {
        let facts = self.state.stable.as_deref().and_then(|stable| self.facts.revision(stable));
        facts.map_or(0, |facts| {
            let staying = facts.pods.iter().filter(|pod| !pod.terminating).count() as u32;
            facts.replicas.unwrap_or(staying)
        })
    }

    fn start_analysis(&mut self, role: String, analyses: &Analyses) {
        let facts = self.facts;
        let found: Result<Vec<_>, &str> = analyses
            .templates
            .iter()
            .map(|template| facts.templates.get(&template.name).cloned().ok_or(&*template.name))
            .collect();
        let templates = match found {
            Ok(templates) => templates,
            Err(missing) => {
                let why =
                    format!("the analysis ({role}) needs the AnalysisTemplate {missing}, which is not there");
                return self.stop("AnalysisTemplateMissing", &why);
            }
        };
        let Some(run) = &self.state.run else { return };
        let mut args = analyses.args.clone();
        let service = &self.spec.service;
        let given = [&*run.from, &*run.revision, &*service.name, &*service.namespace];
        for (name, value) in Analyses::GIVEN.into_iter().zip(given) {
            args.entry(name.into()).or_insert_with(|| value.into());
        }
        let started = analysis::Run::start(&templates, &args, self.now);
        let message = format!("the analysis ({role}) runs");
        let Some(run) = &mut self.state.run else { return };
        let id = run.analyses.last().map_or(1, |last| last.id + 1);
        run.analyses.push(AnalysisRecord { id, role, run: started });
        self.state.normal(self.now, "AnalysisStarted", message);
    }

    fn begin_background(&mut self) {
        let Some((analyses, starting_step)) = background(self.spec) else { return };
        let Some(run) = &self.state.run else { return };
        let runs = run.analyses.iter().any(|analysis| analysis.role == BACKGROUND);
        if run.step >= starting_step && !runs {
            self.start_analysis(BACKGROUND.to_owned(), analyses);
        }
    }

    /// Says what the current step waits for.
    fn wait(&mut self, why: impl Into<String>) {
        self.waiting = why.into();
    }

    fn gate_holds(&mut self, work: Work<'_>) -> bool {
        match work {
            Work::Ready => self.has_capacity(),
            Work::Weight(share) if share == Share::NONE => self.is_everywhere(),
            Work::Weight(_) => self.is_served() && self.is_everywhere(),
            Work::Pause(None) => {
                self.wait("waits for `promote`");
                false
            }
            Work::Pause(Some(duration)) => {
                let Some(run) = &self.state.run else { return false };
                let over = run.step_started_at.saturating_add(duration.as_millis() as u64);
                self.wait("waits for the pause to end");
                self.now >= over
            }
            Work::Analysis(..) => self.has_succeeded(),
            Work::Route(_) => self.is_everywhere(),
            Work::Scale(_) => true,
            Work::Roll => self.roll(),
        }
    }

    /// Whether somebody is there to be given a share.
    fn is_served(&mut self) -> bool {
        let Some(run) = self.state.active() else { return false };
        let served = self.facts.ready(&run.revision) > 0;
        if !served {
            self.waiting =
                format!("waits for a ready pod of {}: its share stays with {}", run.revision, run.from);
        }
        served
    }

    /// Whether the revision can take everything: one ready pod, or as many as its Deployment or `ReplicaSet` wants.
    fn has_capacity(&mut self) -> bool {
        let Some(run) = self.state.active() else { return false };
        let facts = self.facts.revision(&run.revision);
        let wanted = facts.and_then(|facts| facts.replicas).unwrap_or(1).max(1);
        let ready = self.facts.ready(&run.revision);
        if ready < wanted {
            self.waiting = format!("waits for ready pods of {}: {ready} of {wanted}", run.revision);
        }
        ready >= wanted
    }

    fn has_succeeded(&mut self) -> bool {
        let Some(run) = self.state.active() else { return false };
        let role = format!("step {}", run.step + 1);
        let ours = |role_of: &str| role_of == role || role_of.ends_with("Promotion");
        let last = run.analyses.iter().rev().find(|analysis| ours(&analysis.role));
        let done = last.is_some_and(|analysis| analysis.run.phase() == AnalysisPhase::Successful);
        if !done {
            self.wait("waits for the analysis");
        }
        done
    }

    /// Whether every worker does what is wanted, and what was decided since agrees with it.
    pub(super) fn is_everywhere(&mut self) -> bool {
        if !self.is_applied() {
            self.wait("waits for every worker to take the new shares");
            return false;
        }
        if !self.is_measured() {
            self.wait("waits for the measured shares to agree");
            return false;
        }
        true
    }

    fn is_measured(&self) -> bool {
        let Some(run) = self.state.active() else { return true };
        let splits = &self.facts.observed.splits;
        let bound = SPLIT_BOUND * f64::from(self.facts.workers.max(1)) * splits.len() as f64;
        let mut distance = 0.0;
        for split in splits {
            let Some((share, off)) = off_target(split, &run.revision) else { return false };
            // A split that has other shares in force than are wanted was assembled while nobody was there to be given them.
            if run.rotation.is_none() && share != wanted_weight(run) {
                return false;
            }
            distance += off;
        }
        // No decision yet: vacuously true.
        distance.abs() <= bound
    }

    /// Everything is moved; the revision becomes the stable one.
    fn end(&mut self) {
        if !self.has_capacity() {
            return;
        }
        let Some(run) = &mut self.state.run else { return };
        (run.weight, run.rotation) = (Share::WHOLE.millionths(), None);
        if !self.is_everywhere() || self.background_fails() {
            return;
        }
        let Some(run) = self.state.run.take() else { return };
        let delay = scale_down_delay(self.spec);
        self.state.retiring.push(Retiring { revision: run.from.clone(), not_before: self.now + delay });
        self.state.given_up.remove(&run.revision);
        self.state.stable = Some(run.revision.clone());
        self.remember(past_of(&run, "stable", self.now));
        let took =
            humantime::format_duration(std::time::Duration::from_secs((self.now - run.started_at) / 1000));
        let message = format!(
            "{} has all the traffic of {} after {took}; {} of its {} requests failed",
            run.revision, self.spec.service.name, run.tally.canary_failed, run.tally.canary
        );
        self.state.normal(self.now, "RolloutCompleted", message);
    }

    /// Stops the background analysis at the end; one that has never measured anything proves nothing.
    fn background_fails(&mut self) -> bool {
        let Some(run) = &mut self.state.run else { return false };
        let Some(analysis) = run.analyses.iter_mut().find(|analysis| analysis.role == BACKGROUND) else {
            return false;
        };
        analysis.run.stop();
        let bad = matches!(analysis.run.phase(), AnalysisPhase::Failed | AnalysisPhase::Inconclusive);
        let waved_through = run.full || run.stopped.is_some();
        bad && !waved_through
    }
}

/// The role of the analysis beside the steps.
pub(in super::super) const BACKGROUND: &str = "background";

/// A revision's share in a split, and how many more decisions were made for it than that says. `None` if it has none there.
fn off_target(split: &SplitObservation, revision: &str) -> Option<(u32, f64)> {
    let all: u64 = split.decisions.iter().map(|(_, _, count)| count).sum();
    let (_, share, count) = split.decisions.iter().find(|(known, ..)| **known == *revision)?;
    let target = f64::from(*share) / f64::from(Share::WHOLE.millionths()) * all as f64;
    Some((*share, *count as f64 - target))
}
