//! HTTP/1.1 to endpoints.

use std::rc::Rc;
use std::sync::Arc;

use http::Request;
use hyper::client::conn::http1;

use super::pool::{Http1, Lease, Pool};
use super::{Cause, Exchanged, Failure, connect, copy_head, is_repeatable};
use crate::body::{BodyError, Gate, RequestBody};
use crate::coarse;
use crate::io::{Activity, Io};
use crate::reason::Reason;
use crate::worker::Worker;

pub(super) async fn exchange(
    worker: &Rc<Worker>,
    pool: Rc<Pool>,
    request: Request<RequestBody>,
    gate: Option<&Arc<Gate>>,
) -> Result<Exchanged, Failure> {
    let repeatable = is_repeatable(&request);
    let (mut conn, reused) = match pool.checkout(repeatable, &worker.shared.limits) {
        Some(conn) => (conn, true),
        // Boxed because it is rare, and larger than all the rest of an exchange.
        None => match Box::pin(open(worker, &pool)).await {
            Ok(conn) => (conn, false),
            Err(reason) => return Err(Failure::again(reason, request, Cause::Connect)),
        },
    };
    if reused {
        worker.cells().upstream_reused.add(1);
    }
    conn.activity.forget_reads();
    let spare = (reused && repeatable).then(|| copy_head(&request));
    match conn.sender.try_send_request(request).await {
        Ok(response) => {
            conn.heed_keep_alive(response.headers());
            Ok(Exchanged { response, lease: Lease::http1(pool, conn, gate.cloned()) })
        }
        Err(mut error) => {
            pool.drop_closed();
            if let Some(unsent) = error.take_message() {
                return Err(Failure::again(Reason::UpstreamClosed, unsent, Cause::Unsent));
            }
            let silent = !conn.activity.has_read();
            let reason = reason_of(&error.into_error(), reused && silent && !repeatable);
            match spare {
                Some(spare) if silent && reason == Reason::UpstreamClosed => {
                    Err(Failure::again(reason, spare, Cause::Stale))
                }
                _ => Err(Failure::last(reason)),
            }
        }
    }
}

/// In a word what went wrong. `undecidable` says that a request which must not be repeated was written to a connection that
/// turned out to be closed.
fn reason_of(error: &hyper::Error, undecidable: bool) -> Reason {
    if let Some(body) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<BodyError>())
    {
        return body.reason;
    }
    if error.is_parse() {
        return Reason::UpstreamProtocol;
    }
    if undecidable { Reason::ClosedWhileSending } else { Reason::UpstreamClosed }
}

/// Opens a connection and starts the task that drives it.
async fn open(worker: &Rc<Worker>, pool: &Rc<Pool>) -> Result<Http1, Reason> {
    let opened = pool.opened();
    let stream = connect::connect(worker, pool).await?;
    let activity = Arc::<Activity>::default();
    let io = Io::to_endpoint(stream, Arc::clone(&activity));
    let fd = io.fd();
    let handshake = http1::Builder::new().max_buf_size(worker.shared.limits.head_bytes).handshake(io).await;
    let (sender, connection) = handshake.map_err(|_| Reason::ConnectFailed)?;
    let (shared, index) = (Arc::clone(&worker.shared), worker.index);
    tokio::task::spawn_local(async move {
        // Its error, if any, reaches the request that it concerns.
        let _ = connection.with_upgrades().await;
        drop(opened);
        shared.cells[index].upstream_closed.add(1);
    });
    let now = coarse::now();
    Ok(Http1 { sender, activity, fd, opened: now, idle_since: now, keeps_idle: None })
}
