//! Waiting for a client's first bytes, which tell HTTP/1.1 and HTTP/2 with prior knowledge apart (RFC 9113 section 3.3).

use std::io;

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

/// Waits for the first bytes and reads until it is clear which protocol the client speaks.
pub(super) async fn first_bytes(limits: &Limits, state: &ConnState, stream: &TcpStream) -> First {
    let mut bytes = Vec::new();
    while bytes.is_empty() {
        // Nothing is allocated for a client that has not said anything yet.
        match readable_or_ordered(state, stream).await {
            Ok(None) => {}
            Err(_) | Ok(Some(Order::Kill(_))) => return First::End,
            Ok(Some(order)) if socket::peek(state.fd) == Queue::Empty => {
                return if order == Order::Park { First::Silence } else { First::End };
            }
            // Its first bytes came before the order did, and are about to be noticed.
            Ok(Some(_)) => continue,
        }
        if read_more(stream, &mut bytes).is_none() {
            return First::End;
        }
    }
    match rest_of_preface(limits, stream, &mut bytes).await {
        Some(()) => First::Bytes(bytes),
        None => First::End,
    }
}

/// Reads on as long as this may become an HTTP/2 preface; `None` if it ends or takes too long before that is clear.
async fn rest_of_preface(limits: &Limits, stream: &TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let end = Instant::now() + limits.head_timeout;
    while bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes) {
        tokio::time::timeout_at(end, stream.readable()).await.ok()?.ok()?;
        read_more(stream, bytes)?;
    }
    Some(())
}

/// Waits until there may be something to read, be it the end, or there is an order.
async fn readable_or_ordered(state: &ConnState, stream: &TcpStream) -> io::Result<Option<Order>> {
    tokio::select! {
        biased;
        ready = stream.readable() => ready.map(|()| None),
        order = state.ordered() => Ok(Some(order)),
    }
}

/// Reads what is there, if anything; `None` at the end.
fn read_more(stream: &TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    bytes.reserve_exact(FIRST_READ - bytes.len().min(FIRST_READ));
    match stream.try_read_buf(bytes) {
        Ok(0) => None,
        Ok(_) => Some(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            if bytes.is_empty() {
                *bytes = Vec::new();
            }
            Some(())
        }
        Err(_) => None,
    }
}
