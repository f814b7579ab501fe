//! Why a route is not attached, and what would mend it.

use watershed_config::Spot;
use watershed_config::model::{
    AllowedNamespaces, Gateway, GatewayListener, HttpRoute, ParentKind, ParentRef, Service,
};

use crate::assemble::suggest::{Suggest, listed};

/// Why a parent does not take a route.
#[derive(Debug)]
pub(super) enum Refusal<'a> {
    /// The Gateway is another controller's.
    Foreign,
    /// The Gateway is of a class that is not there, which is reported at the Gateway and only there.
    NoClass,
    /// No such Gateway or Service.
    NoParent { help: String },
    /// No listener has this section name and port.
    NoListener { gateway: &'a Gateway },
    /// The listener takes no HTTP routes.
    Kind { gateway: &'a Gateway, listener: &'a GatewayListener },
    /// The listener takes no routes from this namespace.
    Namespace { gateway: &'a Gateway, listener: &'a GatewayListener },
    /// The listener and the route have no hostname in common.
    Hostname { gateway: &'a Gateway, listener: &'a GatewayListener },
    /// No port of the Service has this name and number.
    NoServicePort { service: &'a Service },
    /// A Service of another namespace ("consumer route").
    Consumer,
}

impl Refusal<'_> {
    /// Of several listeners that refuse, the one which came nearest to taking the route is the one to tell of.
    pub(super) fn nearness(&self) -> u8 {
        match self {
            Self::Hostname { .. } => 2,
            Self::Namespace { .. } => 1,
            _ => 0,
        }
    }

    /// The part of the route that the parent does not take.
    pub(super) fn spot(&self, route: &HttpRoute, parent: &ParentRef) -> Spot {
        match self {
            Self::NoListener { .. } | Self::NoServicePort { .. } => parent.section_spot,
            Self::Hostname { .. } => route.hostnames_spot,
            _ => parent.spot,
        }
    }

    /// What is wrong and how to mend it; `None` if it is not worth telling.
    pub(super) fn explain(
        &self,
        route: &HttpRoute,
        parent: &ParentRef,
        suggest: &Suggest,
    ) -> Option<(String, String)> {
        Some(match self {
            Self::Foreign | Self::NoClass => return None,
            Self::NoParent { help } => {
                let kind = match parent.kind {
                    ParentKind::Gateway => "Gateway",
                    ParentKind::Service => "Service",
                };
                (format!("there is no {kind} {}", parent.name), help.clone())
            }
            Self::NoListener { gateway } => no_listener(gateway, parent, suggest),
            Self::Kind { gateway, listener } => (
                format!("{} takes no HTTPRoutes", describe(gateway, listener)),
                "add HTTPRoute to the listener's allowedRoutes.kinds, or name another listener".to_owned(),
            ),
            Self::Namespace { gateway, listener } => refused_namespace(route, gateway, listener),
            Self::Hostname { gateway, listener } => refused_hostnames(route, gateway, listener),
            Self::NoServicePort { service } => no_service_port(service, parent, suggest),
            Self::Consumer => (
                format!(
                    "Service {} is in another namespace, and routes for another namespace's Service are not supported yet",
                    parent.name
                ),
                format!("move the route to namespace {}", parent.name.namespace),
            ),
        })
    }
}

fn describe(gateway: &Gateway, listener: &GatewayListener) -> String {
    format!("listener {:?} of Gateway {}", listener.name, gateway.meta.name())
}

fn no_listener(gateway: &Gateway, parent: &ParentRef, suggest: &Suggest) -> (String, String) {
    let name = gateway.meta.name();
    let have =
        gateway.listeners.iter().map(|listener| format!("{:?} (port {})", listener.name, listener.port));
    let have = if gateway.listeners.is_empty() {
        "it has no listener that is served".to_owned()
    } else {
        match gateway.listeners.len() {
            1 => format!("its listener is {}", listed(have)),
            _ => format!("its listeners are {}", listed(have)),
        }
    };
    match (&parent.section, parent.port) {
        (Some(section), Some(port)) if gateway.listeners.iter().any(|listener| listener.name == *section) => {
            (format!("listener {section:?} of Gateway {name} is not on port {port}"), have)
        }
        (Some(section), _) => {
            let names = gateway.listeners.iter().map(|listener| &*listener.name);
            let help = match suggest.nearest(section, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => have,
            };
            (format!("Gateway {name} serves no listener named {section:?}"), help)
        }
        (None, Some(port)) => (format!("Gateway {name} has no listener on port {port}"), have),
        (None, None) => (format!("Gateway {name} has no listener"), have),
    }
}

fn refused_namespace(route: &HttpRoute, gateway: &Gateway, listener: &GatewayListener) -> (String, String) {
    let namespace = &route.meta.name().namespace;
    match listener.namespaces {
        AllowedNamespaces::Selector(_) => (
            format!("namespace {namespace} has not the labels that {} selects", describe(gateway, listener)),
            format!(
                "label the Namespace {namespace}, or widen the listener's allowedRoutes.namespaces.selector"
            ),
        ),
        AllowedNamespaces::Same | AllowedNamespaces::All => (
            format!(
                "{} takes routes of its own namespace only, and the route is in {namespace}",
                describe(gateway, listener)
            ),
            "set the listener's allowedRoutes.namespaces.from to All (or Selector), or move the route"
                .to_owned(),
        ),
    }
}

fn refused_hostnames(route: &HttpRoute, gateway: &Gateway, listener: &GatewayListener) -> (String, String) {
    let (hosts, own, listener_name) =
        (listed(&route.hostnames), &listener.hostname, describe(gateway, listener));
    let what = if route.hostnames.len() == 1 {
        format!("its hostname {hosts} does not belong to {listener_name} ({own})")
    } else {
        format!("none of its hostnames {hosts} belongs to {listener_name} ({own})")
    };
    (what, format!("write hostnames within {own}, or a listener for the route's hostname"))
}

fn no_service_port(service: &Service, parent: &ParentRef, suggest: &Suggest) -> (String, String) {
    let name = service.meta.name();
    let have = service.ports.iter().map(|port| match &*port.name {
        "" => port.port.to_string(),
        name => format!("{} ({name:?})", port.port),
    });
    let have = match service.ports.len() {
        1 => format!("its port is {}", listed(have)),
        _ => format!("its ports are {}", listed(have)),
    };
    match (&parent.section, parent.port) {
        (None, None) => (format!("Service {name} has no port"), "add a port to the Service".to_owned()),
        (None, Some(port)) => (format!("Service {name} has no port {port}"), have),
        (Some(section), None) => {
            let near = suggest.nearest(section, service.ports.iter().map(|port| &*port.name));
            let help = near.map_or(have, |near| format!("did you mean `{near}`?"));
            (format!("Service {name} has no port named {section:?}"), help)
        }
        (Some(section), Some(port)) => (format!("Service {name} has no port {port} named {section:?}"), have),
    }
}
