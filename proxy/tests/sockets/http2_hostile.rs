//! Clients that use HTTP/2 as a weapon: their connection ends, nobody else's does, and little is spent on them.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Wire, block,
    request,
};
use crate::support::{H2Pod, TestProxy, arm, backend, eventually, rule};

const REFUSED_STREAM: u32 = 7;

fn proxy_and_pod() -> (TestProxy, H2Pod) {
    let pod = H2Pod::named("v1");
    (TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))])), pod)
}

/// Sends until the proxy closes the connection or does not read any more; returns how often it could.
fn flood(
    wire: &mut Wire,
    most: usize,
    mut send: impl FnMut(&mut Wire, usize) -> std::io::Result<()>,
) -> usize {
    wire.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    (0..most).take_while(|index| send(wire, *index).is_ok()).count()
}

/// Another client is served, and soon.
#[track_caller]
fn others_are_served(proxy: &TestProxy) {
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(proxy.connect().get("/good").status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// Whether the connection was ended by a GOAWAY with an error, or cut.
fn was_ended(wire: &mut Wire) -> bool {
    wire.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    while let Some(frame) = wire.read() {
        if frame.kind == GOAWAY && frame.code() != 0 {
            return true;
        }
    }
    !matches!(wire.stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn streams_reset_as_soon_as_they_begin_end_the_connection() {
    let (proxy, _pod) = proxy_and_pod();
    for _ in 0..3 {
        let mut wire = Wire::connect(proxy.address());
        flood(&mut wire, 5_000, |wire, index| {
            let stream = index as u32 * 2 + 1;
            let head = block(&request("GET", "/rapid"));
            wire.try_send(HEADERS, END_HEADERS | END_STREAM, stream, &head)?;
            wire.try_send(RST_STREAM, 0, stream, &8u32.to_be_bytes())
        });
        assert!(was_ended(&mut wire), "five thousand resets were taken");
        others_are_served(&proxy);
    }
}

#[test]
fn a_client_that_gives_up_most_of_its_requests_is_ended_however_slowly_it_goes() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&arrived);
    let pod = H2Pod::start(move |mut exchange| {
        counted.fetch_add(1, SeqCst);
        async move {
            if exchange.head.uri().path() == "/good" {
                return exchange.answer("v1");
            }
            std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await.ok();
        }
    });
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]));
    let mut wire = Wire::connect(proxy.address());
    let mut given_up = 0;
    while given_up < 1_000 {
        let stream = given_up * 2 + 1;
        let head = block(&request("GET", "/never"));
        if wire.try_send(HEADERS, END_HEADERS | END_STREAM, stream, &head).is_err() {
            break;
        }
        // The pod counts requests that are reset before it has taken them up, and would end the connection for too many.
        let end = Instant::now() + Duration::from_millis(200);
        while arrived.load(SeqCst) <= given_up as usize && Instant::now() < end {
            std::thread::sleep(Duration::from_micros(100));
        }
        if wire.try_send(RST_STREAM, 0, stream, &8u32.to_be_bytes()).is_err() {
            break;
        }
        given_up += 1;
    }
    assert!((100..500).contains(&given_up), "{given_up}");
    others_are_served(&proxy);
    assert_eq!(pod.accepted(), 1, "the pod did not mind");
}

#[test]
fn a_head_that_never_ends_ends_the_connection() {
    let (proxy, _pod) = proxy_and_pod();
    let mut wire = Wire::connect(proxy.address());
    wire.send(HEADERS, END_STREAM, 1, &block(&request("GET", "/")));
    flood(&mut wire, 5_000, |wire, _| wire.try_send(CONTINUATION, 0, 1, &block(&[("x", "y")])));
    assert!(was_ended(&mut wire));
    others_are_served(&proxy);
}

#[test]
fn a_head_of_many_references_to_one_large_field_is_refused() {
    let (proxy, pod) = proxy_and_pod();
    let mut wire = Wire::connect(proxy.address());
    let mut head = block(&request("GET", "/"));
    // A field of 3,900 bytes is entered into the dynamic table once, then referred to by one byte each: 62 megabytes.
    head.extend([0x40, 1, b'x', 127]);
    head.extend([(3_773 % 128 + 128) as u8, (3_773 / 128) as u8]);
    head.extend(vec![b'y'; 3_900]);
    let references = [0xBE; 16_000];
    wire.send(HEADERS, END_STREAM, 1, &head);
    wire.send(CONTINUATION, END_HEADERS, 1, &references[..12_000]);
    let answer = wire.next().map(|frame| (frame.kind, frame.stream));
    assert!(matches!(answer, Some((HEADERS | RST_STREAM, 1) | (GOAWAY, 0)) | None), "{answer:?}");
    others_are_served(&proxy);
    assert_eq!(pod.received().len(), 5, "none of it reached the pod");
}

#[test]
fn a_head_beyond_the_limit_is_answered_431() {
    let (proxy, pod) = proxy_and_pod();
    let mut wire = Wire::connect(proxy.address());
    let big = "y".repeat(12_000);
    wire.send(HEADERS, END_STREAM, 1, &block(&request("GET", "/")));
    for name in ["a", "b", "c", "d", "e", "f"] {
        let flags = if name == "f" { END_HEADERS } else { 0 };
        wire.send(CONTINUATION, flags, 1, &block(&[(name, &big)]));
    }
    let frame = wire.next().unwrap();
    assert_eq!((frame.kind, frame.stream), (HEADERS, 1), "{frame:?}");
    assert!(frame.payload.windows(3).any(|three| three == b"431") || frame.payload.len() < 16, "{frame:?}");
    assert_eq!(pod.received().len(), 0);
}

#[test]
fn floods_of_empty_frames_pings_and_settings_do_not_take_the_worker_down() {
    let (proxy, _pod) = proxy_and_pod();
    let mut wire = Wire::connect(proxy.address());
    wire.headers(1, &request("POST", "/"), false);
    flood(&mut wire, 20_000, |wire, _| wire.try_send(DATA, 0, 1, &[]));
    assert!(was_ended(&mut wire), "empty DATA without end");
    others_are_served(&proxy);
    // The answers are not read: at some point the proxy must stop reading too.
    for kind in [PING, SETTINGS] {
        let mut wire = Wire::connect(proxy.address());
        let payload: &[u8] = if kind == PING { b"12345678" } else { &[] };
        let sent = flood(&mut wire, 3_000_000, |wire, _| {
            let frame =
                [&[0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0][..], payload].concat().repeat(1_000);
            std::io::Write::write_all(&mut wire.stream, &frame)
        });
        assert!(sent < 3_000_000);
        others_are_served(&proxy);
    }
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let pod = H2Pod::start(|exchange| async move {
        let mut exchange = exchange;
        std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await.ok();
    });
    let hello = rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]);
    let proxy = TestProxy::limited(hello, |limits| limits.streams_per_connection = 10);
    let mut wire = Wire::connect(proxy.address());
    // The limit is announced, and holds once it is known.
    let settings = wire.read().unwrap();
    assert!(settings.payload.windows(6).any(|six| six == [0, 3, 0, 0, 0, 10]), "{settings:?}");
    wire.send(SETTINGS, 1, 0, &[]);
    for stream in 0..12 {
        wire.get(stream * 2 + 1, "/");
    }
    for stream in [21, 23] {
        let reset = wire.expect(RST_STREAM);
        assert_eq!((reset.stream, reset.code()), (stream, REFUSED_STREAM));
    }
    eventually("the others are there", || proxy.metric("upstream_reused_total", &[]) >= 9.0);
}
