//! Rollouts: moving a Service's traffic from one revision of its pods to another.
//!
//! The story: [`facts`] gathers what is known at one moment; the pure [`engine`] decides what follows from it and from the
//! [`state`]; the [`journal`] has the state on the disk before the [`plan`] that follows from it is published; the [`judge`]
//! compares the revisions on what the data plane reports; [`verbs`] are what operators ask for; and [`describe`] shows it all.
//!
//! Deliberately absent: starting and stopping pods. A rollout moves traffic; how many pods there are is somebody else's work, who
//! is told what is wished for.

pub mod board;
pub mod describe;
pub mod engine;
pub mod facts;
pub mod journal;
pub mod judge;
pub(crate) mod keeper;
pub mod plan;
pub mod port;
pub mod state;
pub mod steps;
pub mod verbs;
pub mod view;

pub use keeper::plans_without_memory;
