//! Forwarding: the request's message made ready for the next hop, attempts at endpoints, and the response on its way back.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;
use watershed_config::model::AppProtocol;

use crate::body::{self, Download, Gate, Progress, Replay, RequestBody, ResponseBody, Upload};
use crate::coarse::{Limit, ticks};
use crate::headers::{self, Added, Client, HopByHop, RequestId, Seen};
use crate::reason::Reason;
use crate::record::Record;
use crate::rewrite;
use crate::table::{Arm, Backend, Goal, Rule};
use crate::tunnel;
use crate::upstream::{self, Cause, Exchanged, Failure};
use crate::worker::Worker;

/// Says which revision answered, where `--revision-header` asks for it.
const REVISION_HEADER: HeaderName = HeaderName::from_static("watershed-revision");

/// Where the rule's split sends a request.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) rule: Arc<Rule>,
    /// Index of the arm, which is a backend.
    pub(crate) arm: usize,
    /// Who of it may answer.
    pub(crate) goal: Goal,
}

impl Destination {
    fn arm(&self) -> &Arm {
        self.rule.arm(self.arm).expect("the arm was chosen among the rule's own")
    }

    fn backend(&self) -> &Backend {
        self.arm().backend().expect("what is forwarded goes to pods")
    }

    /// Whether the first endpoint speaks HTTP/1.1, as the others do as a rule: each EndpointSlice may say otherwise.
    fn speaks_http1(&self) -> bool {
        let first = self.backend().endpoints.first();
        first.is_none_or(|(endpoint, _)| endpoint.id.protocol == AppProtocol::Http1)
    }
}

/// A request that is on its way to a backend. Boxed by its maker: everything that waits then is one pointer.
#[derive(Debug)]
pub(crate) struct Trip {
    worker: Rc<Worker>,
    to: Destination,
    record: Box<Record>,
    request: Request<RequestBody>,
    /// Headers that are not among its own, until an endpoint wants them there.
    added: Option<Added>,
    /// The protocol to upgrade to, and the client's half of it.
    upgrade: Option<(HeaderValue, OnUpgrade)>,
    gate: Option<Rc<Gate>>,
    /// Of the request's body, if it has one.
    progress: Option<Rc<Progress>>,
}

impl Trip {
    /// Makes a request ready for the arm that the split chose for it.
    pub(crate) fn prepare(
        worker: Rc<Worker>,
        mut request: Request<Incoming>,
        seen: Seen,
        to: Destination,
        mut record: Box<Record>,
    ) -> Result<Box<Self>, (Reason, Box<Record>)> {
        let on_client = seen.any(Seen::UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, incoming) = request.into_parts();
        let ends_with_head = incoming.is_end_stream();
        let (said, added) = prepare_head(&worker, &mut parts, seen, &to, ends_with_head, &mut record);
        if said.close && ends_with_head {
            record.conn().client_is_done();
        }
        let over_http1 = to.speaks_http1();
        let upgrade = match (said.upgrade.as_ref().and_then(headers::upgradable), on_client) {
            // HTTP/2 has no upgrades; there the request goes on without asking for one (RFC 9110 section 7.8 allows it).
            (Some(protocol), Some(on_client)) if over_http1 => Some((protocol, on_client)),
            _ => None,
        };
        let next_version = if over_http1 { Version::HTTP_11 } else { Version::HTTP_2 };
        let protocol = upgrade.as_ref().map(|(protocol, _)| protocol);
        headers::set_for_next_hop(&mut parts.headers, &said, protocol, next_version);
        // hyper neither sends nor reports 100 on HTTP/2: a body that waited for it would wait in vain.
        let says_continue = over_http1 && parts.version < Version::HTTP_2;
        parts.version = Version::HTTP_11;
        let gate =
            (says_continue && seen.any(Seen::EXPECT) && expects_continue(&parts)).then(Rc::<Gate>::default);
        let progress = (!ends_with_head).then(|| Progress::new(Rc::clone(record.conn())));
        let body = match &progress {
            None => RequestBody::Empty,
            Some(progress) => match upload(&worker, &parts, incoming, gate.as_ref(), progress) {
                None => {
                    record.make_last();
                    return Err((Reason::BodyTooLarge, record));
                }
                Some(upload) if over_http1 => RequestBody::Streaming(Box::new(upload)),
                Some(upload) => {
                    RequestBody::Replayable(Box::new(Replay::new(upload, worker.shared.limits.replay_bytes)))
                }
            },
        };
        let request = Request::from_parts(parts, body);
        Ok(Box::new(Self { worker, to, record, request, added, upgrade, gate, progress }))
    }
}

/// Makes the head ready for the next hop; what it gets besides is returned where nothing looks for it among its own.
fn prepare_head(
    worker: &Worker,
    parts: &mut Parts,
    seen: Seen,
    to: &Destination,
    ends_with_head: bool,
    record: &mut Record,
) -> (HopByHop, Option<Added>) {
    let said = headers::remove_seen_hop_by_hop(&mut parts.headers, seen);
    if parts.version == Version::HTTP_2 {
        if seen.any(Seen::COOKIE) {
            headers::join_cookies(&mut parts.headers);
        }
        if ends_with_head && [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method) {
            // HTTP/2 says by a flag that there is no body; HTTP/1.1 by a length (RFC 9110 section 8.6).
            parts.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
        }
    }
    let client = &record.conn().client;
    let host = set_host(client, parts, seen, record.host());
    let added = Added::to(&mut parts.headers, seen, client, host, || worker.random());
    if let Some(id) = added.request_id() {
        record.set_request_id(RequestId::Begun(id));
    }
    let filters = [&to.rule.filters, &to.arm().filters];
    let added = if filters.iter().any(|filters| rewrite::edits_added_headers(filters)) {
        added.put_into(&mut parts.headers);
        None
    } else {
        Some(added)
    };
    if worker.shared.marks.via {
        headers::add_via(&mut parts.headers, parts.version);
    }
    for filters in filters {
        rewrite::apply_to_request(filters, to.rule.prefix_length, parts);
    }
    (said, added)
}

/// The host of the request, of which `header` is its `Host`. The next hop is told it by that or, where there is none, by the
/// target's authority.
fn set_host(
    client: &Client,
    parts: &mut Parts,
    seen: Seen,
    header: Option<&HeaderValue>,
) -> Option<HeaderValue> {
    let Some(authority) = parts.uri.authority() else {
        if header.is_none() {
            // A client of HTTP/1.0; HTTP/1.1 demands one, if only an empty one (RFC 9112 section 3.2).
            parts.headers.insert(HOST, HeaderValue::from_static(""));
        }
        return header.cloned();
    };
    let host = client.host(authority);
    if seen.any(Seen::HOST) {
        // The authority is what the request is for, whatever Host says (RFC 9112 section 3.2.2).
        parts.headers.insert(HOST, host.clone());
    }
    Some(host)
}

fn expects_continue(parts: &Parts) -> bool {
    parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The request's body within its limits; `None` if it announces to be too large.
fn upload(
    worker: &Worker,
    parts: &Parts,
    incoming: Incoming,
    gate: Option<&Rc<Gate>>,
    progress: &Rc<Progress>,
) -> Option<Upload> {
    let limits = &worker.shared.limits;
    let allowed = limits.request_body_bytes.unwrap_or(u64::MAX);
    let announced =
        parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > allowed) {
        return None;
    }
    let upload = Upload::new(incoming, ticks(limits.body_stall), allowed, Rc::clone(progress));
    Some(match gate {
        Some(gate) => upload.behind(Rc::clone(gate), ticks(limits.continue_wait)),
        None => upload,
    })
}

impl Trip {
    /// Tries endpoints until one answers or nothing may be tried any more.
    pub(crate) async fn go(mut self: Box<Self>) -> Result<Response<ResponseBody>, (Reason, Box<Record>)> {
        let (mut unreachable, mut sent) = (Vec::new(), 0);
        let mut last = self.to.goal.nobody;
        loop {
            let random = self.worker.random();
            let backend = self.to.backend();
            let chosen = backend.choose_of(&self.to.goal, self.worker.index, random, &unreachable);
            let Some(index) = chosen else { return Err(self.give_up_alone(last)) };
            let (key, revision) = (backend.endpoints[index].0.key, backend.endpoints[index].1);
            self.record.set_revision(revision);
            self.record.set_endpoint(index);
            let deadline = self.deadline();
            let failure = match self.attempt(index, deadline).await {
                Ok(exchanged) => return self.deliver(exchanged, revision, deadline),
                Err(failure) => failure,
            };
            last = failure.reason;
            let Some(cause) = failure.again else { return Err(self.give_up(last)) };
            match cause {
                Cause::Connect => unreachable.push(key),
                Cause::Unsent | Cause::Stale => sent += 1,
            }
            if cause != Cause::Unsent {
                // That a connection was closed before it was used is no failure.
                self.record.blame_endpoint();
            }
            let limits = &self.worker.shared.limits;
            if unreachable.len() >= limits.connect_attempts || sent >= limits.send_attempts {
                return Err(self.give_up(last));
            }
            self.count_retry(cause);
        }
    }

    /// Ends without an endpoint to ask, counted for the revision that should have answered.
    fn give_up_alone(mut self, reason: Reason) -> (Reason, Box<Record>) {
        if let Some(revision) = self.to.goal.revision {
            self.record.set_revision(revision);
        }
        self.give_up(reason)
    }

    /// Ends without an answer of a pod. What is left of the request's body is read if it is short; else the connection ends.
    fn give_up(self, reason: Reason) -> (Reason, Box<Record>) {
        let Self { request, record, progress, .. } = self;
        let has_body = !request.body().is_end_stream();
        let readable = has_body && body::discard(request);
        if !readable && progress.is_some_and(|progress| !progress.is_complete()) {
            record.make_last();
        }
        (reason, record)
    }

    fn count_retry(&mut self, cause: Cause) {
        let cells = self.worker.cells();
        match cause {
            Cause::Connect => cells.retries_connect.add(1),
            Cause::Unsent => cells.retries_unsent.add(1),
            Cause::Stale => cells.retries_stale.add(1),
        }
        self.record.add_retry();
    }

    /// One attempt at one endpoint of the backend within its deadline.
    async fn attempt(&mut self, endpoint: usize, deadline: Option<Deadline>) -> Result<Exchanged, Failure> {
        let Self { worker, to, request, added, gate, progress, .. } = self;
        let (endpoint, _) = &to.backend().endpoints[endpoint];
        let stall = Limit::new(ticks(worker.shared.limits.response_stall));
        let exchange = pin!(upstream::exchange(worker, endpoint, request, added, gate.as_ref()));
        match within(exchange, stall, progress.as_deref(), deadline).await {
            Ok(result) => result,
            Err(reason) => Err(Failure { reason, again: None }),
        }
    }

    /// The earlier of the rule's deadlines for an attempt that begins now, and its reason.
    fn deadline(&self) -> Option<Deadline> {
        let timeouts = &self.to.rule.timeouts;
        let whole = timeouts.request.map(|limit| (self.record.started() + limit).into());
        let attempt = timeouts.backend_request.map(|limit: Duration| Instant::now() + limit);
        match (whole, attempt) {
            (Some(whole), Some(attempt)) if attempt < whole => Some((attempt, Reason::BackendTimeout)),
            (Some(whole), _) => Some((whole, Reason::RequestTimeout)),
            (None, Some(attempt)) => Some((attempt, Reason::BackendTimeout)),
            (None, None) => None,
        }
    }

    /// Sends the response on to the client.
    fn deliver(
        mut self: Box<Self>,
        exchanged: Exchanged,
        revision: u16,
        deadline: Option<Deadline>,
    ) -> Result<Response<ResponseBody>, (Reason, Box<Record>)> {
        let Exchanged { status, version, phrase, body } = exchanged;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch_protocols(phrase, body);
        }
        if self.gate.as_ref().is_some_and(|gate| !gate.is_open()) {
            // The endpoint has decided without the body, which therefore stays unread.
            self.record.make_last();
        }
        let mut headers = std::mem::take(self.request.headers_mut());
        if version == Version::HTTP_2 {
            headers::remove_hop_by_hop(&mut headers);
        }
        self.finish_headers(&mut headers, version, &self.to.backend().revisions[usize::from(revision)].name);
        self.record.set_status(status);
        let body = if body.is_end_stream() {
            ResponseBody::Empty
        } else {
            let stall = ticks(self.worker.shared.limits.response_stall);
            ResponseBody::Download(Box::new(Download::new(body, self.record, stall, deadline)))
        };
        Ok(response(status, phrase, headers, body))
    }

    fn finish_headers(&self, headers: &mut HeaderMap, version: Version, revision: &str) {
        if self.worker.shared.marks.via {
            headers::add_via(headers, version);
        }
        rewrite::apply_to_response(&self.to.rule.filters, headers);
        rewrite::apply_to_response(&self.to.arm().filters, headers);
        if self.worker.shared.marks.revision
            && let Ok(revision) = HeaderValue::try_from(revision)
        {
            headers.insert(REVISION_HEADER, revision);
        }
        // Last, so that no filter takes it away.
        self.record.issue_cookie(headers);
    }

    /// A tunnel, if one was asked for: never before the endpoint has agreed (RUSTSEC-2026-0033).
    fn switch_protocols(
        mut self: Box<Self>,
        phrase: Option<Box<ReasonPhrase>>,
        body: upstream::Body,
    ) -> Result<Response<ResponseBody>, (Reason, Box<Record>)> {
        let upstream::Body::Switched(endpoint) = body else {
            return Err(self.give_up(Reason::UpstreamProtocol));
        };
        let Some((asked, on_client)) = self.upgrade.take() else {
            return Err(self.give_up(Reason::UpstreamProtocol));
        };
        let mut headers = std::mem::take(self.request.headers_mut());
        let said = headers::remove_hop_by_hop(&mut headers);
        let Some(protocol) = said.upgrade.filter(|protocol| headers::offers(&asked, protocol)) else {
            return Err(self.give_up(Reason::UpstreamProtocol));
        };
        headers::set_for_next_hop(&mut headers, &HopByHop::default(), Some(&protocol), Version::HTTP_11);
        rewrite::apply_to_response(&self.to.rule.filters, &mut headers);
        self.record.issue_cookie(&mut headers);
        self.record.set_status(StatusCode::SWITCHING_PROTOCOLS);
        self.record.settle();
        tunnel::spawn(&self.worker, on_client, *endpoint, self.record);
        Ok(response(StatusCode::SWITCHING_PROTOCOLS, phrase, headers, ResponseBody::Empty))
    }
}

fn response(
    status: StatusCode,
    phrase: Option<Box<ReasonPhrase>>,
    headers: HeaderMap,
    body: ResponseBody,
) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Some(phrase) = phrase {
        response.extensions_mut().insert(*phrase);
    }
    response
}

/// When an attempt must be over, and what it is called if it is not.
type Deadline = (Instant, Reason);

/// Waits for a future no longer than a stall limit and, if there is one, a deadline. As long as the request's body moves,
/// nothing is stalled.
async fn within<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
    mut stall: Limit,
    progress: Option<&Progress>,
    deadline: Option<Deadline>,
) -> Result<T, Reason> {
    let wait = poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        // Where there is a deadline, it alone decides.
        if deadline.is_none() && stall.exceeded_since(progress.map_or(0, Progress::moved), cx) {
            Poll::Ready(Err(Reason::UpstreamStalled))
        } else {
            Poll::Pending
        }
    });
    match deadline {
        None => wait.await,
        // Boxed because few rules have deadlines, and every request would carry the room for the timer.
        Some((at, reason)) => Box::pin(tokio::time::timeout_at(at, wait)).await.unwrap_or(Err(reason)),
    }
}
