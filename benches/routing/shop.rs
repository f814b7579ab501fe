//! A shop's routing table in any size, and the requests that it gets.

use std::sync::Arc;

use watershed_config::snapshot::Snapshot;
use watershed_proxy::table::{Action, ArmTarget, Head, Routed, RoutingTable};

use crate::builder::{Asked, arm, candidate, endpoint, host, listener, rule_of, snapshot};

/// So many different requests take turns, so that the caches are not flattered.
pub(crate) const REQUESTS: usize = 1024;

/// A table of this many routes, spread evenly over the hosts; each splits 90 to 10 between two Services of two pods.
pub(crate) fn shop(routes: usize, hosts: usize) -> Snapshot {
    let served = (0..hosts).map(|h| {
        let candidates = (0..routes / hosts).map(|r| {
            let pods = |service: &str| {
                (0..2).map(|pod| endpoint(&format!("{service}-{h}-{r}-{pod}"), 9000 + pod)).collect()
            };
            let arms =
                vec![arm(90, &format!("stable-{h}"), pods("stable")), arm(10, "canary", pods("canary"))];
            candidate(&format!("/api/v1/resource-{r}"), &rule_of(&format!("route-{h}-{r}"), arms))
        });
        host(&format!("host-{h}.shop.example"), None, candidates.collect())
    });
    snapshot(1, vec![listener("", served.collect())])
}

pub(crate) fn requests(routes: usize, hosts: usize) -> Vec<Asked> {
    (0..REQUESTS)
        .map(|n| {
            let (h, r) = (n * 37 % hosts, n * 61 % (routes / hosts));
            Asked::new(&format!(
                "host-{h}.shop.example/api/v1/resource-{r}/items/{n}?page=2 accept:text/html"
            ))
        })
        .collect()
}

/// What a request does until it has its endpoint, as in `proxy::request` and `proxy::forward`.
pub(crate) fn route_and_pick(table: &RoutingTable, head: &Head<'_>, random: u64) -> usize {
    let Routed::Rule(rule) = table.route(0, head) else { return 0 };
    let rule = Arc::clone(rule);
    let Action::Split(split) = &rule.action else { return 0 };
    let arm = split.pick(split.state.draw(0));
    split.picks.count(0, arm);
    match &split.arms[arm].target {
        ArmTarget::Backend { backend, .. } => backend.choose(0, random, &[]).unwrap_or(0),
        _ => 0,
    }
}

/// Another reading of [`shop`] in which somebody has changed one weight.
pub(crate) fn edited(routes: usize, hosts: usize) -> Snapshot {
    let mut snapshot = shop(routes, hosts);
    let candidate = &mut Arc::make_mut(&mut snapshot.binds[0]).listeners[0].hosts[0].candidates[0];
    Arc::make_mut(&mut candidate.rule).arms[0].weight = 80;
    snapshot
}
