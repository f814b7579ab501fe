//! A client that sends exactly what it is told, and never again.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// An answer, complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers.
    pub(crate) head: String,
    /// Decoded.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// All values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The only value of a header, or nothing.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let all = self.all(name);
        assert!(all.len() < 2, "more than one {name}: {all:?}");
        all.first().copied().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The pod that answered; empty if none did.
    pub(crate) fn pod(&self) -> &str {
        self.header("x-pod")
    }

    /// Why no pod answered; empty if one did.
    pub(crate) fn reason(&self) -> &str {
        self.header("watershed-reason")
    }

    /// Whether the other side will close the connection.
    pub(crate) fn closes(&self) -> bool {
        self.all("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request and reads its answer. `is_head` says that no body follows.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> io::Result<Answer> {
        let is_head = request.as_ref().starts_with(b"HEAD ");
        self.send(request)?;
        self.answer(is_head)
    }

    /// The next answer.
    pub(crate) fn answer(&mut self, is_head: bool) -> io::Result<Answer> {
        let mut answer = loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.take(end + 4)?).into_owned();
                let status = head.get(9..12).and_then(|status| status.parse().ok());
                let status = status.ok_or_else(|| io::Error::other(format!("no status line: {head}")))?;
                break Answer { status, head, body: Vec::new() };
            }
            self.fill_or_fail()?;
        };
        if !is_head && !matches!(answer.status, 100..200 | 204 | 304) {
            answer.body = self.body(&answer)?;
        }
        Ok(answer)
    }

    fn body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        if !answer.all("transfer-encoding").is_empty() {
            return self.chunks();
        }
        if let Some(length) = answer.all("content-length").first() {
            return self.take(length.parse().map_err(io::Error::other)?);
        }
        while self.fill()? {}
        Ok(std::mem::take(&mut self.ahead))
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.map_err(io::Error::other)?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            self.take(2)?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end + 2)?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill_or_fail()?;
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            self.fill_or_fail()?;
        }
        let rest = self.ahead.split_off(count);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    fn fill_or_fail(&mut self) -> io::Result<()> {
        if self.fill()? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        // A stopped and continued process gets EINTR from a socket with a timeout, whatever its signal handlers say: signal(7).
        let count = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.ahead.extend(&buffer[..count]);
        Ok(count > 0)
    }

    /// Whether the other side has closed or reset the connection without a byte more.
    pub(crate) fn is_closed_within(&mut self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).unwrap();
        let read = self.fill();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match read {
            Ok(more) => !more && self.ahead.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// A request without a body, as text. `target` may begin with a method: `POST /x`.
pub(crate) fn request(host: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let (method, path) = target.split_once(' ').unwrap_or(("GET", target));
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text + "\r\n"
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, text: &str) -> Answer {
    try_ask(address, text).unwrap_or_else(|error| panic!("{error} after {text:?} to {address}"))
}

/// One GET on a connection of its own.
#[track_caller]
pub(crate) fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
    ask(address, &request(host, path, &[]))
}

fn try_ask(address: SocketAddr, text: &str) -> io::Result<Answer> {
    Connection::open(address)?.ask(text)
}
