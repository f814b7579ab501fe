//! The admin address: metrics, health, and what is being served and why. Read-only, on a thread of its own.
//!
//! A small tower stack (a limit on concurrent requests, a time limit) around one `match` on method and path. A scrape reads the
//! workers' cells; it never waits for a worker, nor a worker for it.

mod debug;
mod health;
mod metrics;
mod state;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tower::{ServiceBuilder, ServiceExt, service_fn};

pub(crate) use state::AdminState;

/// Requests answered at the same time; more wait.
const CONCURRENT_REQUESTS: usize = 16;
/// Time for one answer, waiting included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

type Reply = Response<Full<Bytes>>;

/// The running admin server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Admin {
    /// Where it really listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Binds the address and serves it on a new thread.
pub(crate) fn start(address: SocketAddr, state: Arc<AdminState>) -> anyhow::Result<Admin> {
    let listener = std::net::TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on the admin address {address}{}",
            watershed_proxy::holder_suffix(address.port())
        )
    })?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let serve = move || {
        runtime.block_on(async {
            tokio::select! {
                () = accept(listener, state) => {}
                _ = stopped => {}
            }
        });
    };
    let thread = std::thread::Builder::new().name("ws-admin".into()).spawn(serve)?;
    Ok(Admin { address, stop: Some(stop), thread: Some(thread) })
}

async fn accept(listener: std::net::TcpListener, state: Arc<AdminState>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "admin address cannot be served");
            return;
        }
    };
    let service =
        ServiceBuilder::new().timeout(ANSWER_TIMEOUT).concurrency_limit(CONCURRENT_REQUESTS).service(
            service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&state, &request)))),
        );
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = service.clone();
        let on_request = hyper::service::service_fn(move |request: Request<Incoming>| {
            let service = service.clone();
            async move {
                let answered = service.oneshot(request).await;
                Ok::<_, Infallible>(
                    answered
                        .unwrap_or_else(|error| text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))),
                )
            }
        });
        tokio::spawn(
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), on_request),
        );
    }
}

fn answer(state: &AdminState, request: &Request<Incoming>) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let query = request.uri().query().unwrap_or_default();
    match request.uri().path() {
        "/" => text(StatusCode::OK, INDEX),
        "/metrics" => metrics::answer(state),
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => health::readyz(state, query),
        "/debug/config" => debug::answer(state),
        "/api/v1/explain" => debug::explain(state, query),
        _ => text(StatusCode::NOT_FOUND, format!("nothing is here; there is:\n{INDEX}")),
    }
}

const INDEX: &str = "\
/metrics          for Prometheus
/livez            200 while the process runs
/readyz           200 while traffic is taken; ?verbose lists problems and warnings
/debug/config     what is served: listeners, routes, splits, endpoints
/api/v1/explain   which rule a request would get and why: ?url=URL&method=M&header=NAME:%20VALUE
";

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            reply(status, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
