//! Gateway: addresses and listeners.

use std::collections::HashSet;

use super::kinds::GATEWAY_GROUP;
use super::labels;
use super::meta::Metadata;
use super::names::{self, Wildcard};
use crate::fields::{At, Fields, quoted};
use crate::model::{
    AllowedNamespaces, Gateway, GatewayAddress, GatewayListener, Hostname, ListenerProtocol, RouteKind,
};

const LISTENERS_MAX: usize = 64;
const ADDRESSES_MAX: usize = 16;
const KINDS_MAX: usize = 8;

pub(super) fn lower(root: &Fields<'_>, metadata: Option<Metadata>) -> Option<Gateway> {
    let help = "write `spec:` with a `gatewayClassName` and `listeners`";
    let spec = root.require("spec", help).and_then(|at| at.fields());
    root.finish();
    let spec = spec?;
    let class_at = spec.require("gatewayClassName", "write `gatewayClassName: watershed`");
    let class = class_at.as_ref().and_then(|at| at.text(253));
    let written = spec.items_up_to("addresses", ADDRESSES_MAX);
    let addresses = addresses(&written);
    let mut listeners = listeners(&spec);
    if addresses.is_empty() && !written.is_empty() {
        // No address may mean all addresses; but who asked for particular ones must not be opened to everybody.
        listeners.clear();
    }
    for name in ["tls", "allowedListeners", "defaultScope"] {
        if let Some(at) = spec.get(name) {
            at.not_supported(&format!("spec.{name} of a Gateway"));
        }
    }
    if let Some(infrastructure) = spec.get("infrastructure").and_then(|at| at.fields()) {
        infrastructure.ignore(&["labels", "annotations"]);
        if let Some(at) = infrastructure.get("parametersRef") {
            at.not_supported("infrastructure.parametersRef");
        }
        infrastructure.finish();
    }
    spec.finish();
    Some(Gateway {
        meta: metadata?.meta,
        class: class?.into(),
        class_spot: class_at?.spot,
        addresses,
        listeners,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum AddressType {
    Ip,
    Name,
}

fn addresses(items: &[At<'_>]) -> Vec<GatewayAddress> {
    let mut addresses: Vec<GatewayAddress> = Vec::new();
    for item in items {
        let Some((at, address)) = address(item) else { continue };
        if addresses.iter().any(|other| other.ip == address.ip) {
            at.error(format!("the address {} is given twice", address.ip), "remove one of the two");
        }
        addresses.push(address);
    }
    addresses
}

fn address<'a>(item: &At<'a>) -> Option<(At<'a>, GatewayAddress)> {
    let fields = item.fields()?;
    let type_at = fields.get("type");
    let words = [
        ("IPAddress", AddressType::Ip),
        ("Hostname", AddressType::Name),
        ("NamedAddress", AddressType::Name),
    ];
    let kind = type_at.as_ref().map_or(Some(AddressType::Ip), |at| at.one_of(&words));
    let value_at = match kind {
        Some(AddressType::Ip) => fields.require("value", "write the IP address to listen on"),
        _ => fields.get("value"),
    };
    fields.finish();
    if kind? == AddressType::Name {
        let at = type_at.unwrap_or_else(|| item.clone());
        at.warning(
            "only addresses of the type IPAddress can be listened on; this one is left out",
            "write `type: IPAddress` with an address of this machine, or leave `addresses` out to listen on all",
        );
        return None;
    }
    let at = value_at?;
    let ip = at.ip()?;
    Some((at.clone(), GatewayAddress { ip, spot: at.spot }))
}

/// What the Gateway API calls protocols; a domain-prefixed one belongs to another implementation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    NotServed,
}

fn listeners(spec: &Fields<'_>) -> Vec<GatewayListener> {
    let help = "list at least one listener with name, port and protocol";
    let Some(list) = spec.require("listeners", help) else { return Vec::new() };
    let items = list.items_up_to(LISTENERS_MAX);
    if items.is_empty() {
        list.error("the Gateway has no listener", help);
    }
    let mut names = HashSet::new();
    let mut listeners: Vec<GatewayListener> = Vec::new();
    for item in &items {
        let Some((listener, at)) = listener(item, &mut names) else { continue };
        let twin =
            listeners.iter().find(|other| other.port == listener.port && other.hostname == listener.hostname);
        if let Some(twin) = twin {
            let host = match &listener.hostname {
                Hostname::Any => "no hostname".to_owned(),
                host => format!("the hostname {host}"),
            };
            let help = "give each listener on a port its own hostname, or another port";
            at.error(
                format!(
                    "the listener `{}` cannot be told from `{}` in line {}: both have port {} and {host}",
                    listener.name, twin.name, twin.spot.line, listener.port
                ),
                help,
            );
            At { spot: twin.spot, ..at.clone() }.error(
                format!(
                    "the listener `{}` cannot be told from `{}` in line {}",
                    twin.name, listener.name, listener.spot.line
                ),
                help,
            );
        }
        listeners.push(listener);
    }
    listeners
}

fn listener<'a>(item: &At<'a>, names: &mut HashSet<String>) -> Option<(GatewayListener, At<'a>)> {
    let fields = item.fields()?;
    let name_at = fields.require("name", "give the listener a name; routes refer to it by sectionName");
    let name = name_at.as_ref().and_then(names::object_name);
    let port = fields.require("port", "write the port to listen on").and_then(|at| at.port());
    let protocol = fields.require("protocol", "write `protocol: HTTP`").and_then(|at| protocol(&at));
    let hostname = match fields.get("hostname").filter(|at| at.node.as_str() != Some("")) {
        Some(at) => names::hostname(&at, Wildcard::Allowed),
        None => Some(""),
    };
    let (namespaces, kinds) = allowed_routes(&fields);
    if let (Some(at), Some(Protocol::Http)) = (fields.get("tls"), protocol) {
        at.error("a listener of the protocol HTTP has no tls", "remove tls");
    }
    fields.finish();
    let (name, at) = (name?, name_at?);
    if !names.insert(name.to_owned()) {
        at.error(format!("the listener name {} is used twice", quoted(name)), "give each listener its own");
    }
    if protocol? == Protocol::NotServed {
        return None;
    }
    let listener = GatewayListener {
        name: name.into(),
        port: port?,
        protocol: ListenerProtocol::Http,
        hostname: Hostname::parse(hostname?),
        namespaces,
        kinds,
        spot: at.spot,
    };
    Some((listener, at))
}

fn protocol(at: &At<'_>) -> Option<Protocol> {
    let text = at.string()?;
    let words = ["HTTP", "HTTPS", "TLS", "TCP", "UDP"]
        .map(|word| (word, if word == "HTTP" { Protocol::Http } else { Protocol::NotServed }));
    let foreign = text.split_once('/').is_some_and(|(domain, _)| domain.contains('.'));
    let protocol = if foreign { Some(Protocol::NotServed) } else { at.one_of(&words) };
    if protocol == Some(Protocol::NotServed) {
        at.warning(
            format!("the protocol {} is not supported yet; the listener is not served", quoted(text)),
            "use `protocol: HTTP`, or remove the listener",
        );
    }
    protocol
}

fn allowed_routes(listener: &Fields<'_>) -> (AllowedNamespaces, Vec<RouteKind>) {
    let default = (AllowedNamespaces::Same, vec![RouteKind::Http]);
    let Some(fields) = listener.get("allowedRoutes").and_then(|at| at.fields()) else { return default };
    let namespaces = fields.get("namespaces").and_then(|at| allowed_namespaces(&at));
    let kinds = match fields.get("kinds").map(|at| at.items_up_to(KINDS_MAX)) {
        Some(items) if !items.is_empty() => items.iter().filter_map(route_kind).collect(),
        _ => default.1,
    };
    fields.finish();
    (namespaces.unwrap_or(default.0), kinds)
}

#[derive(Clone, Copy, PartialEq)]
enum From {
    Same,
    All,
    Selector,
}

fn allowed_namespaces(at: &At<'_>) -> Option<AllowedNamespaces> {
    let fields = at.fields()?;
    let words = [("Same", From::Same), ("All", From::All), ("Selector", From::Selector)];
    let from = fields.get("from").map_or(Some(From::Same), |at| at.one_of(&words));
    let selector = match from {
        Some(From::Selector) => fields.require("selector", "write the labels under `selector.matchLabels`"),
        _ => fields.get("selector"),
    };
    fields.finish();
    let labels = selector.as_ref().and_then(labels::selector);
    if let (Some(From::Same | From::All), Some(selector)) = (from, &selector) {
        selector.warning("the selector has no effect without `from: Selector`", "write `from: Selector`");
    }
    Some(match from? {
        From::Same => AllowedNamespaces::Same,
        From::All => AllowedNamespaces::All,
        From::Selector => AllowedNamespaces::Selector(labels?),
    })
}

fn route_kind(item: &At<'_>) -> Option<RouteKind> {
    let fields = item.fields()?;
    let group = fields.string("group").unwrap_or(GATEWAY_GROUP);
    let kind_at = fields.require("kind", "write the kind of the routes, for example HTTPRoute");
    fields.finish();
    let at = kind_at?;
    let kind = at.string()?;
    if group == GATEWAY_GROUP && kind == "HTTPRoute" {
        return Some(RouteKind::Http);
    }
    at.warning(
        format!("routes of the kind {} cannot attach to this listener", quoted(kind)),
        "only HTTPRoute is supported yet",
    );
    None
}
