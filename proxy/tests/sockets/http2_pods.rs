//! Pods that speak HTTP/2: how many streams they allow, when they refuse one, how they go.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use http::StatusCode;

use crate::support::frames::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, Wire};
use crate::support::h2_client::{get, post};
use crate::support::{
    H2Client, H2Pod, Pod, Tell, TestProxy, arm, backend, block_on, endpoint, eventually, h2c, rule,
};

fn before(pod: &H2Pod) -> TestProxy {
    TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]))
}

/// Sends this many requests at once, half of them GET, half POST with an id as body; returns the answers' statuses.
async fn burst(client: &H2Client, count: usize) -> Vec<u16> {
    let mut running = tokio::task::JoinSet::new();
    for id in 0..count {
        let send = client.send.clone();
        running.spawn(async move {
            let mut client = send.ready().await.unwrap();
            if id % 2 == 0 {
                let (response, _) = client.send_request(get(&format!("/{id}")), true).unwrap();
                return response.await.unwrap().status().as_u16();
            }
            let (response, mut stream) = client.send_request(post(&format!("/{id}")), false).unwrap();
            stream.send_data(Bytes::from(format!("body {id}")), true).unwrap();
            response.await.unwrap().status().as_u16()
        });
    }
    running.join_all().await
}

/// How often each path was handled.
fn runs(pods: &[&H2Pod]) -> HashMap<String, usize> {
    let mut runs = HashMap::new();
    for received in pods.iter().flat_map(|pod| pod.received()) {
        *runs.entry(received.head.uri().path().to_owned()).or_default() += 1;
    }
    runs
}

#[test]
fn requests_share_one_connection() {
    let pod = H2Pod::named("v1");
    let proxy = before(&pod);
    block_on(async {
        let client = H2Client::connect(proxy.address()).await;
        for _ in 0..3 {
            assert!(burst(&client, 50).await.iter().all(|status| *status == 200));
        }
    });
    for _ in 0..3 {
        assert_eq!(proxy.connect().get("/").status, 200);
    }
    assert_eq!(pod.accepted(), 1);
}

#[test]
fn a_storm_of_first_requests_opens_one_connection() {
    let pod = H2Pod::named("v1");
    let proxy = before(&pod);
    let statuses = block_on(async { burst(&H2Client::connect(proxy.address()).await, 100).await });
    assert_eq!(statuses, vec![200; 100]);
    assert_eq!(pod.accepted(), 1);
    assert_eq!(runs(&[&pod]).values().max(), Some(&1));
}

#[test]
fn as_many_connections_are_opened_as_the_pods_stream_limit_asks_for() {
    for (limit, requests, connections) in [(10, 40, 4), (1, 8, 8)] {
        let together = Arc::new(tokio::sync::Barrier::new(requests));
        // Nobody is answered before all are there: so all must run at once.
        let pod = H2Pod::with(Builder::new().max_concurrent_streams(limit).clone(), move |mut exchange| {
            let together = Arc::clone(&together);
            async move {
                exchange.read().await;
                together.wait().await;
                exchange.answer("v1");
            }
        });
        let proxy = before(&pod);
        let statuses = block_on(async { burst(&H2Client::connect(proxy.address()).await, requests).await });
        assert_eq!(statuses, vec![200; requests]);
        assert_eq!(pod.accepted(), connections, "limit {limit}");
        assert!(runs(&[&pod]).values().all(|runs| *runs == 1));
        proxy.wait_for("upstream_retries_total", &[], 0.0);
    }
}

#[test]
fn a_refused_stream_is_sent_again_with_its_body() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let pod = H2Pod::start(move |mut exchange| {
        let count = Arc::clone(&count);
        async move {
            // After a part of the body, so that the kept beginning matters.
            let first = exchange.body.data().await;
            if count.fetch_add(1, SeqCst) < 2 {
                assert_eq!(first.unwrap().unwrap(), "some");
                exchange.respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            let mut all = first.unwrap().unwrap().to_vec();
            all.extend(crate::support::h2_pod::read(&mut exchange.body).await.unwrap().0);
            assert_eq!(all, b"some more");
            exchange.answer("v1");
        }
    });
    let proxy = before(&pod);
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        let (response, mut stream) = client.begin(post("/")).await;
        stream.send_data(Bytes::from_static(b"some"), false).unwrap();
        while refused.load(SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stream.send_data(Bytes::from_static(b" more"), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    proxy.wait_for("upstream_retries_total", &[("cause", "unsent")], 2.0);
    proxy.wait_for_reason("", 1.0);
}

#[test]
fn what_was_kept_is_sent_whole_although_the_answer_begins_early() {
    let first = AtomicUsize::new(0);
    let pod = H2Pod::start(move |mut exchange| {
        let attempt = first.fetch_add(1, SeqCst);
        async move {
            if attempt == 0 {
                // All three pieces are taken, then refused.
                for _ in 0..3 {
                    exchange.body.data().await.unwrap().unwrap();
                }
                exchange.respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            // The answer begins before the body is read, and is what was read.
            let mut answer = exchange.begin(StatusCode::OK);
            let (body, _) = crate::support::h2_pod::read(&mut exchange.body).await.unwrap();
            answer.send_data(Bytes::from(body), true).unwrap();
        }
    });
    let proxy = before(&pod);
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        let (response, mut stream) = client.begin(post("/")).await;
        for piece in ["one ", "two ", "three "] {
            stream.send_data(Bytes::from_static(piece.as_bytes()), false).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let response = response.await.unwrap();
        stream.send_data(Bytes::from_static(b"four"), true).unwrap();
        let answer = crate::support::h2_client::answer(response).await.unwrap();
        assert_eq!(answer.text(), "one two three four");
    });
}

#[test]
fn beyond_what_is_kept_a_refused_stream_is_an_error() {
    let pod = H2Pod::start(|mut exchange| async move {
        let mut read = 0;
        while read <= 64 * 1024 {
            let data = exchange.body.data().await.unwrap().unwrap();
            let _ = exchange.body.flow_control().release_capacity(data.len());
            read += data.len();
        }
        exchange.respond.send_reset(Reason::REFUSED_STREAM);
    });
    let proxy = before(&pod);
    let body = Bytes::from(vec![b'x'; 100 * 1024]);
    let answer =
        block_on(async { H2Client::connect(proxy.address()).await.send(post("/"), body).await.unwrap() });
    assert_eq!((answer.status.as_u16(), answer.header("watershed-reason")), (502, "upstream_reset"));
    assert_eq!(pod.accepted(), 1);
    proxy.wait_for_reason("upstream_reset", 1.0);
}

#[test]
fn a_stream_that_is_reset_otherwise_is_not_sent_again() {
    let pod = H2Pod::start(|mut exchange| async move {
        exchange.read().await;
        exchange.respond.send_reset(Reason::INTERNAL_ERROR);
    });
    let proxy = before(&pod);
    for request in
        ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx"]
    {
        let answer = proxy.connect().ask(request);
        assert_eq!((answer.status, answer.header("watershed-reason")), (502, Some("upstream_reset")));
    }
    assert_eq!(pod.received().len(), 2);
}

#[test]
fn pods_that_go_away_politely_amid_bursts_lose_nothing_and_run_nothing_twice() {
    let pods = [0, 1].map(|_| {
        H2Pod::start(|mut exchange| async move {
            exchange.read().await;
            tokio::time::sleep(Duration::from_micros(300)).await;
            exchange.answer("v1");
        })
    });
    let endpoints = [pods[0].endpoint("1"), pods[1].endpoint("2")];
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &endpoints))]));
    let mut sent = 0;
    block_on(async {
        let client = H2Client::connect(proxy.address()).await;
        for round in 0..30 {
            let going = async {
                tokio::time::sleep(Duration::from_micros(200 * (round % 7))).await;
                pods[round as usize % 2].tell(Tell::GoAway);
            };
            let (statuses, ()) = tokio::join!(burst(&client, 40), going);
            assert_eq!(statuses, vec![200; 40], "round {round}");
            let runs = runs(&[&pods[0], &pods[1]]);
            sent += 40;
            assert_eq!(runs.len(), 40);
            assert_eq!(runs.values().sum::<usize>(), sent, "round {round}: {runs:?}");
        }
    });
    assert!(pods[0].accepted() + pods[1].accepted() > 10, "they did go away");
}

/// A pod of frames: the script gets each connection after its preface, with the first requests' stream numbers at hand.
fn wire_pod(script: impl Fn(&mut Wire, usize) + Send + Sync + 'static) -> Pod {
    Pod::start(move |conn| {
        let mut wire = Wire::accepted(conn.stream.try_clone().unwrap(), &[]);
        script(&mut wire, conn.number);
    })
}

fn before_wire(pod: &Pod) -> TestProxy {
    TestProxy::serving(rule(vec![arm(1, &backend("hello", &[h2c(pod.endpoint("1"))]))]))
}

/// `:status: 200` of the static table.
const OK: &[u8] = &[0x88];

fn answer(wire: &mut Wire, stream: u32) {
    let _ = wire.try_send(HEADERS, END_HEADERS | END_STREAM, stream, OK);
}

/// Reads on until this many requests are complete; returns their streams.
fn requests(wire: &mut Wire, count: usize) -> Vec<u32> {
    let mut streams = Vec::new();
    while streams.len() < count {
        let frame = wire.next().expect("closed before all requests were there");
        if frame.ends_stream() {
            streams.push(frame.stream);
        }
    }
    streams
}

#[test]
fn after_a_single_goaway_only_what_it_leaves_out_is_sent_again() {
    let pod = wire_pod(|wire, number| {
        if number > 0 {
            for stream in requests(wire, 6) {
                answer(wire, stream);
            }
            wire.closed();
            return;
        }
        // Ten are there, GOAWAY names the fourth as the last: four are answered, six must come again.
        let mut streams = requests(wire, 10);
        streams.sort_unstable();
        wire.go_away(streams[3], 0);
        for stream in &streams[..4] {
            answer(wire, *stream);
        }
        wire.closed();
    });
    let proxy = before_wire(&pod);
    let statuses = block_on(async { burst(&H2Client::connect(proxy.address()).await, 10).await });
    assert_eq!(statuses, vec![200; 10]);
    assert_eq!(pod.accepted(), 2);
    assert!(proxy.metric("upstream_retries_total", &[("cause", "unsent")]) >= 6.0);
}

#[test]
fn what_a_goaway_counts_as_handled_is_not_sent_again_when_the_connection_breaks() {
    let pod = wire_pod(|wire, number| {
        if number == 0 {
            let streams = requests(wire, 1);
            wire.go_away(streams[0], 0);
        }
    });
    let proxy = before_wire(&pod);
    let answer = proxy.connect().post("/", "once");
    assert_eq!((answer.status, answer.header("watershed-reason")), (502, Some("upstream_closed")));
    assert_eq!(pod.accepted(), 1);
}

#[test]
fn a_connection_cut_without_a_word_costs_posts_502_and_gets_nothing() {
    let pod = wire_pod(|wire, number| {
        let first = requests(wire, 1);
        answer(wire, first[0]);
        if number == 0 {
            // Cut with one GET and one POST under way, on a connection that was used before.
            requests(wire, 2);
            return;
        }
        wire.closed();
    });
    let proxy = before_wire(&pod);
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        assert_eq!(client.get("/warm").await.status, 200);
        let mut other = H2Client { send: client.send.clone(), connection: tokio::spawn(async { Ok(()) }) };
        let (get, post) = tokio::join!(client.get("/get"), other.post("/post", "once"));
        assert_eq!(get.status, 200);
        assert_eq!((post.status.as_u16(), post.header("watershed-reason")), (502, "upstream_closed"));
    });
    proxy.wait_for("upstream_retries_total", &[("cause", "stale")], 1.0);
}

#[test]
fn a_post_does_not_take_an_idle_connection_that_was_cut() {
    let pod = H2Pod::named("v1");
    let proxy = before(&pod);
    let mut client = proxy.connect();
    for round in 0..20 {
        assert_eq!(client.post("/", "x").status, 200, "round {round}");
        pod.tell(Tell::Cut);
        eventually("the pod has cut its connection", || pod.open() == 0);
    }
    assert_eq!(pod.received().len(), 20);
}

#[test]
fn a_lowered_stream_limit_is_kept() {
    let pod = wire_pod(|wire, number| {
        if number > 0 {
            for stream in requests(wire, 1) {
                answer(wire, stream);
            }
            wire.closed();
            return;
        }
        let first = requests(wire, 1);
        wire.settings(&[(3, 1)]);
        // The acknowledgement of the first settings, then that of these.
        let mut acknowledged = 0;
        while acknowledged < 2 {
            let frame = wire.read().unwrap();
            acknowledged += usize::from(frame.kind == SETTINGS && frame.flags == ACK);
        }
        answer(wire, first[0]);
        let held = requests(wire, 1);
        assert_eq!(wire.next().map(|frame| frame.kind), None, "a second stream");
        drop(held);
    });
    let proxy = before_wire(&pod);
    let mut first = proxy.connect();
    assert_eq!(first.get("/").status, 200);
    first.send("GET / HTTP/1.1\r\nhost: hello\r\n\r\n");
    let mut second = proxy.connect();
    eventually("the held request is there", || proxy.metric("upstream_reused_total", &[]) > 0.0);
    assert_eq!(second.get("/").status, 200);
    assert_eq!(pod.accepted(), 2);
}

#[test]
fn a_pod_that_speaks_http1_is_an_error_with_a_reason() {
    for answer in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", ""] {
        let pod = Pod::start(move |conn| {
            conn.reader.take(24).unwrap();
            conn.send(answer);
            std::thread::sleep(Duration::from_millis(5));
        });
        let proxy = before_wire(&pod);
        let answered = proxy.connect().get("/");
        let reason = if answer.is_empty() { "upstream_closed" } else { "upstream_protocol" };
        assert_eq!((answered.status, answered.header("watershed-reason")), (502, Some(reason)));
        let statuses = block_on(async { burst(&H2Client::connect(proxy.address()).await, 20).await });
        assert_eq!(statuses, vec![502; 20]);
    }
}

#[test]
fn a_malformed_response_is_an_error_with_a_reason() {
    let pod = wire_pod(|wire, _| {
        let stream = requests(wire, 1)[0];
        wire.headers(stream, &[(":status", "200"), ("connection", "close")], true);
        wire.closed();
    });
    let proxy = before_wire(&pod);
    let answer = proxy.connect().get("/");
    assert_eq!((answer.status, answer.header("watershed-reason")), (502, Some("upstream_protocol")));
}

#[test]
fn a_response_cut_in_the_middle_is_no_complete_response() {
    let pod = wire_pod(|wire, _| {
        for number in 0..3 {
            let stream = requests(wire, 1)[0];
            wire.send(HEADERS, END_HEADERS, stream, OK);
            wire.send(DATA, 0, stream, b"half");
            if number < 2 {
                wire.reset(stream, 2);
            }
        }
    });
    let proxy = before_wire(&pod);
    for _ in 0..2 {
        let cut = block_on(async { H2Client::connect(proxy.address()).await.ask(get("/")).await });
        assert!(cut.unwrap_err().is_reset());
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nhost: hello\r\n\r\n");
        let rest = String::from_utf8(client.rest().0).unwrap();
        assert!(!rest.ends_with("0\r\n\r\n"), "no last chunk: {rest}");
    }
    proxy.wait_for_reason("upstream_truncated", 4.0);
}

#[test]
fn an_endpoint_that_refuses_connections_is_left_for_another() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pod = H2Pod::named("v1");
    let endpoints = [h2c(endpoint("gone", gone)), pod.endpoint("1")];
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &endpoints))]));
    let statuses = block_on(async { burst(&H2Client::connect(proxy.address()).await, 20).await });
    assert_eq!(statuses, vec![200; 20]);
}

#[test]
fn a_request_that_is_given_up_resets_its_stream_and_leaves_the_connection() {
    let pod = H2Pod::start(|mut exchange| async move {
        if exchange.head.uri().path() == "/slow" {
            let reason = std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await.unwrap();
            assert_eq!(reason, Reason::CANCEL);
        }
        exchange.read().await;
        let _ = exchange.respond.send_response(http::Response::new(()), true);
    });
    let mut slow = rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]);
    slow.timeouts.request = Some(Duration::from_millis(50));
    let proxy = TestProxy::serving(slow);
    let mut client = proxy.connect();
    for _ in 0..3 {
        let answer = client.get("/slow");
        assert_eq!((answer.status, answer.header("watershed-reason")), (504, Some("request_timeout")));
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(pod.accepted(), 1);
}

#[test]
fn a_body_that_is_too_large_or_stalls_says_so_although_the_pod_speaks_http2() {
    let pod = H2Pod::named("v1");
    let hello = rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]);
    let proxy = TestProxy::limited(hello, |limits| {
        limits.request_body_bytes = Some(1000);
        limits.body_stall = Duration::from_millis(200);
    });
    let body = Bytes::from(vec![b'x'; 2000]);
    let answer =
        block_on(async { H2Client::connect(proxy.address()).await.send(post("/"), body).await.unwrap() });
    assert_eq!((answer.status.as_u16(), answer.header("watershed-reason")), (413, "body_too_large"));
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nhost: hello\r\ncontent-length: 9\r\n\r\nhalf");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("watershed-reason")), (408, Some("request_body_timeout")));
}

#[test]
fn connections_that_are_idle_or_old_are_closed_and_replaced() {
    let pod = H2Pod::named("v1");
    let hello = rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]);
    let proxy = TestProxy::limited(hello, |limits| {
        limits.upstream_idle = Duration::from_millis(100);
        limits.upstream_age = Duration::from_millis(300);
    });
    assert_eq!(proxy.connect().get("/").status, 200);
    eventually("the idle connection is closed", || pod.open() == 0);
    let mut client = proxy.connect();
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while pod.accepted() < 3 {
        assert_eq!(client.get("/").status, 200);
        assert!(std::time::Instant::now() < end, "an old connection is still used");
    }
}
