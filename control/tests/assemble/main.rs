//! What the pure half of control makes of objects: snapshots and problems.
#![cfg(test)] // Always so, and said so that clippy takes the helpers for tests, in which `unwrap` is fine.

#[macro_use]
mod support;

mod attachment;
mod binds;
mod golden;
mod properties;
mod references;
mod resolution;
mod rollouts;
mod services;
