//! Limits on time: what takes too long ends, says why, and takes nobody else with it.

use std::time::{Duration, Instant};

use watershed_config::model::Timeouts;
use watershed_config::snapshot::Rule;

use crate::support::{Pod, TestProxy, arm, backend, endpoint, eventually, rule};

fn one_pod(pod: &Pod) -> Rule {
    rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))])
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A pod that sends a byte of its body every few milliseconds, for ever.
fn trickling() -> Pod {
    Pod::start(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
        while conn.try_send("x").is_ok() {
            std::thread::sleep(ms(5));
        }
    })
}

#[test]
fn deadlines_count_from_the_request_to_the_last_byte_of_its_answer() {
    for (reason, timeouts) in [
        ("request_timeout", Timeouts { request: Some(ms(300)), backend_request: None }),
        ("backend_timeout", Timeouts { request: None, backend_request: Some(ms(300)) }),
        ("backend_timeout", Timeouts { request: Some(ms(900)), backend_request: Some(ms(300)) }),
    ] {
        let pod = trickling();
        let proxy = TestProxy::serving(Rule { timeouts, ..one_pod(&pod) });
        let mut client = proxy.connect();
        let begin = Instant::now();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut head = client.head();
        assert_eq!(head.status, 200);
        assert!(client.body(&mut head).is_err(), "it must not look whole");
        let took = begin.elapsed();
        assert!((ms(280)..ms(580)).contains(&took), "{reason} after {took:?}");
        proxy.wait_for_reason(reason, 1.0);
        eventually("the pod was let go", || pod.open() == 0);
    }
}

#[test]
fn an_answer_within_its_deadline_is_left_alone() {
    let pod = Pod::named("v1");
    let timeouts = Timeouts { request: Some(ms(2_000)), backend_request: Some(ms(1_000)) };
    let proxy = TestProxy::serving(Rule { timeouts, ..one_pod(&pod) });
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.post("/", "body").text(), "v1");
    }
    assert_eq!(pod.accepted(), 1);
}

#[test]
fn a_deadline_covers_the_upload_and_the_connecting() {
    let pod = Pod::named("v1");
    let timeouts = Timeouts { request: Some(ms(200)), backend_request: None };
    let proxy = TestProxy::serving(Rule { timeouts, ..one_pod(&pod) });
    let mut client = proxy.connect();
    let answer = client.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!((answer.status, answer.header("watershed-reason")), (504, Some("request_timeout")));
    client.expect_close();
    // An address in TEST-NET-1, which answers nothing or is refused at once.
    let nowhere = endpoint("1", "192.0.2.1:80".parse().unwrap());
    let rule = Rule { timeouts, ..rule(vec![arm(1, &backend("hello", &[nowhere]))]) };
    let proxy = TestProxy::serving(rule);
    let begin = Instant::now();
    let answer = proxy.connect().get("/");
    assert!(matches!(answer.header("watershed-reason"), Some("request_timeout" | "connect_failed")));
    assert!(begin.elapsed() < ms(900));
}

#[test]
fn a_slow_upload_is_not_a_stalled_answer() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.response_stall = ms(300));
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n");
    for byte in "twenty bytes in 1 s!".bytes() {
        std::thread::sleep(ms(50));
        client.send([byte]);
    }
    assert_eq!(client.answer().text(), "v1");
    assert_eq!(pod.received()[0].text(), "twenty bytes in 1 s!");
}

#[test]
fn a_slow_answer_may_take_for_ever_as_long_as_it_moves_and_no_longer() {
    let pod = Pod::start(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n");
        for _ in 0..10 {
            std::thread::sleep(ms(80));
            conn.send("x");
        }
        conn.wait_for_close();
    });
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.response_stall = ms(300));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut head = client.head();
    let begin = Instant::now();
    assert_eq!(client.take(10), b"xxxxxxxxxx");
    assert!(client.body(&mut head).is_err());
    assert!((ms(950)..ms(2_500)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    proxy.wait_for_reason("upstream_stalled", 1.0);
    eventually("the pod was let go", || pod.open() == 0);
}

#[test]
fn a_rule_with_a_deadline_may_wait_longer_than_the_stall_limit() {
    let pod = Pod::start(|conn| {
        conn.request();
        std::thread::sleep(ms(800));
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate");
    });
    let timeouts = Timeouts { request: Some(ms(5_000)), backend_request: None };
    let proxy =
        TestProxy::limited(Rule { timeouts, ..one_pod(&pod) }, |limits| limits.response_stall = ms(200));
    assert_eq!(proxy.connect().get("/").text(), "late");
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut() {
    let pod = Pod::start(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\n\r\n");
        while conn.try_send(vec![0; 64 * 1024]).is_ok() {}
    });
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.response_stall = ms(300));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the pod was let go", || pod.accepted() == 1 && pod.open() == 0);
    proxy.wait_for("connections_open", &[], 0.0);
    proxy.wait_for("requests_total", &[("reason", "client_aborted")], 1.0);
}

#[test]
fn an_idle_client_is_closed_and_a_busy_one_is_not() {
    let pod = Pod::start(|conn| {
        while conn.request().is_some() {
            std::thread::sleep(ms(700));
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.idle_timeout = ms(300));
    let begin = Instant::now();
    proxy.connect().expect_close();
    assert!((ms(200)..ms(1_500)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "ok");
    let begin = Instant::now();
    client.expect_close();
    assert!((ms(200)..ms(1_500)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    proxy.wait_for_reason("", 1.0);
    proxy.wait_for("requests_total", &[], 1.0);
}

/// The idle limit once lay in wait for the first request of a client that had not spoken yet.
#[test]
fn the_first_request_of_a_client_that_was_silent_for_a_while_is_answered() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.idle_timeout = ms(600));
    std::thread::sleep(ms(900));
    for wait in [0, 50, 150, 250] {
        let mut client = proxy.connect();
        std::thread::sleep(ms(wait));
        assert_eq!(client.get("/").text(), "v1", "after {wait} ms of silence");
    }
}

#[test]
fn heads_are_timed_anew_for_every_request_of_a_connection() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.head_timeout = ms(400));
    let mut client = proxy.connect();
    for _ in 0..4 {
        client.send("GET / HTTP/1.1\r\n");
        std::thread::sleep(ms(150));
        client.send("host: a\r\n\r\n");
        assert_eq!(client.answer().text(), "v1");
        std::thread::sleep(ms(150));
    }
    client.send("GET /");
    client.expect_close();
    proxy.wait_for("requests_total", &[("reason", "head_timeout")], 1.0);
}
