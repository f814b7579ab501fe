//! The inside of a pod: one thread, one runtime, hyper.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::pod::{Seen, Shared, Speaks, delay_of};

/// What a test tells a pod.
#[derive(Debug)]
pub(crate) enum Command {
    Shed,
    Refuse(oneshot::Sender<()>),
    Listen(oneshot::Sender<()>),
    Quit,
}

/// Runs until told to quit.
pub(crate) fn run(
    address: SocketAddr,
    speaks: Speaks,
    shared: &Arc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut listener = None;
        let (shed, to_shed) = watch::channel(());
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Shed) => shed.send_replace(()),
                    Some(Command::Refuse(done)) => {
                        take_queued(listener.take(), speaks, shared, &to_shed);
                        done.send(()).unwrap();
                    }
                    Some(Command::Listen(done)) => {
                        listener = Some(listen(address));
                        done.send(()).unwrap();
                    }
                    Some(Command::Quit) | None => return,
                },
                stream = accept(listener.as_ref()) => serve(stream, speaks, shared, &to_shed),
            }
        }
    });
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    // It may have closed connections there a moment ago.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap_or_else(|error| panic!("a pod cannot listen on {address}: {error}"));
    socket.listen(1024).unwrap()
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.unwrap().0,
        None => std::future::pending().await,
    }
}

/// Closing a listening socket resets the connections in its queue; a polite server takes them first.
fn take_queued(
    listener: Option<TcpListener>,
    speaks: Speaks,
    shared: &Arc<Shared>,
    shed: &watch::Receiver<()>,
) {
    let Some(listener) = listener else { return };
    let mut context = Context::from_waker(std::task::Waker::noop());
    while let Poll::Ready(Ok((stream, _))) = listener.poll_accept(&mut context) {
        serve(stream, speaks, shared, shed);
    }
}

/// What both kinds of connection can do.
trait Server: Future<Output = hyper::Result<()>> {
    fn finish(self: Pin<&mut Self>);
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

impl<S> Server for http1::Connection<TokioIo<TcpStream>, S>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Server for http2::Connection<TokioIo<TcpStream>, S, TokioExecutor>
where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = Response<Full<Bytes>>,
            Error = Infallible,
            Future = Answering,
        >,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn serve(stream: TcpStream, speaks: Speaks, shared: &Arc<Shared>, shed: &watch::Receiver<()>) {
    stream.set_nodelay(true).unwrap();
    shared.open.fetch_add(1, SeqCst);
    let (shared, shed) = (Arc::clone(shared), shed.clone());
    let (for_requests, asked) = (Arc::clone(&shared), Arc::<AtomicBool>::default());
    let is_asked = Arc::clone(&asked);
    let service = service_fn(move |request| -> Answering {
        is_asked.store(true, SeqCst);
        Box::pin(answer(Arc::clone(&for_requests), request))
    });
    let io = TokioIo::new(stream);
    tokio::spawn(async move {
        match speaks {
            Speaks::Http1 => follow(http1::Builder::new().serve_connection(io, service), shed, &asked).await,
            Speaks::H2c => {
                let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
                follow(connection, shed, &asked).await;
            }
        }
        shared.open.fetch_sub(1, SeqCst);
    });
}

/// Drives a connection to its end, and begins that end when told; but nobody closes a connection that never had a request.
async fn follow(connection: impl Server, mut shed: watch::Receiver<()>, asked: &AtomicBool) {
    let mut connection = pin!(connection);
    shed.mark_unchanged();
    loop {
        tokio::select! {
            // As event loops do, it reads what is there before it decides that a connection is idle.
            biased;
            // The proxy may reset it.
            _ = &mut connection => return,
            Ok(()) = shed.changed() => if asked.load(SeqCst) {
                connection.as_mut().finish();
            },
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    if head.uri.path() == "/healthz" {
        let healthy = shared.healthy.load(SeqCst);
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return Ok(reply(&shared, status, "health".into()));
    }
    // A request that breaks off was not handled.
    let Ok(body) = body.collect().await else {
        return Ok(reply(&shared, StatusCode::BAD_REQUEST, "".into()));
    };
    let body = body.to_bytes();
    let id = head.headers.get("x-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let line = format!("{} {target}", head.method);
    shared.seen.lock().unwrap().push(Seen { line, id });
    if head.uri.path() == "/hold" {
        let released = shared.release.notified();
        shared.held.fetch_add(1, SeqCst);
        released.await;
        shared.held.fetch_sub(1, SeqCst);
    }
    if let Some(delay) = head.uri.query().and_then(delay_of) {
        tokio::time::sleep(delay).await;
    }
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = head.headers.get("host").and_then(|host| host.to_str().ok()).or(authority);
    let echo = json!({
        "pod": shared.name,
        "method": head.method.as_str(),
        "target": target,
        "host": host,
        "headers": headers(&head.headers),
        "body": String::from_utf8_lossy(&body),
    });
    let fails = fastrand::usize(..1000) < shared.failing.load(SeqCst);
    let status = if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    Ok(reply(&shared, status, echo.to_string().into()))
}

/// Names with all their values, in order.
fn headers(map: &HeaderMap) -> serde_json::Value {
    let mut headers = serde_json::Map::new();
    for (name, value) in map {
        let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
        values.as_array_mut().unwrap().push(String::from_utf8_lossy(value.as_bytes()).into());
    }
    headers.into()
}

fn reply(shared: &Shared, status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let reply = Response::builder().status(status).header("x-pod", &shared.name);
    // Something for response header filters to work on.
    let reply = reply.header("x-from-pod", "one").header("x-from-pod-too", "two");
    reply.body(Full::new(body)).unwrap()
}
