//! Real sockets on loopback. Periods are short; nothing is asserted about how long anything takes, only what comes in the end.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use ::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::time::timeout;
use watershed_config::model::{Kind, Labels, Meta, ObjectId, Origin};

use super::*;
use crate::client::io::{HyperStream, Spawner};

const SOON: Duration = Duration::from_secs(5);

fn probe(action: ProbeAction) -> Probe {
    Probe {
        action,
        initial_delay: Duration::ZERO,
        period: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        success_threshold: 1,
        failure_threshold: 2,
    }
}

fn http_get(port: NonZeroU16) -> Probe {
    let headers = vec![(::http::header::HOST, HeaderValue::from_static("probe.example"))];
    probe(ProbeAction::Http { host: None, port, path: "/healthz?deep=1".into(), headers })
}

fn pod(name: &str, probes: Vec<Probe>) -> Pod {
    let id = ObjectId { kind: Kind::Pod, name: ObjectName::new("default", name) };
    let uid = format!("default/{name}").into();
    Pod {
        meta: Meta { id, uid, created: None, labels: Labels::default(), origin: Origin::default() },
        ip: IpAddr::from([127, 0, 0, 1]),
        ready_condition: true,
        terminating: false,
        node: "".into(),
        ports: Vec::new(),
        probes,
    }
}

async fn listener() -> (TcpListener, NonZeroU16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = NonZeroU16::new(listener.local_addr().unwrap().port()).unwrap();
    (listener, port)
}

/// Answers every request with the status that is in the cell, as long as it was asked well.
async fn web_server(status: Arc<AtomicU16>) -> NonZeroU16 {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let status = Arc::clone(&status);
            let service = service_fn(move |request: Request<Incoming>| {
                let asked_well =
                    request.uri() == "/healthz?deep=1" && request.headers()["host"] == "probe.example";
                let status = if asked_well { status.load(Ordering::Relaxed) } else { 500 };
                let response = Response::builder().status(status).header("location", "/elsewhere");
                async move { Ok::<_, Infallible>(response.body(Full::new(Bytes::from("x"))).unwrap()) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(HyperStream(stream), service));
        }
    });
    port
}

/// A gRPC health service that knows the service `db`, which it says has this status.
async fn grpc_server(status: u8) -> NonZeroU16 {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let known =
                    &request.into_body().collect().await.unwrap().to_bytes()[..] == b"\0\0\0\0\x04\x0a\x02db";
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(if known { "0" } else { "5" }));
                let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]));
                let body = body.with_trailers(async move { Some(Ok(trailers)) });
                Ok::<_, Infallible>(Response::new(body))
            });
            tokio::spawn(http2::Builder::new(Spawner).serve_connection(HyperStream(stream), service));
        }
    });
    port
}

/// Runs probers as the driver does, until a pod is or is not ready.
async fn until(prober: &mut Prober, reports: &mut mpsc::Receiver<Report>, uid: &str, ready: bool) -> String {
    let waiting = async {
        loop {
            let verdict = prober.pods.get(uid).map(Probed::verdict);
            if let Some(verdict) =
                verdict.filter(|verdict| verdict.ready == ready && prober.unanswered() == 0)
            {
                return verdict.reason;
            }
            let report = reports.recv().await.unwrap();
            prober.take(report);
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{uid} never became ready = {ready}"))
}

async fn first_verdict(probe: Probe) -> (bool, String) {
    let (mut prober, mut reports) = Prober::new();
    let pod = pod("a", vec![probe]);
    prober.follow([&pod].into_iter());
    let report = timeout(SOON, reports.recv()).await.unwrap().unwrap();
    let (_, ready) = prober.take(report).unwrap();
    (ready, prober.verdicts()[0].reason.clone())
}

#[tokio::test]
async fn an_http_probe_takes_200_to_399_and_follows_no_redirect() {
    for (status, expected) in [(200, true), (204, true), (302, true), (399, true), (400, false), (503, false)]
    {
        let port = web_server(Arc::new(AtomicU16::new(status))).await;
        let (ready, reason) = first_verdict(http_get(port)).await;
        assert_eq!(ready, expected, "{status}: {reason}");
        if !ready {
            assert!(reason.ends_with(&format!("/healthz?deep=1 answered {status}")), "{reason}");
        }
    }
}

#[tokio::test]
async fn a_tcp_probe_takes_a_connection() {
    let (listener, port) = listener().await;
    assert_eq!(first_verdict(probe(ProbeAction::Tcp { host: None, port })).await, (true, String::new()));
    assert!(first_verdict(probe(ProbeAction::Tcp { host: Some("localhost".into()), port })).await.0);
    drop(listener);
    let (ready, reason) = first_verdict(probe(ProbeAction::Tcp { host: None, port })).await;
    assert!(!ready && reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn a_grpc_probe_takes_serving() {
    let ask = |port, service: &str| probe(ProbeAction::Grpc { port, service: service.into() });
    assert_eq!(first_verdict(ask(grpc_server(1).await, "db")).await, (true, String::new()));
    let (ready, reason) = first_verdict(ask(grpc_server(2).await, "db")).await;
    assert!(!ready && reason.ends_with("NOT_SERVING"), "{reason}");
    let (ready, reason) = first_verdict(ask(grpc_server(1).await, "cache")).await;
    assert!(!ready && reason.contains("status 5"), "{reason}");
}

#[tokio::test]
async fn a_probe_that_gets_no_answer_fails_after_its_timeout() {
    let (_silent, port) = listener().await;
    let mut probe = http_get(port);
    probe.timeout = Duration::from_millis(30);
    let (ready, reason) = first_verdict(probe).await;
    assert!(!ready && reason.ends_with("no answer within 30ms"), "{reason}");
}

#[tokio::test]
async fn a_pod_is_ready_when_all_of_its_probes_pass() {
    let status = Arc::new(AtomicU16::new(200));
    let port = web_server(Arc::clone(&status)).await;
    let (_listener, open) = listener().await;
    let pod = pod("a", vec![http_get(port), probe(ProbeAction::Tcp { host: None, port: open })]);
    let (mut prober, mut reports) = Prober::new();
    prober.follow([&pod].into_iter());
    assert_eq!(prober.unanswered(), 2);
    until(&mut prober, &mut reports, "default/a", true).await;
    status.store(500, Ordering::Relaxed);
    let reason = until(&mut prober, &mut reports, "default/a", false).await;
    assert!(reason.ends_with("answered 500"), "{reason}");
    status.store(200, Ordering::Relaxed);
    until(&mut prober, &mut reports, "default/a", true).await;
}

#[tokio::test]
async fn a_pod_that_is_gone_is_not_probed_any_more() {
    let (listener, port) = listener().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let pod = pod("a", vec![probe(ProbeAction::Tcp { host: None, port })]);
    let (mut prober, mut reports) = Prober::new();
    prober.follow([&pod].into_iter());
    until(&mut prober, &mut reports, "default/a", true).await;
    assert_eq!(prober.follow(std::iter::empty()), ["default/a".into()]);
    assert!(prober.verdicts().is_empty());
    while prober.tasks.join_next().await.is_some() {}
    let after = connections.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(60)).await;
    // One connection may still have been in the listener's queue.
    assert!(connections.load(Ordering::Relaxed) <= after + 1);
}

#[tokio::test]
async fn an_edited_probe_leaves_its_pod_ready_until_it_has_failed_often_enough() {
    let port = web_server(Arc::new(AtomicU16::new(200))).await;
    let mut pod = pod("a", vec![http_get(port)]);
    let (mut prober, mut reports) = Prober::new();
    prober.follow([&pod].into_iter());
    until(&mut prober, &mut reports, "default/a", true).await;
    prober.started();

    // The same again, and a label: nothing begins anew.
    pod.meta.labels = pod.meta.labels.with("app".into(), "web".into());
    let serial = prober.pods["default/a"].serial;
    assert!(prober.follow([&pod].into_iter()).is_empty());
    assert_eq!(prober.pods["default/a"].serial, serial);

    pod.probes[0].timeout = Duration::from_secs(1);
    assert!(prober.follow([&pod].into_iter()).is_empty());
    assert!(prober.pods["default/a"].is_ready());

    // Another address is another endpoint: nothing is known of it.
    pod.ip = IpAddr::from([127, 0, 0, 2]);
    assert_eq!(prober.follow([&pod].into_iter()), ["default/a".into()]);
    assert!(!prober.pods["default/a"].is_ready());
    until(&mut prober, &mut reports, "default/a", false).await;
}

#[tokio::test]
async fn a_pod_that_appears_later_waits_for_its_initial_delay() {
    let port = web_server(Arc::new(AtomicU16::new(200))).await;
    let mut slow = http_get(port);
    slow.initial_delay = Duration::from_hours(1);
    let (mut prober, mut reports) = Prober::new();
    let at_start = pod("early", vec![slow.clone()]);
    prober.follow([&at_start].into_iter());
    until(&mut prober, &mut reports, "default/early", true).await;
    prober.started();
    let late = pod("late", vec![slow]);
    let soon = pod("soon", vec![http_get(port)]);
    prober.follow([&at_start, &late, &soon].into_iter());
    let report = timeout(SOON, reports.recv()).await.unwrap().unwrap();
    assert_eq!(prober.take(report), Some(("default/soon".into(), true)));
    assert!(!prober.pods["default/late"].is_ready());
    assert_eq!(prober.verdicts()[1].reason, "not every probe has answered yet");
}

#[test]
fn phases_are_spread_over_the_period() {
    let period = Duration::from_secs(10);
    let mut tenths = [0; 10];
    for pod in 0..1000 {
        let phase = phase(&format!("default/pod-{pod}"), 0, period);
        tenths[(phase.as_secs_f64() as usize).min(9)] += 1;
    }
    assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
}
