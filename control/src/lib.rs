//! Decides what the data plane should do.
//!
//! The story: a source (today a directory of manifests) tells the [`catalog`] which objects there are; [`resolve`] finds the
//! ready pods of each Service; [`assemble`] turns both into a [`Snapshot`](watershed_config::snapshot::Snapshot), which the
//! driver publishes, last value wins.
//!
//! Deliberately absent: the data plane. Snapshots leave through a `watch` channel; who carries traffic is not known here.

pub mod assemble;
pub mod catalog;
pub mod readiness;
pub mod resolve;
