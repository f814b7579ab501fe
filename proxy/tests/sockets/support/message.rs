//! A message as it came over the wire, cut out by its framing and otherwise untouched.

use std::io::{self, Read};

/// One HTTP/1.1 message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// The first line and the headers, with their line ends and the empty line.
    pub(crate) head: String,
    /// Of a response; 0 for a request.
    pub(crate) status: u16,
    /// Decoded.
    pub(crate) body: Vec<u8>,
    /// Trailer lines, as written.
    pub(crate) trailers: String,
}

impl Message {
    /// The first line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// All values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The only value of a header.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "more than one {name}: {all:?}");
        all.first().copied()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Reads messages from a stream, keeping what belongs to the next one.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    from: R,
    ahead: Vec<u8>,
    /// Everything that was ever read.
    pub(crate) all: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, ahead: Vec::new(), all: Vec::new() }
    }

    /// Reads more; false at the end.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = self.from.read(&mut buffer)?;
        self.ahead.extend(&buffer[..count]);
        // Enough to look at; a large body is not kept twice.
        if self.all.len() < 1024 * 1024 {
            self.all.extend(&buffer[..count]);
        }
        Ok(count > 0)
    }

    /// What was read and belongs to no message yet.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.ahead.split_off(count);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    /// A head; `None` if the stream ends before its first byte.
    pub(crate) fn head(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.take(end + 4)?).into_owned();
                let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
                return Ok(Some(Message { head, status: status.unwrap_or(0), ..Message::default() }));
            }
            if !self.fill()? {
                return if self.ahead.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The body of a message whose head was read, by `Transfer-Encoding` or `Content-Length`; without either a request has
    /// none and a response goes on to the end of the stream.
    pub(crate) fn body(&mut self, message: &mut Message) -> io::Result<()> {
        if message.header("transfer-encoding").is_some() {
            return self.chunks(message);
        }
        if let Some(length) = message.header("content-length") {
            message.body = self.take(length.parse().map_err(io::Error::other)?)?;
        } else if message.status != 0 {
            while self.fill()? {}
            message.body = std::mem::take(&mut self.ahead);
        }
        Ok(())
    }

    fn chunks(&mut self, message: &mut Message) -> io::Result<()> {
        loop {
            let line = self.text_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            message.body.extend(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(io::Error::other("a chunk without its end"));
            }
        }
        loop {
            let line = self.text_line()?;
            if line.is_empty() {
                return Ok(());
            }
            message.trailers.push_str(&line);
            message.trailers.push('\n');
        }
    }

    fn text_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end + 2)?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
