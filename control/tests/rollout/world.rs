//! A small world for the engine: pods, a data plane that takes plans after a while and splits exactly, and an operator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use watershed_config::Spot;
use watershed_config::model::{
    AppProtocol, Canary, JudgeSpec, Kind, Labels, Meta, ObjectId, ObjectName, Origin, Reaction, Rollout,
    Share, Step, StepAction, Strategy,
};
use watershed_config::observation::{RevisionCounts, RolloutObservation, SplitObservation};
use watershed_config::snapshot::{Endpoint, EndpointId, EndpointState, SplitKey};
use watershed_control::rollout::engine::{Action, advance};
use watershed_control::rollout::facts::{Facts, Fresh, PodFacts, RevisionFacts};
use watershed_control::rollout::plan::{Plan, plan};
use watershed_control::rollout::port::{Refused, Verb};
use watershed_control::rollout::state::State;
use watershed_control::rollout::verbs;
use watershed_control::rollout::view::VerbRequest;

pub(crate) const TICK: u64 = 100;

pub(crate) fn meta(kind: Kind, name: &str) -> Meta {
    Meta {
        id: ObjectId { kind, name: ObjectName::new("default", name) },
        uid: format!("default/{name}").into(),
        created: None,
        labels: Labels::default(),
        origin: Origin::default(),
    }
}

/// A Rollout with this strategy from whatever is stable to `target`.
pub(crate) fn rollout(target: Option<&str>, strategy: Strategy) -> Rollout {
    Rollout {
        meta: meta(Kind::Rollout, "hello"),
        service: ObjectName::new("default", "hello"),
        service_spot: Spot::default(),
        revision_label: "version".into(),
        revision_label_spot: Spot::default(),
        stable_revision: Some("1".into()),
        target_revision: target.map(Into::into),
        target_spot: Spot::default(),
        paused: None,
        progress_deadline: Duration::from_mins(10),
        history_limit: 10,
        sticky: None,
        strategy,
        strategy_spot: Spot::default(),
        on_deadline: Reaction::Abort,
        judge: JudgeSpec {
            enabled: true,
            false_alarm_rate: 0.01,
            minimum_effect: 1.1,
            on_failure: Reaction::Abort,
            max_failed_requests: None,
        },
    }
}

pub(crate) fn canary(steps: impl IntoIterator<Item = StepAction>) -> Strategy {
    let steps = steps.into_iter().map(|action| Step { action, spot: Spot::default() }).collect();
    Strategy::Canary(Canary { steps, analysis: None })
}

pub(crate) fn weight(percent: f64) -> StepAction {
    StepAction::SetWeight(Share::from_millionths((percent * 10_000.0).round() as u32))
}

pub(crate) fn pause(seconds: Option<u64>) -> StepAction {
    StepAction::Pause(seconds.map(Duration::from_secs))
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) spec: Rollout,
    /// By revision: for each pod whether it is ready.
    pub(crate) pods: BTreeMap<&'static str, Vec<bool>>,
    /// Since when each ready pod has been so.
    ready_since: BTreeMap<String, u64>,
    pub(crate) state: State,
    /// What survives a crash.
    pub(crate) journal: Option<String>,
    pub(crate) now: u64,
    /// The plan that was handed out, and when.
    published: Option<(Plan, u64)>,
    /// How long the workers take to acknowledge it.
    pub(crate) lag: u64,
    /// Requests per tick.
    pub(crate) traffic: u64,
    /// Decisions since the plan is in force: revision to count.
    decisions: BTreeMap<Arc<str>, (u32, u64)>,
    pub(crate) counts: BTreeMap<Arc<str>, RevisionCounts>,
    pub(crate) actions: Vec<Action>,
    /// The process dies at every decision before it is written, and has to make it again.
    pub(crate) forgetful: bool,
}

impl World {
    pub(crate) fn new(spec: Rollout, pods: &[(&'static str, usize)]) -> Self {
        Self {
            spec,
            pods: pods.iter().map(|(revision, count)| (*revision, vec![true; *count])).collect(),
            ready_since: BTreeMap::new(),
            state: State::default(),
            journal: None,
            now: 1_000_000,
            published: None,
            lag: 200,
            traffic: 10,
            decisions: BTreeMap::new(),
            counts: BTreeMap::new(),
            actions: Vec::new(),
            forgetful: false,
        }
    }

    fn uid(revision: &str, index: usize) -> String {
        format!("{revision}-{index}")
    }

    fn pod(&self, revision: &str, index: usize, ready: bool) -> PodFacts {
        let uid = Self::uid(revision, index);
        PodFacts {
            name: uid.as_str().into(),
            address: "10.0.0.1".into(),
            ready_since: ready.then(|| self.ready_since.get(&uid).copied().unwrap_or(self.now)),
            uid: uid.into(),
            terminating: false,
        }
    }

    fn note_readiness(&mut self) {
        for (revision, pods) in &self.pods {
            for (index, ready) in pods.iter().enumerate() {
                let uid = Self::uid(revision, index);
                if *ready {
                    self.ready_since.entry(uid).or_insert(self.now);
                } else {
                    self.ready_since.remove(&uid);
                }
            }
        }
    }

    pub(crate) fn facts(&self, fresh: Fresh) -> Facts {
        let revisions = self.pods.iter().filter(|(_, pods)| !pods.is_empty()).map(|(revision, pods)| {
            let pod = |(index, ready): (usize, &bool)| self.pod(revision, index, *ready);
            RevisionFacts {
                revision: (*revision).into(),
                // Revisions are named by their age.
                created: revision.parse::<u64>().ok(),
                pods: pods.iter().enumerate().map(pod).collect(),
                ..RevisionFacts::default()
            }
        });
        let acknowledged = self.published.as_ref().filter(|(_, since)| self.now >= since + self.lag);
        let decisions =
            self.decisions.iter().map(|(revision, (share, count))| (revision.clone(), *share, *count));
        let key =
            SplitKey { kind: "HTTPRoute", route: ObjectName::new("default", "hello"), rule: "0".into() };
        Facts {
            spec: Arc::new(self.spec.clone()),
            revisions: revisions.collect(),
            applied: acknowledged.map(|(plan, _)| plan.clone()),
            remembers: true,
            workers: 2,
            observed: RolloutObservation {
                splits: vec![SplitObservation { key, epoch: 0, decisions: decisions.collect() }],
                revisions: self.counts.clone(),
                run: self.state.run.as_ref().map_or(0, |run| run.number),
                ..RolloutObservation::default()
            },
            fresh,
            templates: BTreeMap::new(),
        }
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let endpoints = self.pods.iter().flat_map(|(revision, pods)| {
            pods.iter().enumerate().map(|(index, ready)| Endpoint {
                id: EndpointId {
                    uid: Self::uid(revision, index).into(),
                    address: ([10, 0, 0, 1], 1000 + index as u16).into(),
                    protocol: AppProtocol::Http1,
                },
                pod: ObjectName::new("default", Self::uid(revision, index)),
                revision: (*revision).into(),
                state: if *ready { EndpointState::Ready } else { EndpointState::Unready },
            })
        });
        endpoints.collect()
    }

    pub(crate) fn plan(&self) -> Option<Plan> {
        plan(&self.spec, &self.state)
    }

    /// One tick of time: traffic flows, the engine decides, the journal is written, the plan is published.
    pub(crate) fn tick(&mut self) {
        self.now += TICK;
        self.note_readiness();
        let fresh = self.flow();
        let facts = self.facts(fresh);
        if self.forgetful {
            // Decided, and dead before it was written.
            drop(advance(&self.state, &facts, self.now));
            self.restore();
        }
        let (state, actions) = advance(&self.state, &facts, self.now);
        // I3: pods may go only when every worker does without them.
        for action in &actions {
            if let Action::Scale { revision, replicas: 0 } = action {
                let plan = facts.applied.as_ref().expect("a plan that every worker has");
                let used = plan.canary.as_ref().is_some_and(|(canary, _)| **canary == **revision);
                assert!(!used && *plan.stable != **revision, "{revision} goes under {plan:?}");
            }
        }
        self.take(state, actions);
    }

    fn take(&mut self, state: State, actions: Vec<Action>) {
        self.state = state;
        self.journal = Some(serde_json::to_string(&self.state).unwrap());
        self.actions.extend(actions);
        self.publish();
    }

    pub(crate) fn publish(&mut self) {
        let plan = self.plan();
        let published = self.published.as_ref().map(|(plan, _)| plan);
        if plan.as_ref() == published && !self.shares_changed() {
            return;
        }
        self.published = plan.map(|plan| (plan, self.now));
        self.decisions = self.shares().into_iter().map(|(revision, share)| (revision, (share, 0))).collect();
    }

    /// The shares of a snapshot that is assembled now.
    pub(crate) fn shares(&self) -> Vec<(Arc<str>, u32)> {
        let Some((plan, _)) = &self.published else { return Vec::new() };
        let mut endpoints = self.endpoints();
        plan.withdraw(&mut endpoints);
        plan.split(&endpoints).shares.into_iter().map(|share| (share.revision, share.millionths)).collect()
    }

    fn shares_changed(&self) -> bool {
        let now: BTreeMap<Arc<str>, u32> = self.shares().into_iter().collect();
        now != self.decisions.iter().map(|(revision, (share, _))| (revision.clone(), *share)).collect()
    }

    /// Requests arrive and are divided exactly.
    fn flow(&mut self) -> Fresh {
        let mut fresh = Fresh::default();
        let all: u64 = self.decisions.values().map(|(_, count)| count).sum::<u64>() + self.traffic;
        for (revision, (share, count)) in &mut self.decisions {
            let wanted = (all as f64 * f64::from(*share) / 1e6).round() as u64;
            let more = wanted.saturating_sub(*count);
            *count += more;
            fresh.requests.insert(revision.clone(), (more, 0));
            self.counts.entry(revision.clone()).or_default().requests += more;
        }
        fresh
    }

    pub(crate) fn run_for(&mut self, seconds: u64) {
        for _ in 0..seconds * 1000 / TICK {
            self.tick();
        }
    }

    /// Runs until something holds; the seconds that it took.
    #[track_caller]
    pub(crate) fn run_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> f64 {
        let began = self.now;
        for _ in 0..20_000 {
            if holds(self) {
                return (self.now - began) as f64 / 1000.0;
            }
            self.tick();
        }
        panic!("never: {what}; it says {:?}: {}", self.state.phase, self.state.message);
    }

    pub(crate) fn verb(&mut self, verb: Verb) -> Result<String, Refused> {
        self.verb_with(verb, VerbRequest::default())
    }

    pub(crate) fn verb_with(&mut self, verb: Verb, request: VerbRequest) -> Result<String, Refused> {
        let facts = self.facts(Fresh::default());
        let request = VerbRequest { by: "ann".to_owned(), ..request };
        let (state, message) = verbs::apply(&self.state, &facts, verb, &request, self.now)?;
        let (state, actions) = advance(&state, &facts, self.now);
        self.take(state, actions);
        Ok(message)
    }

    /// The process dies and comes back with what was written.
    pub(crate) fn crash(&mut self) {
        self.restore();
        self.published = None;
        self.publish();
    }

    fn restore(&mut self) {
        self.state =
            self.journal.as_ref().map_or_else(State::default, |text| serde_json::from_str(text).unwrap());
    }

    /// Percent of the traffic that a revision gets in a snapshot that is assembled now.
    pub(crate) fn share_of(&self, revision: &str) -> f64 {
        let shares = self.shares();
        shares
            .iter()
            .find(|(known, _)| **known == *revision)
            .map_or(0.0, |(_, share)| f64::from(*share) / 1e4)
    }
}
