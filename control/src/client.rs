//! The control component's outgoing calls, all of them.
//!
//! A call is a tower `Service` under two layers: a limit on how many run at once, and inside it a deadline, so that waiting for
//! one's turn does not count against the deadline. Each call has a connection of its own and closes it.
//!
//! Deliberately absent: TLS (it comes with its issue), pooling (a probe must test the connecting too), redirects and retries.

pub(crate) mod io;

use std::fmt;
use std::io::{Error as IoError, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

use io::{HyperStream, Spawner};

/// Most bytes of the body of an HTTP/2 answer that are read: what a health check says is a few bytes long.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Makes calls. Clones share one limit.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    limit: GlobalConcurrencyLimitLayer,
}

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address.
    Address(SocketAddr),
    /// A name, resolved at each call, and a port.
    Named(Arc<str>, u16),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Named(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// A request and where it goes.
#[derive(Debug)]
pub(crate) struct Call {
    /// Whom to call.
    pub(crate) target: Target,
    /// How to speak.
    pub(crate) protocol: Protocol,
    /// What to say; its version and form are up to the caller.
    pub(crate) request: Request<Full<Bytes>>,
}

/// How to speak.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    /// HTTP/1.1; only the head of the answer is awaited.
    Http1,
    /// HTTP/1.1; the whole answer is read, up to so many bytes.
    Http1Whole {
        /// A longer one is an error.
        bytes_max: usize,
    },
    /// HTTP/2 with prior knowledge; the whole answer is read, up to 64 KiB.
    H2c,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers and, where the body was read, its trailers.
    pub(crate) fields: HeaderMap,
    /// Its body, where that was read.
    pub(crate) body: Bytes,
}

impl Client {
    /// Runs at most this many calls at once.
    pub(crate) fn new(calls_max: usize) -> Self {
        let semaphore = Arc::new(Semaphore::new(calls_max));
        Self { limit: GlobalConcurrencyLimitLayer::with_semaphore(semaphore) }
    }

    /// Connects and closes again.
    pub(crate) async fn connect(&self, target: Target, deadline: Duration) -> Result<(), BoxError> {
        self.call(service_fn(connect_and_close), target, deadline).await
    }

    /// Sends a request and awaits its answer.
    pub(crate) async fn exchange(&self, call: Call, deadline: Duration) -> Result<Answer, BoxError> {
        self.call(service_fn(exchange), call, deadline).await
    }

    async fn call<S, Q>(&self, service: S, request: Q, deadline: Duration) -> Result<S::Response, BoxError>
    where
        S: Service<Q, Error = BoxError>,
    {
        let stack = ServiceBuilder::new().layer(self.limit.clone()).timeout(deadline).service(service);
        stack.oneshot(request).await.map_err(|error| {
            if error.is::<tower::timeout::error::Elapsed>() {
                return format!("no answer within {}", humantime::format_duration(deadline)).into();
            }
            error
        })
    }
}

async fn connect(target: &Target) -> Result<TcpStream, IoError> {
    let connected = match target {
        Target::Address(address) => TcpStream::connect(address).await,
        Target::Named(host, port) => TcpStream::connect((&**host, *port)).await,
    };
    let stream = connected
        .map_err(|error| IoError::new(error.kind(), format!("cannot connect to {target}: {error}")))?;
    // The kernel may connect a socket with itself where nobody listens on a local port of the ephemeral range.
    if stream.local_addr()? == stream.peer_addr()? {
        let what = format!("cannot connect to {target}: nobody listens there");
        return Err(IoError::new(ErrorKind::ConnectionRefused, what));
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_and_close(target: Target) -> Result<(), BoxError> {
    connect(&target).await?;
    Ok(())
}

async fn exchange(call: Call) -> Result<Answer, BoxError> {
    let stream = HyperStream(connect(&call.target).await?);
    match call.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = http1::handshake(stream).await?;
            let _connection = Connection(tokio::spawn(connection).abort_handle());
            let (head, _) = sender.send_request(call.request).await?.into_parts();
            Ok(Answer { status: head.status, fields: head.headers, body: Bytes::new() })
        }
        Protocol::Http1Whole { bytes_max } => {
            let (mut sender, connection) = http1::handshake(stream).await?;
            let _connection = Connection(tokio::spawn(connection).abort_handle());
            read_whole(sender.send_request(call.request).await?, bytes_max).await
        }
        Protocol::H2c => {
            let (mut sender, connection) = http2::handshake(Spawner, stream).await?;
            let _connection = Connection(tokio::spawn(connection).abort_handle());
            read_whole(sender.send_request(call.request).await?, BODY_BYTES_MAX).await
        }
    }
}

async fn read_whole(response: http::Response<Incoming>, bytes_max: usize) -> Result<Answer, BoxError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return format!("the answer is longer than {bytes_max} bytes").into();
        }
        error
    })?;
    let mut fields = head.headers;
    if let Some(trailers) = body.trailers() {
        fields.extend(trailers.clone());
    }
    Ok(Answer { status: head.status, fields, body: body.to_bytes() })
}

/// Closes a connection when the call is over, also when it was given up half-way.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}
