//! Headers that are kept in case their request must be sent again. Pure.
//!
//! `h2` takes a request's headers for itself, and hardly any request is sent twice: a second map for each, with its table and its
//! counted references, costs more than their text in one piece, which is made into a map again when it is asked for.

use bytes::{Buf as _, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Bytes that are set aside at first. Most heads fit; a longer one makes room as it is written.
const ROOM: usize = 1024;
/// Bits of a name's length: `http` allows no longer ones.
const NAME_BITS: u32 = 16;

/// The headers of a request as text: for each a [`Shape`], the name and the value.
#[derive(Debug)]
pub(super) struct Kept(Vec<u8>);

impl Kept {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut text = Vec::with_capacity(ROOM);
        for (name, value) in headers {
            let (name, is_sensitive, value) =
                (name.as_str().as_bytes(), value.is_sensitive(), value.as_bytes());
            text.reserve(Shape::SIZE + name.len() + value.len());
            text.extend_from_slice(&Shape::of(name, value, is_sensitive).0.to_ne_bytes());
            text.extend_from_slice(name);
            text.extend_from_slice(value);
        }
        Self(text)
    }

    /// The headers as they were: in their order, those marked so again never to be indexed.
    pub(super) fn into_headers(self) -> HeaderMap {
        let mut text = Bytes::from(self.0);
        let mut headers = HeaderMap::new();
        while let Some(shape) = text.first_chunk() {
            let shape = Shape(u64::from_ne_bytes(*shape));
            text.advance(Shape::SIZE);
            let name = HeaderName::from_bytes(&text.split_to(shape.name_length())).expect("it was one");
            let value = text.split_to(shape.value_length());
            let mut value = HeaderValue::from_maybe_shared(value).expect("it was one");
            value.set_sensitive(shape.is_sensitive());
            headers.append(name, value);
        }
        headers
    }
}

/// How long a header's name and value are, and whether the value must not be indexed, in one word.
#[derive(Debug, Clone, Copy)]
struct Shape(u64);

impl Shape {
    const SIZE: usize = size_of::<u64>();

    fn of(name: &[u8], value: &[u8], is_sensitive: bool) -> Self {
        Self((value.len() as u64) << (NAME_BITS + 1) | (name.len() as u64) << 1 | u64::from(is_sensitive))
    }

    fn name_length(self) -> usize {
        (self.0 >> 1) as usize & ((1 << NAME_BITS) - 1)
    }

    fn value_length(self) -> usize {
        (self.0 >> (NAME_BITS + 1)) as usize
    }

    fn is_sensitive(self) -> bool {
        self.0 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few names, so that they come several times; standard ones and others.
    fn header() -> impl Strategy<Value = (String, Vec<u8>, bool)> {
        let name = prop_oneof!["[a-z!#.]", Just("x-request-id".to_owned()), Just("cookie".to_owned())];
        let byte = prop_oneof![Just(b'\t'), 0x20..=0x7eu8, 0x80..=0xffu8];
        (name, proptest::collection::vec(byte, 0..40), any::<bool>())
    }

    fn map(lines: &[(String, Vec<u8>, bool)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value, is_sensitive) in lines {
            let mut value = HeaderValue::from_bytes(value).unwrap();
            value.set_sensitive(*is_sensitive);
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        headers
    }

    fn lines(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue, bool)> {
        headers.iter().map(|(name, value)| (name.clone(), value.clone(), value.is_sensitive())).collect()
    }

    proptest! {
        #[test]
        fn headers_come_back_as_they_were(said in proptest::collection::vec(header(), 0..30)) {
            let headers = map(&said);
            prop_assert_eq!(lines(&Kept::of(&headers).into_headers()), lines(&headers));
        }
    }

    #[test]
    fn the_longest_name_and_a_value_longer_than_the_room_come_back() {
        let name = "n".repeat((1 << NAME_BITS) - 1);
        let headers = map(&[(name, vec![b'v'; 3 * ROOM], true), ("x-empty".to_owned(), Vec::new(), false)]);
        assert_eq!(lines(&Kept::of(&headers).into_headers()), lines(&headers));
    }
}
