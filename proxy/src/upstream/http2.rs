//! HTTP/2 with prior knowledge to endpoints: few connections, many streams.
//!
//! Streams are used as the `h2` crate offers them, polled by the request's own task. hyper's client on top of it costs a channel,
//! a oneshot and a spawned task for each request; what was measured is in PERFORMANCE.md.

mod body;
mod conn;
mod kept;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::client::ResponseFuture;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;

use super::pool::{Lease, Pool};
use super::{Cause, Exchanged, Failure, is_repeatable};
use crate::body::RequestBody;
use crate::headers::without_user;
use crate::reason::Reason;
use crate::upstream;
use crate::worker::Worker;
pub(crate) use body::Body;
use body::{Sending, Stopped};
pub(super) use conn::{Http2, Openings};
use kept::Kept;

pub(super) async fn exchange(
    worker: &Rc<Worker>,
    pool: Rc<Pool>,
    request: &mut Request<RequestBody>,
) -> Result<Exchanged, Failure> {
    let repeatable = is_repeatable(request);
    let conn = match conn::checkout(worker, &pool, repeatable).await {
        Ok(conn) => conn,
        Err(reason) => return Err(Failure::again(reason, Cause::Connect)),
    };
    let reused = conn.used.replace(true);
    if reused {
        worker.cells().upstream_reused.add(1);
    }
    let lease = Lease::new(&conn);
    let kept = Kept::of(request.headers());
    let mut attempt = match begin(&conn, request) {
        Ok(attempt) => attempt,
        Err(error) => {
            *request.headers_mut() = kept.into_headers();
            // It is ending: nothing was sent on it.
            pool.forget(&conn);
            return Err(Failure::again(reason_of(&error), Cause::Unsent));
        }
    };
    let broken = match poll_fn(|cx| attempt.poll(worker, cx)).await {
        Ok(response) => return Ok(attempt.finish(response, lease, request)),
        Err(broken) => broken,
    };
    let error = match broken {
        Broken::Body(reason) => return Err(Failure::last(reason)),
        Broken::Stream(error) => error,
    };
    if error.is_go_away() {
        // It is ending, and would take requests until it notices.
        pool.forget(&conn);
    }
    let reason = reason_of(&error);
    let cause = if is_unhandled(&error) {
        Some(Cause::Unsent)
    } else {
        (repeatable && reused && reason == Reason::UpstreamClosed).then_some(Cause::Stale)
    };
    let again = cause.filter(|_| attempt.sending.take().is_none_or(|sending| sending.begin_again(request)));
    let Some(cause) = again else { return Err(Failure::last(reason)) };
    *request.headers_mut() = kept.into_headers();
    Err(Failure::again(reason, cause))
}

/// Begins a stream with the request's head, whose headers are taken out of it.
fn begin(conn: &Rc<Http2>, request: &mut Request<RequestBody>) -> Result<Attempt, h2::Error> {
    // A clone has no stream of its own that waits to be opened: there is nothing to wait for before it is used, and whether the
    // connection has ended is asked by the sending, too.
    let mut sender = conn.sender.clone();
    let is_last = request.body().is_end_stream();
    let (response, stream) = sender.send_request(take_head(request), is_last)?;
    let sending = (!is_last).then(|| {
        let body = std::mem::replace(request.body_mut(), RequestBody::Empty);
        Sending::new(stream, body)
    });
    Ok(Attempt { response, sending, is_sent: is_last, has_waited: false })
}

/// A request on a stream, up to the head of its response.
struct Attempt {
    response: ResponseFuture,
    /// The request's body, if it has one.
    sending: Option<Sending>,
    is_sent: bool,
    /// Whether the endpoint may have sent something since the request was.
    has_waited: bool,
}

enum Broken {
    /// The request's body broke off.
    Body(Reason),
    Stream(h2::Error),
}

impl Attempt {
    fn poll(
        &mut self,
        worker: &Worker,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<h2::RecvStream>, Broken>> {
        if let Some(sending) = self.sending.as_mut().filter(|_| !self.is_sent) {
            match sending.poll(cx) {
                Poll::Pending => {}
                // The response says why the endpoint does not want more.
                Poll::Ready(Ok(()) | Err(Stopped::ByEndpoint)) => self.is_sent = true,
                Poll::Ready(Err(Stopped::ByClient(reason))) => return Poll::Ready(Err(Broken::Body(reason))),
            }
        }
        if !std::mem::replace(&mut self.has_waited, true) {
            return std::pin::Pin::new(&mut self.response).poll(cx).map_err(Broken::Stream);
        }
        while let Poll::Ready(Some(Ok(informational))) = self.response.poll_informational(cx) {
            if informational.status() != StatusCode::CONTINUE {
                worker.cells().informational_dropped.add(1);
            }
        }
        let response = ready!(std::pin::Pin::new(&mut self.response).poll(cx));
        Poll::Ready(response.map_err(Broken::Stream))
    }

    fn finish(
        mut self,
        response: Response<h2::RecvStream>,
        lease: Lease,
        request: &mut Request<RequestBody>,
    ) -> Exchanged {
        let is_sent = self.is_sent;
        let sending = self.sending.take().filter(|_| !is_sent).map(Sending::settled);
        let (parts, stream) = response.into_parts();
        let body = if stream.is_end_stream() && sending.is_none() {
            upstream::Body::Empty
        } else {
            let has_none = *request.method() == Method::HEAD;
            upstream::Body::Http2(Box::new(Body::new(stream, &parts.headers, has_none, sending, lease)))
        };
        *request.headers_mut() = parts.headers;
        Exchanged { status: parts.status, version: parts.version, phrase: None, body }
    }
}

/// Whether the endpoint certainly did not handle the request: it refused the stream (RFC 9113 section 8.7) or said so in a
/// `GOAWAY` (section 6.8; streams that it does handle are not failed with it).
fn is_unhandled(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)))
}

fn reason_of(error: &h2::Error) -> Reason {
    if error.is_library() {
        Reason::UpstreamProtocol
    } else if error.is_reset() {
        Reason::UpstreamReset
    } else {
        Reason::UpstreamClosed
    }
}

/// The head of a request as HTTP/2 wants it: an absolute target instead of `Host`.
fn take_head(request: &mut Request<RequestBody>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = std::mem::take(request.headers_mut());
    let host = head.headers_mut().remove(HOST);
    *head.uri_mut() = absolute(request.uri(), host.as_ref());
    head
}

/// The absolute target of a request for a host, or else for the one that the target names. As a rule that is it.
fn absolute(target: &Uri, host: Option<&HeaderValue>) -> Uri {
    let authority = match (host, target.authority()) {
        (Some(host), _) => Authority::try_from(host.as_bytes()).ok(),
        (None, Some(given)) if without_user(given).len() < given.as_str().len() => {
            Authority::try_from(without_user(given)).ok()
        }
        (None, Some(_)) if target.scheme() == Some(&Scheme::HTTP) => return target.clone(),
        (None, given) => given.cloned(),
    };
    let path = target.path_and_query().cloned();
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.unwrap_or_else(|| Authority::from_static("localhost")));
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_absolute_and_names_the_host_and_nobody_else() {
        for (host, target, wanted) in [
            (None, "http://a.b/c?d", "http://a.b/c?d"),
            (None, "https://a.b/c", "http://a.b/c"),
            (None, "http://me@a.b:1/c", "http://a.b:1/c"),
            (None, "http://a.b", "http://a.b/"),
            (None, "/c", "http://localhost/c"),
            (Some("rewritten"), "http://a.b/c?d", "http://rewritten/c?d"),
            (Some("a.b"), "/c?d", "http://a.b/c?d"),
            (Some("a.b"), "*", "http://a.b*"),
            (Some(""), "/c", "http://localhost/c"),
            (Some("not a host"), "http://a.b/c", "http://localhost/c"),
        ] {
            let host = host.map(HeaderValue::from_static);
            assert_eq!(absolute(&Uri::from_static(target), host.as_ref()), wanted, "{host:?} {target}");
        }
    }
}
