//! Writing a request's head. Pure.

use std::io::Write;

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use http::{Method, Uri};

use super::framing::Framing;
use crate::headers::without_user;

/// Appends the head of a request, with its target in origin form and, if it has no `Host`, the target's authority as that. How the
/// body is delimited is said by `framing` alone, whatever lines about it the headers have: what is announced is what will be sent.
/// `more` writes further headers, by [`line()`].
///
/// Values cannot hold a line's end: `HeaderValue`, `Uri` and `Method` do not allow it.
pub fn write(
    out: &mut Vec<u8>,
    method: &Method,
    target: &Uri,
    headers: &HeaderMap,
    framing: Framing,
    more: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = target.authority()
        && !headers.contains_key(HOST)
    {
        line(out, "host", without_user(authority).as_bytes());
    }
    let mut has_length = false;
    for (name, value) in headers {
        if *name == CONTENT_LENGTH {
            has_length = true;
        } else if *name != TRANSFER_ENCODING {
            line(out, name.as_str(), value.as_bytes());
        }
    }
    more(out);
    match framing {
        Framing::Length(length) => {
            let mut digits = itoa::Buffer::new();
            line(out, "content-length", digits.format(length).as_bytes());
        }
        Framing::Chunked => line(out, "transfer-encoding", b"chunked"),
        // A POST without a body still says so, if it said so to us.
        Framing::None if has_length => line(out, "content-length", b"0"),
        Framing::None | Framing::UntilClose => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends what follows the last chunk.
pub(super) fn write_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        line(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the line before a chunk of this many bytes.
pub(super) fn write_chunk_size(out: &mut Vec<u8>, size: usize) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{size:x}\r\n");
}

/// Appends a header.
#[inline] // Most names are known where it is called.
pub(super) fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_framing_is_said_once_and_by_us() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("a"));
        headers.append(CONTENT_LENGTH, HeaderValue::from_static("5"));
        headers.append(CONTENT_LENGTH, HeaderValue::from_static("5, 5"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        for (framing, line) in [
            (Framing::None, "content-length: 0\r\n"),
            (Framing::Length(5), "content-length: 5\r\n"),
            (Framing::Chunked, "transfer-encoding: chunked\r\n"),
        ] {
            let mut out = Vec::new();
            write(&mut out, &Method::POST, &Uri::from_static("/a?b=c"), &headers, framing, |_| ());
            let text = format!("POST /a?b=c HTTP/1.1\r\nhost: a\r\n{line}\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn the_host_is_that_of_the_header_or_else_of_the_target() {
        let target = Uri::from_static("http://me@a.b:1/c?d");
        let mut headers = HeaderMap::new();
        for host in ["a.b:1", "rewritten"] {
            let mut out = Vec::new();
            write(&mut out, &Method::GET, &target, &headers, Framing::None, |_| ());
            let text = format!("GET /c?d HTTP/1.1\r\nhost: {host}\r\n\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), text);
            headers.insert(HOST, HeaderValue::from_static("rewritten"));
        }
    }
}
