//! Bodies on their way through: never collected, one frame at a time, at the pace of the slower side.
//!
//! One enum for each direction instead of boxed trait objects, so that a frame costs no virtual call and a request without a
//! body no allocation.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};

mod download;
mod replay;
mod upload;

use crate::reason::Reason;
pub(crate) use download::Download;
pub(crate) use replay::Replay;
pub(crate) use upload::{Gate, Progress, Upload};

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
    pub(crate) fn new(reason: Reason, source: Option<hyper::Error>) -> Self {
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

/// A request's body on its way to an endpoint. Boxed, since most requests have none and all of them are moved about.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// Straight through.
    Streaming(Box<Upload>),
    /// Through, with its beginning kept in case the endpoint refuses the stream.
    Replayable(Box<Replay>),
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
            Self::Streaming(upload) => upload.is_end_stream(),
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
    /// Made by us. In a box because it is rare, and larger than the others.
    Full(Option<Box<Bytes>>),
    /// An endpoint's.
    Download(Box<Download>),
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
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(*bytes)))),
            Self::Download(download) => download.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Download(download) => download.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len()) as u64),
            Self::Download(download) => download.size_hint(),
        }
    }
}
