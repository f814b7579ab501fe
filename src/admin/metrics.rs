//! `/metrics`: the data plane's families, those of control, and those of rollouts.

mod rollouts;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};
use watershed_config::Severity;
use watershed_config::snapshot::{EndpointId, EndpointState};
use watershed_proxy::table::{Action, ArmTarget, RoutingTable};
use watershed_proxy::telemetry::exposition::Family;

use super::debug::backends;
use super::state::Connected;
use super::{AdminState, Reply, reply, text};

pub(super) fn answer(state: &AdminState) -> Reply {
    let mut families = state.connected().map(gather).unwrap_or_default();
    families.extend(state.apply_seconds.collect());
    if let Some(driven) = state.rollouts() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        families.extend(rollouts::families(&driven.list(), now.as_millis() as u64));
    }
    families.extend(
        Family::gauge("build_info", "Always 1; the version is in the label.")
            .with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)
            .build(),
    );
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    match encoder.encode(&families, &mut body) {
        Ok(()) => reply(StatusCode::OK, prometheus::TEXT_FORMAT, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn gather(connected: &Connected) -> Vec<MetricFamily> {
    let mut families = connected.telemetry.gather();
    let control = [endpoints(connected), rejected(connected), problems(connected), source_lost(connected)];
    families.extend(control.into_iter().filter_map(Family::build));
    families
}

/// Endpoints by Service, revision and state; `refused` are those that are ready but refused a connection.
fn endpoints(connected: &Connected) -> Family {
    let refused = refused(&connected.telemetry.table());
    let mut counts = BTreeMap::new();
    let mut seen = HashSet::new();
    for backend in backends(&connected.snapshot()) {
        for endpoint in &backend.endpoints {
            // A Service with several ports has each pod several times; count pods' ports once per Service port.
            if !seen.insert((backend.service.clone(), backend.port, endpoint.id.clone())) {
                continue;
            }
            let state = match endpoint.state {
                EndpointState::Ready if refused.contains(&endpoint.id) => "refused",
                state => state.as_str(),
            };
            let service = &backend.service;
            let key = (
                Arc::clone(&service.namespace),
                Arc::clone(&service.name),
                Arc::clone(&endpoint.revision),
                state,
            );
            *counts.entry(key).or_insert(0u32) += 1;
        }
    }
    let mut family =
        Family::gauge("endpoints", "Endpoints of Services by state; only ready ones get requests.");
    for ((namespace, service, revision, state), count) in counts {
        let labels =
            [("namespace", &*namespace), ("service", &*service), ("revision", &*revision), ("state", state)];
        family.push(&labels, f64::from(count));
    }
    family
}

pub(super) fn refused(table: &RoutingTable) -> HashSet<EndpointId> {
    let mut refused = HashSet::new();
    for rule in table.rules() {
        let Action::Split(split) = &rule.action else { continue };
        for arm in &split.arms {
            let ArmTarget::Backend { backend, .. } = &arm.target else { continue };
            let bad = backend.endpoints.iter().filter(|(endpoint, _)| endpoint.is_refused());
            refused.extend(bad.map(|(endpoint, _)| endpoint.id.clone()));
        }
    }
    refused
}

fn rejected(connected: &Connected) -> Family {
    let mut family =
        Family::counter("config_rejected_total", "Objects and files that could not be taken, by kind.");
    for (kind, count) in &connected.status().rejected_total {
        family.push(&[("kind", kind)], *count as f64);
    }
    family
}

fn problems(connected: &Connected) -> Family {
    let status = connected.status();
    let mut family = Family::gauge("config_problems", "What is wrong with the manifests now, by severity.");
    for (severity, name) in
        [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
    {
        let count = status.problems.iter().filter(|problem| problem.severity == severity).count();
        family.push(&[("severity", name)], count as f64);
    }
    family
}

fn source_lost(connected: &Connected) -> Family {
    let lost = connected.status().source_lost.is_some();
    Family::gauge(
        "config_source_lost",
        "1 while the manifests cannot be seen and what was last read is served.",
    )
    .with(&[], if lost { 1.0 } else { 0.0 })
}
