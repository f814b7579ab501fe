//! Bodies on their way through: never collected, one frame at a time, at the pace of the slower side.
//!
//! One enum for each direction instead of boxed trait objects, so that a frame costs no virtual call and a request without a
//! body no allocation.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::coarse::{self, Limit, Ticks};
use crate::connection::ConnState;
use crate::headers;
use crate::reason::Reason;

/// Longest rest of a body that is read only to keep a connection, in bytes; opening another one is cheaper than more.
const DISCARD_MAX: u64 = 64 * 1024;

/// Why a body ended early. Its reason is what the request is counted under.
#[derive(Debug)]
pub(crate) struct BodyError {
    /// In a word.
    pub reason: Reason,
    source: Option<hyper::Error>,
}

impl BodyError {
    fn new(reason: Reason, source: Option<hyper::Error>) -> Self {
        Self { reason, source }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "body broken off: {}", self.reason.as_str())
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A request's body on its way to an endpoint.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// Straight through.
    Streaming(Upload),
    /// Through, with its beginning kept in case the endpoint refuses the stream.
    Replayable(Replay),
}

/// A body as the client sends it.
#[derive(Debug)]
pub(crate) struct Upload {
    incoming: Incoming,
    stall: Limit,
    /// Bytes left before the body is too large.
    allowed: u64,
    gate: Option<(Arc<Gate>, Limit)>,
    progress: Rc<Progress>,
}

/// How far a body has come, for those who wait for what follows it.
#[derive(Debug)]
pub(crate) struct Progress {
    conn: Rc<ConnState>,
    /// Tick of the last frame; 0 before the first.
    moved: Cell<Ticks>,
    complete: Cell<bool>,
}

impl Progress {
    pub(crate) fn new(conn: Rc<ConnState>) -> Rc<Self> {
        Rc::new(Self { conn, moved: Cell::new(0), complete: Cell::new(false) })
    }

    /// Tick of the last frame; 0 before the first.
    pub(crate) fn moved(&self) -> Ticks {
        self.moved.get()
    }

    /// Whether the body has been read to its end.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.get()
    }
}

impl Upload {
    pub(crate) fn new(incoming: Incoming, stall: Ticks, allowed: u64, progress: Rc<Progress>) -> Self {
        progress.conn.begin_upload();
        Self { incoming, stall: Limit::new(stall), allowed, gate: None, progress }
    }

    /// Holds the body back until the gate opens, but no longer than `wait` (RFC 9110 section 10.1.1: a client must not wait
    /// indefinitely, and will send the body unasked).
    pub(crate) fn behind(mut self, gate: Arc<Gate>, wait: Ticks) -> Self {
        self.gate = Some((gate, Limit::new(wait)));
        self
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some((gate, wait)) = &mut self.gate {
            match gate.state(cx) {
                GateState::Closed if !wait.exceeded(cx) => return Poll::Pending,
                GateState::Refused => {
                    return Poll::Ready(Some(Err(BodyError::new(Reason::ClientAborted, None))));
                }
                GateState::Closed | GateState::Open => gate.open(),
            }
            self.gate = None;
        }
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            if self.stall.exceeded(cx) {
                return Poll::Ready(Some(Err(BodyError::new(Reason::RequestBodyTimeout, None))));
            }
            return Poll::Pending;
        };
        self.stall.restart();
        self.progress.moved.set(coarse::now());
        let ended = frame.is_none() || (matches!(&frame, Some(Ok(_))) && self.incoming.is_end_stream());
        self.progress.complete.set(ended);
        Poll::Ready(frame.map(|frame| self.checked(frame)))
    }

    fn checked(&mut self, frame: Result<Frame<Bytes>, hyper::Error>) -> Result<Frame<Bytes>, BodyError> {
        let frame = frame.map_err(|error| {
            let reason = if is_malformed(&error) { Reason::BadRequest } else { Reason::ClientAborted };
            BodyError::new(reason, Some(error))
        })?;
        let frame = with_clean_trailers(frame);
        if let Some(data) = frame.data_ref() {
            let length = data.len() as u64;
            self.allowed =
                self.allowed.checked_sub(length).ok_or_else(|| BodyError::new(Reason::BodyTooLarge, None))?;
        }
        Ok(frame)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.progress.conn.end_upload(self.progress.is_complete());
    }
}

/// Whether a body broke off because its chunks make no sense, and not because the client went away.
fn is_malformed(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|error| {
        matches!(error.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData)
    })
}

fn with_clean_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    if !frame.is_trailers() {
        return frame;
    }
    frame.into_trailers().map_or_else(
        |frame| frame,
        |mut trailers| {
            headers::clean_trailers(&mut trailers);
            Frame::trailers(trailers)
        },
    )
}

/// Reads the rest of a request's body that nobody wants, so that the client's connection can be used again; false if there is
/// too much of it, or no end in sight.
pub(crate) fn discard(request: Request<RequestBody>) -> bool {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return true;
    }
    let is_short = body.size_hint().exact().is_some_and(|length| length <= DISCARD_MAX);
    if !is_short || parts.headers.contains_key(EXPECT) {
        return false;
    }
    tokio::task::spawn_local(async move {
        let mut body = pin!(body);
        while let Some(Ok(_)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {}
    });
    true
}

/// Holds back a body whose client expects `100 Continue` until the endpoint says so.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: AtomicU8,
    waker: std::sync::Mutex<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
enum GateState {
    #[default]
    Closed,
    Open,
    Refused,
}

impl Gate {
    /// Lets the body through.
    pub(crate) fn open(&self) {
        self.settle(GateState::Open);
    }

    /// Breaks the body off, unless it was let through: the endpoint has answered without it.
    pub(crate) fn refuse(&self) {
        if !self.is_open() {
            self.settle(GateState::Refused);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Relaxed) == GateState::Open as u8
    }

    fn settle(&self, state: GateState) {
        self.state.store(state as u8, Relaxed);
        let waker = self.waker.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn state(&self, cx: &Context<'_>) -> GateState {
        let state = self.state.load(Relaxed);
        if state == GateState::Open as u8 {
            return GateState::Open;
        }
        if state == GateState::Refused as u8 {
            return GateState::Refused;
        }
        *self.waker.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(cx.waker().clone());
        GateState::Closed
    }
}

/// A body that can be sent from its beginning once more, as long as little enough of it was sent.
#[derive(Debug)]
pub(crate) struct Replay {
    shared: Rc<ReplayState>,
    /// Which of the attempts this is: an earlier one must not take frames from a later one.
    attempt: u32,
}

#[derive(Debug)]
struct ReplayState {
    upload: RefCell<Upload>,
    kept: RefCell<Vec<Bytes>>,
    /// Kept frames that the current attempt has given out.
    given: Cell<usize>,
    /// Bytes that may still be kept; `None` once too much was sent to begin again.
    room: Cell<Option<usize>>,
    attempt: Cell<u32>,
    ended: Cell<bool>,
    /// Why the client's body broke off: hyper does not pass that on over HTTP/2.
    failure: Cell<Option<Reason>>,
}

impl Replay {
    pub(crate) fn new(upload: Upload, room: usize) -> Self {
        let shared = Rc::new(ReplayState {
            upload: RefCell::new(upload),
            kept: RefCell::default(),
            given: Cell::new(0),
            room: Cell::new(Some(room)),
            attempt: Cell::new(0),
            ended: Cell::new(false),
            failure: Cell::new(None),
        });
        Self { shared, attempt: 0 }
    }

    /// A handle by which the body can be sent again after `self` was given away.
    pub(crate) fn spare(&self) -> Self {
        Self { shared: Rc::clone(&self.shared), attempt: self.attempt }
    }

    /// The body for another attempt; `None` if its beginning is no longer there. Ends all earlier attempts.
    pub(crate) fn again(self) -> Option<Self> {
        self.shared.room.get()?;
        let attempt = self.shared.attempt.get() + 1;
        self.shared.attempt.set(attempt);
        self.shared.given.set(0);
        Some(Self { shared: self.shared, attempt })
    }

    /// Why the client's body broke off, if it did.
    pub(crate) fn failure(&self) -> Option<Reason> {
        self.shared.failure.get()
    }

    /// Stops keeping what is sent: the endpoint has answered. What was kept and is still to be sent again stays until then.
    pub(crate) fn settle(&self) {
        self.shared.room.set(None);
        self.shared.forget_given();
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let shared = &*self.shared;
        if shared.attempt.get() != self.attempt {
            return Poll::Ready(Some(Err(BodyError::new(Reason::UpstreamReset, None))));
        }
        if let Some(kept) = shared.next_kept() {
            return Poll::Ready(Some(Ok(Frame::data(kept))));
        }
        if shared.ended.get() {
            return Poll::Ready(None);
        }
        let polled = shared.upload.borrow_mut().poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.keep(frame),
            Poll::Ready(Some(Err(error))) => {
                shared.room.set(None);
                shared.failure.set(Some(error.reason));
            }
            Poll::Ready(None) => shared.ended.set(true),
            Poll::Pending => {}
        }
        polled
    }

    fn keep(&self, frame: &Frame<Bytes>) {
        let shared = &*self.shared;
        let Some(room) = shared.room.get() else { return };
        // Trailers are not kept: a request that has sent its trailers has been sent whole.
        let left = frame.data_ref().and_then(|data| room.checked_sub(data.len()));
        shared.room.set(left);
        match frame.data_ref() {
            Some(data) if left.is_some() => {
                shared.kept.borrow_mut().push(data.clone());
                shared.given.set(shared.given.get() + 1);
            }
            _ => shared.forget_given(),
        }
    }

    fn is_end_stream(&self) -> bool {
        let all_given = self.shared.given.get() >= self.shared.kept.borrow().len();
        all_given && (self.shared.ended.get() || self.shared.upload.borrow().incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.shared.upload.borrow().incoming.size_hint();
        let kept: usize =
            self.shared.kept.borrow().iter().skip(self.shared.given.get()).map(Bytes::len).sum();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept as u64);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept as u64);
        }
        hint
    }
}

impl ReplayState {
    /// The next frame that was sent by an earlier attempt.
    fn next_kept(&self) -> Option<Bytes> {
        let next = self.kept.borrow().get(self.given.get()).cloned()?;
        self.given.set(self.given.get() + 1);
        if self.room.get().is_none() {
            self.forget_given();
        }
        Some(next)
    }

    fn forget_given(&self) {
        self.kept.borrow_mut().drain(..self.given.take());
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(upload) => upload.poll_frame(cx),
            Self::Replayable(replay) => replay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(upload) => upload.incoming.is_end_stream(),
            Self::Replayable(replay) => replay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(upload) => upload.incoming.size_hint(),
            Self::Replayable(replay) => replay.size_hint(),
        }
    }
}

/// A response's body on its way to the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// None.
    Empty,
    /// Made by us.
    Full(Option<Bytes>),
    /// An endpoint's.
    Download(Box<Download>),
}

/// A body as an endpoint sends it. Dropping it before its end tells the endpoint (HTTP/2: `RST_STREAM`; HTTP/1.1: the
/// connection is closed) and counts the request as aborted by the client.
#[derive(Debug)]
pub(crate) struct Download {
    // Dropped in this order: hyper must see that nobody reads before the connection is offered for reuse.
    incoming: Incoming,
    lease: crate::upstream::Lease,
    record: Box<crate::record::Record>,
    stall: Limit,
    deadline: Option<(Pin<Box<tokio::time::Sleep>>, Reason)>,
    /// The piece that the client has not taken yet.
    untaken: Option<usize>,
    ended: bool,
}

impl Download {
    pub(crate) fn new(
        incoming: Incoming,
        lease: crate::upstream::Lease,
        record: Box<crate::record::Record>,
        stall: Ticks,
        deadline: Option<(tokio::time::Instant, Reason)>,
    ) -> Self {
        let deadline = deadline.map(|(at, reason)| (Box::pin(tokio::time::sleep_until(at)), reason));
        Self { incoming, lease, record, stall: Limit::new(stall), deadline, untaken: None, ended: false }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.taken();
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.stall.restart();
                if let Some(data) = frame.data_ref() {
                    self.record.add_bytes(data.len());
                    self.untaken = Some(self.record.conn().given());
                }
                Poll::Ready(Some(Ok(with_clean_trailers(frame))))
            }
            Poll::Ready(Some(Err(error))) => self.broken(Reason::UpstreamTruncated, Some(error)),
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => self.pending(cx),
        }
    }

    fn taken(&mut self) {
        if let Some(piece) = self.untaken.take() {
            self.record.conn().taken(piece);
        }
    }

    fn pending(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.stall.exceeded(cx) {
            return self.broken(Reason::UpstreamStalled, None);
        }
        if let Some((sleep, reason)) = &mut self.deadline
            && sleep.as_mut().poll(cx).is_ready()
        {
            let reason = *reason;
            return self.broken(reason, None);
        }
        Poll::Pending
    }

    fn broken(
        &mut self,
        reason: Reason,
        source: Option<hyper::Error>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        self.lease.poison();
        self.record.fail(reason);
        Poll::Ready(Some(Err(BodyError::new(reason, source))))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.taken();
        if !self.ended && !self.incoming.is_end_stream() {
            self.record.abandon();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Download(download) => download.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Download(download) => download.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Download(download) => download.incoming.size_hint(),
        }
    }
}
