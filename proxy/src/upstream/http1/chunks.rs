//! Taking a chunked body apart (RFC 9112 section 7.1).
//!
//! Strict where two readers could understand a byte differently: every line ends with CR LF, a size is nothing but digits, and
//! what comes after a chunk's data is CR LF. Extensions are skipped, as their recipient is this hop (section 7.1.1).

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::framing::Malformed;

/// Most bytes of all extensions of a body together, and of its trailers: nobody needs more, and they are not streamed.
const EXTRAS_MAX: usize = 16 * 1024;
/// Most fields in the trailers.
const TRAILERS_MAX: usize = 100;

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some of its bytes.
    Data(Bytes),
    /// What follows them.
    Trailers(HeaderMap),
    /// That was all.
    End,
}

/// A chunked body that is being read.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    /// Size of the chunk that is being read, then what is left of it.
    left: u64,
    digits: u8,
    extras: usize,
    trailers: Vec<u8>,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Size,
    /// White space behind the size.
    Padding,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
    End,
}

impl Chunks {
    /// The next part; `None` if more bytes are needed to tell.
    ///
    /// # Errors
    /// The bytes are no chunked body.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        loop {
            match self.state {
                State::End => return Ok(Some(Piece::End)),
                State::Data if !input.is_empty() => return Ok(Some(Piece::Data(self.data(input)))),
                State::Trailers => {
                    let Some(trailers) = self.trailers(input)? else { return Ok(None) };
                    self.state = State::End;
                    if !trailers.is_empty() {
                        return Ok(Some(Piece::Trailers(trailers)));
                    }
                }
                _ => {
                    let Some(byte) = input.first().copied() else { return Ok(None) };
                    input.advance(1);
                    self.state = self.step(byte)?;
                }
            }
        }
    }

    /// Whether the body was read to its end.
    pub fn is_ended(&self) -> bool {
        self.state == State::End
    }

    /// Whether no more data follow, as far as these bytes tell. Spares the reader of the last chunk another turn.
    pub fn ends_with(&mut self, input: &mut Bytes) -> bool {
        if self.state == State::DataReturn && input.as_ref() == b"\r\n0\r\n\r\n" {
            input.clear();
            self.state = State::End;
        }
        self.is_ended()
    }

    fn data(&mut self, input: &mut Bytes) -> Bytes {
        let count = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        self.left -= count as u64;
        if self.left == 0 {
            self.state = State::DataReturn;
        }
        input.split_to(count)
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (State::Size | State::Padding, b'\r') if self.digits > 0 => Ok(State::SizeLineFeed),
            (State::Size | State::Padding, b';') if self.digits > 0 => Ok(State::Extension),
            (State::Size | State::Padding, b' ' | b'\t') if self.digits > 0 => self.extra(State::Padding),
            (State::Extension, b'\r') => Ok(State::SizeLineFeed),
            // A line feed alone ends the line for some readers, and not for others.
            (State::Extension, b'\n') => Err(Malformed),
            (State::Extension, _) => self.extra(State::Extension),
            (State::SizeLineFeed, b'\n') => {
                self.digits = 0;
                Ok(if self.left == 0 { State::Trailers } else { State::Data })
            }
            (State::DataReturn, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => Ok(State::Size),
            _ => Err(Malformed),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<State, Malformed> {
        let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
        self.left = self.left.checked_mul(16).ok_or(Malformed)? + u64::from(digit);
        self.digits = self.digits.saturating_add(1);
        // Zeros before a size are harmless, but not without end.
        if self.digits > 32 { Err(Malformed) } else { Ok(State::Size) }
    }

    fn extra(&mut self, state: State) -> Result<State, Malformed> {
        self.extras += 1;
        if self.extras > EXTRAS_MAX { Err(Malformed) } else { Ok(state) }
    }

    /// The trailers, once they are there whole.
    fn trailers(&mut self, input: &mut Bytes) -> Result<Option<HeaderMap>, Malformed> {
        while !input.is_empty() {
            self.trailers.push(input.get_u8());
            if self.trailers == b"\r\n" {
                return Ok(Some(HeaderMap::new()));
            }
            if self.trailers.ends_with(b"\r\n\r\n") {
                return parse_trailers(&std::mem::take(&mut self.trailers)).map(Some);
            }
            if self.trailers.len() > EXTRAS_MAX {
                return Err(Malformed);
            }
        }
        Ok(None)
    }
}

fn parse_trailers(bytes: &[u8]) -> Result<HeaderMap, Malformed> {
    // The parser of fields takes a line feed alone for the end of a line, and two for the end of them all.
    if memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r') {
        return Err(Malformed);
    }
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(bytes, &mut fields) else {
        return Err(Malformed);
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Malformed)?;
        trailers.append(name, value);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data and trailers of a body that arrives in pieces of this many bytes, and what follows it.
    fn read(bytes: &'static [u8], step: usize) -> Result<(Vec<u8>, HeaderMap, usize), Malformed> {
        let (mut chunks, mut data, mut trailers) = (Chunks::default(), Vec::new(), HeaderMap::new());
        for (index, piece) in bytes.chunks(step).enumerate() {
            let mut input = Bytes::from_static(piece);
            loop {
                match chunks.next(&mut input)? {
                    Some(Piece::Data(more)) => data.extend_from_slice(&more),
                    Some(Piece::Trailers(map)) => trailers = map,
                    Some(Piece::End) => {
                        return Ok((data, trailers, bytes.len() - index * step - piece.len() + input.len()));
                    }
                    None => break,
                }
            }
        }
        Err(Malformed)
    }

    #[test]
    fn a_body_is_the_same_however_it_arrives() {
        let body = b"3\r\nabc\r\n00a ;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\nNEXT";
        for step in 1..body.len() {
            let (data, trailers, rest) = read(body, step).unwrap();
            assert_eq!((&data[..], rest), (&b"abc0123456789"[..], 4), "in steps of {step}");
            assert_eq!(trailers.get_all("x-sum").iter().count(), 2);
        }
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for body in [
            &b"\r\n"[..],
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"-3\r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"3 4\r\nabc\r\n0\r\n\r\n",
            b";x\r\n",
            b"3;x\nabc\r\n0\r\n\r\n",
            b"3\rabc\r\n0\r\n\r\n",
            b"10000000000000000\r\n",
            b"000000000000000000000000000000000\r\n\r\n",
            b"0\r\nx y\r\n\r\n",
            b"0\r\n x: y\r\n\r\n",
            b"0\r\nx: 1\ny: 2\r\n\r\n",
            b"0\r\nx: 1\n\nNEXT\r\n\r\n",
            b"0\r\n\nNEXT\r\n\r\n",
        ] {
            assert_eq!(read(body, 4).unwrap_err(), Malformed, "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn extensions_and_trailers_end_somewhere() {
        let endless = |start: &[u8]| {
            let mut chunks = Chunks::default();
            let mut bytes = start.to_vec();
            bytes.resize(EXTRAS_MAX + 100, b'x');
            chunks.next(&mut Bytes::from(bytes))
        };
        assert_eq!(endless(b"3;"), Err(Malformed));
        assert_eq!(endless(b"0\r\nx"), Err(Malformed));
    }
}
