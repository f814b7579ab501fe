//! Manifest text to validated model to snapshot.
//!
//! The story: a file's text is parsed into positioned nodes (`yaml`), each document becomes one [`model::Object`] or the
//! [`Problem`]s that say why not (`lower`), and the control component assembles a catalog of objects into a
//! [`snapshot::Snapshot`], which is all that the data plane may know.
//!
//! After lowering nothing is invalid: a [`model::Object`] can always be served, whatever else is missing around it.
//!
//! Deliberately absent: files, sockets, clocks, randomness, threads and an async runtime. Text comes in as `&str`, time as an
//! argument, and everything that can be wrong comes back as a list of problems with their places, never just the first one.

mod fields;
mod lower;
pub mod model;
pub mod observation;
pub mod problem;
mod reading;
pub mod snapshot;
mod yaml;

pub use fields::suggest::nearest;
pub use problem::{Problem, Severity, Spot};
pub use reading::{Document, Reading, read};
