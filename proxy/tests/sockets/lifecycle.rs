//! Beginning and end: addresses that come and go, and a process that leaves without losing a request.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use watershed_config::snapshot::{Bind, BindAddress, Generation, Rule, Snapshot};
use watershed_proxy::Drained;

use crate::support::{
    Client, Pod, TestProxy, arm, backend, candidate, eventually, free_address, host, rule, settings, snapshot,
};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn one_pod(pod: &Pod) -> Rule {
    rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))])
}

/// A pod that answers when it is let go.
fn holding() -> (Pod, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&go);
    let pod = Pod::start(move |conn| {
        while conn.request().is_some() {
            while !told.load(SeqCst) {
                std::thread::sleep(ms(1));
            }
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nheld");
        }
    });
    (pod, go)
}

#[test]
fn what_is_in_flight_finishes_and_says_close_and_idle_clients_are_closed_at_once() {
    let (pod, go) = holding();
    let proxy = TestProxy::serving(one_pod(&pod));
    let (mut waiting, mut idle, mut silent) = (proxy.connect(), proxy.connect(), proxy.connect());
    assert_eq!(idle.ask("GET / HTTP/1.1\r\n\r\n").status, 400, "now it is idle");
    waiting.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
    eventually("it has arrived", || pod.count() == 1);
    let draining = proxy.begin_drain(ms(0), ms(10_000));
    idle.expect_close();
    silent.expect_close();
    assert!(!draining.is_finished());
    go.store(true, SeqCst);
    let answer = waiting.answer();
    assert_eq!((answer.text(), answer.header("connection")), ("held", Some("close")));
    waiting.expect_close();
    assert_eq!(draining.join().unwrap(), Drained { cut: 0 });
}

#[test]
fn a_client_that_said_it_is_done_gets_its_whole_answer_and_a_clean_end() {
    let long = "x".repeat(4 << 20);
    let pod = Pod::start(move |conn| {
        while conn.request().is_some() {
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{long}", long.len()));
        }
    });
    let proxy = TestProxy::serving(one_pod(&pod));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    // Its answer does not fit into the socket's buffers, so that its end is still there when the proxy has let go.
    std::thread::sleep(ms(50));
    let answer = client.answer();
    assert_eq!((answer.body.len(), answer.header("connection")), (4 << 20, Some("close")));
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0, "an end, and no reset");
}

#[test]
fn during_the_delay_new_clients_are_served_and_told_to_leave() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::serving(one_pod(&pod));
    let address = proxy.address();
    let begin = Instant::now();
    let draining = proxy.begin_drain(ms(1_500), ms(10_000));
    for _ in 0..10 {
        let mut client = Client::connect(address);
        let answer = client.get("/");
        assert_eq!((answer.text(), answer.header("connection")), ("v1", Some("close")));
        client.expect_close();
    }
    let mut half = Client::connect(address);
    half.send("GET / HTTP/1.1\r\n");
    let mut late = Client::connect(address);
    eventually("nobody is accepted any more", || TcpStream::connect(address).is_err());
    assert!(begin.elapsed() >= ms(1_500));
    late.expect_close();
    half.send("host: a\r\n\r\n");
    assert_eq!(half.answer().text(), "v1", "a head that has begun is waited for");
    assert_eq!(draining.join().unwrap(), Drained { cut: 0 });
}

#[test]
fn clients_that_are_queued_when_the_listener_closes_are_served() {
    for _ in 0..20 {
        let pod = Pod::named("v1");
        let proxy = TestProxy::serving(one_pod(&pod));
        let address = proxy.address();
        let mut clients: Vec<Client> = (0..20)
            .map(|_| {
                let mut client = Client::connect(address);
                client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
                client
            })
            .collect();
        let draining = std::thread::spawn(move || proxy.drain(ms(0), ms(5_000)));
        for client in &mut clients {
            assert_eq!(client.answer().text(), "v1");
        }
        assert_eq!(draining.join().unwrap(), Drained { cut: 0 });
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn the_deadline_cuts_what_is_left_and_says_so() {
    let (pod, _go) = holding();
    let proxy = TestProxy::serving(one_pod(&pod));
    let telemetry = proxy.telemetry();
    let mut waiting: Vec<Client> = (0..3).map(|_| proxy.connect()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    eventually("they have arrived", || pod.count() == 3);
    let begin = Instant::now();
    assert_eq!(proxy.drain(ms(0), ms(300)), Drained { cut: 3 });
    assert!((ms(290)..ms(2_000)).contains(&begin.elapsed()));
    assert!(waiting.iter_mut().all(|client| client.rest() == (Vec::new(), true)));
    let cut = crate::support::metric(&telemetry, "requests_total", &[("reason", "drain_deadline")]);
    assert!((cut - 3.0).abs() < f64::EPSILON, "{cut} counted");
}

#[test]
fn draining_ends_as_soon_as_nothing_is_left() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::serving(one_pod(&pod));
    let mut client = proxy.connect();
    client.get("/");
    let begin = Instant::now();
    assert_eq!(proxy.drain(ms(0), ms(25_000)), Drained { cut: 0 });
    assert!(begin.elapsed() < ms(1_000), "{:?}", begin.elapsed());
    client.expect_close();
}

fn loopback(port: u16) -> BindAddress {
    BindAddress { ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), port }
}

/// One rule on several addresses.
fn on(rule: &Arc<Rule>, addresses: &[BindAddress]) -> Snapshot {
    let binds = addresses.iter().map(|address| {
        let one = snapshot(0, *address, vec![host("", vec![candidate("/", rule)])]);
        one.binds.into_iter().next().unwrap()
    });
    Snapshot { generation: Generation(0), binds: binds.collect::<Vec<Arc<Bind>>>() }
}

#[test]
fn listeners_come_and_go_without_touching_others() {
    let pod = Pod::named("v1");
    let rule = Arc::new(one_pod(&pod));
    let (first, second) = (loopback(free_address().port()), loopback(free_address().port()));
    let mut proxy = TestProxy::start(&settings());
    proxy.apply(on(&rule, &[first]));
    let address = |wanted: BindAddress| (wanted.ip.unwrap(), wanted.port).into();
    let mut stays = Client::connect(address(first));
    assert_eq!(stays.get("/").text(), "v1");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, second.port)).is_err());
    for _ in 0..10 {
        proxy.apply(on(&rule, &[first, second]));
        let mut visitor = Client::connect(address(second));
        assert_eq!(visitor.get("/").text(), "v1");
        // Removed and added again at once: the old sockets may still be closing.
        proxy.apply(on(&rule, &[first]));
        proxy.apply(on(&rule, &[first, second]));
        assert_eq!(Client::connect(address(second)).get("/").text(), "v1");
        proxy.apply(on(&rule, &[first]));
        eventually("nobody listens there", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, second.port)).is_err()
        });
        assert_eq!(visitor.get("/").status, 404, "what was served there is not any more");
        assert_eq!(stays.get("/").text(), "v1");
    }
    assert_eq!(proxy.proxy.addresses(), [address(first)]);
}

#[test]
fn an_address_that_somebody_else_holds_is_reported_with_the_holder_and_the_rest_serves() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let pod = Pod::named("v1");
    let rule = Arc::new(one_pod(&pod));
    let mut proxy = TestProxy::start(&settings());
    let wanted = on(&rule, &[loopback(address.port()), loopback(0)]);
    let errors = proxy.proxy.apply(&wanted);
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text.len(), 1, "{text:?}");
    assert!(text[0].starts_with(&format!("cannot listen on {address}: ")), "{text:?}");
    assert!(text[0].ends_with(&format!("(pid {}))", std::process::id())), "{text:?}");
    assert_eq!(proxy.connect().get("/").text(), "v1");
    assert_eq!(proxy.proxy.bind_missing(&wanted).len(), 1, "still held");
    drop(held);
    eventually("it is free", || proxy.proxy.bind_missing(&wanted).is_empty());
    assert_eq!(Client::connect(address).get("/").text(), "v1");
}

#[test]
fn a_second_proxy_cannot_take_half_of_the_traffic() {
    let pod = Pod::named("v1");
    let rule = Arc::new(one_pod(&pod));
    let mut settings = settings();
    settings.workers = 2;
    let first = TestProxy::serving_with(&settings, one_pod(&pod));
    let mut second = TestProxy::start(&settings);
    let errors = second.proxy.apply(&on(&rule, &[loopback(first.address().port())]));
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].source.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn all_addresses_means_both_families() {
    let pod = Pod::named("v1");
    let all = BindAddress { ip: None, port: 0 };
    let mut proxy = TestProxy::start(&settings());
    proxy.apply(on(&Arc::new(one_pod(&pod)), &[all]));
    let port = proxy.proxy.bound(all).unwrap().port();
    assert_eq!(Client::connect((Ipv4Addr::LOCALHOST, port).into()).get("/").text(), "v1");
    let received = pod.received();
    assert_eq!(received[0].header("x-forwarded-for"), Some("127.0.0.1"), "not in its mapped form");
    if TcpListener::bind("[::1]:0").is_ok() {
        let mut client = Client::connect((std::net::Ipv6Addr::LOCALHOST, port).into());
        assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: [::1]\r\nforwarded: for=x\r\n\r\n").text(), "v1");
        let received = pod.received();
        assert_eq!(received[1].header("x-forwarded-for"), Some("::1"));
        assert_eq!(received[1].all("forwarded"), ["for=x", "for=\"[::1]\";proto=http"]);
    }
}

#[test]
fn more_clients_than_allowed_wait_in_the_queue_until_somebody_leaves() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::limited(one_pod(&pod), |limits| limits.connections_per_worker = 2);
    let mut clients: Vec<Client> = (0..2).map(|_| proxy.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/").text() == "v1"));
    let mut queued = proxy.connect();
    queued.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    std::thread::sleep(ms(150));
    assert_eq!(pod.count(), 2);
    clients.pop();
    assert_eq!(queued.answer().text(), "v1");
    proxy.wait_for("connections_open", &[], 2.0);
}

/// Says to the test below, run again as a process of its own, that it is the one with few file descriptors.
const CHILD: &str = "WATERSHED_TEST_OUT_OF_FILES";

#[test]
fn without_file_descriptors_accepting_pauses_and_recovers() {
    if std::env::var_os(CHILD).is_some() {
        return out_of_files();
    }
    let this = "lifecycle::without_file_descriptors_accepting_pauses_and_recovers";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output =
        child.args(["--exact", this, "--nocapture"]).env(CHILD, "1").stdin(Stdio::null()).output().unwrap();
    let _ = std::io::stdout().write_all(&output.stdout);
    let _ = std::io::stdout().write_all(&output.stderr);
    assert!(output.status.success());
}

fn out_of_files() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::serving(one_pod(&pod));
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "v1");
    // Clients and pods live in this process too, so all sockets are opened first, and then what is left is taken away.
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: Some(80), maximum: Some(80) },
    )
    .unwrap();
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    // Room for a client's end, but not for the proxy's.
    files.pop();
    let waiting = TcpStream::connect(proxy.address()).unwrap();
    eventually("it has paused", || proxy.metric("accept_paused_total", &[]) > 2.0);
    assert!(proxy.metric("accept_paused_total", &[]) < 60.0, "it does not spin");
    assert_eq!(client.get("/").text(), "v1", "who is connected is served");
    drop(files);
    assert_eq!(Client::from(waiting).get("/").text(), "v1");
}
