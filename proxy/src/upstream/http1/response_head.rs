//! Reading a response's head. Pure.
//!
//! Headers that concern this connection only are left out at once: that is cheaper than taking them out again.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::framing::{self, Framing, Malformed};
use crate::headers;

/// Most fields in a response's head.
const FIELDS_MAX: usize = 100;

/// What was found at the beginning of some bytes.
#[derive(Debug)]
pub enum Found {
    /// An informational response (RFC 9110 section 15.2) of this many bytes; another one follows.
    Informational(StatusCode, usize),
    /// The head of the final response, or of a switch of protocols.
    Final(Head),
}

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether the endpoint keeps the connection open after it.
    pub keep_alive: bool,
    /// How long the endpoint keeps the connection when it is idle, if it says so (`Keep-Alive: timeout`).
    pub keeps_idle: Option<Duration>,
    /// The reason phrase, if it is not the usual one.
    pub phrase: Option<Box<ReasonPhrase>>,
    /// What was read behind the head.
    pub ahead: Bytes,
}

/// Parses the head of the response to a request with this method; `None` if it is not there whole yet. `headers` is cleared and
/// filled when the head is final; its storage is reused.
///
/// # Errors
/// It is not valid HTTP, or its body could be read in two ways (RFC 9112 section 6.3).
pub fn parse(bytes: &[u8], asked: &Method, headers: &mut HeaderMap) -> Result<Option<Found>, Malformed> {
    let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut space,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    let status = StatusCode::from_u16(response.code.ok_or(Malformed)?).map_err(|_| Malformed)?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Some(Found::Informational(status, length)));
    }
    let version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    // One copy for the head and what is there of the body; with room to spare, because of a full vector `Bytes` only knows with
    // the first part of it that it has to count them.
    let mut all = Vec::with_capacity(bytes.len() + 1);
    all.extend_from_slice(bytes);
    let all = Bytes::from(all);
    let phrase = response.reason.filter(|phrase| Some(*phrase) != status.canonical_reason());
    let phrase = phrase.and_then(|phrase| ReasonPhrase::try_from(phrase.as_bytes()).ok().map(Box::new));
    headers.clear();
    // At once: that of a request is often smaller.
    headers.reserve(response.headers.len());
    let mut said = Said::default();
    for field in &*response.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = part_of(&all, bytes, field.value)?;
        if status == StatusCode::SWITCHING_PROTOCOLS || said.is_end_to_end(&name, &value)? {
            headers.append(name, value);
        }
    }
    let framing = said.framing(status, version, asked)?;
    said.finish(headers);
    Ok(Some(Found::Final(Head {
        status,
        version,
        framing,
        keep_alive: version == Version::HTTP_11 && !said.close,
        keeps_idle: said.keeps_idle,
        phrase,
        ahead: all.slice(length..),
    })))
}

/// A part of `bytes` as a value that shares the storage of `all`, a copy of them.
fn part_of(all: &Bytes, bytes: &[u8], part: &[u8]) -> Result<HeaderValue, Malformed> {
    if part.is_empty() {
        return Ok(HeaderValue::from_static(""));
    }
    let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
    HeaderValue::from_maybe_shared(all.slice(start..start + part.len())).map_err(|_| Malformed)
}

/// What a head said about its connection and its body.
#[derive(Debug, Default)]
struct Said {
    close: bool,
    keeps_idle: Option<Duration>,
    /// `Connection` names headers.
    names_headers: bool,
    chunked: bool,
    length: Option<u64>,
    /// A line of `Content-Length` has more than one.
    is_list: bool,
}

impl Said {
    /// Takes note of a header; false if it is for this hop only.
    fn is_end_to_end(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, Malformed> {
        match name.as_str() {
            "connection" => return Ok(self.connection(value)),
            "transfer-encoding" => {
                if self.chunked || !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    // Anything else would have to be undone, and `chunked` twice is none.
                    return Err(Malformed);
                }
                self.chunked = true;
            }
            "content-length" => {
                // One line of it is passed on.
                let is_first = self.length.is_none();
                self.length = framing::agreed(self.length, value)?;
                self.is_list |= value.as_bytes().contains(&b',');
                return Ok(is_first);
            }
            "keep-alive" => self.keeps_idle = keep_alive_timeout(value),
            "proxy-connection" | "te" | "upgrade" | "http2-settings" => {}
            _ => return Ok(true),
        }
        Ok(false)
    }

    /// Whether the line must be kept to see later which headers it names.
    fn connection(&mut self, value: &HeaderValue) -> bool {
        let mut names_headers = false;
        for name in headers::names(value) {
            if name.eq_ignore_ascii_case("close") {
                self.close = true;
            } else if !name.eq_ignore_ascii_case("keep-alive") {
                names_headers = true;
            }
        }
        self.names_headers |= names_headers;
        names_headers
    }

    /// RFC 9112 section 6.3.
    fn framing(&self, status: StatusCode, version: Version, asked: &Method) -> Result<Framing, Malformed> {
        if self.chunked && (self.length.is_some() || version == Version::HTTP_10) {
            return Err(Malformed);
        }
        let has_none = matches!(status.as_u16(), 101 | 204 | 304) || *asked == Method::HEAD;
        Ok(match (has_none, self.chunked, self.length) {
            (true, ..) => Framing::None,
            (false, true, _) => Framing::Chunked,
            (false, false, Some(length)) => Framing::Length(length),
            (false, false, None) => Framing::UntilClose,
        })
    }

    /// Takes out what `Connection` names, and makes of several lengths one.
    fn finish(&self, headers: &mut HeaderMap) {
        if self.names_headers {
            headers::remove_hop_by_hop(headers);
        }
        if self.is_list
            && let Some(length) = self.length
        {
            headers.insert(CONTENT_LENGTH, length.into());
        }
    }
}

fn keep_alive_timeout(value: &HeaderValue) -> Option<Duration> {
    let timeout = headers::names(value).find_map(|part| part.strip_prefix("timeout="))?;
    timeout.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, asked: &Method) -> Result<Option<(Head, HeaderMap)>, Malformed> {
        let mut headers = HeaderMap::new();
        headers.insert("x-old", HeaderValue::from_static("of the request"));
        Ok(match parse(text.as_bytes(), asked, &mut headers)? {
            Some(Found::Final(head)) => Some((head, headers)),
            Some(Found::Informational(..)) | None => None,
        })
    }

    fn head(text: &str) -> (Head, HeaderMap) {
        parsed(text, &Method::GET).unwrap().unwrap()
    }

    #[test]
    fn a_head_is_taken_apart_and_what_follows_it_kept() {
        let (head, headers) = head(
            "HTTP/1.1 200 Sure\r\nContent-Length: 5\r\nX-Empty:\r\nconnection: Keep-Alive\r\nkeep-alive: max=3, timeout=7\r\n\r\nhello",
        );
        assert_eq!(
            (head.status, head.version, head.framing),
            (StatusCode::OK, Version::HTTP_11, Framing::Length(5))
        );
        assert!(head.keep_alive);
        assert_eq!(head.keeps_idle, Some(Duration::from_secs(7)));
        assert_eq!(head.phrase.as_deref().map(ReasonPhrase::as_bytes), Some(&b"Sure"[..]));
        assert_eq!(head.ahead, "hello");
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-length", "x-empty"], "nothing of the request or of this hop");
    }

    #[test]
    fn framing_follows_the_method_the_status_and_the_headers() {
        for (asked, text, framing) in [
            (Method::GET, "200 OK\r\ntransfer-encoding: Chunked", Framing::Chunked),
            (Method::GET, "200 OK\r\nx: y", Framing::UntilClose),
            (Method::HEAD, "200 OK\r\ncontent-length: 9", Framing::None),
            (Method::GET, "204 No Content\r\ncontent-length: 9", Framing::None),
            (Method::GET, "304 Not Modified\r\ntransfer-encoding: chunked", Framing::None),
            (Method::GET, "200 OK\r\ncontent-length: 9, 9\r\ncontent-length: 9", Framing::Length(9)),
        ] {
            let (head, headers) = parsed(&format!("HTTP/1.1 {text}\r\n\r\n"), &asked).unwrap().unwrap();
            assert_eq!(head.framing, framing, "{text}");
            assert!(headers.get_all("content-length").iter().all(|length| length == "9"), "{headers:?}");
        }
    }

    #[test]
    fn a_body_that_could_be_read_in_two_ways_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 6",
            "HTTP/1.1 200 OK\r\ncontent-length: -5",
            "HTTP/1.1 200 OK\r\ncontent-length : 5",
            "HTTP/1.1 200 OK\r\nx: a\r\n folded",
            "HTTP/1.1 200 OK\r\nx: a\u{0}b",
            "HTTP/2 200 OK",
            "HTTP/1.1 99 OK",
            "ICY 200 OK",
        ] {
            assert_eq!(parsed(&format!("{text}\r\n\r\n"), &Method::GET).map(drop), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn what_connection_names_is_left_out_and_a_connection_is_closed_if_any_line_says_so() {
        let (found, headers) = head(
            "HTTP/1.1 200 OK\r\nx-hop: 1\r\nconnection: x-hop, close\r\nconnection: keep-alive\r\nx-end: 2\r\nte: x\r\nupgrade: y\r\n\r\n",
        );
        assert!(!found.keep_alive);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-end"]);
        assert!(!head("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n").0.keep_alive);
    }

    #[test]
    fn a_head_that_is_not_there_whole_is_waited_for() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        for end in 0..text.len() {
            assert!(parsed(&text[..end], &Method::GET).unwrap().is_none(), "{end} bytes");
        }
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP";
        let found = parse(hints.as_bytes(), &Method::GET, &mut HeaderMap::new());
        assert!(matches!(found, Ok(Some(Found::Informational(_, 37)))), "{found:?}");
    }
}
