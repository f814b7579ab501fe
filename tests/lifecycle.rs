//! Beginning and ending: signals, addresses that are taken, a second process, a process that was killed.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{
    Connection, Manifests, Pod, PodFile, Start, Watershed, eventually, free_port, gateway, get, request,
    route, service,
};

/// One Service with one pod.
fn hello(pod: &Pod) -> Manifests {
    let manifests = Manifests::new();
    manifests.write("service.yaml", service("hello", "app: hello"));
    manifests.write("pod.yaml", PodFile::of(pod, "app: hello").text());
    manifests
}

/// A request that waits at the pod until that is told to release it.
fn held(watershed: &Watershed, pod: &Pod) -> Connection {
    let mut connection = Connection::open(watershed.services()).unwrap();
    connection.send(request("hello", "/hold", &[])).unwrap();
    pod.wait_for_held(1);
    connection
}

#[test]
fn sigterm_turns_unready_at_once_finishes_what_is_in_flight_and_exits_0() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let watershed = Watershed::run(manifests.path());
    let mut idle = Connection::open(watershed.services()).unwrap();
    assert_eq!(idle.ask(request("hello", "/", &[])).unwrap().status, 200);
    let mut held = held(&watershed, &pod);
    watershed.signal(Signal::TERM);
    eventually("/readyz answers 503", || watershed.admin("/readyz").status == 503);
    assert_eq!(watershed.admin("/livez").status, 200);
    assert!(idle.is_closed_within(Duration::from_secs(10)), "an idle connection is closed");
    eventually("new connections are refused", || Connection::open(watershed.services()).is_err());
    watershed.assert_running();
    pod.release();
    let answer = held.answer(false).unwrap();
    assert_eq!((answer.status, answer.pod()), (200, "hello-a"), "{answer:?}");
    assert!(answer.closes(), "{answer:?}");
    let ended = watershed.end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("drained cut=0"), "{}", ended.log);
}

#[test]
fn during_the_drain_delay_it_accepts_and_says_close_and_a_second_signal_ends_it_with_1() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let watershed =
        Start::over(manifests.path()).args(&["--drain-delay", "60s", "--drain-deadline", "90s"]).ready();
    watershed.signal(Signal::INT);
    eventually("/readyz answers 503", || watershed.admin("/readyz").status == 503);
    for _ in 0..5 {
        let answer = get(watershed.services(), "hello", "/");
        assert_eq!((answer.status, answer.closes()), (200, true), "{answer:?}");
    }
    watershed.signal(Signal::TERM);
    let ended = watershed.end();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.after < Duration::from_secs(10), "{:?}", ended.after);
}

#[test]
fn the_drain_deadline_cuts_and_exits_0() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let watershed = Start::over(manifests.path()).args(&["--drain-deadline", "200ms"]).ready();
    let mut held = held(&watershed, &pod);
    let ended = watershed.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("drained cut=1"), "{}", ended.log);
    assert!(held.answer(false).is_err(), "the request was cut");
}

#[test]
fn an_address_that_is_taken_at_the_start_is_named_with_its_holder() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let port = free_port();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    manifests.write("gateway.yaml", gateway("web", port));
    let ended = Start::over(manifests.path()).end();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", ended.log);
    assert!(ended.log.contains(&format!("(pid {})", std::process::id())), "{}", ended.log);
    drop(taken);
}

#[test]
fn the_admin_address_taken_is_named_with_its_holder() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let taken = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let address = taken.local_addr().unwrap();
    let ended = Start::over(manifests.path()).admin(address).end();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains(&format!("cannot listen on the admin address {address}")), "{}", ended.log);
    assert!(ended.log.contains(&format!("(pid {})", std::process::id())), "{}", ended.log);
}

#[test]
fn a_second_process_on_one_state_directory_is_refused_with_the_pid_of_the_first() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let state = TempDir::new().unwrap();
    let first = Start::over(manifests.path()).state_dir(state.path()).ready();
    let second = Start::over(manifests.path()).state_dir(state.path()).end();
    assert_eq!(second.code, Some(1), "{}", second.log);
    assert!(second.log.contains(&format!("process {}", first.pid())), "{}", second.log);
    assert!(second.log.contains("--state-dir"), "{}", second.log);
    assert_eq!(get(first.services(), "hello", "/").status, 200);
}

#[test]
fn an_address_that_is_taken_later_is_reported_and_tried_again_while_the_rest_serves() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let watershed = Watershed::run(manifests.path());
    let port = free_port();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    manifests.write("gateway.yaml", gateway("web", port) + &route("hello", "name: web", &[("hello", 1)]));
    eventually("/readyz?verbose says so", || {
        let verbose = watershed.admin("/readyz?verbose");
        verbose.status == 200 && verbose.text().contains(&format!("bind: cannot listen on 127.0.0.1:{port}"))
    });
    let text = watershed.admin("/readyz?verbose").text().to_owned();
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    assert_eq!(get(watershed.services(), "hello", "/").status, 200);
    drop(taken);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("the address is listened on", || {
        watershed.assert_running();
        Connection::open(address).is_ok()
    });
    assert_eq!(get(address, "anything", "/").pod(), "hello-a");
    eventually("/readyz?verbose forgets it", || !watershed.admin("/readyz?verbose").text().contains("bind:"));
}

#[test]
fn a_process_that_was_killed_starts_again_over_what_it_left() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let state = TempDir::new().unwrap();
    for _ in 0..3 {
        let watershed = Start::over(manifests.path()).state_dir(state.path()).ready();
        assert_eq!(get(watershed.services(), "hello", "/").status, 200);
        watershed.kill();
    }
    let watershed = Start::over(manifests.path()).state_dir(state.path()).ready();
    assert_eq!(
        watershed.admin("/readyz?verbose").text().lines().count(),
        2,
        "{}",
        watershed.admin("/readyz?verbose").text()
    );
    assert_eq!(watershed.terminate().code, Some(0));
}

#[test]
fn usage_errors_exit_with_2() {
    let manifests = Manifests::new();
    let ended = Start::over(manifests.path()).arg("--no-such-option").end();
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    let ended = Start::over(manifests.path()).args(&["--log", "=,=nonsense="]).end();
    assert_eq!(ended.code, Some(2), "{}", ended.log);
}

/// Name and niceness (field 19 of `proc_pid_stat(5)`) of every thread.
#[cfg(target_os = "linux")]
fn threads(pid: u32) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end while it is looked at.
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let parse = |stat: String| {
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        // What follows the name begins with field 3.
        (name.to_owned(), rest.split_whitespace().nth(19 - 3).unwrap().parse().unwrap())
    };
    stats.map(parse).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn every_thread_that_no_request_needs_is_nicer_than_the_workers() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let watershed = Watershed::run(manifests.path());
    let threads = threads(watershed.pid());
    let needed = |name: &str| name.starts_with("ws-worker-") || name == "ws-log";
    let nice_of = |needs: bool| threads.iter().filter(move |(name, _)| needed(name) == needs);
    let of_workers = nice_of(true).map(|(_, nice)| *nice).max().unwrap();
    for (name, nice) in nice_of(false) {
        assert!(*nice > of_workers, "{name} is no nicer than the workers: {threads:?}");
    }
    for name in ["watershed", "ws-admin", "last-good"] {
        assert!(nice_of(false).any(|(found, _)| found == name), "the look is broken: {threads:?}");
    }
}
