//! Exchanging one request for one response with an endpoint.
//!
//! [`exchange`] is the whole seam: a request goes in, a response head with a streaming body comes out, or a [`Failure`] that says
//! whether the request may be sent again. Routing, filters and the retry loop know nothing of connections; connections know
//! nothing of routes.
//!
//! Pools belong to one worker and one endpoint ([`pool`]): no lock, no key to hash but the endpoint's number, the warmest
//! connection first. They outlive every table.
//!
//! Deliberately absent: choosing the endpoint (the table does) and trying another one ([`crate::forward`]).

mod connect;
pub(crate) mod http1;
mod http2;
mod pool;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hashbrown::HashMap;
use http::{Method, Request, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use tokio::net::TcpStream;
use watershed_config::model::AppProtocol;

use crate::body::{Gate, RequestBody};
use crate::endpoint::Endpoint;
use crate::headers::Added;
use crate::reason::Reason;
use crate::worker::Worker;
use pool::Pool;

/// A request that got a response. Its headers have taken the place of the request's: they are large, and all of this is moved
/// from stage to stage.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    /// The reason phrase, if it is not the usual one.
    pub(crate) phrase: Option<Box<ReasonPhrase>>,
    pub(crate) body: Body,
}

/// A response's body as it comes from an endpoint. It holds its connection; dropped before its end, it gives the exchange up.
/// What most responses do without is boxed, since all of them are moved about.
#[derive(Debug)]
pub(crate) enum Body {
    /// None.
    Empty,
    /// One that was there whole with its head.
    Whole(Bytes),
    /// On an HTTP/1.1 connection.
    Http1(Box<http1::Body>),
    /// On an HTTP/2 stream.
    Http2(Box<http2::Body>),
    /// Not a body: the connection after a switch of protocols, and what was read from it.
    Switched(Box<(TcpStream, Bytes)>),
}

impl Body {
    /// The next frame. An error means that it broke off.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        match self {
            Self::Empty | Self::Switched(_) => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Http1(body) => body.poll_frame(cx),
            Self::Http2(body) => body.poll_frame(cx),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Switched(_) => true,
            Self::Whole(_) => false,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Switched(_) => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// Storage that one worker's exchanges use in turn. Nobody holds it across an await.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// What is read before it is known how much of it there is. A head and a small body fit.
    read: RefCell<Box<[u8]>>,
    /// What heads are written into.
    lines: RefCell<Vec<u8>>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { read: RefCell::new(vec![0; 16 * 1024].into()), lines: RefCell::default() }
    }
}

impl Scratch {
    fn take_lines(&self) -> Vec<u8> {
        let mut lines = self.lines.take();
        lines.clear();
        lines
    }

    fn put_lines(&self, lines: Vec<u8>) {
        *self.lines.borrow_mut() = lines;
    }
}

/// A request that got none.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    /// Why the request may be sent again, if it may.
    pub(crate) again: Option<Cause>,
}

impl Failure {
    fn last(reason: Reason) -> Self {
        Self { reason, again: None }
    }

    fn again(reason: Reason, cause: Cause) -> Self {
        Self { reason, again: Some(cause) }
    }
}

/// Why a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The endpoint could not be connected to: another one may.
    Connect,
    /// Provably nobody handled it: it was never written, or the endpoint refused its stream.
    Unsent,
    /// Bodiless, idempotent, and its reused connection closed before any byte of the response (RFC 9110 section 9.2.2).
    Stale,
}

/// The connections of one worker, by endpoint.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    pools: RefCell<HashMap<u64, Rc<Pool>, foldhash::fast::RandomState>>,
}

impl Upstreams {
    fn pool(&self, endpoint: &Arc<Endpoint>) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        Rc::clone(pools.entry(endpoint.key).or_insert_with(|| Rc::new(Pool::new(Arc::clone(endpoint)))))
    }

    /// Closes what is idle for too long, and all that is idle at endpoints which get no more requests. Runs once a second.
    pub(crate) fn sweep(&self, worker: &Worker) {
        self.pools.borrow_mut().retain(|_, pool| {
            pool.sweep(&worker.shared.limits);
            // Nobody but this pool and its connections knows the endpoint any more.
            !pool.is_empty() || pool.endpoint.is_ready()
        });
    }

    /// Idle and open connections.
    pub(crate) fn connections(&self) -> (usize, usize) {
        self.pools
            .borrow()
            .values()
            .fold((0, 0), |(idle, open), pool| (idle + pool.idle(), open + pool.open()))
    }
}

/// Sends a request to an endpoint and waits for the head of its response, whose headers are left in place of its own.
///
/// Its `Host` says what the request is for or, if it has none, the target's authority. It is left as it was where it may be sent
/// again; else its parts may have been used up. Dropping the future gives the attempt up: an HTTP/1.1 connection is
/// closed, an HTTP/2 stream reset.
///
/// `added` are headers that it gets besides its own. HTTP/2 takes them among those, and there they stay.
pub(crate) async fn exchange(
    worker: &Rc<Worker>,
    endpoint: &Arc<Endpoint>,
    request: &mut Request<RequestBody>,
    added: &mut Option<Added>,
    gate: Option<&Rc<Gate>>,
) -> Result<Exchanged, Failure> {
    let pool = worker.upstreams.pool(endpoint);
    match endpoint.id.protocol {
        AppProtocol::Http1 => http1::exchange(worker, pool, request, added.as_ref(), gate).await,
        AppProtocol::H2c => {
            if let Some(added) = added.take() {
                added.put_into(request.headers_mut());
            }
            http2::exchange(worker, pool, request).await
        }
    }
}

/// Whether sending the request twice does no more than sending it once (RFC 9110 section 9.2.2), and can be done.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE];
    idempotent.contains(request.method()) && matches!(request.body(), RequestBody::Empty)
}
