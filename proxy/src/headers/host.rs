//! The host that a request is for.

use http::header::{HOST, HeaderMap};
use http::uri::Authority;

/// The host and port that a request names: the authority of its target if it has one, else `Host` (RFC 9112 section 3.2.2).
pub(crate) enum Named<'a> {
    /// By its target.
    Target(&'a Authority),
    /// By its `Host` header.
    Header(&'a str),
    /// Not at all.
    Nothing,
    /// By two `Host` headers, or one that is not text.
    Wrong,
}

/// See [`Named`].
pub(crate) fn named_host<'a>(authority: Option<&'a Authority>, headers: &'a HeaderMap) -> Named<'a> {
    // Nearly no request has any header twice, and one look is cheaper than going through all of a name.
    if headers.len() > headers.keys_len() && headers.get_all(HOST).iter().nth(1).is_some() {
        return Named::Wrong;
    }
    match (authority, headers.get(HOST)) {
        (Some(authority), _) => Named::Target(authority),
        (None, Some(host)) => host.to_str().map_or(Named::Wrong, Named::Header),
        (None, None) => Named::Nothing,
    }
}

/// An authority without the user that it may name. That is none of a request's business (RFC 9110 section 4.2.4).
pub(crate) fn without_user(authority: &Authority) -> &str {
    // A loop over its few bytes: the search of the standard library is made for long texts.
    let text = authority.as_str();
    text.bytes().rposition(|byte| byte == b'@').map_or(text, |at| &text[at + 1..])
}

/// Longest host name that DNS allows.
pub(crate) const HOST_LENGTH_MAX: usize = 253;

/// What a host may consist of, in lower case; 0 for all else.
const LOWER: [u8; 256] = {
    let mut lower = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']' | b'%') {
            lower[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    lower
};

/// Splits `host:port`; `None` if it is not a host. One that is not in lower case yet is written so into `buffer`.
pub(crate) fn split_host<'b>(
    text: &'b str,
    buffer: &'b mut [u8; HOST_LENGTH_MAX],
) -> Option<(&'b str, Option<u16>)> {
    let (host, port) = match text.bytes().rposition(|byte| matches!(byte, b':' | b']')) {
        Some(colon) if text.as_bytes()[colon] == b':' => (&text[..colon], &text[colon + 1..]),
        // The last colon is a part of the address in brackets.
        _ => (text, ""),
    };
    let port = if port.is_empty() { None } else { Some(port.parse().ok()?) };
    let host = host.strip_suffix('.').unwrap_or(host);
    let room = buffer.get_mut(..host.len())?;
    let (mut is_valid, mut is_lower) = (true, true);
    for byte in host.bytes() {
        let lower = LOWER[usize::from(byte)];
        is_valid &= lower != 0;
        is_lower &= lower == byte;
    }
    if !is_valid {
        return None;
    }
    if is_lower {
        return Some((host, port));
    }
    room.copy_from_slice(host.as_bytes());
    room.make_ascii_lowercase();
    Some((std::str::from_utf8(room).ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_not_a_part_of_the_host() {
        for (authority, host) in [("a.b:80", "a.b:80"), ("me@a.b", "a.b"), ("me:secret@a.b:80", "a.b:80")] {
            assert_eq!(without_user(&Authority::from_static(authority)), host);
        }
    }

    #[test]
    fn a_host_is_split_from_its_port_in_every_form() {
        let mut buffer = [0; HOST_LENGTH_MAX];
        let mut check = |text: &str, wanted: Option<(&str, Option<u16>)>| {
            assert_eq!(split_host(text, &mut buffer), wanted, "{text}");
        };
        check("Example.COM", Some(("example.com", None)));
        check("a.b.:80", Some(("a.b", Some(80))));
        check("a:", Some(("a", None)));
        check("[::1]:8080", Some(("[::1]", Some(8080))));
        check("[::1]", Some(("[::1]", None)));
        check("a:99999", None);
        check("a/b", None);
        check("a b", None);
        check("\u{e4}.b", None);
        check("", Some(("", None)));
        check("a:b:80", Some(("a:b", Some(80))));
        check("[::1", Some(("[:", Some(1))));
        check("[::1]a", Some(("[::1]a", None)));
        check(&"x".repeat(254), None);
    }
}
