//! `/debug/config`: what is served, as JSON for people and scripts.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use http::StatusCode;
use serde::{Serialize, Serializer};
use watershed_config::Problem;
use watershed_config::snapshot::{
    Arm, Backend, Bind, Candidate, Endpoint, EndpointId, Listener, Rule, Snapshot, Target, VirtualHost,
};
use watershed_proxy::table::explain::explain_request;

use super::metrics::refused;
use super::state::Connected;
use super::{AdminState, Reply, json, text};

const STARTING: &str = "starting: the first snapshot is being read\n";

pub(super) fn answer(state: &AdminState) -> Reply {
    let Some(connected) = state.connected() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, STARTING);
    };
    let (snapshot, status) = (connected.snapshot(), connected.status());
    let refused = refused(&connected.telemetry.table());
    let view = View {
        generation: snapshot.generation.0,
        generation_of_workers: connected.telemetry.generations(),
        applied_at: humantime::format_rfc3339_millis(status.applied_at).to_string(),
        source_lost: status.source_lost.as_deref(),
        bind_errors: state.bind_errors(),
        objects: status.objects.iter().map(|(kind, count)| (kind.as_str(), *count)).collect(),
        last_good: status.last_good.iter().map(ToString::to_string).collect(),
        problems: Each(|| status.problems.iter().map(problem)),
        listeners: Each(|| snapshot.binds.iter().flat_map(|bind| listeners(bind))),
        splits: splits(connected),
        backends: Each(|| backends(&snapshot).into_iter().map(|backend| backend_view(&backend, &refused))),
    };
    json(StatusCode::OK, &view)
}

/// `/api/v1/explain`: what a request would get, and why, from the table that is being served.
pub(super) fn explain(state: &AdminState, query: &str) -> Reply {
    let Some(connected) = state.connected() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, STARTING);
    };
    match explain_request(&connected.telemetry.table(), query) {
        Ok(explanation) => json(StatusCode::OK, &explanation),
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// A list that is made while it is written. With ten thousand Services the page is tens of megabytes; as a tree in memory it
/// would be ten times that.
struct Each<F>(F);

impl<F: Fn() -> I, I: IntoIterator<Item: Serialize>> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

#[derive(Serialize)]
struct View<'a, P: Serialize, L: Serialize, B: Serialize> {
    generation: u64,
    generation_of_workers: Vec<u64>,
    applied_at: String,
    source_lost: Option<&'a str>,
    bind_errors: Vec<String>,
    objects: BTreeMap<&'static str, usize>,
    last_good: Vec<String>,
    problems: P,
    listeners: L,
    splits: Vec<SplitView>,
    backends: B,
}

#[derive(Serialize)]
struct ProblemView<'a> {
    severity: String,
    place: String,
    object: Option<String>,
    field: &'a str,
    what: &'a str,
    help: Option<&'a str>,
}

fn problem(problem: &Problem) -> ProblemView<'_> {
    ProblemView {
        severity: problem.severity.to_string(),
        place: problem.place(),
        object: problem.object.as_ref().map(ToString::to_string),
        field: &problem.field,
        what: &problem.what,
        help: problem.help.as_deref(),
    }
}

#[derive(Serialize)]
struct ListenerView<H: Serialize> {
    address: String,
    name: String,
    hostname: String,
    hosts: H,
}

fn listeners(bind: &Bind) -> impl Iterator<Item = impl Serialize> {
    bind.listeners.iter().map(|listener: &Listener| ListenerView {
        address: bind.address.to_string(),
        name: listener.name.to_string(),
        hostname: listener.hostname.to_string(),
        hosts: Each(|| listener.hosts.iter().map(host)),
    })
}

#[derive(Serialize)]
struct HostView<R: Serialize> {
    host: String,
    port: Option<u16>,
    routes: R,
}

fn host(host: &VirtualHost) -> impl Serialize {
    HostView {
        host: host.host.to_string(),
        port: host.port,
        routes: Each(|| host.candidates.iter().map(candidate)),
    }
}

#[derive(Serialize)]
struct RouteView<A: Serialize> {
    #[serde(rename = "match")]
    matcher: String,
    rule: String,
    backends: A,
}

fn candidate(candidate: &Candidate) -> impl Serialize {
    let rule: &Rule = &candidate.rule;
    RouteView {
        matcher: candidate.matcher.to_string(),
        rule: rule.id.to_string(),
        backends: Each(|| rule.arms.iter().map(arm)),
    }
}

/// A reference that can be followed has a `service`, any other a `reference` and why it is `invalid`.
#[derive(Serialize)]
struct ArmView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    weight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid: Option<&'static str>,
}

fn arm(arm: &Arm) -> ArmView<'_> {
    let weight = arm.weight;
    match &arm.target {
        Target::Backend(backend) => {
            let service = Some(format!("{}:{}", backend.service, backend.port));
            ArmView { service, reference: None, weight, invalid: None }
        }
        Target::Invalid { reference, why } => {
            ArmView { service: None, reference: Some(reference), weight, invalid: Some(why.as_str()) }
        }
    }
}

#[derive(Serialize)]
struct SplitView {
    kind: &'static str,
    route: String,
    rule: Arc<str>,
    service: Arc<str>,
    /// Of a share that a Rollout divides; else empty.
    revision: Arc<str>,
    target_ratio: f64,
    /// Since the current weights came into force; absent before the first request.
    observed_ratio: Option<f64>,
    picked: u64,
    of: u64,
}

fn splits(connected: &Connected) -> Vec<SplitView> {
    let shares = connected.telemetry.shares();
    let view = |share: watershed_proxy::telemetry::exposition::Share| SplitView {
        kind: share.kind,
        route: format!("{}/{}", share.namespace, share.route),
        observed_ratio: share.observed(),
        rule: share.rule,
        service: share.service,
        revision: share.revision,
        target_ratio: share.target,
        picked: share.picked,
        of: share.total,
    };
    shares.into_iter().map(view).collect()
}

/// All backends of a snapshot, each once.
pub(super) fn backends(snapshot: &Snapshot) -> Vec<Arc<Backend>> {
    let listeners = snapshot.binds.iter().flat_map(|bind| &bind.listeners);
    let candidates = listeners.flat_map(|listener| &listener.hosts).flat_map(|host| &host.candidates);
    let targets = candidates.flat_map(|candidate| &candidate.rule.arms).filter_map(|arm| match &arm.target {
        Target::Backend(backend) => Some(backend),
        Target::Invalid { .. } => None,
    });
    let mut seen = HashSet::new();
    let mut backends: Vec<Arc<Backend>> =
        targets.filter(|backend| seen.insert(Arc::as_ptr(backend))).map(Arc::clone).collect();
    backends.sort_by(|a, b| (&a.service, a.port).cmp(&(&b.service, b.port)));
    backends
}

#[derive(Serialize)]
struct BackendView {
    service: String,
    port: u16,
    endpoints: Vec<EndpointView>,
}

#[derive(Serialize)]
struct EndpointView {
    address: String,
    pod: String,
    uid: Arc<str>,
    revision: Arc<str>,
    state: &'static str,
    /// It is ready, but gets no requests until a connection to it succeeds.
    refused_connection: bool,
}

fn backend_view(backend: &Backend, refused: &HashSet<EndpointId>) -> BackendView {
    let view = |endpoint: &Endpoint| EndpointView {
        address: endpoint.id.address.to_string(),
        pod: endpoint.pod.to_string(),
        uid: Arc::clone(&endpoint.id.uid),
        revision: Arc::clone(&endpoint.revision),
        state: endpoint.state.as_str(),
        refused_connection: refused.contains(&endpoint.id),
    };
    BackendView {
        service: backend.service.to_string(),
        port: backend.port,
        endpoints: backend.endpoints.iter().map(view).collect(),
    }
}
