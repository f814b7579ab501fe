//! Ports that nobody else has.
//!
//! Manifests name ports, so port 0 is not enough. The ports come from below the range from which the system takes those of
//! outgoing connections, so that no connection of another test can sit on one between its choice and its use.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

const PORTS: Range<u16> = 10_000..29_900;
/// As Kubernetes has them, below the outgoing ones.
const NODE_PORTS: Range<u16> = 30_000..32_700;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A free port.
pub(crate) fn free_port() -> u16 {
    free_in(&PORTS)
}

/// A free port in the range of node ports.
pub(crate) fn free_node_port() -> u16 {
    free_in(&NODE_PORTS)
}

/// The next port of the range that can be bound on all addresses. Every process begins elsewhere.
fn free_in(range: &Range<u16>) -> u16 {
    let length = u32::from(range.end - range.start);
    let offset = std::process::id().wrapping_mul(7919) % length;
    for _ in 0..length {
        let step = u32::from(NEXT.fetch_add(1, Relaxed));
        let port = range.start + ((offset + step) % length) as u16;
        // Both: an address in use on loopback alone does not keep the wildcard from being bound.
        let everywhere = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        if TcpListener::bind(everywhere).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {} and {}", range.start, range.end);
}
