//! HTTP/1.1 to endpoints, by a codec of our own.
//!
//! The request's own task writes and reads the connection: no second task, no channel, no copy of the head for a second attempt
//! (the request is only taken apart when its response is there). What was measured is in PERFORMANCE.md. The codec is pure
//! ([`request_head`], [`response_head`], [`chunks`], [`framing`]) and holds no state but a body's; a differential test compares
//! it with hyper's client on the same bytes (`proxy/tests/differential`), and it is fuzzed (`proxy/fuzz`).
//!
//! Deliberately absent: pipelining (an endpoint that closes in between would leave it open which requests were handled), and
//! reading a response in several ways: what could be read differently by somebody else is refused.

mod body;
pub(crate) mod chunks;
mod conn;
pub(crate) mod framing;
pub(crate) mod request_head;
pub(crate) mod response_head;
mod send;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body::Body as _;
use tokio::io::{AsyncRead, ReadBuf};

use super::pool::Pool;
use super::{Cause, Exchanged, Failure, connect, is_repeatable};
use crate::body::{Gate, RequestBody};
use crate::headers::Added;
use crate::reason::Reason;
use crate::upstream;
use crate::worker::Worker;
pub(crate) use body::Body;
use body::Rest;
use conn::Conn;
pub(super) use conn::Idle;
use framing::Framing;
use response_head::{Found, Head};
use send::{SendError, Sending};

/// Most informational responses before the final one. There is no use for more than a few.
const INFORMATIONAL_MAX: u32 = 32;

pub(super) async fn exchange(
    worker: &Rc<Worker>,
    pool: Rc<Pool>,
    request: &mut Request<RequestBody>,
    added: Option<&Added>,
    gate: Option<&Rc<Gate>>,
) -> Result<Exchanged, Failure> {
    let repeatable = is_repeatable(request);
    let idle = poll_fn(|cx| Poll::Ready(pool.checkout(cx, repeatable, &worker.shared.limits))).await;
    let (conn, reused) = match idle {
        Some(idle) => (idle.lend(&pool), true),
        // Boxed because it is rare, and larger than all the rest of an exchange.
        None => match Box::pin(open(worker, &pool)).await {
            Ok(conn) => (conn, false),
            Err(reason) => return Err(Failure::again(reason, Cause::Connect)),
        },
    };
    if reused {
        worker.cells().upstream_reused.add(1);
    }
    let sending = begin(worker, request, added);
    let mut attempt = Attempt {
        worker,
        conn,
        sending: Some(sending),
        gate,
        partial: Vec::new(),
        is_watched: reused,
        has_read: false,
        informational: 0,
        takes_more: true,
    };
    let (method, headers) = (request.method().clone(), request.headers_mut());
    let broken = match poll_fn(|cx| attempt.poll(&method, headers, cx)).await {
        Ok(head) => return Ok(attempt.finish(head)),
        Err(broken) => broken,
    };
    // Its other connections may have been closed in the same breath.
    pool.drop_closed();
    let undecidable = reused && !attempt.has_read && !repeatable;
    Err(match broken {
        Broken::Unsent => match attempt.sending.and_then(Sending::into_body) {
            Some(body) => {
                *request.body_mut() = body;
                Failure::again(Reason::UpstreamClosed, Cause::Unsent)
            }
            None => Failure::last(Reason::UpstreamClosed),
        },
        Broken::Closed if reused && !attempt.has_read && repeatable => {
            Failure::again(Reason::UpstreamClosed, Cause::Stale)
        }
        Broken::Closed if undecidable => Failure::last(Reason::ClosedWhileSending),
        Broken::Closed => Failure::last(Reason::UpstreamClosed),
        Broken::Because(reason) => Failure::last(reason),
    })
}

/// Opens a connection.
async fn open(worker: &Rc<Worker>, pool: &Rc<Pool>) -> Result<Conn, Reason> {
    let lent = pool.opened();
    let stream = connect::connect(worker, pool).await?;
    Ok(Conn::new(stream, lent, worker.shared.clone(), worker.index))
}

/// A request ready to be written. Its body is taken from it, its head stays.
fn begin(worker: &Worker, request: &mut Request<RequestBody>, added: Option<&Added>) -> Sending {
    let body = std::mem::replace(request.body_mut(), RequestBody::Empty);
    let framing = if body.is_end_stream() {
        Framing::None
    } else {
        // One that contradicts itself is said in chunks: then it is as long as it is.
        framing::content_length(request.headers()).ok().flatten().map_or(Framing::Chunked, Framing::Length)
    };
    let mut head = worker.scratch.take_lines();
    let more = |head: &mut Vec<u8>| {
        if let Some(added) = added {
            added.write(|name, value| request_head::line(head, name, value));
        }
    };
    request_head::write(&mut head, request.method(), request.uri(), request.headers(), framing, more);
    Sending::new(head, body, framing)
}

/// Why an attempt brought no response.
enum Broken {
    /// Not a byte of the request was written.
    Unsent,
    /// The endpoint closed the connection.
    Closed,
    /// Something else.
    Because(Reason),
}

/// A request on a connection, up to the head of its response.
struct Attempt<'a> {
    worker: &'a Worker,
    conn: Conn,
    /// What is left to write; `None` once all of it is written.
    sending: Option<Sending>,
    gate: Option<&'a Rc<Gate>>,
    /// A head that is not there whole yet.
    partial: Vec<u8>,
    /// Whether the runtime has just found nothing to read, and wakes this task when there is something (or at once, if the task's
    /// budget was used up): so it is left by the pool's look at an idle connection, and asking again before the task has waited
    /// would be in vain.
    is_watched: bool,
    has_read: bool,
    informational: u32,
    /// Whether the endpoint still takes what is written.
    takes_more: bool,
}

impl Attempt<'_> {
    fn poll(
        &mut self,
        method: &Method,
        headers: &mut HeaderMap,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Broken>> {
        self.poll_sending(cx)?;
        if std::mem::take(&mut self.is_watched) {
            return Poll::Pending;
        }
        loop {
            let worker = self.worker;
            let mut scratch = worker.scratch.read.borrow_mut();
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(self.conn.stream()).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.has_read = true,
                // Closed in the middle of a head.
                _ if self.has_read => return Poll::Ready(Err(Broken::Because(Reason::UpstreamClosed))),
                _ => return Poll::Ready(Err(Broken::Closed)),
            }
            let found = if self.partial.is_empty() {
                self.find(buf.filled(), method, headers)
            } else {
                let mut partial = std::mem::take(&mut self.partial);
                partial.extend_from_slice(buf.filled());
                self.find(&partial, method, headers)
            };
            if let Some(head) = found.map_err(Broken::Because)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let Some(sending) = self.sending.as_mut().filter(|_| self.takes_more) else { return Ok(()) };
        match sending.poll(self.conn.stream(), cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                if let Some(sending) = self.sending.take() {
                    self.worker.scratch.put_lines(sending.into_lines());
                }
            }
            Poll::Ready(Err(SendError::Body(error))) => return Err(Broken::Because(error.reason)),
            Poll::Ready(Err(SendError::Closed)) if !sending.has_begun() => return Err(Broken::Unsent),
            // An endpoint that answers early and closes resets the connection under the rest of the request, with its answer
            // still unread on our side.
            Poll::Ready(Err(SendError::Closed)) => self.takes_more = false,
        }
        Ok(())
    }

    /// Looks for the head of the final response; keeps what is incomplete.
    fn find(
        &mut self,
        mut bytes: &[u8],
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Result<Option<Head>, Reason> {
        while !bytes.is_empty() {
            match response_head::parse(bytes, method, headers).map_err(|_| Reason::UpstreamProtocol)? {
                Some(Found::Final(head)) => return Ok(Some(head)),
                Some(Found::Informational(status, length)) => {
                    self.note_informational(status)?;
                    bytes = &bytes[length..];
                }
                None if bytes.len() > self.worker.shared.limits.head_bytes => {
                    return Err(Reason::UpstreamProtocol);
                }
                None => {
                    self.partial = bytes.to_vec();
                    break;
                }
            }
        }
        Ok(None)
    }

    /// 100 opens the body's gate; what cannot be passed on yet (103 and others) is counted.
    fn note_informational(&mut self, status: http::StatusCode) -> Result<(), Reason> {
        self.informational += 1;
        if self.informational > INFORMATIONAL_MAX {
            return Err(Reason::UpstreamProtocol);
        }
        if status != http::StatusCode::CONTINUE {
            self.worker.cells().informational_dropped.add(1);
        } else if let Some(gate) = self.gate {
            gate.open();
        }
        Ok(())
    }

    /// The response with its body, and the connection's way back to its pool.
    fn finish(mut self, head: Head) -> Exchanged {
        let Head { status, version, framing, keep_alive, keeps_idle, phrase, ahead } = head;
        self.conn.heed(keeps_idle);
        let mut sending = self.sending.take();
        let mut is_reusable = keep_alive && self.takes_more;
        if self.gate.is_some_and(|gate| !gate.is_open()) {
            // The answer is there and the body was never asked for: it stays where it is.
            sending = None;
            is_reusable = false;
        }
        let body = if status == http::StatusCode::SWITCHING_PROTOCOLS {
            upstream::Body::Switched(Box::new((self.conn.into_stream(), ahead)))
        } else {
            body(self.conn, framing, ahead, sending.filter(|_| self.takes_more), is_reusable)
        };
        Exchanged { status, version, phrase, body }
    }
}

/// The body of a response of which this much was read. One that is there whole needs its connection no longer.
fn body(
    conn: Conn,
    framing: Framing,
    mut ahead: Bytes,
    sending: Option<Sending>,
    is_reusable: bool,
) -> upstream::Body {
    let whole = match framing {
        Framing::None => Some(Bytes::new()),
        Framing::Length(length) => usize::try_from(length)
            .ok()
            .filter(|length| *length <= ahead.len())
            .map(|length| ahead.split_to(length)),
        Framing::Chunked | Framing::UntilClose => None,
    };
    if let Some(whole) = whole {
        // Bytes that nobody asked for: who knows whose answer they would be taken for.
        let is_reusable = is_reusable && ahead.is_empty();
        match sending {
            None if is_reusable => conn.give_back(),
            None => {}
            Some(sending) => body::finish_in_background(conn, sending, is_reusable),
        }
        return if whole.is_empty() { upstream::Body::Empty } else { upstream::Body::Whole(whole) };
    }
    let rest = match framing {
        Framing::Length(length) => Rest::Length(length),
        Framing::Chunked => Rest::Chunks(Box::default()),
        Framing::None | Framing::UntilClose => Rest::UntilClose,
    };
    upstream::Body::Http1(Box::new(Body::new(conn, ahead, rest, sending, is_reusable)))
}
