//! Every answer that no pod makes says why: in its header, in its body and in the metrics, by one word and once.

use std::sync::Arc;
use std::time::Duration;

use watershed_config::model::{Filter, Timeouts};
use watershed_config::snapshot::{EndpointState, Rule};

use crate::support::{
    Message, Pod, TestProxy, arm, backend, candidate, endpoint, free_address, host, invalid_arm, rule,
    settings, with_state,
};

/// Checks that an answer was made by the proxy for this reason, and that exactly one request was counted, under it.
#[track_caller]
fn check(proxy: &TestProxy, answer: &Message, status: u16, reason: &str) {
    assert_eq!((answer.status, answer.header("watershed-reason")), (status, Some(reason)), "{}", answer.head);
    assert_eq!(answer.text(), format!("{{\"status\":{status},\"reason\":\"{reason}\"}}\n"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    proxy.wait_for_reason(reason, 1.0);
    proxy.wait_for("requests_total", &[("code_class", &format!("{}xx", status / 100))], 1.0);
    proxy.wait_for("requests_total", &[], 1.0);
}

fn one_pod(pod: &Pod) -> Rule {
    rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))])
}

#[test]
fn a_head_that_makes_no_sense_to_a_proxy_is_400() {
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: \x7f\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://a:99999/ HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let pod = Pod::named("v1");
        let proxy = TestProxy::serving(one_pod(&pod));
        let mut client = proxy.connect();
        client.send(head);
        let answer = client.answer();
        // What is not HTTP at all is hyper's to refuse, without a word of ours.
        if answer.header("watershed-reason").is_some() {
            check(&proxy, &answer, 400, "bad_request");
        } else {
            assert_eq!(answer.status, 400, "{head}");
            proxy.wait_for_reason("malformed_request", 1.0);
        }
        assert_eq!(pod.count(), 0, "{head}");
    }
}

#[test]
fn a_transfer_coding_that_would_have_to_be_undone_is_400() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::serving(one_pod(&pod));
    let answer = proxy
        .connect()
        .ask("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n");
    check(&proxy, &answer, 400, "unsupported_transfer_encoding");
    assert_eq!(pod.accepted(), 0);
}

#[test]
fn a_host_or_path_that_nobody_serves_is_404() {
    let pod = Pod::named("v1");
    for (name, path) in [("other", "/in"), ("known", "/out")] {
        let mut proxy = TestProxy::start(&settings());
        proxy.apply_hosts(vec![host("known", vec![candidate("/in", &Arc::new(one_pod(&pod)))])]);
        let answer =
            proxy.connect().ask(format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nx-request-id: 7\r\n\r\n"));
        check(&proxy, &answer, 404, "no_route");
        assert_eq!(answer.header("x-request-id"), Some("7"));
        proxy.wait_for("requests_total", &[("listener", "default/gateway/http"), ("route", "")], 1.0);
    }
}

#[test]
fn a_body_that_stops_coming_is_408() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.body_stall = Duration::from_millis(200));
    let mut client = proxy.connect();
    let answer = client.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345");
    check(&proxy, &answer, 408, "request_body_timeout");
    client.expect_close();
    assert_eq!(pod.count(), 0, "the pod saw it broken off");
}

#[test]
fn a_body_that_is_too_large_is_413_announced_or_not() {
    let pod = Pod::named("v1");
    for (body, reaches_the_pod) in [
        ("content-length: 11\r\n\r\n12345678901", false),
        ("transfer-encoding: chunked\r\n\r\n6\r\n123456\r\n5\r\n12345\r\n0\r\n\r\n", true),
    ] {
        let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.request_body_bytes = Some(10));
        let before = pod.accepted();
        let answer = proxy.connect().ask(format!("POST / HTTP/1.1\r\nhost: a\r\n{body}"));
        check(&proxy, &answer, 413, "body_too_large");
        assert_eq!(pod.accepted() > before, reaches_the_pod, "{body}");
        assert_eq!(pod.count(), 0, "never as a whole request");
    }
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.request_body_bytes = Some(10));
    assert_eq!(proxy.connect().post("/", "1234567890").text(), "v1", "exactly the limit is allowed");
}

#[test]
fn a_rule_that_cannot_be_followed_is_500() {
    let pod = Pod::named("v1");
    let unsupported = Rule { filters: vec![Filter::Unsupported("RequestMirror".into())], ..one_pod(&pod) };
    let zero = rule(vec![arm(0, &backend("hello", &[pod.endpoint("1")]))]);
    for (reason, rule) in [
        ("no_backend", rule(Vec::new())),
        ("invalid_backend", rule(vec![invalid_arm(1)])),
        ("zero_weights", zero),
        ("unsupported_filter", unsupported),
    ] {
        let proxy = TestProxy::serving(rule);
        check(&proxy, &proxy.connect().get("/"), 500, reason);
        proxy.wait_for("requests_total", &[("route", "route"), ("rule", "0")], 1.0);
    }
    assert_eq!(pod.accepted(), 0);
}

#[test]
fn a_pod_that_answers_nothing_or_nonsense_is_502() {
    for (reason, answer) in [
        ("upstream_closed", ""),
        ("upstream_closed", "HTTP/1.1 200 OK\r\ncontent-le"),
        ("upstream_protocol", "SSH-2.0-OpenSSH_9.6\r\n"),
        ("upstream_protocol", "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nabcde"),
        ("upstream_protocol", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"),
        ("upstream_protocol", "HTTP/1.1 200 OK\r\nspace : x\r\n\r\n"),
        ("upstream_protocol", "HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n"),
        ("upstream_protocol", "HTTP/1.1 200 OK\r\nx: \0\r\n\r\n"),
        ("upstream_protocol", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            "upstream_protocol",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        ),
    ] {
        let pod = Pod::start(move |conn| {
            conn.request();
            conn.send(answer);
        });
        let proxy = TestProxy::serving(one_pod(&pod));
        check(&proxy, &proxy.connect().get("/"), 502, reason);
        assert_eq!(pod.accepted(), 1, "nothing that was answered is repeated: {answer}");
    }
}

#[test]
fn a_head_of_a_pod_that_is_too_large_is_502() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(300 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(150));
    for answer in [long, many] {
        let pod = Pod::answering(&answer);
        let proxy = TestProxy::serving(one_pod(&pod));
        check(&proxy, &proxy.connect().get("/"), 502, "upstream_protocol");
    }
}

#[test]
fn a_backend_without_a_ready_endpoint_is_503() {
    let pod = Pod::named("v1");
    let unready = with_state(&pod.endpoint("1"), EndpointState::Unready);
    let terminating = with_state(&pod.endpoint("2"), EndpointState::Terminating);
    for endpoints in [vec![], vec![unready, terminating]] {
        let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &endpoints))]));
        check(&proxy, &proxy.connect().get("/"), 503, "no_ready_endpoint");
    }
    assert_eq!(pod.accepted(), 0);
}

#[test]
fn endpoints_that_all_refuse_are_503() {
    let endpoints = [endpoint("1", free_address()), endpoint("2", free_address())];
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &endpoints))]));
    check(&proxy, &proxy.connect().post("/", "body"), 503, "connect_failed");
    proxy.wait_for("upstream_connect_failures_total", &[], 2.0);
}

#[test]
fn more_connections_than_allowed_are_503_and_a_freed_one_can_be_used() {
    let pod = Pod::start(|conn| {
        conn.request();
        conn.wait_for_close();
    });
    let proxy = TestProxy::limited(one_pod(&pod), |limits| {
        limits.upstream_connections = 2;
        limits.half_closed = Duration::from_millis(100);
    });
    let mut waiting: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    proxy.wait_for("upstream_connects_total", &[], 2.0);
    check_one(&proxy, &proxy.connect().get("/"), 503, "overloaded");
    // A client that goes away frees its place.
    waiting.clear();
    crate::support::eventually("the pod lost both", || pod.open() == 0);
    let mut again = proxy.connect();
    again.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    proxy.wait_for("upstream_connects_total", &[], 3.0);
}

/// The same as [`check`] where other requests are in flight.
#[track_caller]
fn check_one(proxy: &TestProxy, answer: &Message, status: u16, reason: &str) {
    assert_eq!((answer.status, answer.header("watershed-reason")), (status, Some(reason)));
    proxy.wait_for("requests_total", &[("reason", reason)], 1.0);
}

#[test]
fn a_pod_that_takes_too_long_is_504() {
    let pod = Pod::start(|conn| {
        conn.request();
        conn.wait_for_close();
    });
    let limit = Some(Duration::from_millis(100));
    let within = |timeouts| Rule { timeouts, ..one_pod(&pod) };
    for (reason, timeouts) in [
        ("request_timeout", Timeouts { request: limit, backend_request: None }),
        ("backend_timeout", Timeouts { request: None, backend_request: limit }),
        ("backend_timeout", Timeouts { request: Some(Duration::from_secs(9)), backend_request: limit }),
    ] {
        let proxy = TestProxy::serving(within(timeouts));
        check(&proxy, &proxy.connect().get("/"), 504, reason);
        crate::support::eventually("the pod was let go", || pod.open() == 0);
    }
    let proxy =
        TestProxy::limited(one_pod(&pod), |limits| limits.response_stall = Duration::from_millis(200));
    check(&proxy, &proxy.connect().post("/", "body"), 504, "upstream_stalled");
}

#[test]
fn what_hyper_refuses_itself_is_counted_by_reason_under_no_route() {
    let long = "x".repeat(70 * 1024);
    let unrouted = [("listener", ""), ("route", ""), ("code_class", "4xx")];
    for (reason, status, head) in [
        ("malformed_request", 400, "GET / HTTP/1.1\r\nspace : x\r\n\r\n".to_owned()),
        ("malformed_request", 400, "\u{1}\u{2}\u{3}\r\n\r\n".to_owned()),
        ("malformed_request", 400, "GET / HTTP/3.0\r\n\r\n".to_owned()),
        ("head_too_large", 431, format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n")),
        ("head_too_large", 431, format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200))),
    ] {
        let proxy = TestProxy::serving(rule(Vec::new()));
        let mut client = proxy.connect();
        let _ = client.try_send(&head);
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("watershed-reason")), (status, None), "{reason}");
        drop(client);
        proxy.wait_for_reason(reason, 1.0);
        proxy.wait_for("requests_total", &unrouted, 1.0);
    }
}

#[test]
fn a_target_that_is_too_long_is_414() {
    let proxy = TestProxy::limited(rule(Vec::new()), |limits| limits.head_bytes = 200 * 1024);
    let mut client = proxy.connect();
    let answer = client.ask(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(66_000)));
    assert_eq!((answer.status, answer.header("watershed-reason")), (414, None));
    proxy.wait_for_reason("uri_too_long", 1.0);
}

#[test]
fn a_head_that_does_not_arrive_is_closed_and_counted_from_its_first_byte_on() {
    let proxy =
        TestProxy::limited(rule(Vec::new()), |limits| limits.head_timeout = Duration::from_millis(300));
    let (mut silent, mut slow) = (proxy.connect(), proxy.connect());
    let begin = std::time::Instant::now();
    slow.send("GET / HT");
    for byte in "TP/1.1\r\nx-slow: ".bytes().chain(std::iter::repeat_n(b'y', 100)) {
        std::thread::sleep(Duration::from_millis(20));
        if slow.try_send([byte]).is_err() {
            break;
        }
    }
    assert_eq!(slow.rest(), (Vec::new(), true), "no answer: the client has not asked anything");
    assert!(begin.elapsed() > Duration::from_millis(250) && begin.elapsed() < Duration::from_secs(3));
    proxy.wait_for_reason("head_timeout", 1.0);
    proxy.wait_for("requests_total", &[], 1.0);
    assert_eq!(silent.get("/").status, 500, "who has not begun is not slow");
}

#[test]
fn a_body_that_comes_after_our_answer_is_read_if_it_is_short() {
    let pod = Pod::named("v1");
    let mut proxy = TestProxy::start(&settings());
    let good = candidate("/good", &Arc::new(one_pod(&pod)));
    let empty = Arc::new(rule(vec![arm(1, &backend("empty", &[]))]));
    let bad = [("/none", 404), ("/bad", 500), ("/empty", 503)];
    let candidates = vec![good, candidate("/bad", &Arc::new(rule(Vec::new()))), candidate("/empty", &empty)];
    proxy.apply_hosts(vec![host("", candidates)]);
    let mut client = proxy.connect();
    for (path, status) in bad {
        client.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, None));
        client.send("body");
        assert_eq!(client.get("/good").text(), "v1", "the connection goes on");
    }
    for (path, status) in bad {
        for framing in ["content-length: 100000000", "transfer-encoding: chunked"] {
            let mut client = proxy.connect();
            let answer = client.ask(format!("POST {path} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n"));
            assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{framing}");
            client.expect_close();
        }
    }
}

#[test]
fn a_problem_costs_one_request_and_not_the_connection() {
    let pod = Pod::named("v1");
    let mut proxy = TestProxy::start(&settings());
    let good = candidate("/good", &Arc::new(one_pod(&pod)));
    proxy.apply_hosts(vec![host("", vec![good, candidate("/bad", &Arc::new(rule(Vec::new())))])]);
    let mut client = proxy.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/bad").status, 500);
        assert_eq!(client.post("/bad", "a body that nobody reads").status, 500);
        assert_eq!(client.get("/none").status, 404);
        assert_eq!(client.get("/good").text(), "v1");
        assert_eq!(client.post("/good", "body").text(), "v1");
    }
}
