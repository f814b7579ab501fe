//! The byte stream between a socket and hyper.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::coarse::{self, Ticks};

/// What passed over a stream, for those who do not own it. Written by one worker thread only.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Tick of the last read or write that moved something (or found the end).
    last: AtomicU32,
    /// Whether anything was read since [`Activity::forget_reads`].
    read: AtomicBool,
}

impl Activity {
    /// Tick of the last movement.
    pub(crate) fn last(&self) -> Ticks {
        self.last.load(Relaxed)
    }

    /// Starts watching for reads anew.
    pub(crate) fn forget_reads(&self) {
        self.read.store(false, Relaxed);
    }

    /// Whether anything was read since then.
    pub(crate) fn has_read(&self) -> bool {
        self.read.load(Relaxed)
    }

    fn note_read(&self) {
        self.read.store(true, Relaxed);
        self.last.store(coarse::now(), Relaxed);
    }

    fn note_write(&self) {
        self.last.store(coarse::now(), Relaxed);
    }
}

/// A TCP stream as hyper reads and writes it, with bytes that were read ahead and a note of what passes.
#[derive(Debug)]
pub(crate) struct Io {
    stream: TokioIo<TcpStream>,
    /// Read before hyper took over; given out first.
    ahead: Vec<u8>,
    activity: Arc<Activity>,
}

impl Io {
    pub(crate) fn new(stream: TcpStream, ahead: Vec<u8>, activity: Arc<Activity>) -> Self {
        activity.note_write();
        Self { stream: TokioIo::new(stream), ahead, activity }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.stream.inner().as_raw_fd()
    }

    /// The stream, and what was read ahead and never given out.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream.into_inner(), self.ahead)
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            if count == self.ahead.len() {
                self.ahead = Vec::new();
            } else {
                self.ahead.drain(..count);
            }
            self.activity.note_read();
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.activity.note_read();
        }
        polled
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if polled.is_ready() {
            self.activity.note_write();
        }
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
        if polled.is_ready() {
            self.activity.note_write();
        }
        polled
    }
}
