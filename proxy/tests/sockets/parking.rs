//! Idle clients are parked, and nobody can tell: whatever arrives next is answered, and what ends a connection still does.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fastrand::Rng;
use watershed_config::snapshot::Rule;
use watershed_proxy::{Drained, Limits};

use crate::support::frames::{HEADERS, PREFACE, SETTINGS, Wire};
use crate::support::{Client, H2Client, Message, Pod, TestProxy, arm, backend, block_on, rule, settings};

/// Long enough that what could be parked has been: parking takes two ticks of 100 ms here, and another one to be noticed.
const LONG: Duration = ms(600);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn one_pod(pod: &Pod) -> Rule {
    rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))])
}

/// A proxy that parks what was idle for two ticks.
fn parking(pod: &Pod) -> TestProxy {
    limited(pod, |_| {})
}

fn limited(pod: &Pod, change: impl FnOnce(&mut Limits)) -> TestProxy {
    TestProxy::limited(one_pod(pod), |limits| {
        limits.park_after = ms(200);
        change(limits);
    })
}

fn wait_for_parked(proxy: &TestProxy, count: f64) {
    proxy.wait_for("connections_parked", &[], count);
}

fn parks(proxy: &TestProxy) -> f64 {
    proxy.metric("connection_parks_total", &[])
}

/// A client that has had an answer and is parked.
fn parked_client(proxy: &TestProxy) -> Client {
    let before = proxy.metric("connections_parked", &[]);
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "v1");
    wait_for_parked(proxy, before + 1.0);
    client
}

#[test]
fn an_idle_client_is_parked_and_its_next_request_is_answered_and_so_on() {
    let pod = Pod::named("v1");
    let proxy = parking(&pod);
    let mut client = proxy.connect();
    for round in 1..=3 {
        assert_eq!(client.get("/").text(), "v1");
        assert_eq!(client.post("/", "body").text(), "v1");
        wait_for_parked(&proxy, 1.0);
        assert!((parks(&proxy) - f64::from(round)).abs() < 0.5);
        proxy.wait_for("connections_open", &[], 1.0);
        proxy.wait_for("connections_accepted_total", &[], 1.0);
    }
    assert_eq!(client.get("/").text(), "v1");
    wait_for_parked(&proxy, 0.0);
    assert_eq!(pod.accepted(), 1, "the connection to the pod is not touched");
    drop(client);
    proxy.wait_for("connections_open", &[], 0.0);
}

#[test]
fn a_client_that_has_not_spoken_is_parked_too_and_may_speak_either_protocol() {
    let pod = Pod::named("v1");
    let proxy = parking(&pod);
    let (mut first, second) = (proxy.connect(), proxy.connect());
    wait_for_parked(&proxy, 2.0);
    assert_eq!(first.get("/").text(), "v1");
    let mut wire = Wire { stream: second.stream };
    wire.stream.set_nodelay(true).unwrap();
    std::io::Write::write_all(&mut wire.stream, PREFACE).unwrap();
    wire.send(SETTINGS, 0, 0, &[]);
    wire.get(1, "/");
    assert_eq!(wire.expect(HEADERS).stream, 1);
}

#[test]
fn a_client_that_has_spoken_http1_stays_with_it() {
    let pod = Pod::named("v1");
    let proxy = parking(&pod);
    let mut client = parked_client(&proxy);
    client.send(PREFACE);
    let (answer, _) = client.rest();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    proxy.wait_for("requests_total", &[("reason", "malformed_request")], 1.0);
}

#[test]
fn an_http2_connection_is_not_parked() {
    let pod = Pod::named("v1");
    let proxy = parking(&pod);
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        assert_eq!(client.get("/").await.text(), "v1");
        tokio::time::sleep(LONG).await;
        assert!(parks(&proxy) < 0.5);
        assert_eq!(client.get("/").await.text(), "v1");
    });
}

#[test]
fn a_request_whose_body_pauses_is_not_parked() {
    let pod = Pod::named("v1");
    let proxy = parking(&pod);
    let mut client = proxy.connect();
    for (head, first, rest, body) in [
        ("content-length: 40", "GET / HTTP/1.1\r\n", "host: smuggled\r\n\r\n123456", 40),
        ("transfer-encoding: chunked", "5\r\nabcde\r\n", "3\r\nfgh\r\n0\r\n\r\n", 8),
    ] {
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n"));
        std::thread::sleep(LONG);
        client.send(first);
        std::thread::sleep(LONG);
        assert!(parks(&proxy) < 0.5);
        client.send(rest);
        assert_eq!(client.answer().text(), "v1");
        assert_eq!(pod.received().last().unwrap().body.len(), body);
    }
    assert_eq!(pod.count(), 2);
}

#[test]
fn a_body_that_outlives_its_answer_is_read_to_its_end_before_its_client_is_parked() {
    let pod = Pod::named("v1");
    // hyper does not tell the end of a body that comes after the answer; then this limit does.
    let proxy = limited(&pod, |limits| limits.body_stall = ms(1_500));
    let mut client = proxy.connect();
    // Answered at once, because no host is named; the short body is read nonetheless.
    client.send("POST / HTTP/1.1\r\ncontent-length: 20\r\n\r\n0123456789");
    assert_eq!(client.answer().status, 400);
    std::thread::sleep(LONG);
    assert!(parks(&proxy) < 0.5);
    client.send("GET / HTTP");
    wait_for_parked(&proxy, 1.0);
    assert_eq!(client.get("/").text(), "v1");
    assert_eq!(pod.count(), 1);
}

#[test]
fn an_answer_that_pauses_is_not_parked() {
    let pod = Pod::start(|conn| {
        while conn.request().is_some() {
            std::thread::sleep(LONG);
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234");
            std::thread::sleep(LONG);
            conn.send("56789");
        }
    });
    let proxy = parking(&pod);
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "0123456789");
    assert!(parks(&proxy) < 0.5);
    wait_for_parked(&proxy, 1.0);
}

/// The request is over for us when its last byte is in hyper's buffer. Of these sizes some leave it full there.
#[test]
fn an_answer_whose_client_does_not_read_yet_arrives_whole() {
    let size = |path: &str| path.trim_matches('/').parse::<usize>().unwrap();
    let pod = Pod::start(move |conn| {
        while let Some(request) = conn.request() {
            let length = size(request.line().split(' ').nth(1).unwrap());
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"));
            conn.send(vec![b'x'; length]);
        }
    });
    let proxy = parking(&pod);
    let mut clients: Vec<(Client, usize)> = Vec::new();
    for step in 0..40 {
        let (mut client, length) = (proxy.connect(), 2_000_000 + step * 100_000);
        client.send(format!("GET /{length} HTTP/1.1\r\nhost: a\r\n\r\n"));
        clients.push((client, length));
    }
    std::thread::sleep(LONG * 2);
    for (client, length) in &mut clients {
        assert_eq!(client.answer().body.len(), *length);
    }
    wait_for_parked(&proxy, 40.0);
}

#[test]
fn a_head_in_pieces_is_put_together_and_its_time_is_limited() {
    let pod = Pod::named("v1");
    let proxy = limited(&pod, |limits| limits.head_timeout = ms(1_000));
    let mut client = parked_client(&proxy);
    for piece in ["G", "ET / HT", "TP/1.1\r\nho", "st: a\r\n"] {
        client.send(piece);
        std::thread::sleep(ms(150));
    }
    assert_eq!(client.ask("\r\n").text(), "v1");
    wait_for_parked(&proxy, 1.0);
    let begin = Instant::now();
    client.send("GET / HTTP/1.1\r\nhos");
    client.expect_close();
    assert!((ms(800)..ms(3_000)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    proxy.wait_for("requests_total", &[("reason", "head_timeout")], 1.0);
    assert!((parks(&proxy) - 2.0).abs() < 0.5, "what waits for the rest of a head is not parked");
}

/// hyper has read it together with the request before, and has it in its buffer.
#[test]
fn a_part_of_the_next_head_that_came_early_is_kept_and_its_time_is_limited() {
    let pod = Pod::named("v1");
    let proxy = limited(&pod, |limits| limits.head_timeout = ms(1_500));
    let (request, part) = ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET /part HTTP/1.1\r\nho");
    let mut client = proxy.connect();
    assert_eq!(client.ask(format!("{request}{part}")).text(), "v1");
    std::thread::sleep(LONG);
    assert_eq!(client.ask("st: a\r\n\r\n").text(), "v1");
    assert_eq!(pod.received()[1].line(), "GET /part HTTP/1.1");
    assert_eq!(client.ask(format!("{request}{part}")).text(), "v1");
    client.expect_close();
    proxy.wait_for("requests_total", &[("reason", "head_timeout")], 1.0);
    assert_eq!(pod.count(), 3);
}

#[test]
fn pipelined_requests_wake_a_client_and_are_answered_in_order() {
    let pod = Pod::start(|conn| {
        while let Some(request) = conn.request() {
            let path = request.line().split(' ').nth(1).unwrap().to_owned();
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let proxy = parking(&pod);
    let mut client = proxy.connect();
    for round in 0..3 {
        let requests = (0..40).map(|n| format!("GET /{round}/{n} HTTP/1.1\r\nhost: a\r\n\r\n"));
        client.send(requests.collect::<String>());
        for n in 0..40 {
            assert_eq!(client.answer().text(), format!("/{round}/{n}"));
        }
        wait_for_parked(&proxy, 1.0);
    }
}

#[test]
fn a_parked_client_that_closes_resets_or_half_closes_is_let_go_and_its_last_request_answered() {
    let pod = Pod::named("v1");
    let proxy = parking(&pod);
    let clients: Vec<Client> = (0..4).map(|_| parked_client(&proxy)).collect();
    let [closes, resets, mut half_closes, mut asks] = <[Client; 4]>::try_from(clients).unwrap();
    drop(closes);
    resets.reset();
    half_closes.half_close();
    half_closes.expect_close();
    asks.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    asks.half_close();
    assert_eq!(asks.answer().text(), "v1");
    asks.expect_close();
    proxy.wait_for("connections_open", &[], 0.0);
    wait_for_parked(&proxy, 0.0);
    assert!(parks(&proxy) < 4.5, "ends are not parked");
    proxy.wait_for_reason("", 5.0);
    proxy.wait_for("requests_total", &[], 5.0);
}

#[test]
fn a_parked_client_is_closed_when_it_has_been_idle_for_too_long() {
    let pod = Pod::named("v1");
    let proxy = limited(&pod, |limits| limits.idle_timeout = ms(1_000));
    let begin = Instant::now();
    let (mut spoken, mut silent) = (proxy.connect(), proxy.connect());
    assert_eq!(spoken.get("/").text(), "v1");
    wait_for_parked(&proxy, 2.0);
    silent.expect_close();
    spoken.expect_close();
    assert!((ms(900)..ms(3_000)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    proxy.wait_for("connections_open", &[], 0.0);
    proxy.wait_for("requests_total", &[], 1.0);
}

#[test]
fn parked_clients_are_closed_at_once_when_draining_begins() {
    let pod = Pod::named("v1");
    let proxy = parking(&pod);
    let mut clients: Vec<Client> = (0..200).map(|_| proxy.connect()).collect();
    assert!(clients.iter_mut().step_by(2).all(|client| client.get("/").text() == "v1"));
    wait_for_parked(&proxy, 200.0);
    let begin = Instant::now();
    assert_eq!(proxy.drain(ms(0), ms(20_000)), Drained { cut: 0 });
    assert!(begin.elapsed() < ms(2_000), "{:?}", begin.elapsed());
    clients.iter_mut().for_each(Client::expect_close);
}

/// Its bytes are in the socket when draining begins.
#[test]
fn a_request_that_wakes_a_client_as_draining_begins_is_answered_and_told_to_leave() {
    for round in 0..10 {
        let pod = Pod::named("v1");
        let proxy = parking(&pod);
        let mut clients: Vec<Client> = (0..100).map(|_| proxy.connect()).collect();
        assert!(clients.iter_mut().step_by(2).all(|client| client.get("/").text() == "v1"));
        wait_for_parked(&proxy, 100.0);
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        }
        // Now and then it has been woken already when it is told.
        std::thread::sleep(Duration::from_micros(round * 300));
        let draining = std::thread::spawn(move || proxy.drain(ms(0), ms(10_000)));
        for client in &mut clients {
            assert_eq!(client.answer().text(), "v1");
            client.expect_close();
        }
        assert_eq!(draining.join().unwrap(), Drained { cut: 0 });
    }
}

#[test]
fn parked_clients_keep_their_places() {
    let pod = Pod::named("v1");
    let proxy = limited(&pod, |limits| limits.connections_per_worker = 2);
    let mut clients = vec![parked_client(&proxy), parked_client(&proxy)];
    let mut queued = proxy.connect();
    queued.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    std::thread::sleep(LONG);
    assert_eq!(pod.count(), 2, "a third one waits in the queue");
    proxy.wait_for("connections_open", &[], 2.0);
    clients.pop();
    assert_eq!(queued.answer().text(), "v1");
    assert_eq!(clients[0].get("/").text(), "v1");
}

#[test]
fn stopping_closes_parked_clients() {
    let pod = Pod::named("v1");
    let proxy = parking(&pod);
    let mut client = parked_client(&proxy);
    drop(proxy);
    client.expect_close();
}

/// Says to the test below, run again as a process of its own, that it is the one that counts its files.
const CHILD: &str = "WATERSHED_TEST_PARKED_FILES";

#[test]
fn no_file_is_left_behind() {
    if std::env::var_os(CHILD).is_some() {
        return count_files();
    }
    let this = "parking::no_file_is_left_behind";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = child.args(["--exact", this]).env(CHILD, "1").stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
}

fn count_files() {
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let pod = Pod::named("v1");
    let proxy = limited(&pod, |limits| limits.idle_timeout = ms(1_500));
    drop(parked_client(&proxy));
    proxy.wait_for("connections_open", &[], 0.0);
    let before = files();
    for _ in 0..2 {
        let mut clients: Vec<Client> = (0..100).map(|_| proxy.connect()).collect();
        for _ in 0..2 {
            assert!(clients.iter_mut().step_by(2).all(|client| client.get("/").text() == "v1"));
            wait_for_parked(&proxy, 100.0);
        }
        // Some close, the others are closed for being idle.
        clients.truncate(50);
        clients.iter_mut().for_each(Client::expect_close);
        drop(clients);
        proxy.wait_for("connections_open", &[], 0.0);
        assert_eq!(files(), before);
    }
}

/// Longer with `WATERSHED_TORTURE_SECONDS`, again with `WATERSHED_TORTURE_SEED`.
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Sends bytes in one piece or in several, with pauses that are sometimes long enough to be parked.
fn send_in_pieces(client: &mut Client, bytes: &[u8], random: &mut Rng) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = if random.u8(..3) == 0 { rest.len() } else { random.usize(1..=rest.len()) };
        client.send(&rest[..count]);
        rest = &rest[count..];
        if !rest.is_empty() && random.u8(..4) == 0 {
            std::thread::sleep(ms(random.u64(..300)));
        }
    }
}

/// Some requests at once, and the answers that are due.
fn requests(name: u64, count: &mut u64, random: &mut Rng) -> (Vec<u8>, Vec<String>) {
    let (mut bytes, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..random.u64(1..4) {
        *count += 1;
        let (id, length) = (format!("{name}-{count}"), random.usize(1..3_000));
        let (request, length) = match random.u8(..3) {
            0 => (format!("GET / HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\n\r\n"), 0),
            1 => {
                let body = "G".repeat(length);
                let head = format!("POST / HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\ncontent-length: {length}");
                (format!("{head}\r\n\r\n{body}"), length)
            }
            _ => {
                let body = "G".repeat(length);
                let head = format!("POST / HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\ntransfer-encoding: chunked");
                (format!("{head}\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"), length)
            }
        };
        bytes.extend(request.into_bytes());
        answers.push(format!("{id} {length}"));
    }
    (bytes, answers)
}

fn torment(address: SocketAddr, name: u64, seed: u64, stop: &AtomicBool) -> u64 {
    let mut random = Rng::with_seed(seed ^ name << 32);
    let mut client = Client::connect(address);
    let mut count = 0;
    while !stop.load(SeqCst) {
        let (bytes, answers) = requests(name, &mut count, &mut random);
        send_in_pieces(&mut client, &bytes, &mut random);
        for due in answers {
            let answer: Message = client.answer();
            assert_eq!((answer.status, answer.text()), (200, &*due), "{}", answer.head);
        }
        // About as often as not it is parked meanwhile, or is just about to be.
        std::thread::sleep(ms(if random.bool() { random.u64(80..330) } else { random.u64(..20) }));
        if random.u8(..) == 0 {
            client = Client::connect(address);
        }
    }
    count
}

#[test]
fn nothing_is_lost_however_often_clients_are_parked() {
    let seed = from_environment("WATERSHED_TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("seed: WATERSHED_TORTURE_SEED={seed}");
    let pod = Pod::start(|conn| {
        while let Some(request) = conn.request() {
            let answer = format!("{} {}", request.header("x-id").unwrap(), request.body.len());
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()));
        }
    });
    let mut settings = settings();
    settings.workers = 2;
    settings.limits.park_after = ms(100);
    let proxy = TestProxy::serving_with(&settings, one_pod(&pod));
    let (address, stop) = (proxy.address(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..200)
        .map(|name| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || torment(address, name, seed, &stop))
        })
        .collect();
    std::thread::sleep(Duration::from_secs(from_environment("WATERSHED_TORTURE_SECONDS").unwrap_or(4)));
    stop.store(true, SeqCst);
    let exchanges: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let parks = parks(&proxy);
    println!("{exchanges} exchanges, {parks} parks");
    assert!(parks > 100.0, "{parks} parks");
    proxy.wait_for_reason("", exchanges as f64);
    proxy.wait_for("requests_total", &[], exchanges as f64);
    proxy.wait_for("connections_open", &[], 0.0);
    wait_for_parked(&proxy, 0.0);
}
