//! A response's body as an endpoint sends it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::BodyError;
use super::upload::with_clean_trailers;
use crate::coarse::{Limit, Ticks};
use crate::reason::Reason;
use crate::record::Record;
use crate::upstream;

/// A body as an endpoint sends it. Dropping it before its end tells the endpoint (HTTP/2: `RST_STREAM`; HTTP/1.1: the
/// connection is closed) and counts the request as aborted by the client.
#[derive(Debug)]
pub(crate) struct Download {
    body: upstream::Body,
    record: Box<Record>,
    stall: Limit,
    deadline: Option<(Pin<Box<tokio::time::Sleep>>, Reason)>,
    /// The piece that the client has not taken yet.
    untaken: Option<usize>,
    /// Why it broke off, before that is said.
    broken: Option<Reason>,
    ended: bool,
}

impl Download {
    pub(crate) fn new(
        body: upstream::Body,
        record: Box<Record>,
        stall: Ticks,
        deadline: Option<(tokio::time::Instant, Reason)>,
    ) -> Self {
        let deadline = deadline.map(|(at, reason)| (Box::pin(tokio::time::sleep_until(at)), reason));
        Self { body, record, stall: Limit::new(stall), deadline, untaken: None, broken: None, ended: false }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.taken();
        if let Some(reason) = self.broken {
            return Poll::Ready(Some(Err(BodyError::new(reason, None))));
        }
        match self.body.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.stall.restart();
                if let Some(data) = frame.data_ref() {
                    self.record.add_bytes(data.len());
                    self.untaken = self.record.conn().given();
                }
                Poll::Ready(Some(Ok(with_clean_trailers(frame))))
            }
            Poll::Ready(Some(Err(reason))) => self.broken(reason, cx),
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => self.pending(cx),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn taken(&mut self) {
        if let Some(piece) = self.untaken.take() {
            self.record.conn().taken(piece);
        }
    }

    fn pending(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.stall.exceeded(cx) {
            return self.broken(Reason::UpstreamStalled, cx);
        }
        if let Some((sleep, reason)) = &mut self.deadline
            && sleep.as_mut().poll(cx).is_ready()
        {
            let reason = *reason;
            return self.broken(reason, cx);
        }
        Poll::Pending
    }

    /// It is said at the next turn: hyper throws away what it has not written when it hears of it, and the client would see
    /// less than there was, if only the head.
    fn broken(&mut self, reason: Reason, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.broken = Some(reason);
        self.record.fail(reason);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.taken();
        if !self.ended && self.broken.is_none() && !self.body.is_end_stream() {
            self.record.abandon();
        }
    }
}
