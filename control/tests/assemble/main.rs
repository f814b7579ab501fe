//! What the pure half of control makes of objects: snapshots and problems.

#[cfg(test)] // Tells clippy that `unwrap` is fine here.
#[macro_use]
mod support;

mod attachment;
mod binds;
mod properties;
mod references;
mod resolution;
mod services;
