//! One request to the admin API of a process, and its answer: blocking, over a connection of its own.
//!
//! HTTP/1.0, so that the answer is neither chunked nor followed by another: a dozen lines instead of a client with a runtime.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest answer that is read, in bytes: far above what thousands of endpoints need.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Besides `Host` and what concerns the body.
    pub headers: &'a [(&'a str, &'a str)],
    /// JSON.
    pub body: Option<&'a [u8]>,
}

impl<'a> Ask<'a> {
    /// A GET without further headers.
    pub(crate) fn get(target: &'a str) -> Self {
        Self { method: "GET", target, headers: &[], body: None }
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body for people.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// Asks over TCP; each step may take so long.
pub(crate) fn ask_tcp(address: SocketAddr, ask: &Ask<'_>, patience: Duration) -> io::Result<Answer> {
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    exchange(stream, &address.to_string(), ask)
}

/// Sends a request and reads its answer to the end of the stream.
pub(crate) fn exchange(mut stream: impl Read + Write, host: &str, ask: &Ask<'_>) -> io::Result<Answer> {
    let mut request = format!("{} {} HTTP/1.0\r\nHost: {host}\r\n", ask.method, ask.target);
    // Writing to a string cannot fail.
    for (name, value) in ask.headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    if let Some(body) = ask.body {
        let _ = write!(request, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(ask.body.unwrap_or_default());
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    if answer.is_empty() {
        let what = "the connection was closed without an answer";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
    }
    let not_http = || io::Error::new(io::ErrorKind::InvalidData, "that is not HTTP");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(not_http)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(not_http)?;
    Ok(Answer { status, body: answer.split_off(end + 4) })
}
