//! What endpoints are told of a client.

use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http::header::{FORWARDED, HeaderMap, HeaderValue};
use http::uri::Authority;

use super::{Seen, X_FORWARDED_FOR, without_user};

/// Bytes of the longest address in text: IPv6, which ends in IPv4 (RFC 4291 section 2.2).
const IP_LENGTH_MAX: usize = 45;

/// What is said of the client to the endpoint, prepared once per connection.
#[derive(Debug)]
pub(crate) struct Client {
    ip: IpAddr,
    pub(super) address: HeaderValue,
    /// The host that the last target named: clients ask for the same one again and again.
    host: RefCell<HeaderValue>,
}

impl Client {
    pub(crate) fn new(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let mut text = [0; IP_LENGTH_MAX];
        let mut rest = &mut text[..];
        // The longest fits.
        let _ = write!(rest, "{ip}");
        let length = IP_LENGTH_MAX - rest.len();
        let address =
            HeaderValue::from_bytes(&text[..length]).expect("an IP address is a valid header value");
        Self { ip, address, host: RefCell::new(HeaderValue::from_static("")) }
    }

    /// The host of a target as a value, which is only made anew if it is another one than last time.
    pub(crate) fn host(&self, authority: &Authority) -> HeaderValue {
        let named = without_user(authority);
        let mut host = self.host.borrow_mut();
        if host.as_bytes() != named.as_bytes() {
            *host = HeaderValue::from_str(named).expect("an authority is text without spaces");
        }
        host.clone()
    }

    /// Appends the client to the lists that there are.
    pub(super) fn continue_lists(&self, headers: &mut HeaderMap, seen: Seen) {
        if seen.any(Seen::FORWARDED_FOR) {
            self.append_forwarded_for(headers);
        }
        if seen.any(Seen::FORWARDED) {
            headers.append(FORWARDED, self.forwarded_element());
        }
    }

    fn forwarded_element(&self) -> HeaderValue {
        let element = match self.ip {
            IpAddr::V4(ip) => format!("for={ip};proto=http"),
            IpAddr::V6(ip) => format!("for=\"[{ip}]\";proto=http"),
        };
        HeaderValue::try_from(element).expect("made of an IP address and tokens")
    }

    fn append_forwarded_for(&self, headers: &mut HeaderMap) {
        let mut list = BytesMut::new();
        for value in headers.get_all(X_FORWARDED_FOR) {
            list.put_slice(value.as_bytes());
            list.put_slice(b", ");
        }
        list.put_slice(self.address.as_bytes());
        // Made of valid values and ", ".
        if let Ok(list) = HeaderValue::from_maybe_shared(list.freeze()) {
            headers.insert(X_FORWARDED_FOR, list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_that_of_each_target() {
        let client = Client::new("10.1.2.3".parse().unwrap());
        for (authority, host) in [("a.b", "a.b"), ("a.b", "a.b"), ("me@a.b:1", "a.b:1"), ("c", "c")] {
            assert_eq!(client.host(&Authority::from_static(authority)), host);
        }
    }
}
