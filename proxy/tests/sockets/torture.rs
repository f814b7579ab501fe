//! Everything at once, and nothing lost: load without pause, half of it POSTs with bodies, while weights, endpoints and whole
//! backends change a hundred times a second and pods close idle connections and restart.
//!
//! Lost is a request that does not get exactly one complete answer made by a pod, or a POST that ran twice. Clients never
//! repeat anything. The one thing that HTTP/1.1 cannot decide is counted by name: a POST that was already written when its pod
//! closed an idle connection unannounced.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use watershed_config::snapshot::{EndpointState, Rule};

use crate::support::{Client, Pod, PodConn, TestProxy, arm, backend, rule, settings, with_state};

/// How often each request ran, by its id.
type Runs = Arc<Mutex<HashMap<u64, u32>>>;

const CLIENTS: usize = 8;
const PODS: usize = 5;

/// Longer with `WATERSHED_TORTURE_SECONDS`, again with `WATERSHED_TORTURE_SEED`.
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A pod's connection: answers with what it read, sometimes slowly, sometimes chunked; closes it now and then, announced or
/// while it is idle, and once it is told to restart, as soon as it is idle.
fn serve(conn: &mut PodConn, name: usize, runs: &Runs, restarting: &AtomicBool, seed: u64) {
    let mut random = Rng::with_seed(seed ^ conn.number as u64);
    let until_idle = Duration::from_millis(random.u64(5..60));
    conn.stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    // A connection that has just been opened is not idle: its first request is on its way.
    let mut idle_since = Instant::now() + Duration::from_secs(1);
    loop {
        while conn.reader.ahead().is_empty() {
            match conn.reader.fill() {
                Ok(false) => return,
                Err(_) if idle_since.elapsed() > until_idle => return,
                Err(_) if restarting.load(SeqCst) && idle_since <= Instant::now() => return,
                Ok(true) | Err(_) => {}
            }
        }
        conn.stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let Some(request) = conn.request() else { return };
        conn.stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let id: u64 = request.header("x-id").unwrap().parse().unwrap();
        *runs.lock().unwrap().entry(id).or_default() += 1;
        if random.u8(..) < 25 {
            std::thread::sleep(Duration::from_millis(random.u64(1..15)));
        }
        let last = restarting.load(SeqCst) || random.u8(..) < 20;
        let close = if last { "connection: close\r\n" } else { "" };
        let answer = format!("{id} {name} {}", request.body.len());
        if random.bool() {
            conn.send(format!("HTTP/1.1 200 OK\r\n{close}content-length: {}\r\n\r\n{answer}", answer.len()));
        } else {
            let (a, b) = answer.split_at(answer.len() / 2);
            let (m, n) = (a.len(), b.len());
            conn.send(format!("HTTP/1.1 200 OK\r\n{close}transfer-encoding: chunked\r\n\r\n"));
            conn.send(format!("{m:x}\r\n{a}\r\n{n:x}\r\n{b}\r\n0\r\n\r\n"));
        }
        if last {
            return;
        }
        idle_since = Instant::now();
    }
}

fn start(name: usize, runs: &Runs, seed: u64) -> (Pod, Arc<AtomicBool>) {
    let restarting = Arc::<AtomicBool>::default();
    let (runs, told) = (Arc::clone(runs), Arc::clone(&restarting));
    (Pod::start(move |conn| serve(conn, name, &runs, &told, seed)), restarting)
}

/// What a client found out about one request: nothing, if all is well.
fn ask(client: &mut Client, id: u64, random: &mut Rng) -> Option<String> {
    let body = if random.bool() { "x".repeat(random.usize(1..20_000)) } else { String::new() };
    let request = match body.len() {
        0 => format!("GET /{id} HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\n\r\n"),
        length if random.bool() => {
            format!("POST /{id} HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\ncontent-length: {length}\r\n\r\n{body}")
        }
        length => format!(
            "POST /{id} HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        ),
    };
    let answer = client.ask(request);
    if answer.header("watershed-reason") == Some("closed_while_sending") && !body.is_empty() {
        return Some("closed_while_sending".to_owned());
    }
    let words: Vec<&str> = answer.text().split(' ').collect();
    let whole = answer.status == 200 && words[0] == id.to_string() && words[2] == body.len().to_string();
    (!whole).then(|| format!("request {id}: {} {}", answer.head, answer.text()))
}

fn client(address: SocketAddr, number: u64, seed: u64, stop: &AtomicBool) -> (u64, Vec<String>) {
    let mut random = Rng::with_seed(seed ^ number << 32);
    let mut problems = Vec::new();
    let mut connection = Client::connect(address);
    let mut sent = 0;
    while !stop.load(SeqCst) {
        if random.u8(..) < 5 {
            connection = Client::connect(address);
        }
        problems.extend(ask(&mut connection, number << 32 | sent, &mut random));
        sent += 1;
    }
    (sent, problems)
}

/// A rule with pods spread over two backends in some way; those in `gone` are terminating or left out.
fn shuffled(pods: &[(Pod, Arc<AtomicBool>)], generation: usize, gone: usize, random: &mut Rng) -> Rule {
    let mut sides = [Vec::new(), Vec::new()];
    for (number, (pod, _)) in pods.iter().enumerate() {
        let mut endpoint = pod.endpoint(&format!("{number}-{}", pod.address()));
        // One for all: the counters of a revision that is gone go with it, and here all requests are to be found again.
        endpoint.revision = "r".into();
        let side = if number < 2 { number } else { (number + generation / 10) % 2 };
        if number != gone {
            sides[side].push(endpoint);
        } else if random.bool() {
            sides[side].push(with_state(&endpoint, EndpointState::Terminating));
        }
    }
    let [stable, canary] = sides;
    let weight = random.u32(1..100);
    rule(vec![arm(weight, &backend("stable", &stable)), arm(100 - weight, &backend("canary", &canary))])
}

#[test]
fn nothing_is_lost_while_everything_changes() {
    let seed = from_environment("WATERSHED_TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("seed: WATERSHED_TORTURE_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let runs = Runs::default();
    let mut pods: Vec<_> = (0..PODS).map(|name| start(name, &runs, seed)).collect();
    let mut settings = settings();
    settings.workers = 2;
    let mut proxy = TestProxy::serving_with(&settings, shuffled(&pods, 0, PODS, &mut random));
    let (address, stop) = (proxy.address(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS as u64)
        .map(|number| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || client(address, number, seed, &stop))
        })
        .collect();
    let end =
        Instant::now() + Duration::from_secs(from_environment("WATERSHED_TORTURE_SECONDS").unwrap_or(4));
    let (mut swaps, mut retired) = (0, Vec::new());
    while Instant::now() < end {
        // Every 50th swap one pod is taken out, restarts as another, and comes back with the next.
        let gone = if swaps % 50 < 10 { 2 + swaps / 50 % (PODS - 2) } else { PODS };
        if swaps % 50 == 9 {
            let old = std::mem::replace(&mut pods[gone], start(gone, &runs, seed));
            old.1.store(true, SeqCst);
            retired.push(old);
        }
        swaps += 1;
        proxy.apply_rule(shuffled(&pods, swaps, gone, &mut random));
        std::thread::sleep(Duration::from_millis(10));
    }
    stop.store(true, SeqCst);
    let done: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let sent: u64 = done.iter().map(|(sent, _)| sent).sum();
    let problems: Vec<&String> = done.iter().flat_map(|(_, problems)| problems).collect();
    let (undecidable, lost): (Vec<&String>, Vec<&String>) =
        problems.into_iter().partition(|problem| *problem == "closed_while_sending");
    let twice =
        runs.lock().unwrap().iter().filter(|(_, count)| **count > 1).map(|(id, _)| *id).collect::<Vec<_>>();
    println!(
        "{sent} requests, {swaps} swaps, {} restarts; {} undecidable, {} repeated GETs",
        retired.len(),
        undecidable.len(),
        twice.len()
    );
    assert!(lost.is_empty(), "lost: {lost:#?}");
    // Only what was repeated for a stale connection may have run twice, and that is never a POST.
    let stale = proxy.metric("upstream_retries_total", &[("cause", "stale")]);
    assert!(twice.len() as f64 <= stale, "{} ran twice, {stale} were repeated", twice.len());
    proxy.wait_for_reason("", sent as f64 - undecidable.len() as f64);
    proxy.wait_for("requests_total", &[], sent as f64);
    assert!(undecidable.len() as u64 * 100 <= sent, "{} of {sent} undecidable", undecidable.len());
}
