//! A response's body as it comes from the connection.
//!
//! The rest of the request, if the endpoint answered before it was written, is written here too, so that one task moves both.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt;

use super::chunks::{Chunks, Piece};
use super::conn::Conn;
use super::send::{SendError, Sending};
use crate::reason::Reason;

/// Bytes read at once: at first, and at most. Fewer cost system calls, more cost memory while a slow client reads.
const READ: usize = 16 * 1024;
const READ_MAX: usize = 128 * 1024;

/// A body that is being read. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub(crate) struct Body {
    conn: Option<Conn>,
    /// Read and not given out yet.
    ahead: Bytes,
    buffer: BytesMut,
    read: usize,
    rest: Rest,
    sending: Option<Sending>,
    is_reusable: bool,
}

/// What is left of a body.
#[derive(Debug)]
pub(super) enum Rest {
    /// That many bytes, more than none.
    Length(u64),
    /// Chunks.
    Chunks(Box<Chunks>),
    /// All until the connection ends.
    UntilClose,
    /// Nothing.
    Nothing,
}

impl Body {
    pub(super) fn new(
        conn: Conn,
        ahead: Bytes,
        rest: Rest,
        sending: Option<Sending>,
        is_reusable: bool,
    ) -> Self {
        Self { conn: Some(conn), ahead, buffer: BytesMut::new(), read: READ, rest, sending, is_reusable }
    }

    /// The next frame. An error means that it broke off.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reason>>> {
        if let Err(reason) = self.poll_sending(cx) {
            self.break_off();
            return Poll::Ready(Some(Err(reason)));
        }
        loop {
            match self.next_piece() {
                Ok(Some(Piece::Data(data))) => {
                    self.end_if_ended();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Some(Piece::Trailers(trailers))) => {
                    self.end_if_ended();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Some(Piece::End)) => {
                    self.end_if_ended();
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(reason) => {
                    self.break_off();
                    return Poll::Ready(Some(Err(reason)));
                }
            }
            match ready!(self.poll_read(cx)) {
                Ok(ahead) if !ahead.is_empty() => self.ahead = ahead,
                Ok(_) if matches!(self.rest, Rest::UntilClose) => {
                    self.rest = Rest::Nothing;
                    self.is_reusable = false;
                }
                Ok(_) | Err(_) => {
                    self.break_off();
                    return Poll::Ready(Some(Err(Reason::UpstreamTruncated)));
                }
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Chunks(_) | Rest::UntilClose => SizeHint::new(),
        }
    }

    /// Writes on what is left of the request.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let (Some(sending), Some(conn)) = (&mut self.sending, &mut self.conn) else { return Ok(()) };
        match sending.poll(conn.stream(), cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            // It has answered, and does not want the rest.
            Poll::Ready(Err(SendError::Closed)) => self.is_reusable = false,
            Poll::Ready(Err(SendError::Body(error))) => return Err(error.reason),
        }
        self.sending = None;
        Ok(())
    }

    /// What can be given out of what was read; `None` if more has to be read.
    fn next_piece(&mut self) -> Result<Option<Piece>, Reason> {
        match &mut self.rest {
            Rest::Nothing => Ok(Some(Piece::End)),
            Rest::UntilClose | Rest::Length(_) if self.ahead.is_empty() => Ok(None),
            Rest::UntilClose => Ok(Some(Piece::Data(std::mem::take(&mut self.ahead)))),
            Rest::Length(left) => {
                let count =
                    usize::try_from(*left).map_or(self.ahead.len(), |left| left.min(self.ahead.len()));
                *left -= count as u64;
                let data = self.ahead.split_to(count);
                if *left == 0 {
                    self.rest = Rest::Nothing;
                }
                Ok(Some(Piece::Data(data)))
            }
            Rest::Chunks(chunks) => {
                let piece = chunks.next(&mut self.ahead).map_err(|_| Reason::UpstreamTruncated)?;
                if chunks.ends_with(&mut self.ahead) {
                    self.rest = Rest::Nothing;
                }
                Ok(piece)
            }
        }
    }

    /// Gives the connection back once the body is read, and the request written.
    fn end_if_ended(&mut self) {
        if !self.is_end_stream() {
            return;
        }
        let Some(conn) = self.conn.take() else { return };
        // Bytes that nobody asked for: who knows whose answer they would be taken for.
        let is_reusable = self.is_reusable && self.ahead.is_empty();
        match self.sending.take() {
            None if is_reusable => conn.give_back(),
            None => {}
            Some(sending) => finish_in_background(conn, sending, is_reusable),
        }
    }

    fn break_off(&mut self) {
        self.rest = Rest::Nothing;
        self.conn = None;
        self.sending = None;
    }

    /// Reads more; nothing at the end of the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let Some(conn) = &mut self.conn else { return Poll::Ready(Ok(Bytes::new())) };
        // Not beyond the end, and a little more room than that: a read that fills it says nothing about what is left.
        let wanted = match self.rest {
            Rest::Length(left) => {
                usize::try_from(left).map_or(self.read, |left| self.read.min(left.saturating_add(64)))
            }
            _ => self.read,
        };
        self.buffer.reserve(wanted);
        let count = ready!(pin!(conn.stream().read_buf(&mut self.buffer)).poll(cx))?;
        if count >= self.read {
            self.read = (self.read * 2).min(READ_MAX);
        }
        Poll::Ready(Ok(self.buffer.split().freeze()))
    }
}

/// Writes what is left of a request whose response was read to its end, as the endpoint may want all of it.
pub(super) fn finish_in_background(mut conn: Conn, mut sending: Sending, is_reusable: bool) {
    tokio::task::spawn_local(async move {
        let sent = poll_fn(|cx| sending.poll(conn.stream(), cx)).await;
        if sent.is_ok() && is_reusable {
            conn.give_back();
        }
    });
}
