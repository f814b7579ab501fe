//! A response's body as an endpoint sends it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::BodyError;
use super::upload::with_clean_trailers;
use crate::coarse::{Limit, Ticks};
use crate::reason::Reason;

/// A body as an endpoint sends it. Dropping it before its end tells the endpoint (HTTP/2: `RST_STREAM`; HTTP/1.1: the
/// connection is closed) and counts the request as aborted by the client.
#[derive(Debug)]
pub(crate) struct Download {
    // Dropped in this order: hyper must see that nobody reads before the connection is offered for reuse.
    pub(super) incoming: Incoming,
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

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
