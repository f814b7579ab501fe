//! `/debug/config`: what is served, as JSON for people and scripts.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use watershed_config::Problem;
use watershed_config::snapshot::{Backend, Bind, Listener, Rule, Snapshot, Target};
use watershed_proxy::table::explain::explain_request;

use super::metrics::refused;
use super::state::Connected;
use super::{AdminState, Reply, json, text};

const STARTING: &str = "starting: the first snapshot is being read\n";

pub(super) fn answer(state: &AdminState) -> Reply {
    let Some(connected) = state.connected() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, STARTING);
    };
    json(StatusCode::OK, &view(state, connected))
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

fn view(state: &AdminState, connected: &Connected) -> Value {
    let (snapshot, status) = (connected.snapshot(), connected.status());
    json!({
        "generation": snapshot.generation.0,
        "generation_of_workers": connected.telemetry.generations(),
        "applied_at": humantime::format_rfc3339_millis(status.applied_at).to_string(),
        "source_lost": status.source_lost,
        "bind_errors": state.bind_errors(),
        "objects": status.objects.iter().map(|(kind, count)| (kind.as_str(), *count)).collect::<std::collections::BTreeMap<_, _>>(),
        "last_good": status.last_good.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "problems": status.problems.iter().map(problem).collect::<Vec<_>>(),
        "listeners": snapshot.binds.iter().flat_map(listeners).collect::<Vec<_>>(),
        "splits": splits(connected),
        "backends": endpoints(connected, &snapshot),
    })
}

fn problem(problem: &Problem) -> Value {
    json!({
        "severity": problem.severity.to_string(),
        "place": problem.place(),
        "object": problem.object.as_ref().map(ToString::to_string),
        "field": problem.field,
        "what": problem.what,
        "help": problem.help,
    })
}

fn listeners(bind: &Bind) -> impl Iterator<Item = Value> {
    bind.listeners.iter().map(|listener| {
        json!({
            "address": bind.address.to_string(),
            "name": listener.name.to_string(),
            "hostname": listener.hostname.to_string(),
            "hosts": hosts(listener),
        })
    })
}

fn hosts(listener: &Listener) -> Vec<Value> {
    let view = |host: &watershed_config::snapshot::VirtualHost| {
        json!({
            "host": host.host.to_string(),
            "port": host.port,
            "routes": host.candidates.iter().map(|candidate| json!({
                "match": candidate.matcher.to_string(),
                "rule": candidate.rule.id.to_string(),
                "backends": arms(&candidate.rule),
            })).collect::<Vec<_>>(),
        })
    };
    listener.hosts.iter().map(view).collect()
}

fn arms(rule: &Rule) -> Vec<Value> {
    let view = |arm: &watershed_config::snapshot::Arm| match &arm.target {
        Target::Backend(backend) => {
            json!({ "service": format!("{}:{}", backend.service, backend.port), "weight": arm.weight })
        }
        Target::Invalid { reference, why } => {
            json!({ "reference": &**reference, "weight": arm.weight, "invalid": why.as_str() })
        }
    };
    rule.arms.iter().map(view).collect()
}

#[derive(Serialize)]
struct SplitView {
    kind: &'static str,
    route: String,
    rule: Arc<str>,
    service: Arc<str>,
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
    let mut seen = std::collections::HashSet::new();
    let mut backends: Vec<Arc<Backend>> =
        targets.filter(|backend| seen.insert(Arc::as_ptr(backend))).map(Arc::clone).collect();
    backends.sort_by(|a, b| (&a.service, a.port).cmp(&(&b.service, b.port)));
    backends
}

fn endpoints(connected: &Connected, snapshot: &Snapshot) -> Vec<Value> {
    let refused = refused(&connected.telemetry.table());
    let view = |backend: Arc<Backend>| {
        let endpoints = backend.endpoints.iter().map(|endpoint| {
            json!({
                "address": endpoint.id.address.to_string(),
                "pod": endpoint.pod.to_string(),
                "uid": &*endpoint.id.uid,
                "revision": &*endpoint.revision,
                "state": endpoint.state.as_str(),
                "refused_connection": refused.contains(&endpoint.id),
            })
        });
        json!({
            "service": backend.service.to_string(),
            "port": backend.port,
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    };
    backends(snapshot).into_iter().map(view).collect()
}
