//! HTTP/2 with prior knowledge to endpoints: few connections, many streams.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version};
use hyper::client::conn::http2;
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;

use super::pool::{Http2, Lease, Opened, Pool};
use super::{Cause, Exchanged, Failure, connect, copy_head, is_repeatable};
use crate::body::{Gate, Replay, RequestBody};
use crate::coarse;
use crate::io::{Activity, FirstRead, Io};
use crate::reason::Reason;
use crate::worker::{LocalExec, Shared, Worker};

/// Bytes that an endpoint may send ahead on one stream. On the connection it is that for all its streams together, since they
/// belong to different clients: those who do not read must not stop the others.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes of a request's body buffered per stream while the endpoint does not read.
const SEND_BUFFER: usize = 128 * 1024;
/// A silent connection with open streams is asked for a sign of life this often, and given up after this long.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn exchange(
    worker: &Rc<Worker>,
    pool: Rc<Pool>,
    request: Request<RequestBody>,
    gate: Option<&Arc<Gate>>,
) -> Result<Exchanged, Failure> {
    let repeatable = is_repeatable(&request);
    let conn = match checkout(worker, &pool, repeatable).await {
        Ok(conn) => conn,
        Err(reason) => return Err(Failure::again(reason, request, Cause::Connect)),
    };
    let reused = conn.used.replace(true);
    if reused {
        worker.cells().upstream_reused.add(1);
    }
    let mut spare = copy_head(&request);
    if let RequestBody::Replayable(replay) = request.body() {
        *spare.body_mut() = RequestBody::Replayable(replay.spare());
    }
    let has_stream_body = matches!(request.body(), RequestBody::Streaming(_));
    let mut sender = conn.sender.clone();
    let lease = Lease::http2(Rc::clone(&pool), Rc::clone(&conn), gate.cloned());
    match sender.try_send_request(to_http2(request)).await {
        Ok(response) => {
            if let RequestBody::Replayable(replay) = spare.body() {
                replay.settle();
            }
            Ok(Exchanged { response, lease })
        }
        Err(mut error) => {
            let unsent = error.take_message().is_some();
            let error = error.into_error();
            let reason = reason_of(&error);
            if let RequestBody::Replayable(replay) = spare.body()
                && let Some(reason) = replay.failure()
            {
                return Err(Failure::last(reason));
            }
            if unsent || h2_error(&error).is_some_and(h2::Error::is_go_away) {
                // It is ending, and hyper would take requests for it until it notices.
                pool.forget(&conn);
            }
            let cause = if unsent || is_unhandled(&error) {
                Some(Cause::Unsent)
            } else {
                (repeatable && reused && reason == Reason::UpstreamClosed).then_some(Cause::Stale)
            };
            match cause.and_then(|cause| Some((begin_again(spare, has_stream_body)?, cause))) {
                Some((request, cause)) => Err(Failure::again(reason, request, cause)),
                None => Err(Failure::last(reason)),
            }
        }
    }
}

/// The spare request with its body from the beginning, if that is still there.
fn begin_again(spare: Request<RequestBody>, has_stream_body: bool) -> Option<Request<RequestBody>> {
    if has_stream_body {
        return None;
    }
    let (parts, body) = spare.into_parts();
    let body = match body {
        RequestBody::Replayable(replay) => RequestBody::Replayable(Replay::again(replay)?),
        other => other,
    };
    Some(Request::from_parts(parts, body))
}

/// Whether the endpoint certainly did not handle the request: it refused the stream (RFC 9113 section 8.7) or said so in a
/// `GOAWAY` (section 6.8; streams that it does handle are not failed with it).
fn is_unhandled(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(|error| {
        error.is_remote()
            && (error.is_go_away()
                || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)))
    })
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>())
}

fn reason_of(error: &hyper::Error) -> Reason {
    match h2_error(error) {
        Some(error) if error.is_library() => Reason::UpstreamProtocol,
        Some(error) if error.is_reset() => Reason::UpstreamReset,
        _ => Reason::UpstreamClosed,
    }
}

/// A request as HTTP/2 wants it: an absolute target instead of `Host`.
fn to_http2(mut request: Request<RequestBody>) -> Request<RequestBody> {
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(HOST);
    let authority = host.as_ref().map(HeaderValue::as_bytes).and_then(|host| Authority::try_from(host).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.unwrap_or_else(|| Authority::from_static("localhost")));
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}

/// A connection with room for a stream. As long as it is not known how many streams the endpoint allows, only one connection
/// is opened, and who comes meanwhile waits to hear.
async fn checkout(worker: &Rc<Worker>, pool: &Rc<Pool>, repeatable: bool) -> Result<Rc<Http2>, Reason> {
    let limits = &worker.shared.limits;
    loop {
        if let Some(conn) = pool.checkout_shared(repeatable, limits) {
            return Ok(conn);
        }
        if pool.openings.may_begin(limits.upstream_streams) {
            break;
        }
        pool.openings.wait().await;
        if pool.endpoint.is_refused() {
            return Err(Reason::ConnectFailed);
        }
    }
    let announced = Announced::new(pool);
    open(worker, pool, announced).await
}

/// Connections to an endpoint that are being opened, and those who wait for them.
#[derive(Debug, Default)]
pub(super) struct Openings {
    running: Cell<usize>,
    waiting: Cell<usize>,
    /// Streams that the endpoint allowed on its last connection.
    streams: Cell<Option<usize>>,
    ended: Notify,
}

impl Openings {
    /// Whether another one is worth its while: those that run would not be enough for all who wait.
    fn may_begin(&self, streams_max: usize) -> bool {
        let streams = self.streams.get().map(|streams| streams.clamp(1, streams_max.max(1)));
        let wanted = streams.map_or(1, |streams| (self.waiting.get() + 1).div_ceil(streams));
        self.running.get() < wanted
    }

    async fn wait(&self) {
        let _waiting = Counted::one_more(&self.waiting);
        self.ended.notified().await;
    }
}

struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn one_more(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Says that a connection is being opened, until dropped; also when the one who opens it is cancelled.
struct Announced(Rc<Pool>);

impl Announced {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.openings.running.set(pool.openings.running.get() + 1);
        Self(Rc::clone(pool))
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let openings = &self.0.openings;
        openings.running.set(openings.running.get() - 1);
        openings.ended.notify_waiters();
    }
}

async fn open(worker: &Rc<Worker>, pool: &Rc<Pool>, announced: Announced) -> Result<Rc<Http2>, Reason> {
    let limits = &worker.shared.limits;
    let opened = pool.opened();
    let stream = connect::connect(worker, pool).await?;
    let activity = Arc::<Activity>::default();
    let mut io = Io::to_endpoint(stream, Arc::clone(&activity));
    let fd = io.fd();
    let first_read = io.tell_first_read();
    let handshake = http2::Builder::new(LocalExec)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(limits.upstream_streams))
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        // Until the endpoint has said how many it allows.
        .initial_max_send_streams(1)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(io)
        .await;
    let (sender, connection) = handshake.map_err(|_| Reason::ConnectFailed)?;
    let driven: Driven = Rc::new(RefCell::new(Some(connection)));
    tokio::task::spawn_local(drive(Rc::clone(&driven), opened, Arc::clone(&worker.shared), worker.index));
    let now = coarse::now();
    let conn = Rc::new(Http2 {
        sender,
        driven,
        activity,
        fd,
        opened: now,
        idle_since: Cell::new(now),
        streams: Cell::new(0),
        used: Cell::new(false),
    });
    pool.shared.borrow_mut().push(Rc::clone(&conn));
    tokio::task::spawn_local(announce(Rc::downgrade(&conn), announced, first_read, limits.connect_timeout));
    Ok(conn)
}

fn connection_window(streams: usize) -> u32 {
    /// RFC 9113 section 6.9.1.
    const MAX: u32 = i32::MAX as u32;
    STREAM_WINDOW.saturating_mul(u32::try_from(streams).unwrap_or(MAX)).clamp(STREAM_WINDOW, MAX)
}

/// A connection as long as hyper runs it, shared with its task.
pub(super) type Driven = Rc<RefCell<Option<http2::Connection<Io, RequestBody, LocalExec>>>>;

/// Runs a connection until it ends.
async fn drive(driven: Driven, opened: Opened, shared: Arc<Shared>, worker: usize) {
    poll_fn(|cx| {
        let mut driven = driven.borrow_mut();
        let Some(connection) = driven.as_mut() else { return Poll::Ready(()) };
        // Its requests carry the news of a failure to those that it concerns.
        let polled = Pin::new(connection).poll(cx).map(drop);
        if polled.is_ready() {
            *driven = None;
        }
        polled
    })
    .await;
    drop(opened);
    shared.cells[worker].upstream_closed.add(1);
}

/// Ends the announcement of a connection when the endpoint has said how many streams it allows: its settings come before
/// anything else (RFC 9113 section 3.4). One that says nothing within the limit is not waited for.
async fn announce(conn: Weak<Http2>, announced: Announced, first_read: FirstRead, limit: Duration) {
    if tokio::time::timeout(limit, first_read).await.is_ok()
        && let Some(conn) = conn.upgrade()
    {
        announced.0.openings.streams.set(Some(conn.streams_max()));
    }
}
