//! Headers that a proxy must remove, and those that it adds.

use bytes::{BufMut, BytesMut};
use http::Version;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};

mod added;
mod client;
mod host;
mod identity;

use crate::respond::REQUEST_ID_HEADER;
pub(crate) use added::Added;
pub(crate) use client::Client;
pub(crate) use host::{HOST_LENGTH_MAX, Named, named_host, split_host, without_user};
pub(crate) use identity::RequestId;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Which of the headers that matter here a message has: found in one pass, so that the many that are not there cost no look-up
/// each. It may be out of date in one direction: what it knows may have been removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen(u16);

impl Seen {
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const TE: Self = Self(1 << 1);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 2);
    pub(crate) const UPGRADE: Self = Self(1 << 3);
    /// Others that concern one connection only.
    const OTHER_HOP: Self = Self(1 << 4);
    pub(crate) const EXPECT: Self = Self(1 << 5);
    pub(crate) const COOKIE: Self = Self(1 << 6);
    const FORWARDED: Self = Self(1 << 7);
    const FORWARDED_FOR: Self = Self(1 << 8);
    const FORWARDED_HOST: Self = Self(1 << 9);
    const FORWARDED_PROTO: Self = Self(1 << 10);
    pub(crate) const REQUEST_ID: Self = Self(1 << 11);
    const TRACEPARENT: Self = Self(1 << 12);
    pub(crate) const HOST: Self = Self(1 << 13);
    const HOP_BY_HOP: Self = Self(0b1_1111);

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().fold(0, |seen, name| seen | Self::one(name.as_str()).0))
    }

    fn one(name: &str) -> Self {
        match name {
            "connection" => Self::CONNECTION,
            "te" => Self::TE,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "upgrade" => Self::UPGRADE,
            "keep-alive" | "proxy-connection" | "http2-settings" => Self::OTHER_HOP,
            "expect" => Self::EXPECT,
            "cookie" => Self::COOKIE,
            "forwarded" => Self::FORWARDED,
            "x-forwarded-for" => Self::FORWARDED_FOR,
            "x-forwarded-host" => Self::FORWARDED_HOST,
            "x-forwarded-proto" => Self::FORWARDED_PROTO,
            "x-request-id" => Self::REQUEST_ID,
            "traceparent" => Self::TRACEPARENT,
            "host" => Self::HOST,
            _ => Self(0),
        }
    }

    /// Whether the message has one of these.
    pub(crate) fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// The value of a header, which is only looked for where it was seen.
    pub(crate) fn value(self, of: Self, name: HeaderName, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.any(of) { headers.get(name).cloned() } else { None }
    }
}

/// What the hop-by-hop headers of a message said, before they were removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HopByHop {
    /// The protocol to upgrade to, if `Connection` named `upgrade`.
    pub(crate) upgrade: Option<HeaderValue>,
    /// `Connection: close`: the sender's last message on this connection.
    pub(crate) close: bool,
    /// `TE: trailers`: the sender can take trailers.
    pub(crate) te_trailers: bool,
}

/// Removes the headers that concern one connection only, and those that `Connection` names (RFC 9110 section 7.6.1).
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) -> HopByHop {
    remove_seen_hop_by_hop(headers, Seen::of(headers))
}

/// The same of a message whose headers have been looked at.
pub(crate) fn remove_seen_hop_by_hop(headers: &mut HeaderMap, seen: Seen) -> HopByHop {
    let mut said = HopByHop::default();
    if !seen.any(Seen::HOP_BY_HOP) {
        return said;
    }
    if seen.any(Seen::CONNECTION) {
        remove_named_by_connection(headers, &mut said);
    }
    if seen.any(Seen::TE)
        && let Some(te) = headers.remove(TE)
    {
        said.te_trailers = names(&te).any(|name| name.eq_ignore_ascii_case("trailers"));
    }
    if seen.any(Seen::TRANSFER_ENCODING) {
        headers.remove(TRANSFER_ENCODING);
    }
    if seen.any(Seen::UPGRADE) {
        headers.remove(UPGRADE);
    }
    if seen.any(Seen::OTHER_HOP) {
        for name in [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS] {
            headers.remove(name);
        }
    }
    said
}

fn remove_named_by_connection(headers: &mut HeaderMap, said: &mut HopByHop) {
    let mut names_others = false;
    for name in headers.get_all(CONNECTION).iter().flat_map(names) {
        if name.eq_ignore_ascii_case("upgrade") {
            said.upgrade = headers.get(UPGRADE).cloned();
        } else if name.eq_ignore_ascii_case("close") {
            said.close = true;
        } else if !name.eq_ignore_ascii_case("keep-alive") {
            names_others = true;
        }
    }
    if names_others {
        let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
        let named = lines.iter().flat_map(names).filter(|name| !name.eq_ignore_ascii_case("close"));
        let named = named.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        for name in named.filter(may_be_named_by_connection) {
            headers.remove(name);
        }
    }
    headers.remove(CONNECTION);
}

/// The protocols of an `Upgrade` header that may be passed on: HTTP/2 is spoken with prior knowledge or not at all, since an
/// upgrade to it would carry further requests past this proxy (RFC 9113 appendix B: the upgrade is obsolete).
pub(crate) fn upgradable(upgrade: &HeaderValue) -> Option<HeaderValue> {
    let is_http2 = |name: &&str| name.eq_ignore_ascii_case("h2c") || name.eq_ignore_ascii_case("h2");
    if !names(upgrade).any(|name| is_http2(&name)) {
        return names(upgrade).next().map(|_| upgrade.clone());
    }
    let rest: Vec<&str> = names(upgrade).filter(|name| !is_http2(name)).collect();
    // Made of parts of a valid value.
    HeaderValue::try_from(rest.join(", ")).ok().filter(|rest| !rest.is_empty())
}

/// Whether the protocol that was chosen is among those that were asked for.
pub(crate) fn offers(asked: &HeaderValue, chosen: &HeaderValue) -> bool {
    names(chosen).all(|chosen| names(asked).any(|asked| asked.eq_ignore_ascii_case(chosen)))
}

/// Removes from trailers what has no place there: it would be about one connection, or contradict what was done with the head
/// (RFC 9110 section 6.5.1). HTTP/2 calls some of them malformed.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    for name in [HOST, CONTENT_LENGTH, TRAILER] {
        trailers.remove(name);
    }
}

/// A client must not use `Connection` to take away what the endpoint relies on (abusing hop-by-hop headers).
fn may_be_named_by_connection(name: &HeaderName) -> bool {
    const END_TO_END: [HeaderName; 10] = [
        HOST,
        CONTENT_LENGTH,
        AUTHORIZATION,
        COOKIE,
        FORWARDED,
        X_FORWARDED_FOR,
        X_FORWARDED_HOST,
        X_FORWARDED_PROTO,
        REQUEST_ID_HEADER,
        TRACEPARENT,
    ];
    *name != TE && !END_TO_END.contains(name)
}

/// The names in a comma-separated header. What is no text is no name, but keeps its place: the others still count.
pub(crate) fn names(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let parts = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    parts.filter(|part| !part.is_empty()).map(|part| std::str::from_utf8(part).unwrap_or("\u{fffd}"))
}

/// Whether a message's transfer coding can be forwarded: none, or `chunked` alone.
pub(crate) fn transfer_coding_is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(names);
    codings.next().is_none_or(|first| first.eq_ignore_ascii_case("chunked")) && codings.next().is_none()
}

/// Puts hop-by-hop headers for the next connection.
pub(crate) fn set_for_next_hop(
    headers: &mut HeaderMap,
    said: &HopByHop,
    upgrade: Option<&HeaderValue>,
    version: Version,
) {
    if said.te_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if version != Version::HTTP_2 && upgrade.is_none() {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
}

/// Appends `Via` (RFC 9110 section 7.6.3).
pub(crate) fn add_via(headers: &mut HeaderMap, version: Version) {
    let protocol = if version == Version::HTTP_2 { "2.0 watershed" } else { "1.1 watershed" };
    headers.append(VIA, HeaderValue::from_static(protocol));
}

/// HTTP/2 splits cookies into several lines; HTTP/1.1 has one (RFC 9113 section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let mut joined = BytesMut::new();
    for value in headers.get_all(COOKIE) {
        if !joined.is_empty() {
            joined.put_slice(b"; ");
        }
        joined.put_slice(value.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_maybe_shared(joined.freeze()) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_name_that_is_none_does_not_hide_the_others() {
        let value = HeaderValue::from_bytes(b"close, \xff, ,x\xc3\xa9,\t X-Hop ").unwrap();
        assert_eq!(names(&value).collect::<Vec<_>>(), ["close", "\u{fffd}", "x\u{e9}", "X-Hop"]);
        let mut map = headers(&[("x-hop", "1"), ("x-public", "2")]);
        map.insert("connection", value);
        remove_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("x-public", "2")]));
        let coding = HeaderValue::from_bytes(b"\xff").unwrap();
        assert!(!transfer_coding_is_plain(&[(TRANSFER_ENCODING, coding)].into_iter().collect()));
    }

    #[test]
    fn what_concerns_one_connection_and_what_connection_names_is_removed() {
        let mut map = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "x"),
            ("te", "trailers, deflate"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-public", "2"),
        ]);
        let said = remove_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("x-public", "2")]));
        assert_eq!(
            said,
            HopByHop { upgrade: None, close: true, te_trailers: true },
            "an upgrade that Connection does not name is none"
        );
    }

    #[test]
    fn connection_cannot_take_away_what_the_endpoint_relies_on() {
        let mut map = headers(&[("connection", "host, authorization, x-forwarded-for, cookie")]);
        let kept = [("host", "a"), ("authorization", "b"), ("x-forwarded-for", "c"), ("cookie", "d")];
        map.extend(headers(&kept));
        remove_hop_by_hop(&mut map);
        assert_eq!(map, headers(&kept));
    }

    #[test]
    fn an_upgrade_to_http2_is_never_passed_on() {
        for (asked, passed) in [
            ("websocket", Some("websocket")),
            ("h2c", None),
            ("H2C", None),
            ("h2c, websocket", Some("websocket")),
            ("websocket, h2c,foo/1", Some("websocket, foo/1")),
            ("", None),
        ] {
            let passed = passed.map(HeaderValue::from_static);
            assert_eq!(upgradable(&HeaderValue::from_static(asked)), passed, "{asked}");
        }
    }

    #[test]
    fn only_a_protocol_that_was_asked_for_may_be_switched_to() {
        for (asked, chosen, fits) in [
            ("websocket", "WebSocket", true),
            ("a, b", "b", true),
            ("a", "b", false),
            ("a, b", "a, c", false),
        ] {
            let (asked, chosen) = (HeaderValue::from_static(asked), HeaderValue::from_static(chosen));
            assert_eq!(offers(&asked, &chosen), fits, "{asked:?} {chosen:?}");
        }
    }

    #[test]
    fn only_no_transfer_coding_or_chunked_alone_can_be_forwarded() {
        for (value, plain) in
            [("chunked", true), ("Chunked", true), ("gzip, chunked", false), ("identity", false)]
        {
            assert_eq!(transfer_coding_is_plain(&headers(&[("transfer-encoding", value)])), plain, "{value}");
        }
        assert!(transfer_coding_is_plain(&HeaderMap::new()));
    }
}
