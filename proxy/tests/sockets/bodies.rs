//! Bodies: never collected, never lost, and no longer wanted when either side has gone.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::{Duration, Instant};

use watershed_config::snapshot::Rule;

use crate::support::{Client, Pod, PodConn, TestProxy, arm, backend, eventually, rule};

const MIB: usize = 1024 * 1024;
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";

fn one_pod(pod: &Pod) -> Rule {
    rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))])
}

fn serving(pod: &Pod) -> TestProxy {
    TestProxy::serving(one_pod(pod))
}

/// A body whose every piece differs from the one before, so that a lost or doubled one is seen.
fn piece(number: usize) -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut random = fastrand::Rng::with_seed(1);
        (0..128 * 1024).map(|_| random.u8(..)).collect()
    });
    &PATTERN[number * 7 % (64 * 1024)..][..64 * 1024]
}

/// Writes a body of so many pieces, counting as they go.
fn write_pieces(mut write: impl FnMut(&[u8]) -> std::io::Result<()>, pieces: usize, written: &AtomicUsize) {
    for number in 0..pieces {
        if write(piece(number)).is_err() {
            return;
        }
        written.fetch_add(64 * 1024, SeqCst);
    }
}

/// Waits until nothing has moved for a while, and says how much has.
fn stuck_at(written: &AtomicUsize) -> usize {
    let mut last = (usize::MAX, Instant::now());
    eventually("the sender has to wait", || {
        let now = written.load(SeqCst);
        if now != last.0 {
            last = (now, Instant::now());
        }
        now > 0 && last.1.elapsed() > Duration::from_millis(200)
    });
    last.0
}

/// What the kernel may take in on the way, in the buffers of four sockets.
const KERNEL: usize = 40 * MIB;

#[test]
fn a_download_goes_at_the_pace_of_a_slow_client() {
    const PIECES: usize = 64 * 16;
    let written = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&written);
    let pod = Pod::start(move |conn| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PIECES * 64 * 1024));
        write_pieces(|piece| conn.try_send(piece), PIECES, &counts);
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let stuck = stuck_at(&written);
    assert!(stuck < KERNEL, "{} MiB were taken from the pod while nobody read", stuck / MIB);
    for number in 0..PIECES {
        assert!(client.take(64 * 1024) == piece(number), "piece {number}");
    }
    proxy.wait_for_reason("", 1.0);
}

#[test]
fn an_upload_goes_at_the_pace_of_a_slow_pod() {
    const PIECES: usize = 64 * 16;
    let (go, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let pod = Pod::start(move |conn| {
        conn.head();
        told.lock().unwrap().recv().unwrap();
        for number in 0..PIECES {
            assert!(conn.reader.take(64 * 1024).unwrap() == piece(number), "piece {number}");
        }
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull");
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", PIECES * 64 * 1024));
    let written = Arc::new(AtomicUsize::new(0));
    let (counts, mut stream) = (Arc::clone(&written), client.stream.try_clone().unwrap());
    let writer = std::thread::spawn(move || {
        write_pieces(|piece| std::io::Write::write_all(&mut stream, piece), PIECES, &counts);
    });
    let stuck = stuck_at(&written);
    assert!(stuck < KERNEL, "{} MiB were taken from the client while nobody read", stuck / MIB);
    go.send(()).unwrap();
    assert_eq!(client.answer().text(), "full");
    writer.join().unwrap();
    proxy.wait_for_reason("", 1.0);
}

#[test]
fn a_body_is_held_back_until_the_pod_says_continue() {
    let pod = Pod::start(|conn| {
        while let Some(mut request) = conn.head() {
            conn.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            assert!(conn.reader.fill().is_err(), "the body came unasked");
            conn.stream.set_read_timeout(None).unwrap();
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            conn.reader.body(&mut request).unwrap();
            conn.note(&request);
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(POST);
        assert_eq!(client.head().line(), "HTTP/1.1 100 Continue");
        client.send("body");
        assert_eq!(client.answer().text(), "ok");
        let received = pod.received().pop().unwrap();
        assert_eq!((received.text(), received.header("expect")), ("body", Some("100-continue")));
    }
    assert_eq!(pod.accepted(), 1);
}

#[test]
fn a_final_answer_instead_of_continue_reaches_the_client_and_the_body_nobody() {
    for status in ["417 Expectation Failed", "401 Unauthorized", "200 OK"] {
        let pod = Pod::start(move |conn| {
            conn.head();
            conn.send(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno"));
            assert!(matches!(conn.reader.fill(), Ok(false) | Err(_)), "the body was sent after all");
        });
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        let answer = client.ask(POST);
        assert_eq!((answer.line(), answer.text()), (format!("HTTP/1.1 {status}").as_str(), "no"));
        assert_eq!(answer.header("connection"), Some("close"), "a body may or may not follow");
        client.expect_close();
        eventually("the pod was let go", || pod.open() == 0);
        proxy.wait_for_reason("", 1.0);
    }
}

#[test]
fn a_pod_that_does_not_know_continue_gets_the_body_after_a_while() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.continue_wait = Duration::from_millis(100));
    let mut client = proxy.connect();
    client.send(POST);
    assert_eq!(client.head().line(), "HTTP/1.1 100 Continue");
    client.send("body");
    assert_eq!(client.answer().text(), "v1");
    // A client that does not wait need not either; a 100 may still come.
    let answer = client.ask(format!("{POST}body"));
    let answer = if answer.status == 100 { client.answer() } else { answer };
    assert_eq!(answer.text(), "v1");
    assert_eq!(pod.received()[1].text(), "body");
    assert_eq!(pod.accepted(), 1);
}

#[test]
fn an_answer_that_we_make_does_not_ask_for_the_body_first() {
    let proxy = TestProxy::serving(rule(Vec::new()));
    let mut client = proxy.connect();
    let answer = client.ask(POST);
    assert_eq!((answer.status, answer.header("connection")), (500, Some("close")));
    client.expect_close();
}

/// The pod's side of an upload that it answers before it has read it.
fn early(conn: &mut PodConn) {
    conn.head();
    conn.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 8\r\nconnection: close\r\n\r\ntoo much");
}

#[test]
fn an_answer_before_the_end_of_the_upload_is_delivered_whole() {
    let pod = Pod::start(early);
    let proxy = serving(&pod);
    for _ in 0..5 {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 64 * MIB));
        let mut stream = client.stream.try_clone().unwrap();
        let upload = std::thread::spawn(move || {
            let chunk = vec![0; 64 * 1024];
            (0..1024).find(|_| std::io::Write::write_all(&mut stream, &chunk).is_err())
        });
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (413, "too much"));
        drop(client);
        drop(upload.join());
    }
    assert_eq!(pod.accepted(), 5);
    eventually("nothing is left", || pod.open() == 0);
}

#[test]
fn a_pod_that_answers_early_and_reads_on_keeps_its_connection() {
    let pod = Pod::start(|conn| {
        while let Some(mut request) = conn.head() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly");
            conn.reader.body(&mut request).unwrap();
            conn.note(&request);
        }
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    for n in 1..4 {
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbo");
        assert_eq!(client.answer().text(), "early");
        client.send("dy");
        eventually("the rest has arrived", || pod.count() == n);
        assert_eq!(pod.received()[n - 1].text(), "body");
    }
    assert_eq!(pod.accepted(), 1);
}

/// A pod whose connection ends only when the proxy ends it.
fn waiting() -> Pod {
    Pod::start(|conn| {
        conn.head();
        conn.note(&crate::support::Message::default());
        conn.wait_for_close();
    })
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_upload_cancels_it() {
    let pod = waiting();
    let proxy = serving(&pod);
    for leave in [drop, Client::reset] {
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
        eventually("the pod has it", || pod.open() == 1);
        leave(client);
        eventually("the pod was let go", || pod.open() == 0);
    }
    proxy.wait_for_reason("client_aborted", 2.0);
    proxy.wait_for("upstream_connections", &[], 0.0);
}

#[test]
fn a_client_that_leaves_while_it_waits_cancels_its_request() {
    let pod = waiting();
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.half_closed = Duration::from_millis(200));
    for leave in [drop, Client::reset] {
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("the pod has it", || pod.open() == 1);
        leave(client);
        eventually("the pod was let go", || pod.open() == 0);
    }
    proxy.wait_for("requests_total", &[("reason", "client_aborted"), ("code_class", "none")], 2.0);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_download_cancels_it() {
    let pod = Pod::start(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("400\r\n{}\r\n", "x".repeat(1_024));
        while conn.try_send(&chunk).is_ok() {}
    });
    let proxy = serving(&pod);
    for leave in [drop, Client::reset] {
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.take(10_000);
        let begin = Instant::now();
        leave(client);
        eventually("the pod was let go", || pod.open() == 0);
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
    proxy.wait_for("requests_total", &[("reason", "client_aborted"), ("code_class", "2xx")], 2.0);
}

#[test]
fn a_client_that_closes_its_side_after_its_request_gets_the_answer() {
    let pod = Pod::start(|conn| {
        while conn.request().is_some() {
            std::thread::sleep(Duration::from_millis(50));
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = serving(&pod);
    for request in
        ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"]
    {
        let mut client = proxy.connect();
        client.send(request);
        client.half_close();
        assert_eq!(client.answer().text(), "ok");
        client.expect_close();
    }
    assert_eq!(pod.accepted(), 1, "the client's end is not the pod's");
    proxy.wait_for_reason("", 2.0);
}

#[test]
fn an_informational_answer_is_counted_and_the_final_one_passed_on() {
    let pod = Pod::answering(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    assert_eq!((client.get("/").text(), client.get("/").text()), ("ok", "ok"));
    assert_eq!(pod.accepted(), 1);
    proxy.wait_for("upstream_informational_dropped_total", &[], 4.0);
}

/// As large as asked for: `WATERSHED_BODY_MIB=10240 cargo test --release -p watershed-proxy --test sockets -- --ignored
/// --exact bodies::a_huge_body_passes_in_little_memory`. Alone in its process, because it measures that.
#[test]
#[ignore = "measures the memory of the whole process, so .ci/run runs it alone"]
fn a_huge_body_passes_in_little_memory() {
    let size = std::env::var("WATERSHED_BODY_MIB").map_or(1_024, |size| size.parse().unwrap()) * MIB;
    let chunk = 64 * 1024;
    let pod = Pod::start(move |conn| {
        let request = conn.head().unwrap();
        let length: usize = request.header("content-length").unwrap().parse().unwrap();
        let mut left = length - conn.reader.ahead().len();
        let mut buffer = vec![0; chunk];
        while left > 0 {
            left -= std::io::Read::read(&mut conn.stream, &mut buffer).unwrap();
        }
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"));
        (0..length / chunk).for_each(|_| conn.send(&buffer));
    });
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    let before = resident();
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n"));
    let mut buffer = vec![0; chunk];
    (0..size / chunk).for_each(|_| client.send(&buffer));
    assert_eq!(client.head().status, 200);
    std::thread::sleep(Duration::from_secs(1));
    let mut left = size - client.ahead();
    while left > 0 {
        left -= std::io::Read::read(&mut client.stream, &mut buffer).unwrap();
    }
    let grown = resident().saturating_sub(before);
    println!("{} MiB both ways; resident memory grew by {} KiB", size / MIB, grown / 1024);
    assert!(grown < 16 * MIB);
}

/// The most that this process has had in memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
}
