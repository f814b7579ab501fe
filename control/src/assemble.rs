//! Catalog and readiness to snapshot. Pure.
//!
//! The story, in the order of [`assemble`]: which Gateways are ours (`classes`); which routes attach to which of their listeners,
//! and to which Services (`attach`); each route's rules with their Services resolved to endpoints (`rules`, and
//! [`crate::resolve`]); the candidates of each host in order of precedence (`hosts`); and who gets which address and port
//! (`binds`). On the way every reference that finds nothing becomes a problem with its place (`report`), and an arm
//! or a listener that says so; what keeps a Rollout from moving anything is found at the end (`rollouts`).
//!
//! It cannot fail: whatever the catalog holds, there is a snapshot. The same inputs give the same snapshot and the same problems in
//! the same order.
//!
//! Deliberately absent: `ReferenceGrant`, routes for another namespace's Service, TLS, and anything that remembers the last
//! snapshot.

mod attach;
mod binds;
mod classes;
mod endpoints;
mod hosts;
mod names;
mod report;
mod rollouts;
mod rules;
mod suggest;

use std::net::SocketAddr;

use watershed_config::Problem;
use watershed_config::model::{EndpointSlice, Gateway, Hostname, Kind, Service, ServicePort, ServiceType};
use watershed_config::snapshot::{Candidate, Generation, Snapshot, VirtualHost};

use crate::catalog::Catalog;
use crate::readiness::Readiness;
use crate::resolve::Resolver;
use crate::rollout::plan::Plans;
use attach::Attachments;
use binds::Binds;
use hosts::ServiceCandidates;
use names::Names;
use report::{Report, warning};
use rules::{Named, Ranked, Rules};

/// What goes into a snapshot besides manifests and readiness.
#[derive(Debug, Clone, Default)]
pub struct AssembleOptions {
    /// What rollouts want, by Service.
    pub plans: Plans,
    /// Where every Service answers by name; `None` switches it off.
    pub service_listener: Option<SocketAddr>,
}

/// A snapshot and what was found wrong between objects while making it.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// Always complete: what is wrong is in it as an arm that answers with an error.
    pub snapshot: Snapshot,
    /// Warnings, errors (a way in that is taken) and notes about references between objects, in the order of
    /// [`Problem::order`]. They have no excerpts: the texts are not known here.
    pub problems: Vec<Problem>,
}

/// Turns everything that is known into what the data plane should do.
pub fn assemble(
    catalog: &Catalog,
    readiness: &Readiness,
    options: &AssembleOptions,
    generation: Generation,
) -> Assembled {
    let mut report = Report::default();
    let services = Names::new(Kind::Service, catalog.services().map(|service| service.meta.name()));
    let gateways = classes::divide_gateways(catalog, &mut report);
    let attachments = attach::attach(catalog, &gateways, &services, &mut report);
    let resolver = Resolver::new(catalog, readiness, &options.plans);
    let mut rules = Rules { catalog, services: &services, resolver, named: Named::default() };
    let of_routes: Vec<Vec<Ranked>> = attachments
        .routes
        .iter()
        .zip(&attachments.concerns_us)
        .map(|(route, ours)| if *ours { rules.of_route(route, &mut report) } else { Vec::new() })
        .collect();

    let mut binds = Binds::default();
    for gateway in gateways.ours {
        binds.add_gateway(gateway, &hosts_of_gateway(gateway, &attachments, &of_routes), &mut report);
    }
    let reachable = |service: &&Service| {
        options.service_listener.is_some() || service.service_type != ServiceType::ClusterIp
    };
    let by_service: Vec<ServiceCandidates> = catalog
        .services()
        .filter(reachable)
        .map(|service| candidates_of_service(service, &attachments, &of_routes, &mut rules))
        .collect();
    if let Some(address) = options.service_listener {
        binds.add_service_listener(address.into(), hosts::of_service_listener(&by_service), &mut report);
    }
    for (service, ports) in by_service {
        add_ways_in(service, ports, &mut binds, &mut report);
    }

    endpoints::report_endpoints(catalog, &rules.resolver, &rules.named.quiet(), &mut report);
    report_stray_slices(catalog, &services, &mut report);
    rollouts::report_rollouts(catalog, &rules.resolver, &services, &mut report);
    let snapshot = Snapshot { generation, binds: binds.into_binds() };
    Assembled { snapshot, problems: report.into_problems() }
}

/// The hosts of each of a Gateway's listeners.
fn hosts_of_gateway(
    gateway: &Gateway,
    attachments: &Attachments,
    of_routes: &[Vec<Ranked>],
) -> Vec<Vec<VirtualHost>> {
    let of_listener = |index| {
        let attached = attachments.listeners.get(&(gateway.meta.name(), index));
        hosts::of_listener(attached.map_or(&[][..], Vec::as_slice), of_routes)
    };
    (0..gateway.listeners.len()).map(of_listener).collect()
}

/// What may match at each port of a Service: the routes attached to it, or, only if there is none, everything to its own
/// endpoints. (With routes, what no route matches is answered with 404, as GAMMA says.)
fn candidates_of_service<'a>(
    service: &'a Service,
    attachments: &Attachments,
    of_routes: &[Vec<Ranked>],
    rules: &mut Rules<'a, '_>,
) -> ServiceCandidates<'a> {
    let mut candidates = |port: &'a ServicePort| -> Vec<Candidate> {
        match attachments.services.get(&(service.meta.name(), port.port)) {
            Some(routes) => {
                hosts::in_order(routes.iter().flat_map(|route| of_routes[*route].clone()).collect())
            }
            None => rules.of_service(service, port),
        }
    };
    (service, service.ports.iter().map(|port| (port.port.get(), candidates(port))).collect())
}

/// A Service's own ways in: `port` of a `LoadBalancer`, `nodePort` of a `NodePort` Service, on all addresses.
fn add_ways_in<'a>(
    service: &'a Service,
    ports: Vec<(u16, Vec<Candidate>)>,
    binds: &mut Binds<'a>,
    report: &mut Report,
) {
    for (port, (number, candidates)) in service.ports.iter().zip(ports) {
        let listen = match service.service_type {
            ServiceType::ClusterIp => continue,
            ServiceType::LoadBalancer => number,
            ServiceType::NodePort => {
                let Some(node_port) = port.node_port else {
                    report_no_node_port(service, port, report);
                    continue;
                };
                node_port.get()
            }
        };
        let host = VirtualHost { host: Hostname::Any, port: None, candidates };
        binds.add_service(service, port, listen, vec![host], report);
    }
}

fn report_no_node_port(service: &Service, port: &ServicePort, report: &mut Report) {
    let what = format!(
        "port {} of NodePort Service {} is not opened: it has no nodePort, and nobody allocates one here",
        port.port,
        service.meta.name()
    );
    let help = "write nodePort: with a free port such as 30080";
    report.push(warning(&service.meta, port.spot, what).with_field("spec.ports").with_help(help));
}

/// A slice whose Service is not there serves nobody.
fn report_stray_slices(catalog: &Catalog, services: &Names, report: &mut Report) {
    for EndpointSlice { meta, service, service_spot, .. } in catalog.endpoint_slices() {
        let Some(service) = service else { continue };
        if catalog.service(service).is_none() {
            let what = format!("EndpointSlice {} serves nobody: there is no Service {service}", meta.name());
            let elsewhere = "a slice belongs to a Service of its own namespace";
            let help = services.help(service, elsewhere, &report.suggest);
            let field = "metadata.labels[kubernetes.io/service-name]";
            report.push(warning(meta, *service_spot, what).with_field(field).with_help(help));
        }
    }
}
