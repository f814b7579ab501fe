//! HTTP/2 with prior knowledge to endpoints: few connections, many streams.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version};
use hyper::client::conn::http2;
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;

use super::pool::{Http2, Lease, Pool};
use super::{Cause, Exchanged, Failure, connect, copy_head, is_repeatable};
use crate::body::{BodyError, Gate, Replay, RequestBody};
use crate::coarse;
use crate::io::Io;
use crate::reason::Reason;
use crate::worker::{LocalExec, Worker};

/// Bytes that an endpoint may send ahead on one stream, and on all streams of a connection together. Four streams that are not
/// read do not stop the others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A silent connection with open streams is asked for a sign of life this often, and given up after this long.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(30);
const PING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

pub(super) async fn exchange(
    worker: &Rc<Worker>,
    pool: Rc<Pool>,
    request: Request<RequestBody>,
    gate: Option<&Arc<Gate>>,
) -> Result<Exchanged, Failure> {
    let conn = match checkout(worker, &pool).await {
        Ok(conn) => conn,
        Err(reason) => return Err(Failure::again(reason, request, Cause::Connect)),
    };
    let reused = conn.used.replace(true);
    if reused {
        worker.cells().upstream_reused.add(1);
    }
    let repeatable = is_repeatable(&request);
    let mut spare = copy_head(&request);
    if let RequestBody::Replayable(replay) = request.body() {
        *spare.body_mut() = RequestBody::Replayable(replay.spare());
    }
    let has_stream_body = matches!(request.body(), RequestBody::Streaming(_));
    let mut sender = conn.sender.clone();
    let lease = Lease::http2(pool, conn, gate.cloned());
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
    if let Some(body) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<BodyError>())
    {
        return body.reason;
    }
    match h2_error(error) {
        Some(error) if error.is_reset() => Reason::UpstreamReset,
        Some(error) if error.is_library() => Reason::UpstreamProtocol,
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

/// A connection with room for a stream. Only one is opened at a time; who comes meanwhile waits for it.
async fn checkout(worker: &Rc<Worker>, pool: &Rc<Pool>) -> Result<Rc<Http2>, Reason> {
    loop {
        if let Some(conn) = pool.checkout_shared(&worker.shared.limits) {
            return Ok(conn);
        }
        let opening = pool.opening.borrow().clone();
        let Some(opening) = opening else { break };
        opening.notified().await;
        if pool.endpoint.is_refused() {
            return Err(Reason::ConnectFailed);
        }
    }
    let _announced = Opening::announce(pool);
    open(worker, pool).await
}

/// Says that a connection is being opened, until dropped; also when the one who opens it is cancelled.
struct Opening<'a>(&'a Pool);

impl<'a> Opening<'a> {
    fn announce(pool: &'a Rc<Pool>) -> Self {
        *pool.opening.borrow_mut() = Some(Rc::new(Notify::new()));
        Self(pool)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(opening) = self.0.opening.borrow_mut().take() {
            opening.notify_waiters();
        }
    }
}

async fn open(worker: &Rc<Worker>, pool: &Rc<Pool>) -> Result<Rc<Http2>, Reason> {
    let opened = pool.opened();
    let stream = connect::connect(worker, pool).await?;
    let io = Io::new(stream, Vec::new(), Arc::default());
    let handshake = http2::Builder::new(LocalExec)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(io)
        .await;
    let (sender, connection) = handshake.map_err(|_| Reason::ConnectFailed)?;
    let streams_max = Rc::new(Cell::new(connection.current_max_send_streams()));
    let allowed = Rc::clone(&streams_max);
    let (shared, index) = (Arc::clone(&worker.shared), worker.index);
    tokio::task::spawn_local(async move {
        let mut connection = pin!(connection);
        std::future::poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            allowed.set(connection.current_max_send_streams().max(1));
            polled.map(drop)
        })
        .await;
        drop(opened);
        shared.cells[index].upstream_closed.add(1);
    });
    let now = coarse::now();
    let conn = Rc::new(Http2 {
        sender,
        opened: now,
        idle_since: Cell::new(now),
        streams: Cell::new(0),
        streams_max,
        used: Cell::new(false),
    });
    pool.shared.borrow_mut().push(Rc::clone(&conn));
    Ok(conn)
}
