//! Watershed as a whole: the real binary, real files, real sockets, real signals.
//!
//! One test binary, so that it is linked once. Every test starts its own process over its own directory, on ports of its own,
//! so that all can run side by side; pods and clients live in the test itself. Nothing sleeps for a result: tests look until
//! it is there, or give up loudly after [`support::PATIENCE`].
#![cfg(test)] // Always so, and said so that clippy takes the helpers for tests, in which `unwrap` is fine.
#![allow(
    clippy::needless_raw_string_hashes,
    reason = "manifests are all quoted alike, whether this one has a quote or not"
)]

mod support;

mod admin;
mod architecture;
mod commands;
mod demo;
mod filters;
mod hostile;
mod hot_swap;
mod judge;
mod lifecycle;
mod limits;
mod matching;
mod readiness;
mod rollout;
mod rollouts;
mod smoke;
mod streaming;
mod ways_in;
mod weight_edits;
mod zero_loss;
