//! A request's body that can be sent from its beginning again, while an HTTP/2 endpoint may still refuse the stream.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, Upload};

/// A body that can be sent from its beginning once more, as long as little enough of it was sent.
#[derive(Debug)]
pub(crate) struct Replay {
    upload: Upload,
    kept: Vec<Bytes>,
    /// Kept frames that were given out since the beginning.
    given: usize,
    /// Bytes that may still be kept; `None` once too much was sent to begin again.
    room: Option<usize>,
    ended: bool,
}

impl Replay {
    pub(crate) fn new(upload: Upload, room: usize) -> Self {
        Self { upload, kept: Vec::new(), given: 0, room: Some(room), ended: false }
    }

    /// The body from its beginning; `None` if that is no longer there.
    pub(crate) fn again(mut self) -> Option<Self> {
        self.room?;
        self.given = 0;
        Some(self)
    }

    /// Stops keeping what is sent: the endpoint has answered. What was kept and is still to be sent again stays until then.
    pub(crate) fn settle(&mut self) {
        self.room = None;
        self.forget_given();
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(kept) = self.next_kept() {
            return Poll::Ready(Some(Ok(Frame::data(kept))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.upload.poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.keep(frame),
            Poll::Ready(Some(Err(_))) => self.room = None,
            Poll::Ready(None) => self.ended = true,
            Poll::Pending => {}
        }
        polled
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(room) = self.room else { return };
        // Trailers are not kept: a request that has sent its trailers has been sent whole.
        self.room = frame.data_ref().and_then(|data| room.checked_sub(data.len()));
        match frame.data_ref() {
            Some(data) if self.room.is_some() => {
                self.kept.push(data.clone());
                self.given += 1;
            }
            _ => self.forget_given(),
        }
    }

    /// The next frame that was sent before.
    fn next_kept(&mut self) -> Option<Bytes> {
        let next = self.kept.get(self.given)?.clone();
        self.given += 1;
        if self.room.is_none() {
            self.forget_given();
        }
        Some(next)
    }

    fn forget_given(&mut self) {
        self.kept.drain(..self.given);
        self.given = 0;
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.given >= self.kept.len() && (self.ended || self.upload.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let rest = self.upload.incoming.size_hint();
        let kept = self.kept.iter().skip(self.given).map(Bytes::len).sum::<usize>() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept);
        }
        hint
    }
}
