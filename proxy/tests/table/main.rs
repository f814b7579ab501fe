//! The routing table: which rule a request gets, and what outlives a swap.

#![allow(clippy::unwrap_used, reason = "what the tests write is valid")]

mod builder;
mod explain;
mod precedence;
mod reference;
mod revisions;
mod swaps;
