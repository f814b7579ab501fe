//! The rollout engine in a small world, without files and clocks.

// Shares are whole millionths, so their percentages are exact.
#![allow(clippy::unwrap_used, clippy::float_cmp, missing_docs)]

mod canary;
mod properties;
mod verbs;
mod world;
