//! Real sockets on loopback; nothing is asserted about how long anything takes.

use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::analysis::metric::{Question, Source, WebRequest};
use crate::client::io::HyperStream;

const SOON: Duration = Duration::from_secs(5);

/// What a server was asked: the request line's words, some headers and the body.
type Asked = Arc<Mutex<Vec<String>>>;

/// Answers everything with this status and body; returns its base URL.
async fn server(status: u16, body: &'static str) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            let service = service_fn(move |request: Request<Incoming>| {
                let log = Arc::clone(&log);
                async move {
                    let (head, sent) = request.into_parts();
                    let sent = sent.collect().await.unwrap().to_bytes();
                    let header = |name| head.headers.get(name).map_or("-", |value| value.to_str().unwrap());
                    let (kind, key) = (header("content-type"), header("x-key"));
                    let sent = String::from_utf8_lossy(&sent);
                    log.lock().unwrap().push(format!("{} {} {kind} {key} {sent}", head.method, head.uri));
                    let response = Response::builder().status(status).body(Full::new(Bytes::from(body)));
                    Ok::<_, Infallible>(response.unwrap())
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(HyperStream(stream), service));
        }
    });
    (url, asked)
}

fn web(url: &str) -> WebRequest {
    WebRequest {
        url: url.to_owned(),
        method: "GET".to_owned(),
        headers: Vec::new(),
        body: String::new(),
        json_path: None,
        timeout: 2_000,
    }
}

fn question(source: Source, success: &str) -> Question {
    Question::Known { source, success: Some(success.to_owned()), failure: None }
}

async fn measured(source: Source, success: &str) -> Measured {
    measure(&Client::new(4), &question(source, success)).await
}

#[track_caller]
fn error(measured: Measured) -> String {
    let Measured::Error(why) = measured else { panic!("{measured:?}") };
    why
}

#[tokio::test]
async fn prometheus_is_asked_and_its_series_are_judged() {
    const ANSWER: &str =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.97"]}]}}"#;
    let (url, asked) = server(200, ANSWER).await;
    let prometheus =
        |query: &str| Source::Prometheus { address: format!("{url}/prom/"), query: query.to_owned() };
    let value = || "[0.97]".to_owned();
    let query = "rate(ok[1m]) / rate(all[1m])";
    assert_eq!(measured(prometheus(query), "result[0] >= 0.95").await, Measured::Success(value()));
    assert_eq!(measured(prometheus(query), "result[0] >= 0.99").await, Measured::Failure(value()));
    let long = "a".repeat(5_000);
    assert_eq!(measured(prometheus(&long), "result[0] >= 0.95").await, Measured::Success(value()));
    let asked = asked.lock().unwrap();
    assert_eq!(
        asked[0],
        "GET /prom/api/v1/query?query=rate%28ok%5B1m%5D%29%20%2F%20rate%28all%5B1m%5D%29 - - "
    );
    assert_eq!(
        asked[2],
        format!("POST /prom/api/v1/query? application/x-www-form-urlencoded - query={long}")
    );
}

#[tokio::test]
async fn what_prometheus_refuses_is_an_error_in_its_words() {
    let (url, _) =
        server(400, r#"{"status":"error","errorType":"bad_data","error":"1:5: parse error"}"#).await;
    let source = Source::Prometheus { address: url, query: "rate(".to_owned() };
    let why = error(measured(source, "true").await);
    assert_eq!(why, "Prometheus answered with bad_data: 1:5: parse error");
    let (url, _) = server(503, "no upstream").await;
    let source = Source::Prometheus { address: url, query: "up".to_owned() };
    assert_eq!(error(measured(source, "true").await), "Prometheus answered 503");
}

#[tokio::test]
async fn a_web_answer_is_json_and_a_path_leads_into_it() {
    let (url, asked) = server(201, r#"{"data":{"list":[{"ok":true}]}}"#).await;
    let request = WebRequest {
        method: "POST".to_owned(),
        headers: vec![("x-key".to_owned(), "abc".to_owned()), ("content-length".to_owned(), "99".to_owned())],
        body: "{\"canary\":\"2\"}".to_owned(),
        json_path: Some("{$.data.list[0].ok}".to_owned()),
        ..web(&format!("{url}/check?v=2"))
    };
    assert_eq!(measured(Source::Web(request.clone()), "result").await, Measured::Success("true".to_owned()));
    assert_eq!(asked.lock().unwrap()[0], "POST /check?v=2 - abc {\"canary\":\"2\"}");
    let request = WebRequest { json_path: Some("{$.data.no}".to_owned()), ..request };
    let why = error(measured(Source::Web(request), "result").await);
    assert_eq!(why, "the answer has nothing at {$.data.no}");
}

#[tokio::test]
async fn whatever_is_no_answer_is_an_error() {
    let (broken, _) = server(500, "{}").await;
    let (moved, _) = server(302, "{}").await;
    let (html, _) = server(200, "<html>").await;
    let (long, _) = server(200, Box::leak(format!("\"{}\"", "x".repeat(1024 * 1024)).into_boxed_str())).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://{}/", silent.local_addr().unwrap());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (request, wanted) in [
        (web(&broken), "GET answered 500"),
        (web(&moved), "GET answered 302"),
        (web(&html), "the answer is not JSON"),
        (web(&long), "the answer is longer than 1048576 bytes"),
        (WebRequest { timeout: 50, ..web(&silent_url) }, "no answer within 50ms"),
        (web(&format!("http://{free}/x?token=1")), "/x: cannot connect to"),
        (web("https://127.0.0.1/"), "https is not supported yet"),
        (web("ftp://127.0.0.1/"), "does not begin with http://"),
        (web("http://a b/"), "the URL cannot be read"),
        (web("http://user:word@127.0.0.1/"), "a user in a URL is not supported"),
        (WebRequest { headers: vec![("x".to_owned(), "a\nb".to_owned())], ..web(&html) }, "cannot be sent"),
        (WebRequest { method: "GE T".to_owned(), ..web(&html) }, "is not a method"),
    ] {
        let url = request.url.clone();
        let why = error(measured(Source::Web(request), "result == 1").await);
        assert!(why.contains(wanted) && !why.contains("token"), "{url}: {why}");
    }
    let missing = Question::Missing("args.job".to_owned());
    assert_eq!(error(measure(&Client::new(1), &missing).await), "{{args.job}} has no value");
}

/// A run that asks this URL, again and again.
fn run(url: &str) -> Run {
    let text = serde_json::json!({
        "startedAt": 0,
        "metrics": [{
            "metric": {
                "name": "rate", "interval": 60_000, "initialDelay": 0, "count": null, "failureLimit": 0,
                "inconclusiveLimit": 0, "consecutiveErrorLimit": 4, "dryRun": false,
                "question": question(Source::Web(web(url)), "result == 1"),
            },
            "phase": "Running",
            "seen": {},
        }],
    });
    serde_json::from_value(text).unwrap()
}

fn id(analysis: u64) -> RunId {
    (ObjectName::new("shop", "cart"), 1, analysis)
}

#[tokio::test]
async fn what_is_due_is_measured_once_until_it_is_recorded() {
    let (url, asked) = server(200, "1").await;
    let (reports, mut reported) = mpsc::channel(8);
    let mut runner = Runner::new(reports);
    let mut run = run(&url);
    for _ in 0..3 {
        runner.drive(1_000, [(id(7), &run)]);
    }
    let (rollout, number, analysis, metric, measured) =
        timeout(SOON, reported.recv()).await.unwrap().unwrap();
    assert_eq!((rollout.to_string().as_str(), number, analysis, metric), ("shop/cart", 1, 7, 0));
    // It was reported and not yet recorded.
    runner.drive(2_000, [(id(7), &run)]);
    run.record(metric, measured, 2_000);
    runner.drive(3_000, [(id(7), &run)]);
    assert!(reported.try_recv().is_err());
    runner.drive(62_000, [(id(7), &run)]);
    timeout(SOON, reported.recv()).await.unwrap().unwrap();
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let (reports, mut reported) = mpsc::channel(8);
    let mut runner = Runner::new(reports);
    let (mut over, gone) = (run(&url), run(&url));
    runner.drive(1_000, [(id(1), &over), (id(2), &gone)]);
    let mut connections = Vec::new();
    for _ in 0..2 {
        connections.push(timeout(SOON, silent.accept()).await.unwrap().unwrap().0);
    }
    over.stop();
    runner.drive(1_100, [(id(1), &over)]);
    assert!(runner.tasks.is_empty());
    for connection in connections {
        // Closed from the other side: after the request that was sent there is nothing.
        let closed = async {
            let mut bytes = [0; 1_024];
            loop {
                connection.readable().await.unwrap();
                if matches!(connection.try_read(&mut bytes), Ok(0)) {
                    break;
                }
            }
        };
        timeout(SOON, closed).await.unwrap();
    }
    drop(runner);
    assert!(reported.recv().await.is_none(), "nothing was reported, and nobody is left to");
}
