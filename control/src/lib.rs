//! Decides what the data plane should do.
//!
//! The story: a [`source`] (today a directory of manifests) tells the [`catalog`] which objects there are; the [`probe`]s say
//! which pods are ready; [`resolve`] finds the ready pods of each Service; [`assemble`] turns all of it into a
//! [`Snapshot`](watershed_config::snapshot::Snapshot), which the [`driver`] publishes, last value wins.
//!
//! The decisions (`catalog`, `readiness`, `resolve`, `assemble`, `source::ledger`, `probe::gauge`) are pure; files, sockets and
//! clocks are at the edges (`source::directory`, `source::watch`, `last_good`, `client`) and meet them in `driver` alone.
//!
//! Deliberately absent: the data plane. Snapshots leave through a `watch` channel; who carries traffic is not known here.

pub mod analysis;
pub mod assemble;
pub mod catalog;
mod client;
pub mod driver;
mod engine;
mod full_tree;
mod last_good;
pub mod load;
mod probe;
pub mod readiness;
pub mod resolve;
pub mod rollout;
mod source;
pub mod state_dir;
pub mod status;
mod wake;
