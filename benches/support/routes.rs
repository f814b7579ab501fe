//! Snapshots for a data plane in the benchmark's own process: one rule for each of the paths that
//! [`Messages`](crate::support::messages::Messages) asks for. Beside `support.rs` and not below it, because it wants the builder
//! of the proxy's tests, which not every benchmark has.

use watershed_config::model::{AppProtocol, Filter};
use watershed_config::snapshot::{BindAddress, Endpoint, Rule, Snapshot};

use crate::builder::{arm, candidate, endpoint, host, listener, rule_of, snapshot};
use crate::support::messages::{HOST, Protocol};

/// What is served.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    pub(crate) count: usize,
    /// Shares of two Services of two pods each.
    pub(crate) weights: [u32; 2],
    /// Where the pods of each Service listen.
    pub(crate) ports: [u16; 2],
    pub(crate) protocol: Protocol,
    pub(crate) filters: Vec<Filter>,
}

impl Routes {
    pub(crate) fn snapshot(&self, generation: u64) -> Snapshot {
        let candidates = (0..self.count).map(|route| {
            let [stable, canary] = ["stable", "canary"].map(|service| self.pods(service));
            let arms = vec![arm(self.weights[0], "stable", stable), arm(self.weights[1], "canary", canary)];
            let mut rule = Rule::clone(&rule_of(&format!("route-{route}"), arms));
            rule.filters.clone_from(&self.filters);
            candidate(&format!("/r{route}"), &rule.into())
        });
        let all = host(HOST, None, candidates.collect());
        let mut snapshot = snapshot(generation, vec![listener("", vec![all])]);
        snapshot.binds[0].address = address();
        snapshot
    }

    fn pods(&self, service: &str) -> Vec<Endpoint> {
        let port = self.ports[usize::from(service == "canary")];
        let pod = |n: usize| {
            let mut pod = endpoint(&format!("{service}-{n}"), port);
            pod.id.address = ([127, 0, 0, 1], port).into();
            pod.id.protocol = match self.protocol {
                Protocol::Http1 => AppProtocol::Http1,
                Protocol::Http2 => AppProtocol::H2c,
            };
            pod
        };
        (0..2).map(pod).collect()
    }
}

/// Where it listens: on a port that the system chooses.
pub(crate) fn address() -> BindAddress {
    BindAddress { ip: Some([127, 0, 0, 1].into()), port: 0 }
}
