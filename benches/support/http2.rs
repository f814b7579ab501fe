//! Just enough HTTP/2 (RFC 9113) to count streams: frames are made once and numbered, what comes back is only looked at for the
//! ends of streams. Header blocks are never decoded, which is what makes it cheaper than anything that it measures.

use super::Outcome;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Indexed fields and names of the static table (RFC 7541 appendix A).
pub(crate) const METHOD_GET: u8 = 0x82;
pub(crate) const METHOD_POST: u8 = 0x83;
pub(crate) const SCHEME_HTTP: u8 = 0x86;
pub(crate) const STATUS_200: u8 = 0x88;
pub(crate) const NAME_AUTHORITY: u8 = 1;
pub(crate) const NAME_PATH: u8 = 4;
pub(crate) const NAME_ACCEPT: u8 = 19;
pub(crate) const NAME_CONTENT_LENGTH: u8 = 28;
pub(crate) const NAME_CONTENT_TYPE: u8 = 31;
pub(crate) const NAME_DATE: u8 = 33;
pub(crate) const NAME_USER_AGENT: u8 = 58;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_HEAD: usize = 9;
const FRAME_MAX: usize = 16_384;
/// Larger than anything that is received in one run, so that no window is ever updated.
const WINDOW: u32 = 0x7FFF_0000;

/// A literal without indexing, its name from the static table; texts are shorter than 127 bytes.
pub(crate) fn put_header(block: &mut Vec<u8>, name: u8, value: &str) {
    match name {
        0..15 => block.push(name),
        _ => block.extend([0x0F, name - 15]),
    }
    block.push(value.len() as u8);
    block.extend_from_slice(value.as_bytes());
}

/// HEADERS and DATA of one stream, not numbered yet.
pub(crate) fn message(block: &[u8], body: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    let ends = if body == 0 { END_STREAM } else { 0 };
    put_frame(&mut frames, HEADERS, END_HEADERS | ends, block);
    let mut left = body;
    while left > 0 {
        let length = left.min(FRAME_MAX);
        left -= length;
        put_frame(&mut frames, DATA, if left == 0 { END_STREAM } else { 0 }, &vec![b'b'; length]);
    }
    frames
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, flags, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
}

/// Writes a stream's number into its frames.
pub(crate) fn number(mut frames: &mut [u8], stream: u32) {
    while !frames.is_empty() {
        frames[5..FRAME_HEAD].copy_from_slice(&stream.to_be_bytes());
        let length = payload_length(frames);
        frames = &mut frames[FRAME_HEAD + length..];
    }
}

fn payload_length(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

/// What either side says first, the client's preface aside: wide windows.
pub(crate) fn put_settings(out: &mut Vec<u8>) {
    let mut settings = vec![0, 4];
    settings.extend(WINDOW.to_be_bytes());
    put_frame(out, SETTINGS, 0, &settings);
    put_frame(out, WINDOW_UPDATE, 0, &(WINDOW - 65_535).to_be_bytes());
}

/// Finds the ends of streams in a byte stream.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Bytes of the preface still to come.
    preface: usize,
    /// What header blocks begin with, where that is checked.
    begins: Option<u8>,
    /// A frame whose end has not come yet.
    partial: Vec<u8>,
}

impl Reader {
    /// Of a client's responses.
    pub(crate) fn of_responses() -> Self {
        Self { preface: 0, begins: Some(STATUS_200), partial: Vec::new() }
    }

    /// Of a pod's requests.
    pub(crate) fn of_requests() -> Self {
        Self { preface: PREFACE.len(), begins: None, partial: Vec::new() }
    }

    /// Takes bytes; calls `done` with each stream that has ended, and answers what must be answered into `out`.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>, mut done: impl FnMut(u32)) -> Outcome<()> {
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        if self.partial.is_empty() {
            let taken = self.frames(&bytes[skipped..], out, &mut done)?;
            self.partial.extend_from_slice(&bytes[skipped + taken..]);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(&bytes[skipped..]);
        let taken = self.frames(&whole, out, &mut done)?;
        whole.drain(..taken);
        self.partial = whole;
        Ok(())
    }

    /// Looks at all whole frames; returns how many bytes they are.
    fn frames(&self, bytes: &[u8], out: &mut Vec<u8>, done: &mut impl FnMut(u32)) -> Outcome<usize> {
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + FRAME_HEAD) {
            let Some(payload) = bytes.get(at + FRAME_HEAD..at + FRAME_HEAD + payload_length(head)) else {
                break;
            };
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match kind {
                HEADERS if self.begins.is_some_and(|first| payload.first() != Some(&first)) => {
                    return Err(format!("stream {stream}: not answered with 200: {payload:02x?}"));
                }
                HEADERS | DATA if flags & END_STREAM != 0 => done(stream),
                SETTINGS if flags & ACK == 0 => put_frame(out, SETTINGS, ACK, &[]),
                PING if flags & ACK == 0 => put_frame(out, PING, ACK, payload),
                RST_STREAM => return Err(format!("stream {stream} was reset: {payload:02x?}")),
                GOAWAY => return Err(format!("connection given up: {payload:02x?}")),
                _ => {}
            }
            at += FRAME_HEAD + payload.len();
        }
        Ok(at)
    }
}
