//! Rollouts from one end to the other: the real process, real pods, real traffic.
//!
//! Clients send requests, half of them POSTs, and never repeat one; afterwards their books, the pods' and the proxy's are
//! compared. A request that a pod answered 500 is not lost: it is the version's doing, and counted as such.

#![allow(clippy::float_cmp, reason = "shares are whole millionths, so their percentages are exact")]

mod blue_green;
mod canary;
mod crash;
mod rolling;
mod stage;
