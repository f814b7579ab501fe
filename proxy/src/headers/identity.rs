//! The request's id and its place in a trace.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};

use super::{Seen, TRACEPARENT};
use crate::respond::REQUEST_ID_HEADER;

/// Keeps the client's request id and trace, or begins both with one random number, so that the log line, the trace and the
/// endpoint's own log carry the same id. `random` is only asked where something is begun.
///
/// What is begun is marked never to be indexed on HTTP/2 (RFC 7541 section 7.1.3): it is different in every request, and would
/// push out of the table what is not.
pub(crate) fn identify(headers: &mut HeaderMap, seen: Seen, mut random: impl FnMut() -> u64) -> HeaderValue {
    let known = if seen.any(Seen::REQUEST_ID) { headers.get(REQUEST_ID_HEADER).cloned() } else { None };
    let traced = if seen.any(Seen::TRACEPARENT) {
        headers.get(TRACEPARENT).map(HeaderValue::as_bytes).filter(|value| is_traceparent(value))
    } else {
        None
    };
    match (known, traced) {
        (Some(id), Some(_)) => id,
        (Some(id), None) => {
            let id_as_trace = <[u8; 32]>::try_from(id.as_bytes()).ok().filter(|id| is_hex(id, 32));
            let trace = id_as_trace.unwrap_or_else(|| hex_id(random(), random()));
            headers.insert(TRACEPARENT, begun(Bytes::copy_from_slice(&traceparent(&trace, random()))));
            id
        }
        (None, Some(trace)) => {
            let id = begun(Bytes::copy_from_slice(&trace[3..35]));
            headers.insert(REQUEST_ID_HEADER, id.clone());
            id
        }
        (None, None) => {
            // One allocation for both: the id is a part of the trace.
            let trace = Bytes::copy_from_slice(&traceparent(&hex_id(random(), random()), random()));
            let id = begun(trace.slice(3..35));
            headers.insert(TRACEPARENT, begun(trace));
            headers.insert(REQUEST_ID_HEADER, id.clone());
            id
        }
    }
}

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
        let mut fresh = HeaderMap::new();
        let id = identify(&mut fresh, Seen::default(), || random.next().unwrap());
        assert_eq!(fresh["x-request-id"], id);
        let parent = fresh["traceparent"].to_str().unwrap().to_owned();
        assert!(is_traceparent(parent.as_bytes()), "{parent}");
        assert_eq!(parent[3..35], *id.to_str().unwrap());

        let mut kept = headers(&[
            ("x-request-id", "mine"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ]);
        let before = kept.clone();
        let seen = Seen::of(&kept);
        assert_eq!(identify(&mut kept, seen, || panic!("nothing to begin")), "mine");
        assert_eq!(kept, before);

        let mut broken =
            headers(&[("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")]);
        let seen = Seen::of(&broken);
        identify(&mut broken, seen, || 7);
        assert!(is_traceparent(broken["traceparent"].as_bytes()));
    }
}
