//! Snapshots for a data plane in the benchmark's own process: one rule for each of the paths that
//! [`Messages`](crate::support::messages::Messages) asks for. Beside `support.rs` and not below it, because it wants the builder
//! of the proxy's tests, which not every benchmark has.

use std::sync::Arc;

use watershed_config::model::{AppProtocol, Filter};
use watershed_config::snapshot::{Arm, BindAddress, Compared, Endpoint, RevisionSplit, Rule, Snapshot};

use crate::builder::{arm, candidate, divided, endpoint, host, listener, rollout, rule_of, snapshot};
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
    /// Whether the shares are those of two revisions of one Service, whose Rollout compares them.
    pub(crate) by_rollout: bool,
}

impl Routes {
    pub(crate) fn snapshot(&self, generation: u64) -> Snapshot {
        let rollout = Arc::new(self.rollout());
        let candidates = (0..self.count).map(|route| {
            let mut rule = Rule::clone(&rule_of(&format!("route-{route}"), self.arms(&rollout)));
            rule.filters.clone_from(&self.filters);
            candidate(&format!("/r{route}"), &rule.into())
        });
        let all = host(HOST, None, candidates.collect());
        let mut snapshot = snapshot(generation, vec![listener("", vec![all])]);
        Arc::make_mut(&mut snapshot.binds[0]).address = address();
        snapshot
    }

    fn arms(&self, rollout: &Arc<RevisionSplit>) -> Vec<Arm> {
        let [stable, canary] = ["stable", "canary"].map(|service| self.pods(service));
        if self.by_rollout {
            let of_canary = canary.into_iter().map(|pod| Endpoint { revision: "2".into(), ..pod });
            return vec![divided(arm(1, "shop", stable.into_iter().chain(of_canary).collect()), rollout)];
        }
        vec![arm(self.weights[0], "stable", stable), arm(self.weights[1], "canary", canary)]
    }

    fn rollout(&self) -> RevisionSplit {
        let [stable, canary] = self.weights;
        let part = 1_000_000 / (stable + canary);
        let compared =
            Compared { canary: "2".into(), stable: "1".into(), slow: [Some(8), Some(12), Some(15)] };
        let shares = [("2", canary * part), ("1", 1_000_000 - canary * part)];
        RevisionSplit { compared: Some(compared), ..rollout(1, &shares) }
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
