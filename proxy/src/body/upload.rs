//! A request's body as the client sends it: within its limits, and held back where the client waits to be asked for it.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::BodyError;
use crate::coarse::{self, Limit, Ticks};
use crate::connection::ConnState;
use crate::headers;
use crate::reason::Reason;

/// A body as the client sends it.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(super) incoming: Incoming,
    stall: Limit,
    /// Bytes left before the body is too large.
    allowed: u64,
    gate: Option<(Rc<Gate>, Limit)>,
    /// Taken out for an attempt that came to nothing.
    put_back: Bytes,
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
        Self { incoming, stall: Limit::new(stall), allowed, gate: None, put_back: Bytes::new(), progress }
    }

    /// Holds the body back until the gate opens, but no longer than `wait` (RFC 9110 section 10.1.1: a client must not wait
    /// indefinitely, and will send the body unasked).
    pub(crate) fn behind(mut self, gate: Rc<Gate>, wait: Ticks) -> Self {
        self.gate = Some((gate, Limit::new(wait)));
        self
    }

    /// Puts back what was given out last, since nobody got it.
    pub(crate) fn put_back(&mut self, data: Bytes) {
        self.put_back = data;
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.put_back.is_empty() && self.incoming.is_end_stream()
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.put_back.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.put_back)))));
        }
        if let Some((gate, wait)) = &mut self.gate {
            if !gate.is_open() && !wait.exceeded(cx) {
                gate.remember(cx);
                return Poll::Pending;
            }
            gate.open();
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

pub(super) fn with_clean_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
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

/// Holds back a body whose client expects `100 Continue` until the endpoint says so.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_open: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    /// Lets the body through.
    pub(crate) fn open(&self) {
        self.is_open.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    fn remember(&self, cx: &Context<'_>) {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
    }
}
