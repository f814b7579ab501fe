//! Serving the admin API: one thread, two ways in, a limit on requests at once and on the time of each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use super::access::{Access, Way};
use super::{AdminState, Reply, answer, failure};

/// Requests answered at the same time; more wait.
const CONCURRENT_REQUESTS: usize = 16;
/// Time for one answer, waiting included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error of `accept`: out of file descriptors, most likely.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The running admin server. Dropping it ends it and takes its socket and token away.
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

/// Binds the address and serves it, and the socket if there is one, on a new thread.
pub(crate) fn start(address: SocketAddr, state: Arc<AdminState>, access: Access) -> anyhow::Result<Admin> {
    let listener = std::net::TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on the admin address {address}{}",
            watershed_proxy::holder_suffix(address.port())
        )
    })?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let socket = access.listener()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let serve = move || {
        runtime.block_on(async {
            tokio::select! {
                () = accept(listener, socket, state, access) => {}
                _ = stopped => {}
            }
        });
    };
    let thread = std::thread::Builder::new().name("ws-admin".into()).spawn(serve)?;
    Ok(Admin { address, stop: Some(stop), thread: Some(thread) })
}

type Answering = BoxCloneService<(Way, Request<Incoming>), Reply, BoxError>;

async fn accept(
    tcp: std::net::TcpListener,
    socket: Option<std::os::unix::net::UnixListener>,
    state: Arc<AdminState>,
    access: Access,
) {
    let listeners =
        TcpListener::from_std(tcp).and_then(|tcp| Ok((tcp, socket.map(UnixListener::from_std).transpose()?)));
    let (tcp, socket) = match listeners {
        Ok(listeners) => listeners,
        Err(error) => {
            tracing::error!(%error, "admin address cannot be served");
            return;
        }
    };
    let access = Arc::new(access);
    let service = ServiceBuilder::new()
        .timeout(ANSWER_TIMEOUT)
        .concurrency_limit(CONCURRENT_REQUESTS)
        .service(service_fn(move |(way, request)| {
            let (state, access) = (Arc::clone(&state), Arc::clone(&access));
            async move { Ok::<_, Infallible>(answer(&state, &access, way, request).await) }
        }));
    let service = BoxCloneService::new(service);
    loop {
        tokio::select! {
            accepted = tcp.accept() => match accepted {
                Ok((stream, _)) => converse(stream, Way::Tcp, service.clone()),
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
            accepted = next(socket.as_ref()) => match accepted {
                Ok(stream) => converse(stream, Way::Socket, service.clone()),
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
        }
    }
}

/// The next connection over the socket; never, if there is none. Cancelling it loses nothing.
async fn next(socket: Option<&UnixListener>) -> std::io::Result<tokio::net::UnixStream> {
    match socket {
        Some(socket) => Ok(socket.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// Serves a connection in a task of its own.
fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, way: Way, service: Answering) {
    let on_request =
        hyper::service::service_fn(move |request: Request<Incoming>| {
            let service = service.clone();
            async move {
                let path = request.uri().path().to_owned();
                let answered = service.oneshot((way, request)).await;
                Ok::<_, Infallible>(answered.unwrap_or_else(|error| {
                    failure(&path, StatusCode::SERVICE_UNAVAILABLE, &format!("{error}"))
                }))
            }
        });
    let serving =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), on_request);
    tokio::spawn(serving);
}
