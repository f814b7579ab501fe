//! What a request is told on its way here: about its client, its id and its trace.
//!
//! They are no part of the request's own headers until something has to find them there (a filter that changes one, HPACK): in an HTTP/1.1 head
//! they are written behind its own. Five entries in a map, made to be read once, cost a request more than routing it does.

use std::rc::Rc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::identity::Begun;
use super::{Client, Seen, TRACEPARENT, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::respond::REQUEST_ID_HEADER;

/// All of them.
const NAMES: [HeaderName; 5] =
    [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, TRACEPARENT, REQUEST_ID_HEADER];

/// Headers that a request gets here.
#[derive(Debug)]
pub(crate) struct Added {
    client: Rc<Client>,
    /// Whether it has no `X-Forwarded-For`, and no `X-Forwarded-Proto` yet.
    address: bool,
    protocol: bool,
    /// Its host, where it has no `X-Forwarded-Host` yet.
    host: Option<HeaderValue>,
    begun: Begun,
}

impl Added {
    /// What a request with these headers gets. Lists that earlier proxies began are continued in their place: `X-Forwarded-For`
    /// and `Forwarded` (RFC 7239), so that every proxy of a chain is kept. `random` is asked where an id or a trace is begun.
    pub(crate) fn to(
        headers: &mut HeaderMap,
        seen: Seen,
        client: &Rc<Client>,
        host: Option<HeaderValue>,
        random: impl FnMut() -> u64,
    ) -> Self {
        client.continue_lists(headers, seen);
        Self {
            client: Rc::clone(client),
            address: !seen.any(Seen::FORWARDED_FOR),
            protocol: !seen.any(Seen::FORWARDED_PROTO),
            host: host.filter(|_| !seen.any(Seen::FORWARDED_HOST)),
            begun: Begun::by(headers, seen, random),
        }
    }

    /// Whether a header is one that a request may get here.
    pub(crate) fn has(name: &HeaderName) -> bool {
        NAMES.contains(name)
    }

    /// The id that it gets, if it had none.
    pub(crate) fn request_id(&self) -> Option<[u8; 32]> {
        self.begun.id
    }

    /// Hands each to `line`.
    pub(crate) fn write(&self, mut line: impl FnMut(&'static str, &[u8])) {
        if self.address {
            line("x-forwarded-for", self.client.address.as_bytes());
        }
        if self.protocol {
            line("x-forwarded-proto", b"http");
        }
        if let Some(host) = &self.host {
            line("x-forwarded-host", host.as_bytes());
        }
        if let Some(trace) = &self.begun.trace {
            line("traceparent", trace);
        }
        if let Some(id) = &self.begun.id {
            line("x-request-id", id);
        }
    }

    /// Puts them among the request's own.
    pub(crate) fn put_into(self, headers: &mut HeaderMap) {
        headers.reserve(NAMES.len());
        let mut put = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        };
        put(X_FORWARDED_FOR, self.address.then(|| self.client.address.clone()));
        put(X_FORWARDED_PROTO, self.protocol.then(|| HeaderValue::from_static("http")));
        put(X_FORWARDED_HOST, self.host);
        let (id, trace) = self.begun.values();
        put(TRACEPARENT, trace);
        put(REQUEST_ID_HEADER, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    fn added_to(map: &mut HeaderMap) -> Added {
        let client = Rc::new(Client::new("::ffff:10.1.2.3".parse().unwrap()));
        let seen = Seen::of(map);
        Added::to(map, seen, &client, Some(HeaderValue::from_static("a.b")), || 7)
    }

    #[test]
    fn the_client_is_appended_to_what_earlier_proxies_said() {
        let mut map = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.1.1.1"),
        ]);
        added_to(&mut map).put_into(&mut map);
        assert_eq!(map["x-forwarded-for"], "1.1.1.1, 10.1.2.3");
        assert_eq!(map["x-forwarded-proto"], "https");
        assert_eq!(map["x-forwarded-host"], "a.b");
        let forwarded: Vec<_> = map.get_all("forwarded").iter().collect();
        assert_eq!(forwarded, ["for=1.1.1.1", "for=10.1.2.3;proto=http"]);
    }

    #[test]
    fn what_is_written_is_what_would_be_put_among_the_others() {
        for own in [
            &[][..],
            &[("x-forwarded-for", "1.1.1.1")],
            &[("x-forwarded-proto", "https"), ("x-forwarded-host", "first"), ("x-request-id", "mine")],
            &[("x-request-id", "4bf92f3577b34da6a3ce929d0e0e4736")],
            &[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
            &[("traceparent", "nonsense"), ("forwarded", "for=1.1.1.1")],
        ] {
            let (mut put, mut written) = (headers(own), headers(own));
            added_to(&mut put).put_into(&mut put);
            let added = added_to(&mut written);
            added.write(|name, value| {
                assert!(!written.contains_key(name), "{name} twice: {own:?}");
                written.insert(name, HeaderValue::from_bytes(value).unwrap());
            });
            assert_eq!(written, put, "{own:?}");
        }
    }
}
