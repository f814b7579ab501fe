//! Rollouts: which revision a request gets, and what is known of it afterwards.

use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use watershed_config::model::{HeaderMatch, ObjectName, Sticky, ValueMatch};
use watershed_config::observation::{Observation, RolloutObservation};
use watershed_config::snapshot::{
    Backend, Compared, Endpoint, EndpointState, RevisionCondition, RevisionRoute, RevisionShare,
    RevisionSplit, Rule,
};
use watershed_proxy::Settings;

use crate::support::{
    Client, Message, Pod, TestProxy, arm, backend, endpoint, eventually, free_address, rule, settings,
    with_state,
};

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

#[test]
fn a_tunnel_is_evidence_from_its_beginning_and_in_flight_to_its_end() {
    let pod = Pod::start(|conn| {
        if conn.request().is_some() {
            conn.send(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            );
            conn.wait_for_close();
        }
    });
    let proxy = TestProxy::serving(under(rollout(250_000), &[of("1", &pod, "a"), of("2", &pod, "b")]));
    let tunnels: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = proxy.connect();
            client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
            assert_eq!(client.head().status, 101);
            client
        })
        .collect();
    let seen = observed(&proxy);
    assert_eq!(seen.blocks.slow[0].iter().map(|(_, blocks)| blocks).sum::<u64>(), 1);
    assert_eq!(seen.revisions.values().map(|counts| counts.in_flight).sum::<u64>(), 8);
    drop(tunnels);
    eventually("they have ended", || {
        observed(&proxy).revisions.values().map(|counts| counts.requests).sum::<u64>() == 8
    });
    let seen = observed(&proxy);
    assert_eq!(seen.revisions.values().map(|counts| counts.durations.iter().sum::<u64>()).sum::<u64>(), 0);
    assert_eq!(seen.blocks.slow[0].iter().map(|(_, blocks)| blocks).sum::<u64>(), 1);
}

/// Who answers, by the text of their pods.
fn names(stable: &str, canary: &str) -> (Pod, Pod) {
    (Pod::named(stable), Pod::named(canary))
}

#[test]
fn a_share_of_one_percent_is_exact_over_real_requests() {
    let (stable, canary) = names("1", "2");
    let proxy = TestProxy::serving(under(rollout(10_000), &[of("1", &stable, "a"), of("2", &canary, "b")]));
    let mut client = proxy.connect();
    for n in 1..=1_000usize {
        client.get("/");
        let is = canary.count();
        // The bound of any prefix (design, section 4).
        assert!((is as f64 - n as f64 / 100.0).abs() <= 7.0, "{is} of {n}");
    }
    assert_eq!(decisions(&observed(&proxy)), [canary.count() as u64, stable.count() as u64]);
    proxy.wait_for("requests_total", &[("revision", "2")], canary.count() as f64);
    proxy.wait_for("split_target_ratio", &[("service", "hello"), ("revision", "2")], 0.01);
    let ratio = canary.count() as f64 / 1_000.0;
    proxy.wait_for("split_observed_ratio", &[("service", "hello"), ("revision", "2")], ratio);
    proxy.wait_for("split_observed_ratio", &[("service", "hello"), ("revision", "")], 1.0);
}

#[test]
fn a_stable_revision_without_endpoints_answers_503_for_its_share_and_moves_none_of_it() {
    for state in [None, Some(EndpointState::Unready), Some(EndpointState::Withdrawn)] {
        let (stable, canary) = names("1", "2");
        let mut endpoints = vec![of("2", &canary, "b")];
        endpoints.extend(state.map(|state| with_state(&of("1", &stable, "a"), state)));
        let proxy = TestProxy::serving(under(rollout(250_000), &endpoints));
        let mut client = proxy.connect();
        let answers: Vec<_> = (0..200).map(|_| client.get("/")).collect();
        let failed: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
        assert!(canary.count().abs_diff(50) <= 7, "{} of 200 instead of 50", canary.count());
        assert_eq!(failed.len(), 200 - canary.count());
        for answer in failed {
            assert_eq!((answer.status, answer.header("watershed-reason")), (503, Some("stable_unavailable")));
        }
        assert_eq!(stable.count(), 0);
        let labels = [("reason", "stable_unavailable"), ("revision", "1")];
        proxy.wait_for("requests_total", &labels, (200 - canary.count()) as f64);
        eventually("they count as failures of the stable revision", || {
            let counts = observed(&proxy).revisions["1"].clone();
            counts.failed == (200 - canary.count()) as u64 && counts.requests == counts.failed
        });
    }
}

/// Requests with `x-canary: yes` go to this revision.
fn route(revision: &str) -> RevisionRoute {
    let yes = HeaderMatch { name: "x-canary".parse().unwrap(), value: ValueMatch::Exact("yes".into()) };
    let condition = RevisionCondition::Headers(vec![yes]);
    RevisionRoute { name: "qa".into(), condition, revision: revision.into() }
}

/// GET with one more header.
fn get_with(client: &mut Client, header: &str) -> Message {
    client.ask(format!("GET / HTTP/1.1\r\nhost: hello\r\n{header}\r\n\r\n"))
}

#[test]
fn a_header_route_reaches_a_revision_without_a_share_and_decides_nothing_else() {
    let (stable, canary) = names("1", "2");
    let endpoints = [of("1", &stable, "a"), of("2", &canary, "b")];
    let routed = |to: &str| RevisionSplit { routes: vec![route(to)], ..rollout(0) };
    let mut proxy = TestProxy::serving(under(routed("2"), &endpoints));
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(get_with(&mut client, "x-canary: yes").text(), "2");
        assert_eq!(get_with(&mut client, "x-canary: no").text(), "1");
        assert_eq!(client.get("/").text(), "1");
    }
    let seen = observed(&proxy);
    assert_eq!(decisions(&seen), [0, 40], "a route is no decision");
    assert_eq!(seen.revisions["2"].durations.iter().sum::<u64>(), 0);
    eventually("routed requests are counted", || observed(&proxy).revisions["2"].requests == 20);

    proxy.apply_rule(under(routed("3"), &endpoints));
    let answer = get_with(&mut client, "x-canary: yes");
    assert_eq!((answer.status, answer.header("watershed-reason")), (503, Some("revision_unavailable")));
    assert_eq!(client.get("/").text(), "1");
}

/// Who gets the canary of those that `ask` asks for, as its share is raised and taken away.
fn stays(sticky: &Sticky, workers: usize, ask: impl Fn(&TestProxy, usize) -> String) {
    const USERS: usize = 60;
    let (stable, canary) = names("1", "2");
    let endpoints = [of("1", &stable, "a"), of("2", &canary, "b")];
    let with = |canary| under(RevisionSplit { sticky: Some(sticky.clone()), ..rollout(canary) }, &endpoints);
    let settings = Settings { workers, ..settings() };
    let mut proxy = TestProxy::serving_with(&settings, with(0));
    let mut before = vec!["1".to_owned(); USERS];
    for share in [0, 200_000, 500_000, 1_000_000, 300_000, 0] {
        proxy.apply_rule(with(share));
        let now: Vec<String> = (0..USERS).map(|user| ask(&proxy, user)).collect();
        let again: Vec<String> = (0..USERS).map(|user| ask(&proxy, user)).collect();
        assert_eq!(now, again, "somebody flips at {share}");
        let on_canary = now.iter().filter(|name| *name == "2").count();
        // Four standard deviations.
        let (wanted, all) = (f64::from(share) / 1e6 * USERS as f64, USERS as f64);
        let off = (on_canary as f64 - wanted).abs();
        assert!(off <= 4.0 * (wanted * (1.0 - wanted / all)).sqrt(), "{on_canary} of {USERS} at {share}");
        let raised = share >= 200_000 && on_canary >= before.iter().filter(|name| *name == "2").count();
        let left = now.iter().zip(&before).filter(|(now, before)| *now == "1" && *before == "2").count();
        assert!(!raised || left == 0, "{left} left the canary when it was raised to {share}");
        before = now;
    }
    assert_eq!(decisions(&observed(&proxy)).iter().sum::<u64>(), 0, "who is known draws no ticket");
}

#[test]
fn a_user_in_a_header_stays_where_they_are_on_every_worker() {
    stays(&Sticky::Header("x-user".parse().unwrap()), 2, |proxy, user| {
        get_with(&mut proxy.connect(), &format!("x-user: user-{user}")).text().to_owned()
    });
}

#[test]
fn a_user_in_the_applications_own_cookie_stays_where_they_are() {
    stays(&Sticky::Cookie("session".into()), 2, |proxy, user| {
        let answer = get_with(&mut proxy.connect(), &format!("cookie: a=b; session=of-{user}"));
        assert_eq!(answer.header("set-cookie"), None);
        answer.text().to_owned()
    });
}

#[test]
fn an_address_stays_where_it_is() {
    stays(&Sticky::ClientAddress, 2, |proxy, user| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let own = SocketAddr::from(([127, 0, 1, user as u8], 0));
        socket.bind(&own.into()).unwrap();
        socket.connect(&proxy.address().into()).unwrap();
        Client::from(socket.into()).get("/").text().to_owned()
    });
}

#[test]
fn a_cookie_is_issued_once_and_honoured_by_every_worker() {
    let (stable, canary) = names("1", "2");
    let endpoints = [of("1", &stable, "a"), of("2", &canary, "b")];
    let sticky = |canary| RevisionSplit { sticky: Some(Sticky::Cookie("ws".into())), ..rollout(canary) };
    let mut proxy =
        TestProxy::serving_with(&Settings { workers: 2, ..settings() }, under(sticky(300_000), &endpoints));
    let mut users = Vec::new();
    for _ in 0..40 {
        let answer = proxy.connect().get("/");
        let set = answer.all("set-cookie");
        assert_eq!(set.len(), 1, "{answer:?}");
        let (pair, attributes) = set[0].split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
        users.push((pair.to_owned(), answer.text().to_owned()));
    }
    // Both workers' first users: each sequence may be off by as much.
    assert!(canary.count().abs_diff(12) <= 2 * 7, "{} of 40 instead of 12", canary.count());
    assert_eq!(decisions(&observed(&proxy)).iter().sum::<u64>(), 40, "who is not known draws a ticket");
    // Every connection may be another worker's.
    for _ in 0..3 {
        for (cookie, name) in &users {
            let answer = get_with(&mut proxy.connect(), &format!("cookie: {cookie}"));
            assert_eq!((answer.text(), answer.header("set-cookie")), (&**name, None), "{cookie}");
        }
    }
    proxy.apply_rule(under(sticky(600_000), &endpoints));
    for (cookie, name) in users.iter().filter(|(_, name)| name == "2") {
        assert_eq!(get_with(&mut proxy.connect(), &format!("cookie: {cookie}")).text(), name, "{cookie}");
    }
    assert_eq!(decisions(&observed(&proxy)).iter().sum::<u64>(), 0);

    proxy.apply_rule(under(sticky(600_000), &endpoints[1..]));
    let mut client = proxy.connect();
    let gone = (0..40).map(|_| client.get("/")).find(|answer| answer.status == 503).unwrap();
    assert_eq!(gone.header("set-cookie"), None, "no pod has answered");
    proxy.apply_rule(under(sticky(0), &endpoints));
    assert_eq!(client.get("/").header("set-cookie"), None, "there is nothing to stay on");
}

#[test]
fn a_retry_stays_in_its_revision_and_is_counted_as_its_failure() {
    let (stable, canary) = names("1", "2");
    let gone = |uid: &str| Endpoint { revision: "2".into(), ..endpoint(uid, free_address()) };
    let endpoints = [of("1", &stable, "a"), of("2", &canary, "b"), gone("c")];
    let mut proxy = TestProxy::serving(under(rollout(1_000_000), &endpoints));
    let mut client = proxy.connect();
    eventually("the one that refuses was tried", || {
        assert_eq!(client.get("/").text(), "2");
        proxy.metric("upstream_retries_total", &[("cause", "connect")]) > 0.0
    });
    eventually("it was counted", || observed(&proxy).revisions["2"].failed == 1);

    let all_gone = [of("1", &stable, "a"), gone("d"), gone("e")];
    proxy.apply_rule(under(rollout(1_000_000), &all_gone));
    for reason in ["connect_failed", "no_ready_endpoint"] {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.header("watershed-reason")), (503, Some(reason)));
    }
    assert_eq!(stable.count(), 0);
}
