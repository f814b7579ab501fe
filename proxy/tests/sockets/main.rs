//! The data plane over real sockets: what goes in at one end and what comes out at the other, byte by byte.
//!
//! Every test starts its own proxy and its own pods on loopback ports that the system chooses, so that all run at once. Clients
//! and pods are plain blocking sockets with scripts: they do what real ones only do on a bad day.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Each theme uses some of it, and they grow side by side.
#[allow(dead_code, unused_imports, reason = "shared by themes that are added one by one")]
mod support;

mod balance;
<<<<<<< HEAD
mod detection;
mod exchange;
mod head;
mod http2_messages;
mod http2_pods;
=======
mod bodies;
mod exchange;
mod head;
mod lifecycle;
mod limits;
>>>>>>> 85bb40a (proxy: tests of bodies, limits, the life of a process, and a torture; early answers survive a reset, re-adding an address does not find ourselves)
mod pool;
mod reasons;
mod smuggling;
mod torture;
