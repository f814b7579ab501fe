//! One request, from its head to its answer.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use watershed_config::model::Redirect;

use crate::body::{self, Progress, RequestBody, ResponseBody, Upload};
use crate::coarse::ticks;
use crate::connection::ConnState;
use crate::forward::{Destination, Trip};
use crate::headers::{self, HOST_LENGTH_MAX, Named, RequestId, Seen};
use crate::reason::Reason;
use crate::record::{Facts, Record};
use crate::rollouts::Stake;
use crate::table::{Action, ArmTarget, Head, Routed, Rule};
use crate::worker::Worker;
use crate::{respond, rewrite};

/// Answers a request. A panic inside costs this request, not the worker.
///
/// What can be decided about it is decided at once and not in the future: that is moved about by hyper and by the runtime, and
/// as it is, it holds no message.
pub(crate) fn handle(
    worker: &Rc<Worker>,
    conn: &Rc<ConnState>,
    request: Request<Incoming>,
) -> impl Future<Output = Response<ResponseBody>> + use<> {
    let asked_in = request.version();
    let (draining, asker) = (Rc::clone(worker), Rc::clone(conn));
    let begun = without_panic(|| begin(Rc::clone(worker), conn, request));
    async move {
        let answered = match begun {
            Some(Begun::Answered(response)) => Some(*response),
            Some(Begun::Forwarding(trip)) => forwarded(trip).await,
            None => None,
        };
        let mut response = answered.unwrap_or_else(|| respond::error(Reason::Internal, None));
        if (draining.is_draining() || asker.is_last())
            && asked_in < Version::HTTP_2
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The answer of a pod, or ours if there is none; `None` if making it panicked.
async fn forwarded(trip: Box<Trip>) -> Option<Response<ResponseBody>> {
    // Boxed: hyper moves the future that holds it, several times on HTTP/2.
    let mut forwarding = Box::pin(trip.go());
    poll_fn(|cx| match without_panic(|| forwarding.as_mut().poll(cx)) {
        Some(polled) => polled.map(Some),
        None => Poll::Ready(None),
    })
    .await
    .map(|went| went.unwrap_or_else(|(reason, record)| reject(reason, record)))
}

/// What a call returns, or `None` if it panicked. The panic's message has been printed by then.
fn without_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// What became of a request before anything was awaited.
enum Begun {
    Answered(Box<Response<ResponseBody>>),
    Forwarding(Box<Trip>),
}

/// All that is decided about a request, synchronously: no borrow of the table lives across an await, and what waits for an
/// endpoint is small.
fn begin(worker: Rc<Worker>, conn: &Rc<ConnState>, request: Request<Incoming>) -> Begun {
    let seen = Seen::of(request.headers());
    let facts = Facts {
        method: request.method().clone(),
        uri: request.uri().clone(),
        host: seen.value(Seen::HOST, HOST, request.headers()),
        request_id: seen
            .value(Seen::REQUEST_ID, respond::REQUEST_ID_HEADER, request.headers())
            .map(RequestId::Given),
    };
    let mut record = Box::new(Record::new(Rc::clone(&worker), Rc::clone(conn), facts));
    let mut buffer = [0; HOST_LENGTH_MAX];
    match decide(&worker, conn, &request, seen, &mut buffer, &mut record) {
        Ok(Decided::Forward(to)) => match Trip::prepare(worker, request, seen, to, record) {
            Ok(trip) => Begun::Forwarding(trip),
            Err((reason, record)) => Begun::Answered(Box::new(reject(reason, record))),
        },
        Ok(Decided::Redirect(response)) => {
            leave_body(&worker, conn, request);
            record.set_status(response.status());
            Begun::Answered(Box::new(response))
        }
        Err(reason) => {
            leave_body(&worker, conn, request);
            Begun::Answered(Box::new(reject(reason, record)))
        }
    }
}

/// What happens to the body of a request that is answered without it: a short one is read, so that the connection can be used
/// again; before a long one the connection ends.
fn leave_body(worker: &Worker, conn: &Rc<ConnState>, request: Request<Incoming>) {
    if request.body().is_end_stream() {
        return;
    }
    let stall = ticks(worker.shared.limits.body_stall);
    let progress = Progress::new(Rc::clone(conn));
    let unread =
        request.map(|body| RequestBody::Streaming(Box::new(Upload::new(body, stall, u64::MAX, progress))));
    if !body::discard(unread) {
        conn.make_last();
    }
}

/// The answer that no pod made, counted as such.
fn reject(reason: Reason, mut record: Box<Record>) -> Response<ResponseBody> {
    record.fail(reason);
    record.set_status(reason.status());
    respond::error(reason, record.request_id())
}

/// What is to be done with a request.
enum Decided {
    Forward(Destination),
    Redirect(Response<ResponseBody>),
}

fn decide(
    worker: &Worker,
    conn: &ConnState,
    request: &Request<Incoming>,
    seen: Seen,
    buffer: &mut [u8; HOST_LENGTH_MAX],
    record: &mut Record,
) -> Result<Decided, Reason> {
    let (host, port) = host_of(request, seen, buffer)?;
    let head = Head {
        method: request.method(),
        path: request.uri().path(),
        query: request.uri().query(),
        headers: request.headers(),
        host,
        port,
    };
    let rule = worker.with_table(|table| {
        record.set_generation(table.generation);
        match table.route(conn.bind, &head) {
            Routed::Rule(rule) => Some(Arc::clone(rule)),
            Routed::NoRoute(series) => {
                record.set_unmatched(Arc::clone(series));
                None
            }
            Routed::Gone => None,
        }
    });
    let rule = rule.ok_or(Reason::NoRoute)?;
    record.set_rule(Arc::clone(&rule));
    match &rule.action {
        Action::Split(split) => {
            let ticket = split.state.draw(worker.index);
            let arm = split.pick(ticket);
            split.picks.count(worker.index, arm);
            let chosen = &split.arms[arm];
            record.set_arm(arm);
            match &chosen.target {
                ArmTarget::Backend { backend, rollout, .. } => {
                    let goal = match rollout {
                        None => backend.anybody(),
                        Some(split) => {
                            let decision = split.decide(backend, worker.index, &head, conn.peer.ip());
                            record.set_stake(Stake::begin(split, worker.index, &decision));
                            decision.goal
                        }
                    };
                    Ok(Decided::Forward(Destination { rule, arm, goal }))
                }
                ArmTarget::Redirect(redirect) => redirected(redirect, &rule, head.host, request),
                ArmTarget::Invalid { .. } => Err(Reason::InvalidBackend),
                ArmTarget::Reject(reason) => Err(*reason),
            }
        }
        Action::Redirect(redirect) => redirected(redirect, &rule, head.host, request),
        Action::Reject(reason) => Err(*reason),
    }
}

fn redirected(
    redirect: &Redirect,
    rule: &Rule,
    host: &str,
    request: &Request<Incoming>,
) -> Result<Decided, Reason> {
    let location = rewrite::location(redirect, rule, host, request.uri()).ok_or(Reason::BadRequest)?;
    let mut response = respond::redirect(redirect.status, location);
    rewrite::apply_to_response(&rule.filters, response.headers_mut());
    Ok(Decided::Redirect(response))
}

/// The host that the request is for, by which it is routed.
fn host_of<'b>(
    request: &'b Request<Incoming>,
    seen: Seen,
    buffer: &'b mut [u8; HOST_LENGTH_MAX],
) -> Result<(&'b str, Option<u16>), Reason> {
    if request.method() == Method::CONNECT {
        return Err(Reason::BadRequest);
    }
    if seen.any(Seen::TRANSFER_ENCODING) && !headers::transfer_coding_is_plain(request.headers()) {
        return Err(Reason::UnsupportedTransferEncoding);
    }
    let named = match request.uri().authority() {
        Some(authority) if !seen.any(Seen::HOST) => Named::Target(authority),
        authority => headers::named_host(authority, request.headers()),
    };
    let text = match named {
        // `host:port` alone is for CONNECT; as anything else it names no resource (RFC 9112 section 3.2.3).
        Named::Target(_) if request.uri().scheme().is_none() => return Err(Reason::BadRequest),
        Named::Target(authority) => headers::without_user(authority),
        Named::Header(host) => host,
        // HTTP/1.0 knew no Host.
        Named::Nothing if request.version() < Version::HTTP_11 => "",
        Named::Nothing | Named::Wrong => return Err(Reason::BadRequest),
    };
    headers::split_host(text, buffer).ok_or(Reason::BadRequest)
}

#[cfg(test)]
mod tests {
    use super::without_panic;

    #[test]
    fn a_panic_is_caught_and_what_does_not_panic_is_passed_on() {
        assert_eq!(without_panic(|| 7), Some(7));
        assert_eq!(without_panic(|| -> u32 { panic!("on purpose") }), None);
    }
}
