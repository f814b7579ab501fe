//! Just enough HTTP/1.1 to find the end of a message whose body length is known beforehand.

use super::Outcome;

const HEAD_END: &[u8] = b"\r\n\r\n";

/// Finds the ends of messages in a byte stream.
#[derive(Debug)]
pub(crate) struct Reader {
    /// What every message begins with.
    begins: &'static [u8],
    body: usize,
    /// The beginning of a head whose end has not come yet.
    head: Vec<u8>,
    /// Bytes of the body still to come; `None` while in a head.
    left: Option<usize>,
}

impl Reader {
    pub(crate) fn new(begins: &'static [u8], body: usize) -> Self {
        Self { begins, body, head: Vec::new(), left: None }
    }

    /// Takes bytes; calls `done` at each message's end.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut done: impl FnMut()) -> Outcome<()> {
        while !bytes.is_empty() {
            let left = match self.left {
                Some(left) => left,
                None => match self.end_of_head(bytes)? {
                    Some(rest) => {
                        bytes = rest;
                        self.body
                    }
                    None => return Ok(()),
                },
            };
            let taken = left.min(bytes.len());
            bytes = &bytes[taken..];
            self.left = (taken < left).then_some(left - taken);
            if self.left.is_none() {
                done();
            }
        }
        Ok(())
    }

    /// What follows the head, once that is complete.
    fn end_of_head<'b>(&mut self, bytes: &'b [u8]) -> Outcome<Option<&'b [u8]>> {
        if self.head.is_empty() {
            if let Some(end) = memchr::memmem::find(bytes, HEAD_END) {
                self.check(&bytes[..end])?;
                return Ok(Some(&bytes[end + HEAD_END.len()..]));
            }
            self.head.extend_from_slice(bytes);
            return Ok(None);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(HEAD_END.len());
        let Some(end) = memchr::memmem::find(&self.head[from..], HEAD_END) else { return Ok(None) };
        self.check(&self.head)?;
        self.head.clear();
        Ok(Some(&bytes[from + end + HEAD_END.len() - before..]))
    }

    fn check(&self, head: &[u8]) -> Outcome<()> {
        if head.starts_with(self.begins) {
            return Ok(());
        }
        Err(format!("an unexpected message:\n{}", String::from_utf8_lossy(&head[..head.len().min(600)])))
    }
}
