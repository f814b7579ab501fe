//! The byte stream between a socket and hyper.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::coarse::{self, Ticks};

/// What passed over a stream, for those who do not own it. Written by one worker thread only.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Tick of the last byte read or written.
    last: AtomicU32,
    /// Whether a byte was read since [`Activity::forget_reads`].
    read: AtomicBool,
    /// Whether the last write found no room: the other side does not read.
    blocked: AtomicBool,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            last: AtomicU32::new(coarse::now()),
            read: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
        }
    }
}

impl Activity {
    /// Tick of the last movement; of the beginning, if nothing has moved yet.
    pub(crate) fn last(&self) -> Ticks {
        self.last.load(Relaxed)
    }

    /// Starts watching for reads anew.
    pub(crate) fn forget_reads(&self) {
        self.read.store(false, Relaxed);
    }

    /// Whether a byte was read since then. The end of the stream is not a byte.
    pub(crate) fn has_read(&self) -> bool {
        self.read.load(Relaxed)
    }

    /// Whether bytes wait for the other side to read.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    fn note_read(&self) {
        self.read.store(true, Relaxed);
        self.last.store(coarse::now(), Relaxed);
    }

    fn note_write<T>(&self, polled: &Poll<T>) {
        self.blocked.store(polled.is_pending(), Relaxed);
        if polled.is_ready() {
            self.last.store(coarse::now(), Relaxed);
        }
    }
}

/// A TCP stream that notes what passes.
#[derive(Debug)]
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.note_read();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.activity.note_write(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.activity.note_write(&polled);
        polled
    }
}

/// A TCP stream as hyper reads and writes it, with bytes that were read ahead and a note of what passes.
#[derive(Debug)]
pub(crate) struct Io {
    stream: TokioIo<Watched>,
    /// Read before hyper took over; given out first.
    ahead: Vec<u8>,
}

impl Io {
    pub(crate) fn new(stream: TcpStream, ahead: Vec<u8>, activity: Arc<Activity>) -> Self {
        if !ahead.is_empty() {
            activity.note_read();
        }
        Self { stream: TokioIo::new(Watched { stream, activity }), ahead }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.stream.inner().stream.as_raw_fd()
    }

    /// The stream, and what was read ahead and never given out.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream.into_inner().stream, self.ahead)
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        if count == self.ahead.len() {
            self.ahead = Vec::new();
        } else {
            self.ahead.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
