//! The byte stream between a socket and hyper.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::coarse::{self, Limit, Ticks, ticks};

/// How long a closed connection waits for the other side to stop sending.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes of a head and a body that are copied to be sent together: less work for the kernel than a list of two, up to about
/// this many.
const GATHER_MAX: usize = 4 * 1024;

thread_local! {
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What passed over a stream, for those who do not own it. Written by one worker thread only.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Tick of the last byte read or written.
    last: AtomicU32,
    /// Whether a byte was read since [`Activity::forget_reads`].
    read: AtomicBool,
    /// Whether the last write found no room: the other side does not read.
    blocked: AtomicBool,
    /// Whether bytes that nobody will read may still arrive.
    lingering: AtomicBool,
    /// Whether our side is being closed.
    closing: AtomicBool,
    /// Whether the other side has said that it will send nothing more.
    silent: AtomicBool,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            last: AtomicU32::new(coarse::now()),
            read: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            lingering: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            silent: AtomicBool::new(false),
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

    /// Makes the end of the stream wait for bytes that nobody will read.
    pub(crate) fn linger(&self) {
        self.lingering.store(true, Relaxed);
    }

    /// Spares the end of the stream to look for bytes that nobody will read: none will come.
    pub(crate) fn expect_nothing(&self) {
        self.silent.store(true, Relaxed);
    }

    fn expects_nothing(&self) -> bool {
        self.silent.load(Relaxed) && !self.lingering.load(Relaxed)
    }

    /// Whether our side of the stream is closed or about to be.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
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

/// Resolves when the first bytes have been read from a stream, or nobody reads it any more.
pub(crate) type FirstRead = oneshot::Receiver<()>;

/// Who is at the other end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Client,
    Endpoint,
}

/// A TCP stream that notes what passes.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
    first_read: Option<oneshot::Sender<()>>,
    peer: Peer,
}

impl Watched {
    /// A stream to an endpoint, and what resolves when the first bytes have come from there.
    pub(crate) fn to_endpoint(stream: TcpStream, activity: Arc<Activity>) -> (Self, FirstRead) {
        let (told, first_read) = oneshot::channel();
        (Self { stream, activity, first_read: Some(told), peer: Peer::Endpoint }, first_read)
    }

    /// Takes note of a write. An endpoint that answers early and closes resets the connection under the rest of the upload,
    /// with its answer still unread on our side; hyper would give up at the failed write. So that failure is left for the next
    /// read to find, after the answer.
    fn wrote(&self, polled: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        self.activity.note_write(&polled);
        match polled {
            Poll::Ready(Err(error))
                if self.peer == Peer::Endpoint
                    && matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Poll::Ready(Ok(length))
            }
            polled => polled,
        }
    }
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
            if let Some(told) = self.first_read.take() {
                // Nobody may want to know any more.
                let _ = told.send(());
            }
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(polled, buf.len())
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
        let length = bufs.iter().map(|buf| buf.len()).sum();
        let polled = if length <= GATHER_MAX {
            GATHERED.with_borrow_mut(|gathered| {
                gathered.clear();
                for buf in bufs {
                    gathered.extend_from_slice(buf);
                }
                Pin::new(&mut self.stream).poll_write(cx, gathered)
            })
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
        };
        self.wrote(polled, length)
    }
}

/// A client's stream as hyper reads and writes it, with bytes that were read ahead and a note of what passes.
#[derive(Debug)]
pub(crate) struct Io {
    stream: TokioIo<Watched>,
    /// Read before hyper took over; given out first.
    ahead: Vec<u8>,
    /// There from when our side was closed on, while the other may still be sending.
    lingers: Option<Limit>,
}

impl Io {
    /// A client's stream, of which some was read already.
    pub(crate) fn of_client(stream: TcpStream, ahead: Vec<u8>, activity: Arc<Activity>) -> Self {
        if !ahead.is_empty() {
            activity.note_read();
        }
        let watched = Watched { stream, activity, first_read: None, peer: Peer::Client };
        Self { stream: TokioIo::new(watched), ahead, lingers: None }
    }

    /// The stream, and what was read ahead and never given out.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream.into_inner().stream, self.ahead)
    }

    /// Throws away what arrives until the other side has closed too or the time is up. A socket that is closed with unread
    /// bytes resets its connection, and the other side may lose the answer that it has not read yet (RFC 9112 section 9.6).
    /// Where nothing has arrived and nothing is expected, it is over at once.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.lingers.get_or_insert_with(|| Limit::new(ticks(LINGER)));
        let Watched { stream, activity, .. } = self.stream.inner_mut();
        let mut space = [MaybeUninit::uninit(); 8 * 1024];
        loop {
            let mut buf = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => activity.linger(),
                Poll::Pending if activity.lingering.load(Relaxed) && !limit.exceeded(cx) => {
                    return Poll::Pending;
                }
                Poll::Ready(_) | Poll::Pending => return Poll::Ready(()),
            }
        }
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
        if self.lingers.is_none() {
            let activity = &self.stream.inner().activity;
            activity.closing.store(true, Relaxed);
            if activity.expects_nothing() {
                // The socket is about to be closed, which ends our side as well, with two calls less.
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
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
