//! What is limited, and what the flags of `run` do.

use std::fmt::Write;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::support::{
    Connection, Manifests, Pod, PodFile, Start, Watershed, ask, eventually, get, request, service,
};

fn hello(pod: &Pod) -> Manifests {
    let manifests = Manifests::new();
    manifests.write("service.yaml", service("hello", "app: hello"));
    manifests.write("pod.yaml", PodFile::of(pod, "app: hello, version: v7").text());
    manifests
}

/// Files that the process has open.
fn open_files(watershed: &Watershed) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", watershed.pid())).unwrap().count() as u64
}

#[test]
fn without_file_descriptors_accepting_pauses_and_recovers() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let watershed = Watershed::run(manifests.path());
    let mut first = Connection::open(watershed.services()).unwrap();
    assert_eq!(first.ask(request("hello", "/", &[])).unwrap().status, 200);
    let pid = Pid::from_raw(watershed.pid().cast_signed());
    let limit = open_files(&watershed) + 12;
    // Only the soft limit, which may be raised again; the hard one is ours as well as the process's.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
    let mut crowd: Vec<Connection> =
        (0..60).map(|_| Connection::open(watershed.services()).unwrap()).collect();
    watershed.wait_for_log(&["ERROR", "accepting pauses", "ulimit -n"]);
    // Who is in is served.
    assert_eq!(first.ask(request("hello", "/", &[])).unwrap().status, 200);
    // When connections end, those that waited get in, without a new one knocking.
    let mut last = crowd.pop().unwrap();
    drop(crowd);
    assert_eq!(last.ask(request("hello", "/", &[])).unwrap().status, 200);
    prlimit(pid, Resource::Nofile, before).unwrap();
    assert!(watershed.metrics().count("accept_paused_total", &[]) > 0);
    assert_eq!(get(watershed.services(), "hello", "/").status, 200);
}

#[test]
fn a_body_larger_than_allowed_is_answered_413() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let watershed = Start::over(manifests.path()).args(&["--max-request-body", "1000"]).ready();
    let here = watershed.services();
    let announced = |length: usize| {
        let body = "x".repeat(length);
        ask(here, &format!("POST / HTTP/1.1\r\nhost: hello\r\ncontent-length: {length}\r\n\r\n{body}"))
    };
    assert_eq!(announced(1000).status, 200);
    let answer = announced(1001);
    assert_eq!((answer.status, answer.reason()), (413, "body_too_large"));
    let chunk = "x".repeat(600);
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: hello\r\ntransfer-encoding: chunked\r\n\r\n258\r\n{chunk}\r\n258\r\n{chunk}\r\n0\r\n\r\n"
    );
    let answer = ask(here, &chunked);
    assert_eq!((answer.status, answer.reason()), (413, "body_too_large"));
    assert_eq!(pod.count(), 1);
}

#[test]
fn a_head_that_is_too_large_is_refused_and_counted() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let watershed = Watershed::run(manifests.path());
    let mut text = "GET / HTTP/1.1\r\nhost: hello\r\n".to_owned();
    for number in 0..2000 {
        write!(text, "x-{number}: {}\r\n", "y".repeat(50)).unwrap();
    }
    let answer = ask(watershed.services(), &format!("{text}\r\n"));
    assert_eq!(answer.status, 431, "{answer:?}");
    eventually("it is counted", || {
        watershed.metrics().count("requests_total", &[("reason", "head_too_large")]) == 1
    });
    assert_eq!(get(watershed.services(), "hello", "/").status, 200);
}

#[test]
fn marks_are_made_where_they_are_asked_for() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let plain = Watershed::run(manifests.path());
    let answer = get(plain.services(), "hello", "/");
    assert!(answer.all("via").is_empty() && answer.all("watershed-revision").is_empty(), "{answer:?}");
    assert_eq!(answer.json()["headers"]["via"], serde_json::Value::Null);
    // What is always there: who asked, for what, and under which id.
    let seen = &answer.json()["headers"];
    assert_eq!(
        (&seen["x-forwarded-for"][0], &seen["x-forwarded-host"][0]),
        (&"127.0.0.1".into(), &"hello".into())
    );
    for name in ["x-request-id", "traceparent", "x-forwarded-proto"] {
        assert!(seen[name][0].is_string(), "{name} in {seen}");
    }
    // `Forwarded` is extended where somebody before us has begun it.
    let begun = request("hello", "/", &[("forwarded", "for=192.0.2.1")]);
    let seen = ask(plain.services(), &begun).json()["headers"]["forwarded"].to_string();
    assert!(seen.contains("for=192.0.2.1") && seen.contains("for=127.0.0.1"), "{seen}");
    let marked = Start::over(manifests.path()).args(&["--via", "--revision-header"]).ready();
    let answer = get(marked.services(), "hello", "/");
    assert_eq!(answer.header("watershed-revision"), "v7");
    assert!(answer.header("via").starts_with("1.1 "), "{answer:?}");
    assert!(answer.json()["headers"]["via"][0].is_string(), "{answer:?}");
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let watershed = Start::over(manifests.path()).args(&["--log-format", "json"]).begin();
    eventually("the ready line", || watershed.log().contains("\"ready\""));
    for line in watershed.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
}
