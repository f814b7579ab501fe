//! One rollout in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;

use watershed_config::model::{AppProtocol, ObjectName, Share};
use watershed_config::observation::{RevisionCounts, RolloutObservation, SplitObservation};
use watershed_config::snapshot::{Endpoint, EndpointId, EndpointState, SplitKey};
use watershed_control::rollout::engine::advance;
use watershed_control::rollout::facts::{Facts, Fresh, PodFacts, RevisionFacts};
use watershed_control::rollout::plan::{Plan, plan};
use watershed_control::rollout::port::Verb;
use watershed_control::rollout::state::State;
use watershed_control::rollout::steps::{Work, paused_at, text, works};
use watershed_control::rollout::verbs;
use watershed_control::rollout::view::{EventView, VerbRequest};

use super::analyses::Measurer;
use super::profile::Profile;
use super::report::Moment;
use super::subject::Subject;
use super::traffic::Traffic;

/// When the rollout begins, in milliseconds since 1970. Any time but 0, which means never to the engine.
const BEGINNING: u64 = 1_000_000_000_000;

/// How one rollout ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// Milliseconds since it began.
    pub(super) took: u64,
    /// What the canary got.
    pub(super) requests: u64,
    /// Failed ones among them.
    pub(super) failed: u64,
    /// Since the canary was different and had traffic; `None` if that never came.
    pub(super) exposed: Option<Exposed>,
    /// Whether the judge found the canary worse, whatever was done about it.
    pub(super) found_worse: bool,
    /// Blocks of requests that the judge was given.
    pub(super) compared: u64,
    /// What happened, if that was asked for.
    pub(super) timeline: Vec<Moment>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The canary has everything.
    Completed,
    /// The stable revision has everything again, for this reason.
    Aborted(String),
    /// It waits for somebody, because of this.
    Paused(String),
    /// Time was up; this is what it said.
    NotOver(String),
}

/// Since the canary was different and had traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exposed {
    /// Milliseconds until the end.
    pub(super) took: u64,
    /// Failed requests of the canary.
    pub(super) failed: u64,
    /// Failed requests of both.
    pub(super) failed_of_both: u64,
}

/// Where that began: the time, and failed requests of the stable revision and the canary until then.
type Mark = (u64, [u64; 2]);

/// Requests of one revision.
#[derive(Debug, Clone, Copy)]
struct Counted {
    began: u64,
    ended: u64,
    failed: u64,
}

/// A proxy, pods, users, and an operator who only promotes.
pub(super) struct World<'a> {
    subject: &'a Subject,
    profile: &'a Profile,
    different_from: Option<u64>,
    /// Index of the conditions that hold.
    conditions: usize,
    /// Milliseconds since the rollout began.
    now: u64,
    traffic: Traffic,
    measurer: Measurer,
    endpoints: Vec<Endpoint>,
    published: Option<Plan>,
    /// Millionths that the canary has.
    share: u32,
    state: State,
    facts: Facts,
    mark: Option<Mark>,
    found_worse: bool,
    compared: u64,
    /// `None` if nobody asks.
    timeline: Option<Vec<Moment>>,
}

impl<'a> World<'a> {
    /// The rollout of this number; the first one has a timeline.
    pub(super) fn new(subject: &'a Subject, profile: &'a Profile, number: u64) -> Self {
        let workers = profile.workers as usize;
        Self {
            subject,
            profile,
            different_from: profile.different_from(),
            conditions: 0,
            now: 0,
            traffic: Traffic::new(profile.seed.wrapping_add(number), workers, &profile.conditions[0]),
            measurer: Measurer::default(),
            endpoints: endpoints(subject, profile.pods),
            published: None,
            share: 0,
            state: State::default(),
            facts: facts(subject, profile),
            mark: None,
            found_worse: false,
            compared: 0,
            timeline: (number == 0).then(Vec::new),
        }
    }

    /// Lives until something has become of the rollout.
    pub(super) fn run(mut self) -> Ended {
        loop {
            self.decide();
            if let Some(outcome) = self.outcome() {
                return self.end(outcome);
            }
            self.flow();
        }
    }

    /// As the keeper does: an operator's verb first, then the engine, then the new plan.
    fn decide(&mut self) {
        let now = BEGINNING + self.now;
        if self.is_to_be_promoted() {
            let request = VerbRequest { by: "simulate".to_owned(), ..VerbRequest::default() };
            // A refusal is no more than a promotion that does not happen: the world goes on to its limit.
            if let Ok((state, _)) = verbs::apply(&self.state, &self.facts, Verb::Promote, &request, now) {
                self.state = state;
            }
        }
        (self.state, _) = advance(&self.state, &self.facts, now);
        self.found_worse |= self.state.run.as_ref().is_some_and(|run| run.judge_answered);
        self.publish();
        // Nothing is decided by past events; kept in the state, they would only be copied at each decision.
        let events = std::mem::take(&mut self.state.events);
        self.tell(events);
    }

    fn is_to_be_promoted(&self) -> bool {
        let Some(run) = self.state.active() else { return false };
        let endless = || matches!(works(&self.subject.spec).get(run.step), Some(Work::Pause(None)));
        let waits = run.step_begun && !run.full && run.stopped.is_none() && endless();
        waits && BEGINNING + self.now >= run.step_started_at.saturating_add(self.profile.promote_after)
    }

    fn publish(&mut self) {
        let plan = plan(&self.subject.spec, &self.state);
        if plan == self.published {
            return;
        }
        if let Some(plan) = &plan {
            let mut endpoints = self.endpoints.clone();
            plan.withdraw(&mut endpoints);
            let split = plan.split(&endpoints);
            let observed = &mut self.facts.observed;
            observed.run = split.run;
            let of_share = observed.splits.first_mut().filter(|observed| observed.epoch != split.epoch);
            if let Some(of_share) = of_share {
                self.traffic.divide(&split, &self.subject.canary);
                of_share.epoch = split.epoch;
                of_share.decisions = split
                    .shares
                    .iter()
                    .map(|share| (Arc::clone(&share.revision), share.millionths, 0))
                    .collect();
            }
            let of_canary = split.shares.iter().find(|share| share.revision == self.subject.canary);
            self.share = of_canary.map_or(0, |share| share.millionths);
        }
        // Every worker has it from now on, and the engine hears of that at its next decision.
        self.facts.applied.clone_from(&plan);
        self.published = plan;
    }

    /// Remembers what happened, with the step that each event left behind.
    fn tell(&mut self, events: Vec<EventView>) {
        let Some(timeline) = &mut self.timeline else { return };
        let works = works(&self.subject.spec);
        let is_step = |event: &EventView| event.reason == "RolloutStepCompleted";
        let mut later = events.iter().filter(|event| is_step(event)).count();
        for event in events {
            later -= usize::from(is_step(&event));
            let step = self.state.active().map(|run| match works.get(run.step.saturating_sub(later)) {
                Some(work) if !run.full => format!("{}/{} {}", run.step + 1 - later, works.len(), text(work)),
                _ => "the end".to_owned(),
            });
            timeline.push(Moment {
                at_ms: self.now,
                step,
                weight: Share::from_millionths(self.share).percent(),
                kind: event.kind,
                reason: event.reason,
                message: event.message,
            });
        }
    }

    /// What has become of the rollout, if it is over.
    fn outcome(&self) -> Option<Outcome> {
        let state = &self.state;
        let spec = &self.subject.spec;
        if let Some(run) = &state.run {
            if let Some(aborted) = &run.aborted {
                return Some(Outcome::Aborted(aborted.reason.clone()));
            }
            if run.stopped.is_some() {
                return Some(Outcome::Paused(state.message.clone()));
            }
        } else if state.stable.as_deref() == Some(&*self.subject.canary) {
            return Some(Outcome::Completed);
        }
        if paused_at(spec).is_some() {
            return Some(Outcome::Paused(state.message.clone()));
        }
        (self.now >= self.profile.limit).then(|| Outcome::NotOver(state.message.clone()))
    }

    /// Traffic until the next decision, and what is heard of it.
    fn flow(&mut self) {
        let profile = self.profile;
        while let Some(next) = profile.conditions.get(self.conditions + 1)
            && next.from <= self.now
        {
            self.conditions += 1;
            self.traffic.change(next);
        }
        let before = self.counted();
        let until = self.now + self.state.pace();
        self.traffic.flow(self.now, until);
        let after = self.counted();
        if self.mark.is_none()
            && self.different_from.is_some_and(|from| from <= self.now)
            && after[1].began > before[1].began
        {
            self.mark = Some((self.now, before.map(|counted| counted.failed)));
        }
        self.now = until;
        self.observe(before, after);
    }

    /// Of the stable revision and of the canary.
    fn counted(&self) -> [Counted; 2] {
        [0, 1].map(|side: usize| {
            let counts = &self.traffic.counts[side];
            let (ended, failed) = (counts.requests, counts.failed);
            Counted { began: ended + counts.in_flight, ended, failed }
        })
    }

    fn observe(&mut self, before: [Counted; 2], after: [Counted; 2]) {
        let (observed, fresh) = (&mut self.facts.observed, &mut self.facts.fresh);
        for (side, revision) in [&self.subject.stable, &self.subject.canary].into_iter().enumerate() {
            if let Some(counts) = observed.revisions.get_mut(revision) {
                counts.clone_from(&self.traffic.counts[side]);
            }
            let (now, then) = (after[side], before[side]);
            if let Some(fresh) = fresh.requests.get_mut(revision) {
                *fresh = (now.ended - then.ended, now.failed - then.failed);
            }
        }
        if let Some(split) = observed.splits.first_mut() {
            for ((_, _, count), decisions) in split.decisions.iter_mut().zip(&self.traffic.decisions) {
                *count = *decisions;
            }
        }
        fresh.blocks = self.traffic.take_blocks();
        self.compared += fresh.blocks.failed.0.iter().sum::<u64>();
        fresh.measured.clear();
        if let Some(run) = self.state.active().filter(|run| !run.analyses.is_empty()) {
            let answer = self.profile.answer(self.now);
            let measured = self.measurer.measure(run, &self.facts, answer, BEGINNING + self.now);
            self.facts.fresh.measured = measured;
        }
    }

    fn end(self, outcome: Outcome) -> Ended {
        let [stable, canary] = &self.traffic.counts;
        let exposed = self.mark.map(|(since, [of_stable, of_canary])| Exposed {
            took: self.now - since,
            failed: canary.failed - of_canary,
            failed_of_both: canary.failed - of_canary + stable.failed - of_stable,
        });
        Ended {
            outcome,
            took: self.now,
            requests: canary.requests + canary.in_flight,
            failed: canary.failed,
            exposed,
            found_worse: self.found_worse,
            compared: self.compared,
            timeline: self.timeline.unwrap_or_default(),
        }
    }
}

/// UID of a pod.
fn uid(revision: &str, number: u32) -> Arc<str> {
    format!("{revision}-{number}").into()
}

fn endpoints(subject: &Subject, pods: u32) -> Vec<Endpoint> {
    let endpoint = |revision: &Arc<str>, number: u32| Endpoint {
        id: EndpointId {
            uid: uid(revision, number),
            address: ([127, 0, 0, 1], 1).into(),
            protocol: AppProtocol::Http1,
        },
        pod: ObjectName::new(Arc::clone(&subject.spec.service.namespace), uid(revision, number)),
        revision: Arc::clone(revision),
        state: EndpointState::Ready,
    };
    let revisions = [&subject.stable, &subject.canary];
    revisions
        .into_iter()
        .flat_map(|revision| (0..pods).map(move |number| endpoint(revision, number)))
        .collect()
}

/// What is known at the beginning, and does not change but for what is observed: all pods are there and ready.
fn facts(subject: &Subject, profile: &Profile) -> Facts {
    let pod = |revision: &str, number: u32| PodFacts {
        name: uid(revision, number),
        uid: uid(revision, number),
        address: "127.0.0.1".into(),
        ready_since: Some(BEGINNING),
        terminating: false,
    };
    let revision = |(age, revision): (u64, &Arc<str>)| RevisionFacts {
        revision: Arc::clone(revision),
        created: Some(age),
        replicas: Some(profile.pods),
        pods: (0..profile.pods).map(|number| pod(revision, number)).collect(),
        ..RevisionFacts::default()
    };
    let mut revisions = vec![revision((1, &subject.stable)), revision((2, &subject.canary))];
    revisions.sort_by(|one, other| one.revision.cmp(&other.revision));
    let both = || [&subject.stable, &subject.canary].into_iter().map(Arc::clone);
    // One place where the Service's traffic is split.
    let key = SplitKey { kind: "Service", route: subject.spec.service.clone(), rule: "".into() };
    Facts {
        spec: Arc::clone(&subject.spec),
        revisions,
        applied: None,
        remembers: true,
        workers: profile.workers,
        observed: RolloutObservation {
            splits: vec![SplitObservation { key, epoch: 0, decisions: Vec::new() }],
            revisions: both().map(|revision| (revision, RevisionCounts::default())).collect(),
            ..RolloutObservation::default()
        },
        fresh: Fresh {
            requests: both().map(|revision| (revision, (0, 0))).collect::<BTreeMap<_, _>>(),
            ..Fresh::default()
        },
        templates: subject.templates.clone(),
    }
}
