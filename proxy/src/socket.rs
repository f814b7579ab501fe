//! Looking into a socket's receive queue without reading from it.
//!
//! A pooled connection may have been closed by its endpoint a moment ago, with the news still in the kernel. For a request
//! that may be sent again that does not matter; one that must not be repeated asks here first.
//!
//! This is the only module with `unsafe`: hyper owns the socket, so all that is left to us is its number.
#![allow(unsafe_code, reason = "argued at its one use; see the module documentation")]

use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// What waits in a socket's receive queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Nothing: the connection is open and silent.
    Empty,
    /// Bytes.
    Data,
    /// The other side has closed its side of the connection.
    Closed,
    /// The other side has reset the connection, or it is broken.
    Reset,
}

/// Looks at the receive queue of an open socket.
///
/// The caller must know that the socket is still open: it does where it holds the connection that owns it, on the thread
/// that alone may close it.
pub(crate) fn peek(fd: RawFd) -> Queue {
    // SAFETY: every caller runs on the worker thread that owns the connection and has just seen that it is open (hyper's
    // connection task, which owns the socket, has not ended). Nothing else runs on this thread meanwhile, so the number
    // cannot be closed or given to another file before `recv` returns. Were it wrong nonetheless, a peek reads no bytes.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut byte = [0u8; 1];
    match recv(socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Queue::Closed,
        Ok(_) => Queue::Data,
        Err(Errno::AGAIN | Errno::INTR) => Queue::Empty,
        Err(_) => Queue::Reset,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::{Queue, peek};

    /// Loopback delivers before `write` and `drop` return.
    #[test]
    fn a_peek_tells_silence_from_data_from_the_end_and_reads_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        assert_eq!(peek(near.as_raw_fd()), Queue::Empty);
        far.write_all(b"x").unwrap();
        assert_eq!([peek(near.as_raw_fd()), peek(near.as_raw_fd())], [Queue::Data, Queue::Data]);
        drop(far);
        assert_eq!(peek(near.as_raw_fd()), Queue::Data);
        std::io::Read::read_exact(&mut &near, &mut [0]).unwrap();
        assert_eq!(peek(near.as_raw_fd()), Queue::Closed);
    }
}
