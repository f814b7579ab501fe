//! HTTP/2 without TLS, by hyper on one thread.

use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use peer_forwarders::{Outcome, listen};
use tokio::net::TcpListener;
use tokio::runtime::LocalOptions;
use tokio::task::JoinSet;

const POD: HeaderName = HeaderName::from_static("pod");
/// More than any contender sends at once on a connection.
const STREAMS: u32 = 1000;
/// A generator that ends resets its last streams all at once, which is no attack.
const RESETS: usize = 10_000;

type Bodies = Rc<[(usize, Bytes); crate::SIZES.len()]>;

/// Serves until killed.
pub fn run(pods: &[(u16, String)]) -> Outcome<()> {
    let bodies = Rc::new(crate::SIZES.map(|size| (size, Bytes::from(vec![b'a'; size]))));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default()).map_err(text)?;
    runtime.block_on(async {
        let mut serving = JoinSet::new();
        for (port, name) in pods {
            let name = HeaderValue::from_str(name).map_err(|error| format!("NAME: {error}"))?;
            serving.spawn_local(serve(*port, name, Rc::clone(&bodies)));
        }
        // None of them ends well.
        let ended = serving.join_next().await.ok_or("no pods")?;
        ended.map_err(|error| format!("pod: {error}"))?
    })
}

async fn serve(port: u16, name: HeaderValue, bodies: Bodies) -> Outcome<()> {
    let listener = TcpListener::from_std(listen(port)?).map_err(text)?;
    loop {
        let (stream, _) = listener.accept().await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let (name, bodies) = (name.clone(), Rc::clone(&bodies));
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer(&request, &name, &bodies[..]);
            async { Ok::<_, Infallible>(answer) }
        });
        let mut builder = http2::Builder::new(LocalExec);
        builder.max_concurrent_streams(STREAMS);
        builder.max_pending_accept_reset_streams(RESETS).max_local_error_reset_streams(None);
        tokio::task::spawn_local(builder.serve_connection(TokioIo::new(stream), service));
    }
}

fn text(error: std::io::Error) -> String {
    format!("pod: {error}")
}

fn answer(
    request: &Request<Incoming>,
    name: &HeaderValue,
    bodies: &[(usize, Bytes)],
) -> Response<Full<Bytes>> {
    let size = crate::size_of(request.uri().path().as_bytes());
    let body = bodies.iter().find(|(own, _)| Some(*own) == size).map(|(_, body)| body.clone());
    let mut response = Response::new(Full::new(body.clone().unwrap_or_default()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size.unwrap_or(0)));
    headers.insert(POD, name.clone());
    if body.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

/// Spawns onto the runtime's only thread.
#[derive(Clone, Copy)]
struct LocalExec;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
