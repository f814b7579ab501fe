//! Streams side by side: flow control, early ends, cancelling, and how connections of clients end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Response, StatusCode};

use crate::support::frames::{ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Wire};
use crate::support::h2_client::{answer, get, post};
use crate::support::h2_pod::{Exchange, read, write};
use crate::support::{H2Client, H2Pod, Pod, TestProxy, arm, backend, block_on, eventually, h2c, rule};

const MIB: usize = 1024 * 1024;

fn before(pod: &H2Pod) -> TestProxy {
    TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]))
}

/// Sends a megabyte without end at `/endless`, counting it; 300 KB elsewhere.
async fn pour(mut exchange: Exchange, poured: Arc<AtomicUsize>) {
    let endless = exchange.head.uri().path() == "/endless";
    let mut stream = exchange.begin(StatusCode::OK);
    if !endless {
        let _ = write(&mut stream, Bytes::from(vec![b'x'; 300_000]), true).await;
        return;
    }
    loop {
        if write(&mut stream, Bytes::from(vec![b'x'; 16 * 1024]), false).await.is_err() {
            return;
        }
        poured.fetch_add(16 * 1024, SeqCst);
    }
}

#[test]
fn streams_that_nobody_reads_cost_little_and_do_not_stop_others() {
    let poured = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&poured);
    let pod = H2Pod::start(move |exchange| pour(exchange, Arc::clone(&count)));
    let proxy = before(&pod);
    let mut idle = Wire::connect(proxy.address());
    for stream in 0..8 {
        idle.get(stream * 2 + 1, "/endless");
    }
    let mut seen = usize::MAX;
    eventually("the pod can pour no more", || {
        std::thread::sleep(Duration::from_millis(50));
        std::mem::replace(&mut seen, poured.load(SeqCst)) == poured.load(SeqCst) && seen > 0
    });
    assert!(seen < 8 * MIB / 2, "{seen} bytes for eight streams that are not read");
    for _ in 0..5 {
        assert_eq!(proxy.connect().get("/").body.len(), 300_000);
    }
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        assert_eq!(client.get("/").await.body.len(), 300_000);
    });
    assert_eq!(pod.accepted(), 1, "all over one connection");
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

#[test]
fn large_bodies_pass_both_ways_between_all_versions() {
    let body = pattern(2 * MIB);
    let h2 = H2Pod::start(|mut exchange| async move {
        let (body, _) = read(&mut exchange.body).await.unwrap();
        let mut stream = exchange.begin(StatusCode::OK);
        write(&mut stream, body.into(), true).await.unwrap();
    });
    let h1 = Pod::start(|conn| {
        while let Some(request) = conn.request() {
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len()));
            conn.send(&request.body);
        }
    });
    let proxies =
        [before(&h2), TestProxy::serving(rule(vec![arm(1, &backend("hello", &[h1.endpoint("1")]))]))];
    for proxy in &proxies {
        let echoed = block_on(async {
            H2Client::connect(proxy.address()).await.send(post("/"), body.clone()).await.unwrap().body
        });
        assert!(echoed == body);
    }
    let mut client = proxies[0].connect();
    let mut sending = crate::support::Client::clone_of(&client);
    let sent = body.clone();
    let length = body.len();
    let writer = std::thread::spawn(move || {
        sending.send(format!("POST / HTTP/1.1\r\nhost: hello\r\ncontent-length: {length}\r\n\r\n"));
        sending.send(&sent);
    });
    assert!(client.answer().body == body);
    writer.join().unwrap();
}

#[test]
fn a_conversation_goes_back_and_forth_within_one_stream() {
    let pod = H2Pod::start(|mut exchange| async move {
        let mut stream = exchange.begin(StatusCode::OK);
        while let Some(Ok(data)) = exchange.body.data().await {
            stream.send_data(data, false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
    });
    let proxy = before(&pod);
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        let (response, mut stream) = client.begin(post("/")).await;
        let mut body = response.await.unwrap().into_body();
        for word in ["one", "two", "three"] {
            stream.send_data(Bytes::from(word), false).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), word);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(read(&mut body).await.unwrap().0, b"");
    });
}

#[test]
fn an_answer_before_the_upload_ends_is_delivered_whole() {
    // The answer, its end and the reset that stops the upload (RFC 9113 section 8.1) arrive at once.
    let pod = Pod::start(|conn| {
        let mut wire = Wire::accepted(conn.stream.try_clone().unwrap(), &[]);
        while let Some(frame) = wire.next() {
            if frame.kind == HEADERS {
                let id = (frame.stream).to_be_bytes();
                let head = [&[0, 0, 1, HEADERS, END_HEADERS][..], &id, &[0x88]].concat();
                let data = [&[0, 0, 6, DATA, END_STREAM][..], &id, b"enough"].concat();
                let reset = [&[0, 0, 4, RST_STREAM, 0][..], &id, &[0; 4]].concat();
                conn.send([head, data, reset].concat());
            }
        }
    });
    let endpoint = h2c(pod.endpoint("1"));
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &[endpoint]))]));
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        for _ in 0..5 {
            let (response, mut stream) = client.begin(post("/")).await;
            stream.send_data(Bytes::from_static(b"some"), false).unwrap();
            assert_eq!(answer(response.await.unwrap()).await.unwrap().text(), "enough");
        }
    });
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nhost: hello\r\ncontent-length: 100\r\n\r\nsome");
    assert_eq!(client.answer().text(), "enough");
    assert_eq!(pod.accepted(), 1);
}

#[test]
fn who_cancels_cancels_at_the_pod() {
    let cancelled = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&cancelled);
    let pod = H2Pod::start(move |mut exchange| {
        let count = Arc::clone(&count);
        async move {
            if exchange.head.uri().path() == "/upload" {
                // Never a clean end.
                assert!(read(&mut exchange.body).await.is_err());
            } else if exchange.head.uri().path() == "/download" {
                let mut stream = exchange.begin(StatusCode::OK);
                stream.send_data(Bytes::from_static(b"some"), false).unwrap();
                std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
            } else {
                std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await.unwrap();
            }
            count.fetch_add(1, SeqCst);
        }
    });
    let proxy = before(&pod);
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        // Waiting for the head, amid the upload, amid the download.
        let (response, mut waiting) = client.begin(get("/wait")).await;
        waiting.send_data(Bytes::new(), true).unwrap();
        let (_, mut uploading) = client.begin(post("/upload")).await;
        uploading.send_data(Bytes::from_static(b"some"), false).unwrap();
        let (download, mut downloading) = client.begin(get("/download")).await;
        downloading.send_data(Bytes::new(), true).unwrap();
        let mut body = download.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "some");
        eventually("all are there", || proxy.metric("upstream_reused_total", &[]) >= 2.0);
        waiting.send_reset(Reason::CANCEL);
        uploading.send_reset(Reason::CANCEL);
        drop((body, downloading, response));
        while cancelled.load(SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    proxy.wait_for_reason("client_aborted", 3.0);
    assert_eq!(pod.accepted(), 1);
}

#[test]
fn a_client_that_cancels_closes_the_connection_to_an_http1_pod() {
    let pod = Pod::start(|conn| {
        conn.request().unwrap();
        conn.wait_for_close();
    });
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]));
    let mut wire = Wire::connect(proxy.address());
    wire.get(1, "/");
    eventually("the request is there", || pod.count() == 1);
    wire.reset(1, 8);
    eventually("its connection is closed", || pod.open() == 0);
    proxy.wait_for_reason("client_aborted", 1.0);
}

#[test]
fn pings_are_neither_a_request_head_nor_activity() {
    let pod = H2Pod::named("v1");
    let hello = rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]);
    let proxy = TestProxy::limited(hello, |limits| {
        limits.head_timeout = Duration::from_millis(200);
        limits.idle_timeout = Duration::from_millis(700);
    });
    let mut wire = Wire::connect(proxy.address());
    wire.get(1, "/");
    wire.expect(DATA);
    let start = std::time::Instant::now();
    wire.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut last = None;
    while start.elapsed() < Duration::from_secs(5) && last.is_none() {
        if wire.try_send(PING, 0, 0, b"12345678").is_err() {
            break;
        }
        last = wire.next();
    }
    assert!(
        start.elapsed() > Duration::from_millis(500),
        "not the head timeout, after {:?}",
        start.elapsed()
    );
    assert_eq!(last.map(|frame| (frame.kind, frame.code())), Some((GOAWAY, 0)), "idle in spite of pings");
    proxy.wait_for("requests_total", &[("reason", "head_timeout")], 0.0);
}

#[test]
#[ignore = "takes a minute; .ci/run runs it alone"]
fn a_silent_client_is_asked_for_a_sign_of_life_after_its_last_word_and_then_given_up() {
    let pod = H2Pod::named("v1");
    let proxy = before(&pod);
    let mut wire = Wire::connect(proxy.address());
    wire.stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    wire.get(1, "/");
    wire.expect(DATA);
    std::thread::sleep(Duration::from_secs(10));
    wire.get(3, "/");
    wire.expect(DATA);
    let silent = std::time::Instant::now();
    while wire.read().expect("a ping comes first").kind != PING {}
    let asked = silent.elapsed().as_secs_f64();
    while wire.read().is_some() {}
    let given_up = silent.elapsed().as_secs_f64();
    assert!((29.5..31.0).contains(&asked), "asked after {asked} s");
    assert!((49.0..51.0).contains(&given_up), "given up after {given_up} s");
}

#[test]
fn a_client_that_stops_reading_is_ended_without_harm_to_its_other_streams() {
    let poured = Arc::<AtomicUsize>::default();
    let pod = H2Pod::start(move |mut exchange| {
        let poured = Arc::clone(&poured);
        async move {
            if exchange.head.uri().path() == "/late" {
                tokio::time::sleep(Duration::from_millis(600)).await;
                return exchange.answer("late");
            }
            pour(exchange, poured).await;
        }
    });
    let hello = rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]);
    let proxy = TestProxy::limited(hello, |limits| limits.response_stall = Duration::from_millis(900));
    let mut wire = Wire::connect(proxy.address());
    // A large window for the connection, so that only the stream's own is exhausted.
    wire.send(crate::support::frames::WINDOW_UPDATE, 0, 0, &(MIB as u32).to_be_bytes());
    wire.get(1, "/endless");
    std::thread::sleep(Duration::from_millis(600));
    wire.get(3, "/late");
    let (mut answered, mut going) = (false, false);
    while let Some(frame) = wire.next() {
        going |= frame.kind == GOAWAY;
        answered |= frame.stream == 3 && frame.ends_stream();
    }
    assert!(going && answered, "going {going}, answered {answered}");
    proxy.wait_for("requests_total", &[("reason", "client_aborted")], 1.0);
    proxy.wait_for("requests_total", &[("reason", "")], 1.0);
}

#[test]
fn draining_says_goaway_twice_finishes_what_runs_and_takes_what_was_on_its_way() {
    let pod = H2Pod::start(|mut exchange| async move {
        if exchange.head.uri().path() == "/held" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        exchange.answer("done");
    });
    let proxy = before(&pod);
    let mut wire = Wire::connect(proxy.address());
    wire.get(1, "/held");
    eventually("it is at the pod", || proxy.metric("upstream_connects_total", &[]) > 0.0);
    let draining = std::thread::spawn(move || proxy.drain(Duration::ZERO, Duration::from_secs(10)));
    // By hand, since the answer to the ping is what the second step waits for.
    let first = loop {
        let frame = wire.read().unwrap();
        if frame.kind == GOAWAY {
            break frame;
        }
    };
    assert_eq!((first.last_stream(), first.code()), (0x7fff_ffff, 0));
    wire.get(3, "/crossing");
    let mut ended = Vec::new();
    let mut second = None;
    while let Some(frame) = wire.read() {
        match frame.kind {
            PING if frame.flags & ACK == 0 => wire.send(PING, ACK, 0, &frame.payload),
            GOAWAY => {
                second = Some(frame.last_stream());
                // Too late: ignored.
                let _ = wire.try_send(
                    HEADERS,
                    4 | END_STREAM,
                    5,
                    &crate::support::frames::block(&crate::support::frames::request("GET", "/late")),
                );
            }
            _ if frame.ends_stream() => ended.push(frame.stream),
            _ => {}
        }
    }
    ended.sort_unstable();
    assert_eq!((second, ended), (Some(3), vec![1, 3]));
    assert_eq!(draining.join().unwrap().cut, 0);
    let paths: Vec<_> = pod.received().iter().map(|request| request.head.uri().path().to_owned()).collect();
    assert!(!paths.contains(&"/late".to_owned()));
}

#[test]
fn the_drain_deadline_cuts_streams_that_do_not_end() {
    let pod = H2Pod::start(|exchange| pour(exchange, Arc::default()));
    let proxy = before(&pod);
    let mut wire = Wire::connect(proxy.address());
    wire.get(1, "/endless");
    wire.expect(DATA);
    let drained = proxy.drain(Duration::ZERO, Duration::from_millis(200));
    assert_eq!(drained.cut, 1);
}

#[test]
fn bodies_that_end_with_the_head_are_told_so_at_once() {
    let pod = H2Pod::start(|mut exchange| async move {
        let ended = exchange.body.is_end_stream();
        let head = Response::builder().status(if ended { 200 } else { 500 }).body(()).unwrap();
        exchange.respond.send_response(head, true).unwrap();
    });
    let proxy = before(&pod);
    assert_eq!(
        proxy.connect().ask("DELETE / HTTP/1.1\r\nhost: hello\r\ncontent-length: 0\r\n\r\n").status,
        200
    );
    let mut wire = Wire::connect(proxy.address());
    wire.get(1, "/");
    let head = wire.expect(HEADERS);
    assert!(head.ends_stream(), "no empty frame after it");
    assert_eq!(head.payload[0], 0x88, "200");
}
