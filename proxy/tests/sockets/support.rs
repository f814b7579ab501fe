//! What every test here needs: snapshots, a proxy, pods and clients.

mod client;
pub(crate) mod frames;
pub(crate) mod h2_client;
pub(crate) mod h2_pod;
mod message;
mod pod;
mod proxy;
mod snapshot;

use std::time::{Duration, Instant};

pub(crate) use client::Client;
pub(crate) use h2_client::H2Client;
pub(crate) use h2_pod::{H2Pod, Tell, h2c};
pub(crate) use message::Message;
pub(crate) use pod::{Pod, PodConn};
pub(crate) use proxy::{TestProxy, block_on, metric, settings};
pub(crate) use snapshot::{
    arm, backend, candidate, endpoint, host, invalid_arm, rule, rule_named, snapshot, with_state,
};

/// How long anything may take before a test gives up. Generous, because the machine may be busy; nothing waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something holds, looking every few milliseconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An address on which nobody listens.
pub(crate) fn free_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
