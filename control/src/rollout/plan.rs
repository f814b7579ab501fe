//! What the data plane should do for a rollout: a pure function of the specification and the memory.
//!
//! A plan says what is *wanted*. What a snapshot gives is decided per Service port by [`Plan::split`], with the readiness of that
//! very snapshot: a revision that is not the stable one and has no ready endpoint has no share there, and the stable one has it.
//! So no order of events can send a request to a revision that nobody serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use watershed_config::model::{HeaderMatch, ObjectName, Preview, Rollout, Share, Sticky, ValueMatch};
use watershed_config::snapshot::{
    Compared, Endpoint, EndpointState, RevisionCondition, RevisionRoute, RevisionShare, RevisionSplit,
};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::state::{Rotation, Run, State};
use super::steps::{Work, compares, preview, works};

/// The plans of all rollouts, by Service.
pub type Plans = BTreeMap<ObjectName, Arc<Plan>>;

/// What is wanted for one Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The Rollout.
    pub rollout: ObjectName,
    /// The label whose values are the revisions.
    pub revision_label: Arc<str>,
    /// The revision that has what nobody else has.
    pub stable: Arc<str>,
    /// The revision that is rolled out, and the millionths that it should have.
    pub canary: Option<(Arc<str>, u32)>,
    /// Number of the run, 0 without one.
    pub run: u64,
    /// Whether there is something to compare, and the latency bounds.
    pub compared: Option<[Option<u8>; 3]>,
    /// What keeps a user on one revision.
    pub sticky: Option<Sticky>,
    /// Requests that go to a revision whatever its share is.
    pub routes: Vec<RevisionRoute>,
    /// In a rolling update, which pods are in.
    pub rotation: Option<Rotation>,
}

/// What is wanted; `None` while nothing is known of any revision: then every ready pod is as good as any.
pub fn plan(spec: &Rollout, state: &State) -> Option<Plan> {
    let stable = state.stable.as_ref()?;
    let active = state.active();
    let weight = active.map_or(0, wanted_weight);
    let routes = match active {
        Some(run) => routes(spec, run),
        None => Vec::new(),
    };
    let rotation = active.and_then(|run| run.rotation.clone());
    // A rolling update's share is that of its pods, whatever the weight says.
    let share = if rotation.is_some() { 1 } else { weight };
    let compared = active
        .filter(|_| compares(spec, share).is_ok())
        .map(|run| if run.warm { run.judge.bounds() } else { [None; 3] });
    Some(Plan {
        rollout: spec.meta.name().clone(),
        revision_label: Arc::clone(&spec.revision_label),
        stable: stable.as_str().into(),
        canary: active.map(|run| (run.revision.as_str().into(), weight)),
        run: active.map_or(0, |run| run.number),
        compared,
        sticky: spec.sticky.clone(),
        routes,
        rotation,
    })
}

/// Millionths that a run's revision should have now.
pub fn wanted_weight(run: &Run) -> u32 {
    run.held.unwrap_or_else(|| run.weight.max(run.floor))
}

/// Which requests go to the revision by their headers or host: those of the steps up to the current one, the last of a name.
fn routes(spec: &Rollout, run: &Run) -> Vec<RevisionRoute> {
    let revision: Arc<str> = run.revision.as_str().into();
    let mut routes: Vec<RevisionRoute> = Vec::new();
    if run.weight < Share::WHOLE.millionths()
        && let Some(preview) = preview(spec)
    {
        let condition = match preview {
            Preview::Header { name, value } => RevisionCondition::Headers(vec![HeaderMatch {
                name: name.clone(),
                value: ValueMatch::Exact(String::from_utf8_lossy(value.as_bytes()).into()),
            }]),
            Preview::Hostname(host) => RevisionCondition::Host(host.clone()),
        };
        routes.push(RevisionRoute { name: "preview".into(), condition, revision: Arc::clone(&revision) });
    }
    let reached = if run.step_begun { run.step + 1 } else { run.step };
    for work in works(spec).iter().take(reached) {
        let Work::Route(route) = work else { continue };
        routes.retain(|known| known.name != route.name);
        if !route.headers.is_empty() {
            routes.push(RevisionRoute {
                name: Arc::clone(&route.name),
                condition: RevisionCondition::Headers(route.headers.clone()),
                revision: Arc::clone(&revision),
            });
        }
    }
    routes
}

impl Plan {
    /// Takes pods out of rotation that are not in it.
    pub fn withdraw(&self, endpoints: &mut [Endpoint]) {
        let Some((rotation, (canary, _))) = self.rotation.as_ref().zip(self.canary.as_ref()) else { return };
        for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.state == EndpointState::Ready) {
            let is_in = if endpoint.revision == *canary {
                rotation.admitted.contains(&*endpoint.id.uid)
            } else {
                endpoint.revision == self.stable && !rotation.withdrawn.contains(&*endpoint.id.uid)
            };
            if !is_in {
                endpoint.state = EndpointState::Withdrawn;
            }
        }
    }

    /// The shares over endpoints that have been [withdrawn](Self::withdraw) from already.
    pub fn split(&self, endpoints: &[Endpoint]) -> RevisionSplit {
        let ready = |revision: &str| {
            let is_ready = |endpoint: &&Endpoint| {
                *endpoint.revision == *revision && endpoint.state == EndpointState::Ready
            };
            endpoints.iter().filter(is_ready).count() as u32
        };
        let mut shares = Vec::with_capacity(2);
        let mut rest = Share::WHOLE.millionths();
        if let Some((canary, weight)) = &self.canary
            && *canary != self.stable
        {
            let count = ready(canary);
            let wanted = match &self.rotation {
                // Every pod in rotation has an equal share.
                Some(_) => equal_shares(count, ready(&self.stable)),
                None => *weight,
            };
            let millionths = if count == 0 { 0 } else { wanted };
            rest -= millionths;
            shares.push(RevisionShare { revision: Arc::clone(canary), millionths, wanted });
        }
        let wanted = Share::WHOLE.millionths() - shares.iter().map(|share| share.wanted).sum::<u32>();
        shares.push(RevisionShare { revision: Arc::clone(&self.stable), millionths: rest, wanted });
        let compared = self.compared.zip(self.canary.as_ref()).map(|(slow, (canary, _))| Compared {
            canary: Arc::clone(canary),
            stable: Arc::clone(&self.stable),
            slow,
        });
        RevisionSplit {
            rollout: self.rollout.clone(),
            run: self.run,
            epoch: epoch(self.run, &shares, compared.as_ref()),
            compared,
            shares,
            sticky: self.sticky.clone(),
            salt: self.salt(),
            routes: self.routes.clone(),
        }
    }

    /// Derived from namespace, name and target revision: the same on every proxy, another one for the next revision.
    fn salt(&self) -> u64 {
        let canary = self.canary.as_ref().map_or("", |(canary, _)| canary);
        xxh3_64(format!("{}\0{canary}", self.rollout).as_bytes())
    }
}

/// The millionths of `canary` pods among these and `stable` pods.
fn equal_shares(canary: u32, stable: u32) -> u32 {
    let whole = u64::from(Share::WHOLE.millionths());
    let all = u64::from(canary) + u64::from(stable);
    (whole * u64::from(canary) + all / 2).checked_div(all).unwrap_or(0) as u32
}

/// Another value for other shares or bounds. A hash, so that nothing has to be remembered for it.
fn epoch(run: u64, shares: &[RevisionShare], compared: Option<&Compared>) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hash = Xxh3Default::new();
    run.hash(&mut hash);
    for share in shares {
        (&*share.revision, share.millionths).hash(&mut hash);
    }
    compared.map(|compared| compared.slow).hash(&mut hash);
    hash.finish()
}
