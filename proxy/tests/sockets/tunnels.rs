//! Upgrades: a connection becomes a tunnel when, and only when, the pod agrees.

use std::io::Read;
use std::time::Duration;

use crate::support::{Client, H2Pod, Pod, PodConn, TestProxy, arm, backend, eventually, rule};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: hello\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn before(pod: &Pod) -> TestProxy {
    TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]))
}

/// Sends back what comes, until the end.
fn echo(conn: &mut PodConn) {
    let mut buffer = [0; 1024];
    let ahead = conn.reader.ahead().to_vec();
    conn.send(ahead);
    while let Ok(count @ 1..) = conn.stream.read(&mut buffer) {
        conn.send(&buffer[..count]);
    }
}

/// A pod that agrees and echoes.
fn echoing() -> Pod {
    Pod::start(|conn| {
        if conn.request().is_some() {
            conn.send(AGREE);
            echo(conn);
        }
    })
}

#[track_caller]
fn upgraded(proxy: &TestProxy) -> Client {
    let mut client = proxy.connect();
    client.send(ASK);
    let head = client.head();
    assert_eq!((head.status, head.header("upgrade")), (101, Some("websocket")));
    assert_eq!(head.header("connection"), Some("upgrade"));
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

#[test]
fn bytes_pass_both_ways_once_the_pod_has_agreed() {
    let pod = echoing();
    let proxy = before(&pod);
    let mut client = upgraded(&proxy);
    for word in ["one", "two", "three"] {
        client.send(word);
        assert_eq!(client.take(word.len()), word.as_bytes());
    }
    let asked = &pod.received()[0];
    assert_eq!((asked.header("connection"), asked.header("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(asked.header("sec-websocket-version"), Some("13"));
    proxy.wait_for("upgrades_total", &[], 1.0);
    proxy.wait_for("tunnels_open", &[], 1.0);
    proxy.wait_for("connections_open", &[], 0.0);
    client.half_close();
    client.expect_close();
    proxy.wait_for("tunnels_open", &[], 0.0);
    proxy.wait_for("requests_total", &[("code_class", "1xx"), ("reason", "")], 1.0);
}

#[test]
fn much_passes_both_ways_at_once() {
    let pod = echoing();
    let proxy = before(&pod);
    let mut client = upgraded(&proxy);
    let sent: Vec<u8> = (0..2_000_000u32).map(|index| (index % 251) as u8).collect();
    let (mut sending, bytes) = (Client::clone_of(&client), sent.clone());
    let writer = std::thread::spawn(move || sending.send(bytes));
    assert!(client.take(sent.len()) == sent);
    writer.join().unwrap();
}

#[test]
fn what_is_sent_with_the_handshake_waits_for_the_pods_agreement_and_is_not_lost() {
    let pod = Pod::start(|conn| {
        conn.request().unwrap();
        // RUSTSEC-2026-0033: nothing may come before the pod has agreed.
        conn.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(conn.reader.ahead().is_empty() && conn.stream.peek(&mut [0]).is_err());
        conn.stream.set_read_timeout(None).unwrap();
        conn.send(format!("{AGREE}greetings"));
        echo(conn);
    });
    let proxy = before(&pod);
    let mut client = proxy.connect();
    client.send(format!("{ASK}early"));
    assert_eq!(client.head().status, 101);
    assert_eq!(client.take(14), b"greetingsearly");
}

#[test]
fn a_side_that_is_done_can_still_listen() {
    let pod = Pod::start(|conn| {
        conn.request().unwrap();
        conn.send(AGREE);
        let mut all = Vec::new();
        conn.stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"question");
        conn.send("answer");
    });
    let proxy = before(&pod);
    let mut client = upgraded(&proxy);
    client.send("question");
    client.half_close();
    assert_eq!(client.take(6), b"answer");
    client.expect_close();
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response() {
    let pod = Pod::answering(
        "HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno",
    );
    let proxy = before(&pod);
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.ask(ASK);
        assert_eq!((answer.status, answer.text()), (426, "no"));
    }
    assert_eq!(client.get("/").status, 426);
    assert_eq!(pod.accepted(), 1, "the connection is used again");
    proxy.wait_for("upgrades_total", &[], 0.0);
}

#[test]
fn an_upgrade_that_nobody_asked_for_is_an_error() {
    let pod = Pod::answering(AGREE);
    let proxy = before(&pod);
    let others = ASK.replace("websocket\r\n", "other\r\n");
    let unnamed = ASK.replace("keep-alive, Upgrade", "keep-alive");
    for request in ["GET / HTTP/1.1\r\nhost: hello\r\n\r\n", &others, &unnamed] {
        let answer = proxy.connect().ask(request);
        assert_eq!((answer.status, answer.header("watershed-reason")), (502, Some("upstream_protocol")));
    }
    eventually("their connections are closed", || pod.open() == 0);
    proxy.wait_for("upgrades_total", &[], 0.0);
}

#[test]
fn an_upgrade_to_http2_is_not_passed_on() {
    let pod = Pod::named("v1");
    let proxy = before(&pod);
    for protocols in ["h2c", "H2C, h2c"] {
        let answer = proxy.connect().ask(format!(
            "GET / HTTP/1.1\r\nhost: hello\r\nconnection: upgrade, http2-settings\r\nupgrade: {protocols}\r\n\
             http2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ));
        assert_eq!(answer.text(), "v1");
    }
    for received in pod.received() {
        for name in ["connection", "upgrade", "http2-settings"] {
            assert_eq!(received.header(name), None, "{name}");
        }
    }
}

#[test]
fn a_pod_that_speaks_http2_is_asked_without_the_upgrade() {
    let pod = H2Pod::named("v1");
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]));
    let mut client = proxy.connect();
    assert_eq!(client.ask(ASK).text(), "v1");
    assert_eq!(client.get("/").text(), "v1");
}

#[test]
fn a_side_that_breaks_off_ends_the_other() {
    let pod = Pod::start(|conn| {
        conn.request().unwrap();
        conn.send(AGREE);
        if conn.number == 0 {
            conn.wait_for_close();
        } else {
            conn.reset_at_end();
        }
    });
    let proxy = before(&pod);
    upgraded(&proxy).reset();
    eventually("the pod's side is closed", || pod.open() == 0);
    upgraded(&proxy).expect_close();
    proxy.wait_for("tunnels_open", &[], 0.0);
}

#[test]
fn a_tunnel_outlives_the_table_that_it_came_from() {
    let (pod, other) = (echoing(), Pod::named("v2"));
    let mut proxy = before(&pod);
    let mut client = upgraded(&proxy);
    for _ in 0..3 {
        proxy.apply_rule(rule(vec![arm(1, &backend("hello", &[other.endpoint("2")]))]));
        client.send("still");
        assert_eq!(client.take(5), b"still");
    }
    assert_eq!(proxy.connect().get("/").text(), "v2");
}

#[test]
fn draining_waits_for_tunnels_and_cuts_them_at_the_deadline() {
    let pod = echoing();
    let proxy = before(&pod);
    let mut client = upgraded(&proxy);
    let draining = std::thread::spawn(move || proxy.drain(Duration::ZERO, Duration::from_secs(10)));
    std::thread::sleep(Duration::from_millis(100));
    client.send("still");
    assert_eq!(client.take(5), b"still");
    drop(client);
    assert_eq!(draining.join().unwrap().cut, 0);

    let proxy = before(&pod);
    let mut client = upgraded(&proxy);
    let telemetry = proxy.telemetry();
    assert_eq!(proxy.drain(Duration::ZERO, Duration::from_millis(100)).cut, 1);
    client.expect_close();
    let counted = crate::support::metric(&telemetry, "requests_total", &[("reason", "drain_deadline")]);
    assert!((counted - 1.0).abs() < f64::EPSILON, "{counted}");
}
