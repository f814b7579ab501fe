//! Which routes attach to which listeners and Services, and why the others do not.
//!
//! Gateway API, `ParentReference` and `AllowedRoutes`; for Services as parents GAMMA (GEP-1426). A route is attached to a Gateway
//! if one of its listeners takes it: right section and port, kind and namespace allowed, a hostname in common. What is not
//! attached is a warning at its parentRef and changes nothing else.

mod refusal;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use watershed_config::Severity;
use watershed_config::model::{
    AllowedNamespaces, Gateway, GatewayListener, Hostname, HttpRoute, Kind, Labels, ObjectName, ParentKind,
    ParentRef, RouteKind, Service,
};

use super::classes::Gateways;
use super::names::Names;
use super::report::{Report, problem, warning};
use crate::catalog::Catalog;
use refusal::Refusal;

/// The label that every namespace has, written or not.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Routes and what they are attached to. Routes are named by their index in `routes`.
#[derive(Debug, Default)]
pub(super) struct Attachments<'a> {
    /// All routes in order of precedence: the older first, one without an age last, then by namespace and name.
    pub(super) routes: Vec<&'a HttpRoute>,
    /// Whether a route concerns us at all: not if all its parents are other controllers' Gateways.
    pub(super) concerns_us: Vec<bool>,
    /// By Gateway and the index of its listener: the routes in order of precedence, each with the hosts it serves there.
    pub(super) listeners: HashMap<(&'a ObjectName, usize), Vec<Attached>>,
    /// By Service and port: the routes in order of precedence.
    pub(super) services: HashMap<(&'a ObjectName, NonZeroU16), Vec<usize>>,
}

/// A route, by its index, and the hosts it serves at a listener.
pub(super) type Attached = (usize, Vec<Hostname>);

/// Attaches every route to its parents.
pub(super) fn attach<'a>(
    catalog: &'a Catalog,
    gateways: &Gateways<'a>,
    services: &Names,
    report: &mut Report,
) -> Attachments<'a> {
    let mut routes: Vec<&HttpRoute> = catalog.http_routes().collect();
    routes.sort_by_key(|route| (route.meta.created.is_none(), route.meta.created, route.meta.name()));
    let attachments =
        Attachments { concerns_us: vec![false; routes.len()], routes, ..Attachments::default() };
    let mut attacher = Attacher {
        catalog,
        ours: gateways.ours.iter().map(|gateway| (gateway.meta.name(), *gateway)).collect(),
        foreign: &gateways.foreign,
        gateway_names: Names::new(Kind::Gateway, catalog.gateways().map(|gateway| gateway.meta.name())),
        services,
        namespace_labels: namespace_labels(catalog),
        attachments,
        report,
    };
    for index in 0..attacher.attachments.routes.len() {
        attacher.attach_route(index);
    }
    attacher.attachments
}

/// The labels of the namespaces that are written, with the one that is always there.
fn namespace_labels(catalog: &Catalog) -> HashMap<&str, Labels> {
    catalog
        .namespaces()
        .map(|meta| (&*meta.name().name, with_own_name(&meta.labels, &meta.name().name)))
        .collect()
}

fn with_own_name(labels: &Labels, name: &Arc<str>) -> Labels {
    labels.with(Arc::from(NAMESPACE_NAME_LABEL), Arc::clone(name))
}

struct Attacher<'a, 'r> {
    catalog: &'a Catalog,
    ours: HashMap<&'a ObjectName, &'a Gateway>,
    foreign: &'r HashSet<&'a ObjectName>,
    gateway_names: Names<'a>,
    services: &'r Names<'r>,
    namespace_labels: HashMap<&'a str, Labels>,
    attachments: Attachments<'a>,
    report: &'r mut Report,
}

impl<'a> Attacher<'a, '_> {
    fn attach_route(&mut self, index: usize) {
        let route = self.attachments.routes[index];
        let mut unserved = Unserved::new(&route.hostnames);
        let mut concerns_us = route.parents.is_empty();
        for (position, parent) in route.parents.iter().enumerate() {
            let outcome = match parent.kind {
                ParentKind::Gateway => self.attach_to_gateway(index, parent, &mut unserved),
                ParentKind::Service => self.attach_to_service(index, parent),
            };
            concerns_us |= !matches!(outcome, Err(Refusal::Foreign));
            if let Err(refusal) = outcome
                && let Some((why, help)) = refusal.explain(route, parent, &self.report.suggest)
            {
                let what = format!("HTTPRoute {} is not attached: {why}", route.meta.name());
                let spot = refusal.spot(route, parent);
                let field = format!("spec.parentRefs[{position}]");
                self.report.push(warning(&route.meta, spot, what).with_field(field).with_help(help));
            }
        }
        self.attachments.concerns_us[index] = concerns_us;
        self.report_unserved(route, &unserved);
    }

    fn attach_to_gateway(
        &mut self,
        index: usize,
        parent: &ParentRef,
        unserved: &mut Unserved,
    ) -> Result<(), Refusal<'a>> {
        let route = self.attachments.routes[index];
        let Some(gateway) = self.ours.get(&parent.name).copied() else {
            if self.foreign.contains(&parent.name) {
                return Err(Refusal::Foreign);
            }
            if self.catalog.gateway(&parent.name).is_some() {
                return Err(Refusal::NoClass);
            }
            let elsewhere = "say so with namespace: in this parentRef";
            let help = self.gateway_names.help(&parent.name, elsewhere, &self.report.suggest);
            return Err(Refusal::NoParent { help });
        };
        let selected: Vec<(usize, &GatewayListener)> =
            gateway.listeners.iter().enumerate().filter(|(_, listener)| selects(parent, listener)).collect();
        if selected.is_empty() {
            return Err(Refusal::NoListener { gateway });
        }
        let mut nearest: Option<Refusal> = None;
        let mut attached = false;
        for (position, listener) in selected {
            match self.admit(route, gateway, listener) {
                Ok(hosts) => {
                    attached = true;
                    unserved.serve(listener);
                    let list = self.attachments.listeners.entry((gateway.meta.name(), position)).or_default();
                    // Two parentRefs may select the same listener. Routes come one after the other, so only the last
                    // entry can be this route's own.
                    if list.last().is_none_or(|(last, _)| *last != index) {
                        list.push((index, hosts));
                    }
                }
                Err(refusal) if nearest.as_ref().is_none_or(|best| refusal.nearness() > best.nearness()) => {
                    nearest = Some(refusal);
                }
                Err(_) => {}
            }
        }
        match nearest {
            Some(refusal) if !attached => Err(refusal),
            _ => Ok(()),
        }
    }

    /// The hosts that a route serves at a listener.
    fn admit(
        &self,
        route: &HttpRoute,
        gateway: &'a Gateway,
        listener: &'a GatewayListener,
    ) -> Result<Vec<Hostname>, Refusal<'a>> {
        if !listener.kinds.contains(&RouteKind::Http) {
            return Err(Refusal::Kind { gateway, listener });
        }
        if !self.allows_namespace(&route.meta.name().namespace, gateway, listener) {
            return Err(Refusal::Namespace { gateway, listener });
        }
        if route.hostnames.is_empty() {
            return Ok(vec![listener.hostname.clone()]);
        }
        let mut hosts: Vec<Hostname> = Vec::new();
        for host in route.hostnames.iter().filter_map(|host| listener.hostname.intersect(host)) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        if hosts.is_empty() { Err(Refusal::Hostname { gateway, listener }) } else { Ok(hosts) }
    }

    fn allows_namespace(&self, namespace: &Arc<str>, gateway: &Gateway, listener: &GatewayListener) -> bool {
        match &listener.namespaces {
            AllowedNamespaces::Same => *namespace == gateway.meta.name().namespace,
            AllowedNamespaces::All => true,
            AllowedNamespaces::Selector(selector) => match self.namespace_labels.get(&**namespace) {
                Some(labels) => selector.matches(labels),
                None => selector.matches(&with_own_name(&Labels::default(), namespace)),
            },
        }
    }

    /// A route with a Service as its parent shapes that Service's own ways in. Its hostnames are ignored, as GAMMA says.
    fn attach_to_service(&mut self, index: usize, parent: &ParentRef) -> Result<(), Refusal<'a>> {
        let route = self.attachments.routes[index];
        let Some(service) = self.catalog.service(&parent.name) else {
            let elsewhere = "move the route there, because routes for a Service of another namespace are not supported yet";
            let help = self.services.help(&parent.name, elsewhere, &self.report.suggest);
            return Err(Refusal::NoParent { help });
        };
        if service.meta.name().namespace != route.meta.name().namespace {
            return Err(Refusal::Consumer);
        }
        let ports = service_ports(service, parent);
        if ports.is_empty() {
            return Err(Refusal::NoServicePort { service });
        }
        for port in ports {
            let list = self.attachments.services.entry((service.meta.name(), port)).or_default();
            if list.last() != Some(&index) {
                list.push(index);
            }
        }
        Ok(())
    }

    /// Gateway API ignores a hostname that no listener of the route shares, as long as another one attaches. That is often
    /// wanted, and now and then a slip of which nobody hears.
    fn report_unserved(&mut self, route: &HttpRoute, unserved: &Unserved) {
        for host in unserved.hosts() {
            let what = format!(
                "hostname {host} of HTTPRoute {} is served by none of the listeners that it is attached to",
                route.meta.name()
            );
            self.report.push(
                problem(Severity::Note, &route.meta, route.hostnames_spot, what).with_field("spec.hostnames"),
            );
        }
    }
}

/// Whether a parentRef's section and port, where given, are this listener's.
fn selects(parent: &ParentRef, listener: &GatewayListener) -> bool {
    parent.section.as_ref().is_none_or(|section| *section == listener.name)
        && parent.port.is_none_or(|port| port == listener.port)
}

/// The ports of a Service that a parentRef's section and port, where given, select.
fn service_ports(service: &Service, parent: &ParentRef) -> Vec<NonZeroU16> {
    let selected = service.ports.iter().filter(|port| {
        parent.port.is_none_or(|number| number == port.port)
            && parent.section.as_ref().is_none_or(|section| *section == port.name)
    });
    selected.map(|port| port.port).collect()
}

/// Which of a route's hostnames no listener has served so far.
struct Unserved<'r> {
    hostnames: &'r [Hostname],
    served: Vec<bool>,
    attached: bool,
}

impl<'r> Unserved<'r> {
    fn new(hostnames: &'r [Hostname]) -> Self {
        Self { hostnames, served: vec![false; hostnames.len()], attached: false }
    }

    fn serve(&mut self, listener: &GatewayListener) {
        self.attached = true;
        for (host, served) in self.hostnames.iter().zip(&mut self.served) {
            *served = *served || listener.hostname.intersect(host).is_some();
        }
    }

    /// None if the route is attached nowhere: then there is a warning that says more.
    fn hosts(&self) -> impl Iterator<Item = &'r Hostname> {
        let attached = self.attached;
        self.hostnames
            .iter()
            .zip(&self.served)
            .filter(move |(_, served)| attached && !**served)
            .map(|(host, _)| host)
    }
}
