//! What must hold for any bytes a pod may send. Shared by the property tests and the fuzz targets.

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, StatusCode};
use watershed_proxy::codec::{Chunks, Found, Framing, Malformed, Piece, parse_response_head};

/// A claim about a fuzzer's bytes: the first few say how the others are asked for and cut.
pub(crate) fn from_fuzzer(target: &str, data: &[u8]) {
    let Some((settings, bytes)) = data.split_first_chunk::<4>() else { return };
    let asked = if settings[0] & 1 == 0 { Method::GET } else { Method::HEAD };
    let cuts: Vec<usize> = settings[1..].iter().map(|cut| usize::from(*cut).max(1)).collect();
    match target {
        "response_head" => response_head(bytes, &asked),
        "chunks" => chunks(bytes, &cuts),
        "response" => response(bytes, &cuts, &asked),
        other => panic!("no target {other}"),
    }
}

/// What is read of a head's beginning is not taken back when more arrives.
pub(crate) fn response_head(bytes: &[u8], asked: &Method) {
    let whole = head_of(bytes, asked);
    // All ends of a short one, some of a long one.
    for end in (0..bytes.len()).step_by(1 + bytes.len() / 200) {
        match head_of(&bytes[..end], asked) {
            Ok(None) => {}
            Err(Malformed) => assert_eq!(whole, Err(Malformed), "refused after {end} bytes"),
            Ok(part) => assert_eq!(whole, Ok(part), "after {end} bytes"),
        }
    }
}

/// A head, without what follows it: status, length, framing, whether the connection is kept, headers.
#[derive(Debug, PartialEq, Eq)]
enum HeadOf {
    Informational(StatusCode, usize),
    Final(StatusCode, usize, Framing, bool, HeaderMap),
}

fn head_of(bytes: &[u8], asked: &Method) -> Result<Option<HeadOf>, Malformed> {
    let mut headers = HeaderMap::new();
    Ok(parse_response_head(bytes, asked, &mut headers)?.map(|found| match found {
        Found::Informational(status, length) => HeadOf::Informational(status, length),
        Found::Final(head) => {
            assert!(bytes.ends_with(&head.ahead), "what follows is what was there");
            let length = bytes.len() - head.ahead.len();
            HeadOf::Final(head.status, length, head.framing, head.keep_alive, headers)
        }
    }))
}

/// A body as far as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    data: Vec<u8>,
    trailers: HeaderMap,
    ended: bool,
    malformed: bool,
    /// How much follows it.
    rest: usize,
}

/// The same body comes out of chunks however they are cut, and the one that the RFC says.
pub(crate) fn chunks(bytes: &[u8], cuts: &[usize]) {
    let whole = read_chunks(&[bytes], false);
    let pieces = cut(bytes, cuts);
    for looks_ahead in [false, true] {
        assert_eq!(read_chunks(&pieces, looks_ahead), whole, "cut into {pieces:?}");
    }
    assert_eq!(read_chunks(&[bytes], true), whole, "with a look ahead");
    // Longer ones meet limits, of which the RFC says nothing.
    if bytes.len() < 16 * 1024 {
        let complete = whole.ended.then_some((whole.data, whole.rest));
        assert_eq!(complete, by_the_rfc(bytes), "{}", bytes.escape_ascii());
    }
}

/// Cuts bytes into pieces of these sizes, in turn.
fn cut<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Reads chunks, with a look ahead as bodies do it or without.
fn read_chunks(pieces: &[&[u8]], looks_ahead: bool) -> Read {
    let (mut chunks, mut read) = (Chunks::default(), Read::default());
    for (index, piece) in pieces.iter().enumerate() {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            let Ok(part) = chunks.next(&mut input) else {
                read.malformed = true;
                return read;
            };
            read.ended = looks_ahead && chunks.ends_with(&mut input);
            match part {
                Some(Piece::Data(data)) => read.data.extend(data),
                Some(Piece::Trailers(trailers)) => read.trailers = trailers,
                Some(Piece::End) => read.ended = true,
                None => {}
            }
            if read.ended {
                read.rest = input.len() + pieces[index + 1..].iter().map(|piece| piece.len()).sum::<usize>();
                return read;
            }
            if input.is_empty() {
                break;
            }
        }
    }
    // The end may be known without another byte.
    if let Ok(Some(Piece::End)) = chunks.next(&mut Bytes::new()) {
        read.ended = true;
    }
    read
}

/// The data of a complete chunked body, read as RFC 9112 section 7.1 is written, and how much follows it.
fn by_the_rfc(mut bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut data = Vec::new();
    loop {
        let line = line(&mut bytes)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok().filter(|_| digits <= 32)?;
        let padding = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let extension = &extension[padding..];
        if !(extension.is_empty() || extension.starts_with(b";")) {
            return None;
        }
        if size == 0 {
            break;
        }
        let (chunk, rest) = bytes.split_at_checked(usize::try_from(size).ok()?)?;
        data.extend(chunk);
        bytes = rest.strip_prefix(b"\r\n")?;
    }
    // As many fields as are taken, and the empty line.
    for _ in 0..=100 {
        let line = line(&mut bytes)?;
        if line.is_empty() {
            return Some((data, bytes.len()));
        }
        // What a field may look like is left to the parser of fields.
        let field = [line, b"\r\n\r\n"].concat();
        let mut fields = [httparse::EMPTY_HEADER; 1];
        httparse::parse_headers(&field, &mut fields).ok().filter(httparse::Status::is_complete)?;
    }
    None
}

/// The next line, which ends with CR LF and has neither inside.
fn line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[2..];
    (!line.contains(&b'\r') && !line.contains(&b'\n')).then_some(line)
}

/// The same response comes out however its bytes are cut.
pub(crate) fn response(bytes: &[u8], cuts: &[usize], asked: &Method) {
    let pieces = cut(bytes, cuts);
    assert_eq!(read_response(&pieces, asked), read_response(&[bytes], asked), "cut into {pieces:?}");
}

/// What an exchange does: waits for the final head, then reads the body.
fn read_response(pieces: &[&[u8]], asked: &Method) -> Option<(HeadOf, Read)> {
    let mut partial = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        partial.extend_from_slice(piece);
        while let Some(head) = head_of(&partial, asked).ok()? {
            let length = match head {
                HeadOf::Informational(_, length) | HeadOf::Final(_, length, ..) => length,
            };
            let ahead = partial.split_off(length);
            if let HeadOf::Final(_, _, framing, ..) = head {
                let pieces: Vec<&[u8]> = [&ahead[..]].iter().chain(&pieces[index + 1..]).copied().collect();
                return Some((head, read_body(&pieces, framing)));
            }
            partial = ahead;
        }
    }
    None
}

fn read_body(pieces: &[&[u8]], framing: Framing) -> Read {
    let all = pieces.concat();
    let length = match framing {
        Framing::Chunked => return read_chunks(pieces, true),
        Framing::None => 0,
        Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Framing::UntilClose => all.len(),
    };
    let ended = length <= all.len();
    let data = all[..length.min(all.len())].to_vec();
    Read { ended, rest: all.len() - data.len(), data, ..Read::default() }
}
