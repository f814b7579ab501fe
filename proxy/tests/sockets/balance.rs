//! Shares and endpoints: exact weights, the less loaded pod, and tables that change under traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use watershed_config::model::{Filter, HeaderEdits};
use watershed_config::snapshot::{EndpointState, Rule};

use crate::support::{
    H2Pod, Pod, TestProxy, arm, backend, endpoint, eventually, free_address, h2c, invalid_arm, rule,
    with_state,
};

/// How far any prefix may be from its target (design: 7; a window that begins inside a block: 9).
const EXACT: usize = 7;

#[test]
fn shares_are_exact_over_real_requests() {
    let (stable, canary) = (Pod::named("stable"), Pod::named("canary"));
    let arms = vec![
        arm(90, &backend("stable", &[stable.endpoint("1")])),
        arm(10, &backend("canary", &[canary.endpoint("2")])),
    ];
    let proxy = TestProxy::serving(rule(arms));
    let mut client = proxy.connect();
    for n in 1..=1_000usize {
        let name = client.get("/").text().to_owned();
        assert!(name == "stable" || name == "canary");
        let (is, wanted) = (canary.count(), n / 10);
        assert!(is.abs_diff(wanted) <= EXACT, "{is} of {n} instead of {wanted}");
    }
    proxy.wait_for("requests_total", &[("service", "canary"), ("revision", "2")], canary.count() as f64);
    proxy.wait_for("split_target_ratio", &[("service", "canary")], 0.1);
}

#[test]
fn swaps_do_not_starve_a_small_share() {
    let (stable, canary) = (Pod::named("stable"), Pod::named("canary"));
    let (big, small) =
        (backend("stable", &[stable.endpoint("1")]), backend("canary", &[canary.endpoint("2")]));
    let mut proxy = TestProxy::serving(rule(vec![arm(99, &big), arm(1, &small)]));
    let mut client = proxy.connect();
    for round in 1..=100u32 {
        for _ in 0..20 {
            client.get("/");
        }
        // The same shares written differently: a swap that moves nothing, and one that replaces the picks.
        proxy.apply_rule(rule(vec![arm(99 * (round % 3 + 1), &big), arm(round % 3 + 1, &small)]));
    }
    assert!(canary.count().abs_diff(20) <= EXACT, "{} of 2,000 instead of 20", canary.count());
}

#[test]
fn an_arm_without_endpoints_answers_503_for_its_share_only() {
    let pod = Pod::named("v1");
    for (gone, status) in [(arm(1, &backend("empty", &[])), 503), (invalid_arm(1), 500)] {
        let proxy = TestProxy::serving(rule(vec![arm(3, &backend("hello", &[pod.endpoint("1")])), gone]));
        let mut client = proxy.connect();
        let statuses: Vec<u16> = (0..200).map(|_| client.get("/").status).collect();
        let failed = statuses.iter().filter(|is| **is == status).count();
        assert!(failed.abs_diff(50) <= EXACT, "{failed} of 200 instead of 50");
        assert_eq!(statuses.iter().filter(|is| **is == 200).count(), 200 - failed);
    }
}

/// A pod that answers only when it is let go.
fn holding() -> (Pod, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&go);
    let pod = Pod::start(move |conn| {
        while conn.request().is_some() {
            while !told.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nheld");
        }
    });
    (pod, go)
}

#[test]
fn the_pod_with_fewer_requests_in_flight_gets_the_next() {
    let (slow, go) = holding();
    let fast = Pod::named("fast");
    let proxy =
        TestProxy::serving(rule(vec![arm(1, &backend("hello", &[slow.endpoint("1"), fast.endpoint("2")]))]));
    let mut waiting = Vec::new();
    while slow.count() == 0 {
        let before = fast.count();
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("one of them got it", || slow.count() == 1 || fast.count() > before);
        waiting.push(client);
    }
    let mut client = proxy.connect();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "fast");
    }
    assert_eq!(slow.count(), 1);
    go.store(true, SeqCst);
    assert_eq!(waiting.pop().unwrap().answer().text(), "held");
    eventually("it gets requests again", || {
        client.get("/");
        slow.count() > 1
    });
}

#[test]
fn who_is_going_away_gets_nothing_new_and_finishes_what_it_has() {
    for state in [Some(EndpointState::Terminating), Some(EndpointState::Unready), None] {
        let (old, go) = holding();
        let new = Pod::named("new");
        let mut proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &[old.endpoint("1")]))]));
        let mut waiting = proxy.connect();
        waiting.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
        eventually("it has arrived", || old.count() == 1);
        let mut endpoints: Vec<_> =
            state.map(|state| with_state(&old.endpoint("1"), state)).into_iter().collect();
        endpoints.push(new.endpoint("2"));
        proxy.apply_rule(rule(vec![arm(1, &backend("hello", &endpoints))]));
        let mut client = proxy.connect();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "new");
        }
        go.store(true, SeqCst);
        assert_eq!(waiting.answer().text(), "held");
        assert_eq!(waiting.get("/").text(), "new");
        assert_eq!(old.count(), 1);
        eventually("its connection is closed", || old.open() == 0);
    }
}

/// A rule of which every part names its generation.
fn of_generation(generation: u64, pods: &[Pod]) -> Rule {
    let value = HeaderValue::from(generation);
    let set = vec![(HeaderName::from_static("x-generation"), value)];
    let edits = HeaderEdits { set, ..HeaderEdits::default() };
    let arms = pods.iter().enumerate().map(|(n, pod)| {
        let mut arm = arm(1, &backend(&format!("s{n}"), &[pod.endpoint(&format!("g{generation}"))]));
        arm.filters = vec![Filter::RequestHeaders(HeaderEdits {
            set: vec![(HeaderName::from_static("x-arm"), HeaderValue::from(generation))],
            ..HeaderEdits::default()
        })];
        arm
    });
    let filters = vec![Filter::RequestHeaders(edits.clone()), Filter::ResponseHeaders(edits)];
    Rule { filters, ..rule(arms.collect()) }
}

#[test]
fn a_request_sees_one_generation_from_its_head_to_its_answer() {
    // The pods answer with the generations of the request that reached them, after a while in which tables change.
    let script = |conn: &mut crate::support::PodConn| {
        while let Some(request) = conn.request() {
            std::thread::sleep(Duration::from_millis(3));
            let (rule, arm) = (request.header("x-generation").unwrap(), request.header("x-arm").unwrap());
            let body = format!("{rule} {arm}");
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
    };
    let pods = [Pod::start(script), Pod::start(script)];
    let mut proxy = TestProxy::serving(of_generation(0, &pods));
    let address = proxy.address();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut client = crate::support::Client::connect(address);
                let (mut seen, mut last) = (0, 0u64);
                while !stop.load(SeqCst) {
                    let answer = client.get("/");
                    let generation = answer.header("x-generation").unwrap();
                    assert_eq!(answer.text(), format!("{generation} {generation}"));
                    let generation = generation.parse().unwrap();
                    assert!(generation >= last, "never backwards");
                    seen += usize::from(generation > last);
                    last = generation;
                }
                seen
            })
        })
        .collect();
    for generation in 1..200 {
        proxy.apply_rule(of_generation(generation, &pods));
    }
    stop.store(true, SeqCst);
    for client in clients {
        assert!(client.join().unwrap() > 3);
    }
}

#[test]
fn endpoints_of_one_service_may_speak_different_protocols_and_are_told_the_same() {
    let (old, new) = (Pod::named("v1"), H2Pod::named("v2"));
    let gone = h2c(endpoint("3", free_address()));
    let endpoints = [old.endpoint("1"), new.endpoint("2"), gone];
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &endpoints))]));
    let mut client = proxy.connect();
    for _ in 0..60 {
        assert_eq!(client.get("/").status, 200);
    }
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "traceparent"] {
        for received in old.received() {
            assert_eq!(received.all(name).len(), 1, "{name}: {received:?}");
        }
        for received in new.received() {
            assert_eq!(received.head.headers().get_all(name).iter().count(), 1, "{name}: {received:?}");
        }
    }
    assert!(old.count() > 10 && new.received().len() > 10, "{} and {}", old.count(), new.received().len());
}
