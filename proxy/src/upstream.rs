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
mod http1;
mod http2;
mod pool;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use watershed_config::model::AppProtocol;

use crate::body::{Gate, RequestBody};
use crate::endpoint::Endpoint;
use crate::reason::Reason;
use crate::worker::Worker;
pub(crate) use pool::Lease;
use pool::Pool;

/// A request that got a response head.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) response: Response<Incoming>,
    /// The connection, for as long as the body is read.
    pub(crate) lease: Lease,
}

/// A request that got none.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    /// The request, if it may be sent again, and why it may.
    pub(crate) again: Option<(Box<Request<RequestBody>>, Cause)>,
}

impl Failure {
    fn last(reason: Reason) -> Self {
        Self { reason, again: None }
    }

    fn again(reason: Reason, request: Request<RequestBody>, cause: Cause) -> Self {
        Self { reason, again: Some((Box::new(request), cause)) }
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

/// Sends a request to an endpoint and waits for the head of its response.
///
/// The request has an origin-form target and a `Host`. Dropping the future gives the attempt up: an HTTP/1.1 connection is
/// closed, an HTTP/2 stream reset.
pub(crate) async fn exchange(
    worker: &Rc<Worker>,
    endpoint: &Arc<Endpoint>,
    request: Request<RequestBody>,
    gate: Option<&Arc<Gate>>,
) -> Result<Exchanged, Failure> {
    let pool = worker.upstreams.pool(endpoint);
    let mut request = request;
    watch_informational(worker, &mut request, gate);
    match endpoint.id.protocol {
        AppProtocol::Http1 => http1::exchange(worker, pool, request, gate).await,
        // Boxed so that the future of the common case stays small.
        AppProtocol::H2c => Box::pin(http2::exchange(worker, pool, request, gate)).await,
    }
}

/// Counts what hyper cannot pass on yet (103 and other informational responses), and opens the body's gate at 100.
fn watch_informational(worker: &Rc<Worker>, request: &mut Request<RequestBody>, gate: Option<&Arc<Gate>>) {
    let (shared, index, gate) = (Arc::clone(&worker.shared), worker.index, gate.cloned());
    hyper::ext::on_informational(request, move |response| {
        if response.status() != http::StatusCode::CONTINUE {
            shared.cells[index].informational_dropped.add(1);
        } else if let Some(gate) = &gate {
            gate.open();
        }
    });
}

/// Whether sending the request twice does no more than sending it once (RFC 9110 section 9.2.2), and can be done.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE];
    idempotent.contains(request.method()) && matches!(request.body(), RequestBody::Empty)
}

/// A copy of a request without a body.
fn copy_head(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}
