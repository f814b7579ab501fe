//! Bodies on a stream, both ways, moved by the request's own task.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use http_body::{Body as _, Frame, SizeHint};

use crate::body::RequestBody;
use crate::reason::Reason;
use crate::upstream::http1::framing;
use crate::upstream::pool::Lease;

/// Why a request's body was not sent to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The client's side broke off.
    ByClient(Reason),
    /// The endpoint wants no more of it.
    ByEndpoint,
}

/// A request's body on its way.
#[derive(Debug)]
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    body: RequestBody,
}

impl Sending {
    pub(super) fn new(stream: SendStream<Bytes>, body: RequestBody) -> Self {
        Self { stream, body }
    }

    /// The endpoint has answered: the body's beginning is not needed any more.
    pub(super) fn settled(mut self) -> Self {
        if let RequestBody::Replayable(replay) = &mut self.body {
            replay.settle();
        }
        self
    }

    /// Puts the body back to be sent from its beginning again; false if that is gone.
    pub(super) fn begin_again(self, request: &mut Request<RequestBody>) -> bool {
        let RequestBody::Replayable(replay) = self.body else { return false };
        let Some(replay) = replay.again() else { return false };
        *request.body_mut() = RequestBody::Replayable(Box::new(replay));
        true
    }

    /// Sends until all was sent, at the pace of the endpoint's window.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            ready!(self.poll_room(cx))?;
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if self.send(frame)? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Some(Err(error)) => {
                    self.stream.send_reset(h2::Reason::CANCEL);
                    return Poll::Ready(Err(Stopped::ByClient(error.reason)));
                }
                None => {
                    let sent = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(sent.map_err(|_| Stopped::ByEndpoint));
                }
            }
        }
    }

    /// Waits until a byte may be sent.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Stopped::ByEndpoint)),
            }
        }
        match self.stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Err(Stopped::ByEndpoint)),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    /// True if it was the last one.
    fn send(&mut self, frame: Frame<Bytes>) -> Result<bool, Stopped> {
        let sent = match frame.into_data() {
            Ok(data) => {
                let is_last = self.body.is_end_stream();
                self.stream.send_data(data, is_last).map(|()| is_last)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    // The byte that was reserved is not needed.
                    self.stream.reserve_capacity(0);
                    self.stream.send_trailers(trailers).map(|()| true)
                }
                Err(_) => Ok(false),
            },
        };
        sent.map_err(|_| Stopped::ByEndpoint)
    }
}

/// A response's body that is being read. Dropped before its end, it resets the stream.
#[derive(Debug)]
pub(crate) struct Body {
    stream: RecvStream,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    has_data: bool,
    sending: Option<Sending>,
    /// Given back with the last byte.
    lease: Option<Lease>,
}

impl Body {
    pub(super) fn new(
        stream: RecvStream,
        headers: &HeaderMap,
        has_none: bool,
        sending: Option<Sending>,
        lease: Lease,
    ) -> Self {
        let left = if has_none { Some(0) } else { framing::content_length(headers).ok().flatten() };
        Self { stream, left, has_data: true, sending, lease: Some(lease) }
    }

    /// The next frame. An error means that it broke off.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(sent) = sending.poll(cx)
        {
            self.sending = None;
            if let Err(Stopped::ByClient(reason)) = sent {
                return Poll::Ready(Some(Err(reason)));
            }
        }
        if self.has_data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(self.take(data)))),
                // The endpoint has sent all and wants no more of the request (RFC 9113 section 8.1).
                Some(Err(error)) if error.reason() == Some(h2::Reason::NO_ERROR) && self.may_end() => {
                    return Poll::Ready(None);
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(Reason::UpstreamTruncated))),
                None => self.has_data = false,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        self.end();
        match trailers {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) if error.reason() == Some(h2::Reason::NO_ERROR) => Poll::Ready(None),
            Err(_) => Poll::Ready(Some(Err(Reason::UpstreamTruncated))),
        }
    }

    fn take(&mut self, data: Bytes) -> Frame<Bytes> {
        // Given out at once: what is not asked for is not read, and so the window stays closed.
        let _ = self.stream.flow_control().release_capacity(data.len());
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        if self.stream.is_end_stream() {
            self.end();
        }
        Frame::data(data)
    }

    fn may_end(&self) -> bool {
        self.left.is_none_or(|left| left == 0)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        // Known without asking `h2`, which locks the connection to look.
        self.lease.is_none() || self.stream.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }

    /// The response was read to its end. What is left of the request is sent on, as the endpoint may want all of it.
    fn end(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        if let Some(mut sending) = self.sending.take() {
            tokio::task::spawn_local(async move {
                // Nobody waits for it.
                let _ = poll_fn(|cx| sending.poll(cx)).await;
                drop(lease);
            });
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.end();
        }
    }
}
