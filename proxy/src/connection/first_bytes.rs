//! Waiting for a client's first bytes, which tell HTTP/1.1 and HTTP/2 with prior knowledge apart (RFC 9113 section 3.3).

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::state::{ConnState, Order};
use crate::limits::Limits;
use crate::socket::{self, Queue};

/// The first bytes of every HTTP/2 connection.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes read at once while telling the protocols apart; most requests' heads fit.
const FIRST_READ: usize = 4 * 1024;

/// How waiting for the first bytes ended.
pub(super) enum First {
    /// With bytes, enough to tell the protocols apart.
    Bytes(Vec<u8>),
    /// With none, and the client has been silent for long enough to be parked.
    Silence,
    /// The client closed first, took too long in the middle of the preface, or was told to go.
    End,
}

/// What came first.
enum Came {
    /// This many bytes; none at the end.
    Bytes(usize),
    Order(Order),
}

/// Waits for the first bytes and reads until it is clear which protocol the client speaks.
pub(super) async fn first_bytes(limits: &Limits, state: &ConnState, stream: &mut TcpStream) -> First {
    let mut bytes = Vec::new();
    while bytes.is_empty() {
        match poll_fn(|cx| poll_bytes_or_order(state, stream, &mut bytes, cx)).await {
            Ok(Came::Bytes(0) | Came::Order(Order::Kill(_))) | Err(_) => return First::End,
            Ok(Came::Order(order)) if socket::peek(state.fd) == Queue::Empty => {
                return if order == Order::Park { First::Silence } else { First::End };
            }
            // After an order whose first bytes came before it did, they are about to be noticed.
            Ok(Came::Bytes(_) | Came::Order(_)) => {}
        }
    }
    match rest_of_preface(limits, stream, &mut bytes).await {
        Some(()) => First::Bytes(bytes),
        None => First::End,
    }
}

/// Reads on as long as this may become an HTTP/2 preface; `None` if it ends or takes too long before that is clear.
async fn rest_of_preface(limits: &Limits, stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let end = Instant::now() + limits.head_timeout;
    while bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes) {
        let more = poll_fn(|cx| poll_bytes(stream, bytes, cx));
        let count = tokio::time::timeout_at(end, more).await.ok()?.ok()?;
        (count > 0).then_some(())?;
    }
    Some(())
}

fn poll_bytes_or_order(
    state: &ConnState,
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Came>> {
    match poll_bytes(stream, bytes, cx) {
        Poll::Ready(read) => Poll::Ready(read.map(Came::Bytes)),
        Poll::Pending => state.poll_order(cx).map(|order| Ok(Came::Order(order))),
    }
}

/// Reads what is there into room on the stack: nothing is allocated for a client that has not said anything yet. How many bytes
/// there were; none at the end.
fn poll_bytes(stream: &mut TcpStream, bytes: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut space = [MaybeUninit::uninit(); FIRST_READ];
    let mut read = ReadBuf::uninit(&mut space);
    ready!(Pin::new(stream).poll_read(cx, &mut read))?;
    bytes.extend_from_slice(read.filled());
    Poll::Ready(Ok(read.filled().len()))
}
