//! Candidates by host, best first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use watershed_config::model::{Hostname, Service};
use watershed_config::snapshot::{Candidate, VirtualHost};

use super::attach::Attached;
use super::rules::Ranked;

/// The namespace that a bare Service name stands for on the service listener.
const DEFAULT_NAMESPACE: &str = "default";

/// Puts candidates in order of precedence. They must come in order of their routes (age, then name), rules and matches: the
/// sort is stable, so that among equally specific matches exactly this order decides.
pub(super) fn in_order(mut ranked: Vec<Ranked>) -> Vec<Candidate> {
    ranked.sort_by_key(|one| one.rank);
    ranked.into_iter().map(|one| one.candidate).collect()
}

/// The hosts of a Gateway's listener, from the routes attached to it in order of precedence, each with its hosts there.
/// `rules` holds each route's matches.
pub(super) fn of_listener(attached: &[Attached], rules: &[Vec<Ranked>]) -> Vec<VirtualHost> {
    let mut by_host: HashMap<&Hostname, Vec<Ranked>> = HashMap::new();
    for (route, hosts) in attached {
        for host in hosts {
            by_host.entry(host).or_default().extend_from_slice(&rules[*route]);
        }
    }
    let hosts = by_host.into_iter().map(|(host, ranked)| VirtualHost {
        host: host.clone(),
        port: None,
        candidates: in_order(ranked),
    });
    sorted(hosts.collect())
}

/// A Service and, for each of its ports, what may match there.
pub(super) type ServiceCandidates<'a> = (&'a Service, Vec<(u16, Vec<Candidate>)>);

/// The hosts of the service listener: every Service under each of its names, its first port unless the Host names another one.
pub(super) fn of_service_listener(services: &[ServiceCandidates]) -> Vec<VirtualHost> {
    let mut hosts = Vec::new();
    for (service, ports) in services {
        for host in names(service) {
            for (index, (port, candidates)) in ports.iter().enumerate() {
                let port = (index > 0).then_some(*port);
                hosts.push(VirtualHost { host: host.clone(), port, candidates: candidates.clone() });
            }
        }
    }
    sorted(hosts)
}

/// The names of a Service, as a cluster's DNS has them.
fn names(service: &Service) -> Vec<Hostname> {
    let id = service.meta.name();
    let (name, namespace) = (id.name.to_ascii_lowercase(), id.namespace.to_ascii_lowercase());
    let mut names = vec![
        format!("{name}.{namespace}"),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}.svc.cluster.local"),
    ];
    if namespace == DEFAULT_NAMESPACE {
        names.push(name);
    }
    names.into_iter().map(|name| Hostname::Exact(Arc::from(name))).collect()
}

/// The most specific host first; of one host, a named port before any port. Of equal ones the first stays.
fn sorted(mut hosts: Vec<VirtualHost>) -> Vec<VirtualHost> {
    hosts.sort_by(|a, b| {
        let key = |host: &VirtualHost| (Reverse(host.host.specificity()), host.port.is_none(), host.port);
        let (a_key, b_key) = (key(a), key(b));
        a_key
            .0
            .cmp(&b_key.0)
            .then_with(|| a.host.cmp(&b.host))
            .then_with(|| (a_key.1, a_key.2).cmp(&(b_key.1, b_key.2)))
    });
    hosts.dedup_by(|a, b| a.host == b.host && a.port == b.port);
    hosts
}
