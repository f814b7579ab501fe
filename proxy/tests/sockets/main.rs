//! The data plane over real sockets: what goes in at one end and what comes out at the other, byte by byte.
//!
//! Every test starts its own proxy and its own pods on loopback ports that the system chooses, so that all run at once. Clients
//! and pods are plain blocking sockets with scripts: they do what real ones only do on a bad day.
#![cfg(test)] // Always so, and said so that clippy takes the helpers for tests, in which `unwrap` is fine.

// Each theme uses some of it, and they grow side by side.
#[allow(dead_code, unused_imports, reason = "shared by themes that are added one by one")]
mod support;

mod balance;
mod bodies;
mod detection;
mod exchange;
mod head;
mod http2_hostile;
mod http2_messages;
mod http2_pods;
mod http2_streams;
mod lifecycle;
mod limits;
mod parking;
mod pool;
mod reasons;
mod revisions;
mod smuggling;
mod torture;
mod tunnels;
