//! hyper over tokio's TCP streams, and a GET for the demo's own questions.
//!
//! The proxy's own adapter is tuned for its data path and private to it; here a copy through a small buffer costs nothing that
//! matters, and needs no unsafe code.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Request, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much is read at once.
const READ_BYTES: usize = 8 * 1024;

/// As much as an answer to [`fetch`] may hold: metrics of a few hundred routes fit many times.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A TCP stream as hyper wants it.
#[derive(Debug)]
pub(super) struct Io(pub(super) TcpStream);

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [0; READ_BYTES];
        let room = into.remaining().min(READ_BYTES);
        let mut buffer = ReadBuf::new(&mut space[..room]);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        into.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, from)
    }
}

/// Runs hyper's HTTP/2 tasks on the current thread, inside a `LocalSet`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spawn;

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Asks for one path on a fresh connection and reads the whole answer as text.
pub(super) async fn fetch(
    addr: SocketAddr,
    path: &str,
    patience: Duration,
) -> anyhow::Result<(StatusCode, String)> {
    let answer = tokio::time::timeout(patience, ask(addr, path)).await;
    answer.with_context(|| format!("http://{addr}{path} did not answer within {patience:?}"))?
}

async fn ask(addr: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let asking = || format!("asking http://{addr}{path}");
    let stream = TcpStream::connect(addr).await.with_context(asking)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(Io(stream)).await.with_context(asking)?;
    let running = tokio::spawn(connection);
    let request =
        Request::get(path).header(header::HOST, addr.to_string()).header(header::CONNECTION, "close");
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await.with_context(asking)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    running.abort();
    let body = body.map_err(|error| anyhow::anyhow!("{error}")).with_context(asking)?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
