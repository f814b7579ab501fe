//! `discovery.k8s.io/v1` `EndpointSlice`.

use std::net::IpAddr;
use std::sync::Arc;

use super::meta::Metadata;
use super::{names, service};
use crate::fields::{At, Fields, lower_each, quoted};
use crate::model::{EndpointSlice, ObjectName, SliceEndpoint, SlicePort};
use crate::problem::Spot;

/// The label that names the Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Most endpoints and ports in one slice (Kubernetes' own limits).
const ENDPOINTS_MAX: usize = 1_000;
const PORTS_MAX: usize = 20_000;
const ADDRESSES_MAX: usize = 100;

#[derive(Clone, Copy, PartialEq)]
enum Family {
    V4,
    V6,
    Fqdn,
}

pub(super) fn lower(root: &Fields<'_>, metadata: Option<Metadata>) -> Option<EndpointSlice> {
    let family =
        root.require("addressType", "write `addressType: IPv4` (or IPv6)").and_then(|at| address_family(&at));
    let ports = lower_each(&root.items_up_to("ports", PORTS_MAX), port);
    distinct_names(&root.items("ports"));
    let namespace = metadata.as_ref().map(|metadata| metadata.meta.name().namespace.clone());
    let namespace = namespace.unwrap_or_default();
    let items = root.items_up_to("endpoints", ENDPOINTS_MAX);
    let endpoints = lower_each(&items, |item| endpoint(item, family, &namespace));
    root.finish();
    let meta = metadata?.meta;
    let service = meta.labels.get(SERVICE_LABEL);
    if service.is_none() {
        root.at.warning(
            format!("the slice belongs to no Service: it has no label {SERVICE_LABEL}"),
            "name the Service in that label under metadata.labels",
        );
    }
    let service = service.map(|name| ObjectName::new(meta.name().namespace.clone(), name.clone()));
    let service_spot = service_spot(root).unwrap_or(meta.origin.spot);
    Some(EndpointSlice { meta, service, service_spot, ports, endpoints })
}

fn service_spot(root: &Fields<'_>) -> Option<Spot> {
    Some(root.at.node.get("metadata")?.get("labels")?.get(SERVICE_LABEL)?.spot)
}

fn address_family(at: &At<'_>) -> Option<Family> {
    let family = at.one_of(&[("IPv4", Family::V4), ("IPv6", Family::V6), ("FQDN", Family::Fqdn)]);
    if family == Some(Family::Fqdn) {
        at.warning(
            "the addressType FQDN is not supported yet: the slice's endpoints are left out",
            "write the addresses, with `addressType: IPv4` or IPv6",
        );
    }
    family
}

fn port(item: &At<'_>) -> Option<SlicePort> {
    let fields = item.fields()?;
    let name = fields.get("name").filter(|at| at.node.as_str() != Some("")).and_then(|at| names::label(&at));
    let port_at = fields.get("port");
    let port = port_at.as_ref().and_then(At::port);
    let protocol = fields
        .get("protocol")
        .and_then(|at| at.one_of(&[("TCP", "TCP"), ("UDP", "UDP"), ("SCTP", "SCTP")]))
        .unwrap_or("TCP");
    let app_at = fields.get("appProtocol");
    let app_protocol = app_at.as_ref().map(service::app_protocol);
    fields.finish();
    if port_at.is_none() {
        item.warning("the port has no number and is left out", "write the number under `port`");
    }
    if protocol != "TCP" {
        item.note(format!("{protocol} is not proxied; the port is left out"), "nothing needs to be done");
        return None;
    }
    // A protocol that is not supported leaves the port out, one that is not given leaves it to the Service.
    let app_protocol = match app_protocol {
        Some(None) => return None,
        Some(known) => known,
        None => None,
    };
    Some(SlicePort { name: name.unwrap_or_default().into(), port: port?, app_protocol })
}

fn distinct_names(items: &[At<'_>]) {
    let mut seen = std::collections::HashMap::new();
    for item in items {
        let Some(name) = item.node.get("name").and_then(|name| name.as_str()) else { continue };
        if let Some(line) = seen.insert(name, item.spot.line) {
            item.error(
                format!("the port name {} is used twice; first in line {line}", quoted(name)),
                "give each port its own",
            );
        }
    }
}

fn endpoint(item: &At<'_>, family: Option<Family>, namespace: &Arc<str>) -> Option<SliceEndpoint> {
    let fields = item.fields()?;
    let list = fields.require("addresses", "list the endpoint's address");
    let addresses = list.as_ref().map(|list| addresses(list, family)).unwrap_or_default();
    let conditions = fields.get("conditions").and_then(|at| conditions(&at)).unwrap_or_default();
    let pod = fields.get("targetRef").and_then(|at| target(&at, namespace));
    fields.ignore(&["deprecatedTopology", "hints", "hostname", "nodeName", "zone"]);
    fields.finish();
    let ready = conditions.ready.unwrap_or(true);
    Some(SliceEndpoint {
        address: *addresses.first()?,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        pod,
    })
}

fn addresses(list: &At<'_>, family: Option<Family>) -> Vec<IpAddr> {
    let items = list.items_up_to(ADDRESSES_MAX);
    if items.is_empty() {
        list.error("the endpoint has no address", "list at least one");
    }
    if family == Some(Family::Fqdn) {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    for item in &items {
        let Some(ip) = item.ip() else { continue };
        let fits = match family {
            Some(Family::V4) => ip.is_ipv4(),
            Some(Family::V6) => ip.is_ipv6(),
            _ => true,
        };
        if !fits {
            item.error(
                format!("{ip} does not belong to the slice's addressType"),
                "put IPv4 and IPv6 addresses in slices of their own",
            );
        }
        addresses.push(ip);
    }
    addresses
}

#[derive(Default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

fn conditions(at: &At<'_>) -> Option<Conditions> {
    let fields = at.fields()?;
    let conditions = Conditions {
        ready: fields.bool("ready"),
        serving: fields.bool("serving"),
        terminating: fields.bool("terminating"),
    };
    fields.finish();
    Some(conditions)
}

fn target(at: &At<'_>, namespace: &Arc<str>) -> Option<ObjectName> {
    let fields = at.fields()?;
    let kind = fields.string("kind").unwrap_or_default();
    let name = fields.string("name");
    let namespace = fields.string("namespace").map_or_else(|| Arc::clone(namespace), Into::into);
    fields.ignore(&["apiVersion", "fieldPath", "resourceVersion", "uid"]);
    fields.finish();
    (kind == "Pod").then(|| name.map(|name| ObjectName::new(namespace, name)))?
}
