//! A request's body that can be sent from its beginning again, while an HTTP/2 endpoint may still refuse the stream.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, Upload};
use crate::reason::Reason;

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

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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

    pub(super) fn is_end_stream(&self) -> bool {
        let all_given = self.shared.given.get() >= self.shared.kept.borrow().len();
        all_given && (self.shared.ended.get() || self.shared.upload.borrow().incoming.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
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
