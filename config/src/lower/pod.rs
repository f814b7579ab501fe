//! `v1` Pod. Only the parts that are read are checked: a pod has hundreds of fields that concern the kubelet.

use std::net::IpAddr;
use std::num::NonZeroU16;

use super::meta::Metadata;
use super::{names, probe};
use crate::fields::{At, Fields, lower_each};
use crate::model::{ContainerPort, Pod, Probe};
use crate::yaml::Value;

const ADDRESS_HELP: &str =
    "write the pod's address as `status: {podIP: 10.0.0.7}`; here no kubelet fills it in";

pub(super) fn lower(root: &Fields<'_>, metadata: Option<Metadata>) -> Option<Pod> {
    let status = root.require("status", ADDRESS_HELP).and_then(|at| at.fields());
    let ip = status.as_ref().and_then(address);
    let ready_condition = status.as_ref().is_none_or(|status| is_ready(status) && !is_over(status));
    let spec = root.get("spec").and_then(|at| at.fields());
    root.finish();
    let node = spec.as_ref().and_then(|spec| spec.string("nodeName")).unwrap_or_default();
    let containers = spec.as_ref().map(containers).unwrap_or_default();
    let Metadata { meta, terminating } = metadata?;
    let mut ports = Vec::new();
    let mut probes = Vec::new();
    for container in containers {
        ports.extend(container.ports);
        probes.extend(container.probe);
    }
    Some(Pod { meta, ip: ip?, ready_condition, terminating, node: node.into(), ports, probes })
}

/// `podIP`, else the first of `podIPs`.
fn address(status: &Fields<'_>) -> Option<IpAddr> {
    if let Some(at) = status.get("podIP") {
        return at.ip();
    }
    match status.items("podIPs").first() {
        Some(first) => first.fields()?.require("ip", ADDRESS_HELP)?.ip(),
        None => status.require("podIP", ADDRESS_HELP)?.ip(),
    }
}

/// False only if the Ready condition is there and says `False`.
fn is_ready(status: &Fields<'_>) -> bool {
    let mut ready = true;
    for item in status.items("conditions") {
        let Some(condition) = item.fields() else { continue };
        let kind = condition
            .require("type", "write the condition's type, for example Ready")
            .and_then(|at| at.string());
        if kind != Some("Ready") {
            continue;
        }
        let Some(at) = condition.require("status", "write \"True\" or \"False\", in quotes") else {
            continue;
        };
        if let Value::Bool(value) = at.node.value {
            let word = if value { "True" } else { "False" };
            at.error(
                format!("expected a string, found the boolean {value}"),
                format!("put it in quotes: status: \"{word}\""),
            );
        } else {
            ready = at.one_of(&[("True", true), ("False", false), ("Unknown", true)]).unwrap_or(true);
        }
    }
    ready
}

/// A pod that has run to its end serves nobody, whatever its conditions say.
fn is_over(status: &Fields<'_>) -> bool {
    matches!(status.string("phase"), Some("Succeeded" | "Failed"))
}

struct Container {
    ports: Vec<ContainerPort>,
    probe: Option<Probe>,
}

/// The containers that run while the pod serves: the ordinary ones, and init containers that are restarted (sidecars).
fn containers(spec: &Fields<'_>) -> Vec<Container> {
    let ordinary = spec.items("containers");
    let sidecars = spec
        .items("initContainers")
        .into_iter()
        .filter(|item| item.node.get("restartPolicy").and_then(|policy| policy.as_str()) == Some("Always"));
    ordinary.into_iter().chain(sidecars).filter_map(|item| container(&item)).collect()
}

fn container(item: &At<'_>) -> Option<Container> {
    let fields = item.fields()?;
    let ports = lower_each(&fields.items("ports"), port);
    let probe = fields.get("readinessProbe").and_then(|at| probe::lower(&at, &ports));
    Some(Container { ports, probe })
}

fn port(item: &At<'_>) -> Option<ContainerPort> {
    let fields = item.fields()?;
    let name = fields.get("name").and_then(|at| names::port_name(&at)).unwrap_or_default();
    let port: Option<NonZeroU16> =
        fields.require("containerPort", "write the port's number").and_then(|at| at.port());
    let protocol =
        fields.get("protocol").and_then(|at| at.one_of(&[("TCP", true), ("UDP", false), ("SCTP", false)]));
    fields.ignore(&["hostIP", "hostPort"]);
    fields.finish();
    (protocol != Some(false)).then_some(ContainerPort { name: name.into(), port: port? })
}
