//! Writing a request: its head, and its body at the pace of the slower side.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::framing::Framing;
use super::request_head;
use crate::body::{BodyError, RequestBody};
use crate::reason::Reason;

/// Why a request was not written to its end.
#[derive(Debug)]
pub(super) enum SendError {
    /// Its body broke off.
    Body(BodyError),
    /// The endpoint takes no more. It may have answered all the same.
    Closed,
}

/// A request that is being written.
#[derive(Debug)]
pub(super) struct Sending {
    /// The head, or the line before a chunk; written up to `written_of_lines`.
    lines: Vec<u8>,
    written_of_lines: usize,
    /// A frame of the body.
    data: Bytes,
    /// What ends its chunk.
    tail: &'static [u8],
    body: RequestBody,
    framing: Framing,
    /// Whether nothing follows what is here.
    is_last: bool,
    has_begun: bool,
}

impl Sending {
    /// A request with this head.
    pub(super) fn new(head: Vec<u8>, body: RequestBody, framing: Framing) -> Self {
        Self {
            lines: head,
            written_of_lines: 0,
            data: Bytes::new(),
            tail: b"",
            is_last: matches!(framing, Framing::None),
            body,
            framing,
            has_begun: false,
        }
    }

    /// Whether a byte of it was written.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The body of a request of which no byte was written, as if nobody had looked at it; `None` if that cannot be.
    pub(super) fn into_body(mut self) -> Option<RequestBody> {
        if !self.data.is_empty() {
            let RequestBody::Streaming(upload) = &mut self.body else { return None };
            upload.put_back(std::mem::take(&mut self.data));
        } else if self.is_last && !matches!(self.framing, Framing::None) {
            // Its trailers are gone.
            return None;
        }
        Some(self.body)
    }

    /// The storage of the head, once it was written.
    pub(super) fn into_lines(self) -> Vec<u8> {
        self.lines
    }

    /// Writes until all was written. A frame of the body that is there at once goes out together with the head.
    pub(super) fn poll(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            let mut waits_for_body = false;
            if !self.is_last && self.data.is_empty() && self.tail.is_empty() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(frame) => self.take(frame.transpose().map_err(SendError::Body)?)?,
                    Poll::Pending => waits_for_body = true,
                }
            }
            if self.has_more() {
                match ready!(self.poll_write(stream, cx)) {
                    Ok(count) if count > 0 => self.advance(count),
                    _ => return Poll::Ready(Err(SendError::Closed)),
                }
            } else if self.is_last {
                return Poll::Ready(Ok(()));
            } else if waits_for_body {
                return Poll::Pending;
            }
        }
    }

    fn has_more(&self) -> bool {
        self.written_of_lines < self.lines.len() || !self.data.is_empty() || !self.tail.is_empty()
    }

    fn poll_write(&self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let lines = &self.lines[self.written_of_lines..];
        let stream = Pin::new(stream);
        if self.data.is_empty() && self.tail.is_empty() {
            return stream.poll_write(cx, lines);
        }
        stream.poll_write_vectored(cx, &[lines, &self.data, self.tail].map(IoSlice::new))
    }

    fn advance(&mut self, mut count: usize) {
        self.has_begun = true;
        let of_lines = count.min(self.lines.len() - self.written_of_lines);
        self.written_of_lines += of_lines;
        count -= of_lines;
        if self.written_of_lines == self.lines.len() {
            self.lines.clear();
            self.written_of_lines = 0;
        }
        let of_data = count.min(self.data.len());
        self.data.advance(of_data);
        self.tail = &self.tail[count - of_data..];
    }

    /// Takes the next frame of the body, or its end.
    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), SendError> {
        let broken = |reason| SendError::Body(BodyError::new(reason, None));
        let Some(frame) = frame else {
            self.is_last = true;
            match self.framing {
                // Shorter than announced; the client's side of hyper says so itself.
                Framing::Length(1..) => return Err(broken(Reason::ClientAborted)),
                Framing::Chunked => self.lines.extend_from_slice(b"0\r\n\r\n"),
                _ => {}
            }
            return Ok(());
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => match &mut self.framing {
                Framing::Length(left) => {
                    *left = left.checked_sub(data.len() as u64).ok_or_else(|| broken(Reason::BadRequest))?;
                    self.is_last = *left == 0;
                    self.data = data;
                }
                _ => self.take_chunk(data),
            },
            Err(frame) => {
                if let (Framing::Chunked, Ok(trailers)) = (self.framing, frame.into_trailers()) {
                    request_head::write_trailers(&mut self.lines, &trailers);
                    self.is_last = true;
                }
            }
        }
        Ok(())
    }

    fn take_chunk(&mut self, data: Bytes) {
        request_head::write_chunk_size(&mut self.lines, data.len());
        self.data = data;
        self.is_last = self.body.is_end_stream();
        self.tail = if self.is_last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
    }
}
