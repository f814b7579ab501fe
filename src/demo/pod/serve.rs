//! The pod's server: accept, tell HTTP/2 from HTTP/1.1 by its preface, answer, end gracefully.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Options;
use super::book::Book;
use crate::demo::net::{Io, Spawn};

/// The first bytes of an HTTP/2 connection (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// After a failed accept (out of file descriptors) trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Bytes that were peeked at stay readable, so that waiting for more of them is a matter of time.
const PEEK_PAUSE: Duration = Duration::from_millis(1);

/// One pod.
#[derive(Debug)]
pub(crate) struct Pod {
    name: String,
    version: String,
    latency: Duration,
    latency_spread: Duration,
    fail_ratio: f64,
    fail_chance: f64,
    owed: Cell<f64>,
    leaving: Cell<bool>,
    book: RefCell<Book>,
}

impl Pod {
    /// A ready pod.
    pub(crate) fn new(options: &Options, book: RefCell<Book>) -> Self {
        Self {
            name: options.name.clone(),
            version: options.version.clone(),
            latency: options.latency,
            latency_spread: options.latency_spread,
            fail_ratio: options.fail_ratio.clamp(0.0, 1.0),
            fail_chance: options.fail_chance.clamp(0.0, 1.0),
            owed: Cell::new(0.0),
            leaving: Cell::new(false),
            book: RefCell::new(book.into_inner()),
        }
    }

    async fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let http1 = request.version() <= Version::HTTP_11;
        let mut response = match request.uri().path() {
            "/healthz" if self.leaving.get() => plain(StatusCode::SERVICE_UNAVAILABLE, "leaving\n".into()),
            "/healthz" => plain(StatusCode::OK, "ok\n".into()),
            "/demo/stats" => plain(StatusCode::OK, format!("{}\n", self.stats())),
            _ => self.serve(request).await?,
        };
        if self.leaving.get() && http1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// Runs one request: it counts as run once its body was read whole.
    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, mut body) = request.into_parts();
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame?.data_ref().map_or(0, Bytes::len);
        }
        let id = head.headers.get("x-demo-id").and_then(|id| id.to_str().ok());
        let status = if self.is_to_fail() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
        if let Err(error) = self.book.borrow_mut().note(&head.method, id, status) {
            return Ok(plain(
                StatusCode::INSUFFICIENT_STORAGE,
                format!("cannot record the request: {error}\n"),
            ));
        }
        let latency = self.latency + self.latency_spread.mul_f64(fastrand::f64());
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let said = json!({
            "version": self.version, "pod": self.name, "id": id, "method": head.method.as_str(), "received": received,
        });
        Ok(plain(status, format!("{said}\n")))
    }

    /// A ratio's failures are spread evenly, so that it holds in every stretch of requests; a chance knows no stretches.
    fn is_to_fail(&self) -> bool {
        let owed = self.owed.get() + self.fail_ratio;
        let fails = owed >= 1.0;
        self.owed.set(if fails { owed - 1.0 } else { owed });
        fails || fastrand::f64() < self.fail_chance
    }

    fn stats(&self) -> serde_json::Value {
        let mut stats = self.book.borrow().stats();
        stats["pod"] = json!(self.name);
        stats["version"] = json!(self.version);
        stats
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Serves until `told` completes, lingers, then finishes what is in flight for at most `drain_max`.
///
/// Must run inside a `LocalSet`. Dropping this future leaves its connections to the set.
pub(crate) async fn until(
    listener: TcpListener,
    pod: Rc<Pod>,
    told: impl Future<Output = ()>,
    linger: Duration,
    drain_max: Duration,
) {
    let (end, ending) = watch::channel(false);
    let mut accepting = Box::pin(accept(listener, Rc::clone(&pod), ending));
    tokio::select! { () = &mut accepting => {}, () = told => {} }
    pod.leaving.set(true);
    let _ = tokio::time::timeout(linger, &mut accepting).await;
    drop(accepting);
    // Each connection holds a receiver: when all are gone, nothing is in flight.
    end.send_replace(true);
    let _ = tokio::time::timeout(drain_max, end.closed()).await;
}

async fn accept(listener: TcpListener, pod: Rc<Pod>, ending: watch::Receiver<bool>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (pod, ending) = (Rc::clone(&pod), ending.clone());
                tokio::task::spawn_local(connection(stream, pod, ending));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves one connection. Its errors are the peer's business (it went away); the pod has nobody to tell.
async fn connection(stream: TcpStream, pod: Rc<Pod>, mut ending: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let Ok(http2) = is_http2(&stream).await else { return };
    let service = service_fn(move |request| Rc::clone(&pod).answer(request));
    let told = ending.wait_for(|end| *end);
    tokio::pin!(told);
    if http2 {
        let connection =
            hyper::server::conn::http2::Builder::new(Spawn).serve_connection(Io(stream), service);
        tokio::pin!(connection);
        tokio::select! { _ = &mut connection => return, _ = told => connection.as_mut().graceful_shutdown() }
        let _ = connection.await;
    } else {
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(Io(stream), service);
        tokio::pin!(connection);
        tokio::select! { _ = &mut connection => return, _ = told => connection.as_mut().graceful_shutdown() }
        let _ = connection.await;
    }
}

/// Looks at the first bytes without taking them. A client that sends nothing, or half a preface, waits here.
async fn is_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        if count == 0 || !PREFACE.starts_with(&first[..count]) {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(PEEK_PAUSE).await;
    }
}
