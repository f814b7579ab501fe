//! `v1` Service: which pods, which ports, which ways in.

use std::collections::HashMap;
use std::num::NonZeroU16;

use super::meta::Metadata;
use super::{labels, names};
use crate::fields::{At, Fields, lower_each, quoted};
use crate::model::{AppProtocol, Service, ServicePort, ServiceType, TargetPort};
use crate::yaml::Value;

/// Fields of `ServiceSpec` that do not concern an L7 proxy, or only where `kube-proxy` runs.
const IRRELEVANT: [&str; 13] = [
    "allocateLoadBalancerNodePorts",
    "clusterIPs",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "sessionAffinityConfig",
    "topologyKeys",
    "trafficDistribution",
];

pub(super) fn lower(root: &Fields<'_>, metadata: Option<Metadata>) -> Option<Service> {
    let spec = root.require("spec", "write `spec:` with a `selector` and `ports`").and_then(|at| at.fields());
    root.finish();
    let spec = spec?;
    let external = is_external_name(&spec);
    let service_type = service_type(&spec);
    let headless = spec.string("clusterIP") == Some("None");
    let selector = labels::optional_labels(&spec, "selector");
    let selector_spot = spec.get("selector").map_or(root.at.node.spot, |at| at.spot);
    let ports = ports(&spec, headless || external, service_type);
    warn_about_what_is_not_followed(&spec);
    spec.ignore(&IRRELEVANT);
    spec.finish();
    let selector = (!selector.is_empty() && !external).then_some(selector);
    Some(Service { meta: metadata?.meta, selector, selector_spot, service_type, headless, ports })
}

fn is_external_name(spec: &Fields<'_>) -> bool {
    spec.ignore(&["externalName"]);
    let Some(at) = spec.get("type").filter(|at| at.node.as_str() == Some("ExternalName")) else {
        return false;
    };
    at.warning(
        "the type ExternalName is not supported yet: the Service has no endpoints and answers 503",
        "use a Service without a selector and an EndpointSlice with the addresses",
    );
    true
}

fn service_type(spec: &Fields<'_>) -> ServiceType {
    let words = [
        ("ClusterIP", ServiceType::ClusterIp),
        ("NodePort", ServiceType::NodePort),
        ("LoadBalancer", ServiceType::LoadBalancer),
        ("ExternalName", ServiceType::ClusterIp),
    ];
    spec.get("type").and_then(|at| at.one_of(&words)).unwrap_or(ServiceType::ClusterIp)
}

fn warn_about_what_is_not_followed(spec: &Fields<'_>) {
    if let Some(at) = spec.get("sessionAffinity") {
        let sticky = at.one_of(&[("None", false), ("ClientIP", true)]);
        if sticky == Some(true) {
            at.note(
                "the session affinity ClientIP is not followed: requests are balanced over all endpoints",
                "nothing needs to be done if the pods share their state",
            );
        }
    }
    if let Some(at) = spec.get("publishNotReadyAddresses")
        && at.bool() == Some(true)
    {
        at.warning(
            "publishNotReadyAddresses is not supported yet: unready pods get no requests",
            "remove it, or give the pods a readiness probe that passes early enough",
        );
    }
    if let Some(at) = spec.get("loadBalancerSourceRanges")
        && !at.items().is_empty()
    {
        at.warning(
            "loadBalancerSourceRanges is not supported yet: clients from everywhere are served",
            "restrict the port by the firewall of this machine",
        );
    }
}

fn ports(spec: &Fields<'_>, may_be_empty: bool, service_type: ServiceType) -> Vec<ServicePort> {
    let list = if may_be_empty {
        spec.get("ports")
    } else {
        spec.require("ports", "list at least one port, for example `- port: 80`")
    };
    let Some(list) = list else { return Vec::new() };
    let items = list.items();
    if items.is_empty() && !may_be_empty && matches!(list.node.value, Value::Sequence(_)) {
        list.error("the Service has no port", "list at least one port, for example `- port: 80`");
    }
    let several = items.len() > 1;
    let mut seen = Seen::default();
    lower_each(&items, |item| port(item, several, service_type, &mut seen))
}

/// What must not occur twice among a Service's ports, with the line of the first.
#[derive(Default)]
struct Seen {
    names: HashMap<String, u32>,
    ports: HashMap<(String, u16), u32>,
    node_ports: HashMap<(String, u16), u32>,
}

fn unique<K: std::hash::Hash + Eq>(seen: &mut HashMap<K, u32>, key: K, at: &At<'_>, what: &str) {
    if let Some(line) = seen.get(&key) {
        at.error(format!("{what} is used twice; first in line {line}"), "use another one for this port");
        return;
    }
    seen.insert(key, at.spot.line);
}

fn port(item: &At<'_>, several: bool, service_type: ServiceType, seen: &mut Seen) -> Option<ServicePort> {
    let fields = item.fields()?;
    let name_at = if several {
        fields.require("name", "a Service with several ports needs a name for each")
    } else {
        fields.get("name")
    };
    let name = name_at.as_ref().and_then(names::label).unwrap_or_default();
    let protocol_at = fields.get("protocol");
    let protocol = protocol_at
        .as_ref()
        .map_or(Some("TCP"), |at| at.one_of(&[("TCP", "TCP"), ("UDP", "UDP"), ("SCTP", "SCTP")]));
    let port_at = fields.require("port", "write the port under which the Service is reached");
    let port = port_at.as_ref().and_then(At::port);
    let spot = port_at.as_ref().map_or(item.spot, |at| at.spot);
    let target = fields.get("targetPort").and_then(|at| target_port(&at));
    let node_port = node_port(&fields, service_type, protocol.unwrap_or_default(), seen);
    let app_at = fields.get("appProtocol");
    let app_protocol = app_at.as_ref().map_or(Some(AppProtocol::Http1), app_protocol);
    fields.finish();
    if let Some(at) = name_at.filter(|_| !name.is_empty()) {
        unique(&mut seen.names, name.to_owned(), &at, &format!("the port name {}", quoted(name)));
    }
    let (port, protocol) = (port?, protocol?);
    if let Some(at) = port_at {
        unique(
            &mut seen.ports,
            (protocol.to_owned(), port.get()),
            &at,
            &format!("the port {port} ({protocol})"),
        );
    }
    if protocol != "TCP" {
        let at = protocol_at.unwrap_or_else(|| item.clone());
        at.note(
            format!("{protocol} is not proxied; the port {port} is left out"),
            "nothing needs to be done",
        );
        return None;
    }
    let app_protocol = app_protocol?;
    Some(ServicePort {
        name: name.into(),
        port,
        target: target.unwrap_or(TargetPort::Number(port)),
        node_port,
        app_protocol,
        spot,
    })
}

/// A number, or the name of a container port. 0 counts as not given.
fn target_port(at: &At<'_>) -> Option<TargetPort> {
    match &at.node.value {
        Value::Integer(0, _) => None,
        Value::Integer(..) => at.port().map(TargetPort::Number),
        Value::String(_) => names::port_name(at).map(|name| TargetPort::Name(name.into())),
        _ => {
            at.wrong_type("a port number or the name of a container port");
            None
        }
    }
}

fn node_port(
    fields: &Fields<'_>,
    service_type: ServiceType,
    protocol: &str,
    seen: &mut Seen,
) -> Option<NonZeroU16> {
    let at = fields.get("nodePort").filter(|at| !matches!(at.node.value, Value::Integer(0, _)))?;
    let port = at.port()?;
    if service_type == ServiceType::ClusterIp {
        at.error(
            "nodePort needs the type NodePort or LoadBalancer",
            "remove nodePort, or write `type: NodePort`",
        );
    }
    unique(&mut seen.node_ports, (protocol.to_owned(), port.get()), &at, &format!("the nodePort {port}"));
    Some(port)
}

/// What the pods speak; `None` after a warning leaves the port out, because clear text must not be sent to a port that is
/// meant to be encrypted.
pub(super) fn app_protocol(at: &At<'_>) -> Option<AppProtocol> {
    match at.string()? {
        "" | "http" | "kubernetes.io/ws" => Some(AppProtocol::Http1),
        // gRPC is always HTTP/2.
        "kubernetes.io/h2c" | "h2c" | "http2" | "grpc" => Some(AppProtocol::H2c),
        text @ ("https" | "kubernetes.io/wss" | "wss" | "tls" | "grpc-web-tls") => {
            at.warning(
                format!("the appProtocol {text} is not supported yet: the port is left out, requests for it get 500"),
                "use a port that speaks http or kubernetes.io/h2c in clear text",
            );
            None
        }
        text => {
            at.note(
                format!("the appProtocol {} is not known; HTTP/1.1 in clear text is spoken", quoted(text)),
                "write http or kubernetes.io/h2c, or leave it out",
            );
            Some(AppProtocol::Http1)
        }
    }
}
