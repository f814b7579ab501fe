//! How a body is delimited.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};

/// How a body is delimited (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// By its length in bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// What makes a message unusable. One word is enough: the answer is the same, and the connection is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The length that `Content-Length` gives, if there is one; several must agree (RFC 9112 section 6.3 item 5).
///
/// # Errors
/// It is not a number, or there are different ones.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        length = agreed(length, value)?;
    }
    Ok(length)
}

/// The length that is agreed upon after one more line of `Content-Length`.
pub(super) fn agreed(before: Option<u64>, value: &HeaderValue) -> Result<Option<u64>, Malformed> {
    if let Some(length) = digits(value.as_bytes()) {
        return if before.is_none_or(|before| before == length) { Ok(Some(length)) } else { Err(Malformed) };
    }
    let list = value.as_bytes().split(|byte| *byte == b',').map(|part| digits(part.trim_ascii()));
    let length =
        list.reduce(|one, other| if one == other { one } else { None }).flatten().ok_or(Malformed)?;
    if before.is_none_or(|before| before == length) { Ok(Some(length)) } else { Err(Malformed) }
}

/// Digits and nothing else, not even a sign.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(lines: &[&'static str]) -> Result<Option<u64>, Malformed> {
        let lines = lines.iter().map(|line| (CONTENT_LENGTH, HeaderValue::from_static(line)));
        let mut headers = HeaderMap::new();
        lines.for_each(|(name, value)| {
            headers.append(name, value);
        });
        content_length(&headers)
    }

    #[test]
    fn lengths_that_agree_are_one() {
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&["5"]), Ok(Some(5)));
        assert_eq!(length(&["5", "5, 05"]), Ok(Some(5)));
        assert_eq!(length(&["18446744073709551615"]), Ok(Some(u64::MAX)));
    }

    #[test]
    fn anything_else_is_none() {
        for lines in [
            &["5", "6"][..],
            &["5, 6"],
            &["+5"],
            &["-1"],
            &[""],
            &["5,"],
            &["0x5"],
            &["5 5"],
            &["18446744073709551616"],
        ] {
            assert_eq!(length(lines), Err(Malformed), "{lines:?}");
        }
    }
}
