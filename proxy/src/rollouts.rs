//! What is counted for rollouts, and how the control component hears of it.
//!
//! A request that a [`RevisionSplit`](crate::table::RevisionSplit) has sent to a revision has a [`Stake`]: its record holds it,
//! and counts it when it ends. [`cells`] hold the counts by revision, [`blocks`] the evidence for the judge. As with all counters,
//! a worker writes its own and nobody else's; an [`Observer`] sums them from another thread at any time.

pub mod blocks;
pub mod cells;
mod observer;
mod stake;

pub use observer::Observer;
pub(crate) use stake::{Ending, Stake};
