//! Connections to pods: used again while they live, never trusted when they may be dying, and repeated after only what is safe.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use watershed_config::snapshot::{EndpointState, Rule};

use crate::support::{
    Client, Pod, PodConn, TestProxy, arm, backend, endpoint, eventually, free_address, rule, with_state,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn one_pod(pod: &Pod) -> Rule {
    rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))])
}

fn serving(pod: &Pod) -> TestProxy {
    TestProxy::serving(one_pod(pod))
}

/// A pod whose first connection answers one request and then does something else; all others behave.
fn first_connection(then: impl Fn(&mut PodConn) + Send + Sync + 'static) -> Pod {
    Pod::start(move |conn| {
        if conn.number == 0 {
            conn.request();
            conn.send(OK);
            return then(conn);
        }
        while conn.request().is_some() {
            conn.send(OK);
        }
    })
}

#[test]
fn a_connection_that_the_pod_closed_while_it_was_idle_is_not_used() {
    let pod = first_connection(|_| {});
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    assert_eq!(client.post("/1", "a").text(), "ok");
    eventually("the pod closed", || pod.open() == 0);
    assert_eq!(client.post("/2", "b").text(), "ok");
    assert_eq!((pod.accepted(), pod.count()), (2, 2));
}

/// The end of the connection comes in one segment with the answer, so that the proxy can know it before the next request.
#[test]
fn a_request_that_must_not_be_repeated_survives_pods_that_close_after_every_answer() {
    let pod = Pod::start(|conn| {
        conn.request();
        socket2::SockRef::from(&conn.stream).set_tcp_cork(true).unwrap();
        conn.send(OK);
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for n in 0..300 {
        let answer = client.post(&format!("/{n}"), "body");
        assert_eq!((answer.status, answer.header("watershed-reason")), (200, None), "request {n}");
    }
    assert_eq!(pod.count(), 300);
    proxy.wait_for_reason("", 300.0);
}

#[test]
fn a_get_whose_reused_connection_closes_without_a_byte_is_repeated_and_counted() {
    for reset in [false, true] {
        let pod = first_connection(move |conn| {
            conn.request();
            if reset {
                conn.reset_at_end();
            }
        });
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        assert_eq!(client.get("/1").text(), "ok");
        assert_eq!(client.get("/2").text(), "ok");
        let lines: Vec<_> = pod.received().iter().map(|request| request.line().to_owned()).collect();
        assert_eq!(lines, ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1", "GET /2 HTTP/1.1"]);
        proxy.wait_for("upstream_retries_total", &[("cause", "stale")], 1.0);
        proxy.wait_for_reason("", 2.0);
    }
}

#[test]
fn a_post_that_was_written_when_its_connection_closed_is_never_sent_twice() {
    for reset in [false, true] {
        let pod = first_connection(move |conn| {
            conn.request();
            if reset {
                conn.reset_at_end();
            }
        });
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        assert_eq!(client.get("/1").text(), "ok");
        let answer = client.post("/2", "once");
        assert_eq!((answer.status, answer.header("watershed-reason")), (502, Some("closed_while_sending")));
        assert_eq!(client.post("/3", "again").text(), "ok", "the client's connection lives on");
        assert_eq!(pod.count(), 3);
        proxy.wait_for_reason("closed_while_sending", 1.0);
        proxy.wait_for("upstream_retries_total", &[], 0.0);
    }
}

#[test]
fn a_get_is_not_repeated_once_a_byte_was_answered_or_on_a_fresh_connection() {
    let pod = first_connection(|conn| {
        conn.request();
        conn.send("HTTP/1.1 2");
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    assert_eq!(client.get("/1").text(), "ok");
    assert_eq!(client.get("/2").header("watershed-reason"), Some("upstream_closed"));
    assert_eq!(pod.count(), 2);
    let pod = Pod::start(|conn| drop(conn.request()));
    assert_eq!(serving(&pod).connect().get("/").header("watershed-reason"), Some("upstream_closed"));
    assert_eq!(pod.count(), 1);
}

#[test]
fn a_get_with_a_body_or_a_post_without_one_is_not_repeated() {
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        "PATCH / HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let pod = first_connection(|conn| drop(conn.request()));
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        assert_eq!(client.get("/1").text(), "ok");
        assert_eq!(client.ask(request).header("watershed-reason"), Some("closed_while_sending"), "{request}");
        assert_eq!(pod.count(), 2);
    }
}

#[test]
fn all_connections_of_a_restarting_pod_may_close_at_once() {
    let closing = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&closing);
    let pod = Pod::start(move |conn| {
        let doomed = !seen.load(SeqCst);
        conn.stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        loop {
            match conn.reader.fill() {
                Ok(true) => {}
                Ok(false) => return,
                // Only idle connections are closed: that is what graceful means.
                Err(_) if doomed && seen.load(SeqCst) && conn.reader.ahead().is_empty() => return,
                Err(_) => continue,
            }
            while conn.reader.ahead().windows(4).any(|four| four == b"\r\n\r\n") {
                let request = conn.request().unwrap();
                assert!(request.status == 0);
                conn.send(OK);
            }
        }
    });
    let proxy = serving(&pod);
    let mut clients: Vec<Client> = (0..30).map(|_| proxy.connect()).collect();
    let all = |clients: &mut Vec<Client>| {
        for client in clients.iter_mut() {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        }
        clients.iter_mut().map(Client::answer).filter(|answer| answer.status != 200).count()
    };
    assert_eq!(all(&mut clients), 0);
    closing.store(true, SeqCst);
    for _ in 0..10 {
        assert_eq!(all(&mut clients), 0, "a stale connection is found out, however many there are");
    }
}

#[test]
fn bytes_that_nobody_asked_for_end_a_connection_and_are_never_an_answer() {
    let poison = "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    // Right behind the answer, or a moment later on the idle connection.
    for wait in [None, Some(Duration::from_millis(20))] {
        let pod = first_connection(move |conn| {
            if let Some(wait) = wait {
                std::thread::sleep(wait);
            }
            conn.send(poison);
            conn.wait_for_close();
        });
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        assert_eq!(client.get("/1").text(), "ok");
        if wait.is_some() {
            eventually("the proxy has thrown the connection away", || pod.open() == 0);
        }
        assert_eq!(client.post("/2", "x").text(), "ok");
        assert_eq!(pod.accepted(), 2);
    }
    let pod = Pod::start(move |conn| {
        while conn.request().is_some() {
            conn.send(format!("{OK}{poison}"));
        }
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(pod.accepted(), 20);
}

#[test]
fn a_pods_keep_alive_timeout_is_heeded() {
    for (keep_alive, connections) in
        [("", 1), ("keep-alive: timeout=60, max=9\r\n", 1), ("keep-alive: timeout=1\r\n", 2)]
    {
        let pod = Pod::answering(&format!("HTTP/1.1 200 OK\r\n{keep_alive}content-length: 2\r\n\r\nok"));
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        client.get("/");
        std::thread::sleep(Duration::from_millis(350));
        client.get("/");
        assert_eq!(pod.accepted(), connections, "{keep_alive}");
    }
}

#[test]
fn idle_connections_are_closed_after_their_time_without_any_request() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.upstream_idle = Duration::from_millis(300));
    proxy.connect().get("/");
    assert_eq!(pod.open(), 1);
    eventually("it was closed", || pod.open() == 0);
    proxy.wait_for("upstream_connections", &[], 0.0);
}

#[test]
fn a_connection_that_has_grown_old_is_not_used_again() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.upstream_age = Duration::from_millis(300));
    let mut client = proxy.connect();
    for _ in 0..50 {
        client.get("/");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!((2..=5).contains(&pod.accepted()), "{} connections in a second", pod.accepted());
}

#[test]
fn what_must_not_be_repeated_takes_no_connection_that_was_idle_for_long() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::limited(one_pod(&pod), |limits| {
        limits.upstream_idle_unrepeatable = Duration::from_millis(100);
    });
    let mut client = proxy.connect();
    client.get("/");
    std::thread::sleep(Duration::from_millis(400));
    client.post("/", "x");
    assert_eq!(pod.accepted(), 2);
    std::thread::sleep(Duration::from_millis(400));
    client.get("/");
    assert_eq!(pod.accepted(), 2, "a GET may be repeated, so it may try");
}

#[test]
fn an_endpoint_that_refuses_costs_nobody_a_request_and_comes_back_when_it_listens() {
    let good = Pod::named("good");
    let address = free_address();
    let endpoints = [good.endpoint("good"), endpoint("late", address)];
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &endpoints))]));
    let mut client = proxy.connect();
    for n in 0..50 {
        assert_eq!(client.post("/", "x").text(), "good", "request {n}");
    }
    proxy.wait_for("upstream_connect_failures_total", &[], 1.0);
    proxy.wait_for("upstream_retries_total", &[("cause", "connect")], 1.0);
    let late = Pod::on(TcpListener::bind(address).unwrap(), |conn| {
        while conn.request().is_some() {
            conn.send(OK);
        }
    });
    eventually("it gets requests again", || {
        client.get("/");
        late.count() > 0
    });
    proxy.wait_for_reason("", proxy.metric("requests_total", &[]));
}

#[test]
fn a_client_that_gives_up_while_connecting_leaves_no_place_taken() {
    // A listener whose queue is full answers no SYN.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let _fills = std::net::TcpStream::connect(address).unwrap();
    let rule = rule(vec![arm(1, &backend("hello", &[endpoint("1", address)]))]);
    let proxy = TestProxy::limited(rule, |limits| {
        limits.upstream_connections = 2;
        limits.connect_timeout = Duration::from_mins(1);
    });
    for _ in 0..2 {
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        std::thread::sleep(Duration::from_millis(50));
        client.reset();
    }
    proxy.wait_for_reason("client_aborted", 2.0);
    let _pod = Pod::on(listener, |conn| {
        while conn.request().is_some() {
            conn.send(OK);
        }
    });
    assert_eq!(proxy.connect().get("/").status, 200);
}

#[test]
fn a_broken_off_answer_looks_broken_off_and_its_connection_is_not_used_again() {
    for (what, answer) in [
        ("too short for its length", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
        ("chunks without an end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ("a chunk that is none", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzzz\r\n"),
    ] {
        let pod = Pod::start(move |conn| {
            conn.request();
            conn.send(answer);
        });
        let proxy = serving(&pod);
        for n in 1..3 {
            let mut client = proxy.connect();
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let mut head = client.head();
            assert_eq!(head.status, 200);
            assert!(client.body(&mut head).is_err(), "{what}: looked whole");
            assert_eq!(pod.accepted(), n);
        }
        proxy.wait_for_reason("upstream_truncated", 2.0);
        proxy.wait_for("requests_total", &[("code_class", "2xx")], 2.0);
    }
}

#[test]
fn an_answer_longer_than_its_length_is_cut_and_its_connection_is_not_used_again() {
    let pod = Pod::start(|conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nevil");
        }
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for n in 1..5 {
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(pod.accepted(), n);
    }
}

#[test]
fn idle_connections_to_an_endpoint_that_is_gone_are_closed() {
    for state in [None, Some(EndpointState::Terminating), Some(EndpointState::Unready)] {
        let (old, new) = (Pod::named("old"), Pod::named("new"));
        let mut proxy = serving(&old);
        let mut client = proxy.connect();
        assert_eq!(client.get("/").text(), "old");
        let mut endpoints = vec![new.endpoint("2")];
        endpoints.extend(state.map(|state| with_state(&old.endpoint("1"), state)));
        proxy.apply_rule(rule(vec![arm(1, &backend("hello", &endpoints))]));
        assert_eq!(client.get("/").text(), "new");
        eventually("the old pod's connection is closed", || old.open() == 0);
        assert_eq!(old.count(), 1);
    }
}

#[test]
fn an_address_that_another_pod_took_over_starts_clean() {
    let pod = Pod::named("v1");
    let mut proxy = serving(&pod);
    let mut client = proxy.connect();
    client.get("/");
    proxy.apply_rule(rule(vec![arm(1, &backend("hello", &[pod.endpoint("another uid")]))]));
    client.get("/");
    assert_eq!(pod.accepted(), 2);
    eventually("the former pod's connection is closed", || pod.open() == 1);
}

#[test]
fn a_weight_change_costs_no_connection() {
    let (one, two) = (Pod::named("1"), Pod::named("2"));
    let (first, second) = (backend("one", &[one.endpoint("1")]), backend("two", &[two.endpoint("2")]));
    let mut proxy = TestProxy::serving(rule(vec![arm(1, &first), arm(1, &second)]));
    let mut client = proxy.connect();
    for weight in 1..30 {
        for _ in 0..4 {
            client.get("/");
        }
        proxy.apply_rule(rule(vec![arm(weight, &first), arm(30 - weight, &second)]));
    }
    assert_eq!((one.accepted(), two.accepted()), (1, 1));
}
