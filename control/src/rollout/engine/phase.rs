//! Where a rollout stands, and why, in a sentence.

use super::Tick;
use crate::rollout::steps::{text, works};
use crate::rollout::view::Phase;

impl Tick<'_> {
    pub(super) fn name_phase(&mut self) {
        let (phase, message) = self.phase();
        if self.state.phase != phase || self.state.phase_since == 0 {
            (self.state.phase, self.state.phase_since) = (phase, self.now);
        }
        self.state.message = message;
    }

    fn phase(&self) -> (Phase, String) {
        let state = &self.state;
        let Some(stable) = &state.stable else {
            let ready = self.facts.revisions.iter().filter(|facts| facts.ready() > 0).count();
            let label = &self.spec.revision_label;
            return match ready {
                0 => (
                    Phase::Progressing,
                    format!("no ready pod of {} has the label {label}", self.spec.service.name),
                ),
                _ => (
                    Phase::Degraded,
                    format!(
                        "{ready} revisions are equally old: write spec.stableRevision or spec.targetRevision"
                    ),
                ),
            };
        };
        if let Some(aborted) = state.run.as_ref().and_then(|run| run.aborted.as_ref()) {
            return (Phase::Aborted, aborted.message.clone());
        }
        if let Some(run) = state.active() {
            return self.running(run);
        }
        let wanted = self.wanted().unwrap_or_default();
        if wanted == *stable {
            if self.facts.ready(stable) == 0 {
                let what = "every request of its share is answered 503 stable_unavailable";
                return (Phase::Degraded, format!("{stable} has no ready pod: {what}"));
            }
            let paused = self.pause().map(|why| format!("{why}: a new revision will not start"));
            return (Phase::Healthy, paused.unwrap_or_default());
        }
        match self.pause() {
            Some(why) => (Phase::Paused, format!("{wanted} does not start: {why}")),
            None if self.is_given_up(&wanted) => (
                Phase::Degraded,
                format!(
                    "{wanted} was given up and does not start again by itself: `retry`, or change the Rollout"
                ),
            ),
            None => (Phase::Progressing, format!("{wanted} is about to start")),
        }
    }

    fn running(&self, run: &super::Run) -> (Phase, String) {
        let works = works(self.spec);
        let step = match works.get(run.step).filter(|_| !run.full) {
            Some(work) => format!("step {} of {}, {}", run.step + 1, works.len(), text(work)),
            None => "all steps are done".to_owned(),
        };
        if let Some(why) = self.pause() {
            return (Phase::Paused, format!("{step}: {why}"));
        }
        let pausing = matches!(works.get(run.step), Some(super::super::steps::Work::Pause(_))) && !run.full;
        let phase = if pausing || run.held.is_some() { Phase::Paused } else { Phase::Progressing };
        let waiting = if self.waiting.is_empty() { String::new() } else { format!(": {}", self.waiting) };
        (phase, format!("{step}{waiting}"))
    }
}
