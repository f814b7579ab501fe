//! The request's id and its place in a trace.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};

use super::{Seen, TRACEPARENT};
use crate::respond::REQUEST_ID_HEADER;

/// What a request is known by, in the log as at the endpoint.
#[derive(Debug)]
pub(crate) enum RequestId {
    /// By its client, or somebody before us.
    Given(HeaderValue),
    /// By us, in hexadecimal digits.
    Begun([u8; 32]),
}

impl RequestId {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Given(id) => id.as_bytes(),
            Self::Begun(id) => id,
        }
    }

    pub(crate) fn to_value(&self) -> HeaderValue {
        match self {
            Self::Given(id) => id.clone(),
            Self::Begun(id) => begun(Bytes::copy_from_slice(id)),
        }
    }
}

/// The id and the `traceparent` of a request that came without.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) id: Option<[u8; 32]>,
    pub(super) trace: Option<[u8; 55]>,
}

impl Begun {
    /// Keeps the client's request id and trace, or begins both with one random number, so that the log line, the trace and the
    /// endpoint's own log carry the same id. `random` is only asked where something is begun. A trace that is none is removed.
    pub(super) fn by(headers: &mut HeaderMap, seen: Seen, mut random: impl FnMut() -> u64) -> Self {
        let known = if seen.any(Seen::REQUEST_ID) { headers.get(REQUEST_ID_HEADER) } else { None };
        let traced = if seen.any(Seen::TRACEPARENT) { headers.get(TRACEPARENT) } else { None };
        let is_trace = traced.is_some_and(|value| is_traceparent(value.as_bytes()));
        let id = match (known, traced.filter(|_| is_trace)) {
            (Some(_), _) => None,
            (None, Some(trace)) => trace.as_bytes()[3..35].try_into().ok(),
            (None, None) => Some(hex_id(random(), random())),
        };
        let trace = (!is_trace).then(|| {
            let known =
                known.and_then(|id| <[u8; 32]>::try_from(id.as_bytes()).ok()).filter(|id| is_hex(id, 32));
            traceparent(&id.or(known).unwrap_or_else(|| hex_id(random(), random())), random())
        });
        if seen.any(Seen::TRACEPARENT) && !is_trace {
            headers.remove(TRACEPARENT);
        }
        Self { id, trace }
    }

    /// Both as values.
    pub(super) fn values(&self) -> (Option<HeaderValue>, Option<HeaderValue>) {
        let trace = self.trace.map(|trace| Bytes::copy_from_slice(&trace));
        let id = match (&self.id, &trace) {
            // One allocation for both: the id is a part of the trace.
            (Some(_), Some(trace)) => Some(trace.slice(3..35)),
            (Some(id), None) => Some(Bytes::copy_from_slice(id)),
            (None, _) => None,
        };
        (id.map(begun), trace.map(begun))
    }
}

/// Marked never to be indexed on HTTP/2 (RFC 7541 section 7.1.3): it is different in every request, and would push out of the
/// table what is not.
fn begun(text: Bytes) -> HeaderValue {
    let mut value = HeaderValue::from_maybe_shared(text).expect("hexadecimal digits and dashes");
    value.set_sensitive(true);
    value
}

/// `00-<trace>-<span>-00` (W3C Trace Context, version 00): begun, not sampled, since nobody here records spans.
fn traceparent(trace: &[u8; 32], span: u64) -> [u8; 55] {
    let mut text = [0u8; 55];
    text[..3].copy_from_slice(b"00-");
    text[3..35].copy_from_slice(trace);
    text[35] = b'-';
    // A span id of zero is invalid.
    text[36..52].copy_from_slice(&hex(span | 1));
    text[52..].copy_from_slice(b"-00");
    text
}

fn is_traceparent(value: &[u8]) -> bool {
    value.len() >= 55
        && value[2] == b'-'
        && value[35] == b'-'
        && value[52] == b'-'
        && &value[..2] != b"ff"
        && is_hex(&value[..2], 2)
        && is_hex(&value[3..35], 32)
        && is_hex(&value[36..52], 16)
        && value[3..35].iter().any(|digit| *digit != b'0')
        && value[36..52].iter().any(|digit| *digit != b'0')
}

fn is_hex(text: &[u8], length: usize) -> bool {
    text.len() == length && text.iter().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(digit))
}

fn hex_id(high: u64, low: u64) -> [u8; 32] {
    let mut text = [0u8; 32];
    // An id of zero is invalid.
    text[..16].copy_from_slice(&hex(high | 1));
    text[16..].copy_from_slice(&hex(low));
    text
}

/// A number in 16 digits: eight at a time, spread over the bytes of a word.
fn hex(number: u64) -> [u8; 16] {
    let digits = |half: u64| {
        let pairs = (half | half << 16) & 0x0000_FFFF_0000_FFFF;
        let bytes = (pairs | pairs << 8) & 0x00FF_00FF_00FF_00FF;
        let nibbles = (bytes | bytes << 4) & 0x0F0F_0F0F_0F0F_0F0F;
        // One in each byte whose digit is a letter.
        let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
        (nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
    };
    let mut text = [0; 16];
    text[..8].copy_from_slice(&digits(number >> 32));
    text[8..].copy_from_slice(&digits(number & 0xFFFF_FFFF));
    text
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_number_is_written_as_sixteen_digits() {
        for number in [0, 1, 0x0123_4567_89AB_CDEF, u64::MAX, 0xA0B0_C0D0_E0F0_0F0E] {
            assert_eq!(hex(number), format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn a_trace_and_an_id_are_kept_or_begun_together() {
        let mut random = (1..).map(|n: u64| n << 32);
        let mut by = |lines: &[(&'static str, &'static str)]| {
            let mut map = headers(lines);
            let seen = Seen::of(&map);
            (Begun::by(&mut map, seen, || random.next().unwrap()), map)
        };
        let (begun, _) = by(&[]);
        let (id, trace) = (begun.id.unwrap(), begun.trace.unwrap());
        assert!(is_traceparent(&trace) && trace[3..35] == id, "{begun:?}");
        let values = begun.values();
        assert_eq!((values.0.unwrap().as_bytes(), values.1.unwrap().as_bytes()), (&id[..], &trace[..]));

        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let (begun, kept) = by(&[("x-request-id", "mine"), ("traceparent", parent)]);
        assert!(begun.id.is_none() && begun.trace.is_none(), "{begun:?}");
        assert_eq!(kept, headers(&[("x-request-id", "mine"), ("traceparent", parent)]));

        let (begun, kept) = by(&[("traceparent", parent)]);
        assert_eq!((&begun.id.unwrap()[..], begun.trace), (&parent.as_bytes()[3..35], None));
        assert_eq!(kept["traceparent"], parent);

        let (begun, _) = by(&[("x-request-id", &parent[3..35])]);
        assert_eq!((begun.id, &begun.trace.unwrap()[3..35]), (None, &parent.as_bytes()[3..35]));

        let (begun, map) = by(&[("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")]);
        assert!(is_traceparent(&begun.trace.unwrap()) && !map.contains_key("traceparent"));
    }
}
