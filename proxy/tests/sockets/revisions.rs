//! Rollouts: which revision a request gets, and what is known of it afterwards.

use std::sync::Arc;

use watershed_config::model::ObjectName;
use watershed_config::observation::{Observation, RolloutObservation};
use watershed_config::snapshot::{
    Backend, Compared, Endpoint, EndpointState, RevisionShare, RevisionSplit, Rule,
};

use crate::support::{Pod, TestProxy, arm, backend, eventually, rule, with_state};

/// A pod of a revision, as an endpoint.
fn of(revision: &str, pod: &Pod, uid: &str) -> Endpoint {
    Endpoint { revision: revision.into(), ..pod.endpoint(uid) }
}

/// A Rollout of which `2` has this share in millionths and `1`, the stable revision, the rest.
fn rollout(canary: u32) -> RevisionSplit {
    let share = |revision: &str, millionths| RevisionShare {
        revision: revision.into(),
        millionths,
        wanted: millionths,
    };
    RevisionSplit {
        rollout: ObjectName::new("default", "hello"),
        run: 1,
        epoch: u64::from(canary),
        compared: Some(Compared { canary: "2".into(), stable: "1".into(), slow: [Some(17), None, None] }),
        shares: vec![share("2", canary), share("1", 1_000_000 - canary)],
        sticky: None,
        salt: 7,
        routes: Vec::new(),
    }
}

/// A rule that leads to Service `hello` under a Rollout.
fn under(split: RevisionSplit, endpoints: &[Endpoint]) -> Rule {
    let service = Backend { rollout: Some(Arc::new(split)), ..Backend::clone(&backend("hello", endpoints)) };
    rule(vec![arm(1, &Arc::new(service))])
}

fn observed(proxy: &TestProxy) -> RolloutObservation {
    let Observation { mut rollouts, .. } = proxy.proxy.observer().observe();
    rollouts.remove(&ObjectName::new("default", "hello")).unwrap_or_default()
}

/// How often each revision was picked by weight, in the order of the shares, over all splits.
fn decisions(of: &RolloutObservation) -> Vec<u64> {
    of.splits.iter().flat_map(|split| &split.decisions).map(|(_, _, count)| *count).collect()
}

#[test]
fn what_is_observed_is_what_happened() {
    let (stable, canary) = (Pod::named("1"), Pod::answering("HTTP/1.1 500 Oh\r\ncontent-length: 1\r\n\r\n2"));
    let endpoints = [of("1", &stable, "a"), of("2", &canary, "b")];
    let mut proxy = TestProxy::serving(under(rollout(250_000), &endpoints));
    let mut client = proxy.connect();
    for _ in 0..80 {
        client.get("/");
    }
    eventually("all have ended", || {
        let seen = observed(&proxy);
        seen.revisions.values().map(|counts| counts.requests).sum::<u64>() == 80
    });
    let seen = observed(&proxy);
    assert_eq!((seen.run, seen.splits.len()), (1, 1));
    assert_eq!(seen.splits[0].epoch, 250_000);
    assert_eq!(seen.splits[0].decisions[0].1, 250_000);
    let counts = decisions(&seen);
    assert_eq!(counts.iter().sum::<u64>(), 80);
    assert_eq!(counts, [canary.count() as u64, stable.count() as u64]);
    let (one, two) = (&seen.revisions["1"], &seen.revisions["2"]);
    assert_eq!((one.requests, one.failed, one.in_flight), (counts[1], 0, 0));
    assert_eq!((two.requests, two.failed, two.in_flight), (counts[0], counts[0], 0));
    assert_eq!(one.durations.iter().sum::<u64>(), counts[1]);
    let blocks: u64 = seen.blocks.failed.iter().map(|(_, blocks)| blocks).sum();
    assert_eq!(blocks, 10);
    for (kind, blocks) in seen.blocks.failed.iter() {
        assert_eq!((kind.bad_canary, kind.bad_stable), (kind.canary, 0), "{blocks} blocks");
    }
    assert!(seen.blocks.slow[0].iter().all(|(kind, _)| kind.bad_canary + kind.bad_stable == 0));
    assert_eq!(seen.blocks.slow[1].iter().count(), 0, "not measured");

    // Counters go on through a swap; decisions begin anew with the shares, evidence with the run.
    proxy.apply_rule(under(RevisionSplit { run: 2, ..rollout(500_000) }, &endpoints));
    let seen = observed(&proxy);
    assert_eq!((decisions(&seen), seen.run, seen.splits[0].epoch), (vec![0, 0], 2, 500_000));
    assert_eq!(seen.blocks.failed.iter().count(), 0);
    assert_eq!(seen.revisions["1"].requests + seen.revisions["2"].requests, 80);
    assert_eq!(proxy.proxy.observer().observe().acknowledged.0, 2);
    proxy.apply_rule(rule(vec![arm(1, &backend("hello", &endpoints))]));
    assert_eq!(observed(&proxy), RolloutObservation::default(), "no Rollout, nothing to observe");
}

#[test]
fn a_request_that_is_waited_for_is_in_flight_and_one_that_the_client_gives_up_is_no_failure() {
    let canary = Pod::start(|conn| {
        if conn.request().is_some() {
            conn.wait_for_close();
        }
    });
    let endpoints = [of("2", &canary, "b"), with_state(&of("1", &canary, "a"), EndpointState::Withdrawn)];
    let proxy = TestProxy::serving(under(rollout(1_000_000), &endpoints));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it has arrived", || canary.count() == 1);
    assert_eq!(observed(&proxy).revisions["2"].in_flight, 1);
    client.reset();
    eventually("it is over", || observed(&proxy).revisions["2"].in_flight == 0);
    let counts = observed(&proxy).revisions["2"].clone();
    assert_eq!((counts.requests, counts.failed), (1, 0));
}
