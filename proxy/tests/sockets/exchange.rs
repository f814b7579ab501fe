//! One message in, the same message out: framing, persistence, and the answers that have no body.

use crate::support::{Client, Pod, TestProxy, arm, backend, rule};

/// A proxy in front of one pod.
fn serving(pod: &Pod) -> TestProxy {
    TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]))
}

#[test]
fn connections_are_kept_on_both_sides() {
    let pod = Pod::named("v1");
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for n in 0..20 {
        assert_eq!(client.get(&format!("/{n}")).text(), "v1");
        assert_eq!(client.post(&format!("/{n}"), "body").text(), "v1");
    }
    assert_eq!(pod.accepted(), 1);
    proxy.wait_for("connections_accepted_total", &[], 1.0);
    proxy.wait_for("upstream_connects_total", &[], 1.0);
    proxy.wait_for("upstream_reused_total", &[], 39.0);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let pod = Pod::start(|conn| {
        while let Some(request) = conn.request() {
            let path = request.line().split(' ').nth(1).unwrap().to_owned();
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    let requests: String = (0..50)
        .map(|n| match n % 2 {
            0 => format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n"),
            _ => format!("POST /{n} HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"),
        })
        .collect();
    client.send(requests);
    for n in 0..50 {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
    proxy.wait_for_reason("", 50.0);
}

#[test]
fn an_answer_to_head_keeps_its_length_and_has_no_body() {
    let pod = Pod::answering("HTTP/1.1 200 OK\r\ncontent-length: 12345\r\netag: x\r\n\r\n");
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
        let head = client.head();
        assert_eq!(
            (head.status, head.header("content-length"), head.header("etag")),
            (200, Some("12345"), Some("x"))
        );
    }
    assert_eq!(pod.accepted(), 1, "nothing of a body was waited for");
    proxy.wait_for_reason("", 2.0);
}

#[test]
fn an_answer_to_head_without_a_length_gets_none() {
    for framing in ["transfer-encoding: chunked\r\n", ""] {
        let pod = Pod::answering(&format!("HTTP/1.1 200 OK\r\n{framing}x-a: b\r\n\r\n"));
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        for _ in 0..2 {
            client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
            let head = client.head();
            assert_eq!((head.status, head.header("x-a")), (200, Some("b")));
            assert_eq!(head.header("content-length"), None, "{framing}");
        }
    }
}

#[test]
fn answers_that_cannot_have_a_body_end_with_their_head() {
    for status in ["204 No Content", "304 Not Modified"] {
        let pod = Pod::answering(&format!("HTTP/1.1 {status}\r\netag: x\r\n\r\n"));
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        for _ in 0..3 {
            let answer = client.get("/");
            assert_eq!(answer.header("etag"), Some("x"));
            assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, None));
        }
        assert_eq!(pod.accepted(), 1);
    }
}

#[test]
fn an_empty_body_is_sent_as_one() {
    let pod = Pod::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    let answer = client.post("/", "");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")));
    assert_eq!(pod.received()[0].header("content-length"), Some("0"), "a POST without a body still says so");
}

#[test]
fn a_client_of_http_1_0_gets_a_whole_answer_and_a_close() {
    let pod = Pod::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert!(answer.head.starts_with("HTTP/1.0 200"), "{}", answer.head);
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.text(), "abcde");
    let received = &pod.received()[0];
    assert_eq!(received.line(), "GET / HTTP/1.1");
    assert_eq!(received.header("host"), Some(""), "HTTP/1.1 demands a Host, if only an empty one");
}

#[test]
fn a_client_of_http_1_0_that_asks_for_it_keeps_its_connection() {
    let pod = Pod::named("v1");
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for _ in 0..3 {
        let answer = client.ask("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
        assert_eq!((answer.text(), answer.header("connection")), ("v1", Some("keep-alive")));
    }
}

#[test]
fn a_client_that_says_close_is_closed_after_its_answer() {
    let pod = Pod::named("v1");
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    let answer = client.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!((answer.text(), answer.header("connection")), ("v1", Some("close")));
    client.expect_close();
    assert_eq!(proxy.connect().get("/").text(), "v1");
    assert_eq!(pod.accepted(), 1, "the client's close is not the pod's");
}

#[test]
fn a_body_that_ends_with_its_connection_is_passed_on_whole() {
    let pod = Pod::start(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\n\r\nfirst, ");
        std::thread::sleep(std::time::Duration::from_millis(20));
        conn.send("second");
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for n in 1..3 {
        let answer = client.get("/");
        assert_eq!((answer.text(), answer.header("transfer-encoding")), ("first, second", Some("chunked")));
        assert_eq!(pod.accepted(), n);
    }
    proxy.wait_for_reason("", 2.0);
}

#[test]
fn a_pod_of_http_1_0_is_understood_and_not_used_again() {
    let pod = Pod::start(|conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nv1");
        }
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "v1");
    // Chunked, which HTTP/1.0 does not know: it must not reach a connection of which we know that.
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(client.ask(chunked).text(), "v1");
    assert_eq!(pod.received()[1].text(), "abc");
    assert!(pod.received()[1].line().ends_with("HTTP/1.1"));
    assert_eq!(pod.accepted(), 2);
}

#[test]
fn chunked_bodies_pass_both_ways() {
    let pod = Pod::start(|conn| {
        while let Some(request) = conn.request() {
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            for part in request.body.chunks(1_000) {
                conn.send(format!("{:x};ext=1\r\n", part.len()));
                conn.send(part);
                conn.send("\r\n");
            }
            conn.send("0\r\n\r\n");
        }
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for length in [0usize, 1, 999, 1_000, 50_000] {
        let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        for part in body.chunks(777) {
            client.send(format!("{:X}\r\n", part.len()));
            client.send(part);
            client.send("\r\n");
        }
        client.send("0\r\n\r\n");
        let answer = client.answer();
        assert!(answer.body == body, "{length} bytes came back as {}", answer.body.len());
    }
    let received = pod.received();
    assert!(received.iter().all(|request| request.header("transfer-encoding") == Some("chunked")));
    assert!(received.iter().all(|request| request.header("content-length").is_none()));
    assert_eq!(pod.accepted(), 1);
}

#[test]
fn head_and_body_may_arrive_byte_by_byte() {
    let pod = Pod::start(|conn| {
        while let Some(request) = conn.request() {
            for byte in format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len()).bytes() {
                conn.send([byte]);
            }
            for byte in request.body {
                conn.send([byte]);
            }
        }
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for byte in "POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789".bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().text(), "0123456789");
    assert_eq!(pod.received()[0].line(), "POST /slow HTTP/1.1");
}

#[test]
fn the_target_is_passed_on_letter_by_letter() {
    let pod = Pod::named("v1");
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    let targets = [
        "/",
        "/a/../b",
        "/%2e%2e/x",
        "//double//slash",
        "/a;b=c",
        "/?",
        "/?a=b&a=c+d%20",
        "/%",
        "/a|b",
        "/\u{e4}",
    ];
    for target in targets {
        assert_eq!(client.get(target).status, 200, "{target}");
        let received = pod.received().pop().unwrap();
        assert_eq!(received.line(), format!("GET {target} HTTP/1.1"));
    }
}

#[test]
fn the_authority_of_an_absolute_target_wins_over_host() {
    let pod = Pod::named("v1");
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    let answer = client.ask("GET http://user@Target:81/p?q HTTP/1.1\r\nhost: other\r\n\r\n");
    assert_eq!(answer.status, 200);
    let received = &pod.received()[0];
    assert_eq!((received.line(), received.header("host")), ("GET /p?q HTTP/1.1", Some("Target:81")));
    assert_eq!(received.header("x-forwarded-host"), Some("Target:81"));
    client.ask("GET http://target HTTP/1.1\r\nhost: other\r\n\r\n");
    assert_eq!(pod.received()[1].line(), "GET / HTTP/1.1");
}

#[test]
fn any_method_and_any_status_pass() {
    let pod = Pod::start(|conn| {
        while let Some(request) = conn.request() {
            let status = request.line().split(['/', ' ']).nth(2).unwrap().to_owned();
            conn.send(format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n"));
        }
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for (method, status) in
        [("PURGE", 200), ("M-SEARCH", 299), ("patch", 404), ("TRACE", 500), ("DELETE", 599), ("GET", 799)]
    {
        let answer = client.ask(format!("{method} /{status} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!((answer.status, answer.header("watershed-reason")), (status, None));
        assert!(pod.received().pop().unwrap().line().starts_with(method));
    }
}

#[test]
fn many_connections_at_once_are_served() {
    let pod = Pod::named("v1");
    let proxy = serving(&pod);
    let mut clients: Vec<Client> = (0..200).map(|_| proxy.connect()).collect();
    for round in 0..3 {
        for client in &mut clients {
            client.send(format!("GET /{round} HTTP/1.1\r\nhost: a\r\n\r\n"));
        }
        assert!(clients.iter_mut().all(|client| client.answer().text() == "v1"));
    }
    proxy.wait_for_reason("", 600.0);
    drop(clients);
    proxy.wait_for("connections_open", &[], 0.0);
}
