//! One connection of a client or a pod.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::support::messages::{Exchange, Protocol};
use crate::support::{Outcome, during, http1, http2};

/// A connection, either end of it.
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    /// What is to be sent with the next flush.
    pub(super) out: Vec<u8>,
    reader: Reader,
    streams: u32,
}

enum Reader {
    Http1(http1::Reader),
    Http2(http2::Reader),
}

/// What reading found.
pub(super) enum Moved {
    Some,
    End,
}

impl Conn {
    pub(super) fn client(stream: TcpStream, exchange: Exchange) -> Outcome<Self> {
        let mut out = Vec::new();
        let reader = match exchange.protocol {
            Protocol::Http1 => Reader::Http1(http1::Reader::new(b"HTTP/1.1 200", exchange.answer)),
            Protocol::Http2 => {
                out.extend_from_slice(http2::PREFACE);
                http2::put_settings(&mut out);
                Reader::Http2(http2::Reader::of_responses())
            }
        };
        Self::new(stream, out, reader)
    }

    pub(super) fn pod(stream: TcpStream, exchange: Exchange) -> Outcome<Self> {
        let mut out = Vec::new();
        let begins: &[u8] = if exchange.upload == 0 { b"GET /" } else { b"POST /" };
        let reader = match exchange.protocol {
            Protocol::Http1 => Reader::Http1(http1::Reader::new(begins, exchange.upload)),
            Protocol::Http2 => {
                http2::put_settings(&mut out);
                Reader::Http2(http2::Reader::of_requests())
            }
        };
        Self::new(stream, out, reader)
    }

    fn new(stream: TcpStream, out: Vec<u8>, reader: Reader) -> Outcome<Self> {
        during(
            "preparing a connection",
            stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)),
        )?;
        let mut conn = Self { stream, out, reader, streams: 0 };
        conn.flush()?;
        Ok(conn)
    }

    /// The number of the stream for a client's next request; always 0 with HTTP/1.1.
    pub(super) fn next_stream(&mut self) -> u32 {
        if matches!(self.reader, Reader::Http1(_)) {
            return 0;
        }
        self.streams += 1;
        2 * self.streams - 1
    }

    /// Reads once; calls `done` for each whole message, with room for what is to be sent.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        mut done: impl FnMut(&mut Vec<u8>, u32),
    ) -> Outcome<Moved> {
        let bytes = match self.stream.read(scratch) {
            Ok(0) => return Ok(Moved::End),
            Ok(count) => &scratch[..count],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Moved::Some),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Moved::End),
            Err(error) => return Err(format!("receiving: {error}")),
        };
        match &mut self.reader {
            Reader::Http1(reader) => reader.feed(bytes, || done(&mut self.out, 0))?,
            Reader::Http2(reader) => {
                let mut ended = Vec::new();
                reader.feed(bytes, &mut self.out, |stream| ended.push(stream))?;
                for stream in ended {
                    done(&mut self.out, stream);
                }
            }
        }
        Ok(Moved::Some)
    }

    /// Sends what is to be sent with one call. A full socket buffer is an error: no scenario has that much in flight.
    pub(super) fn flush(&mut self) -> Outcome<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sent = during("sending", self.stream.write(&self.out))?;
        if sent < self.out.len() {
            return Err(format!("a socket buffer took {sent} of {} bytes", self.out.len()));
        }
        self.out.clear();
        Ok(())
    }
}
