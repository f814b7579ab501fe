//! The rollout engine in a small world, without files and clocks.

#![allow(clippy::unwrap_used, missing_docs)]

mod canary;
mod properties;
mod verbs;
mod world;
