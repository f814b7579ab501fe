//! Analyses: metrics from outside (Prometheus, anything that answers with JSON) that a rollout waits for or runs beside.
//!
//! A [`Run`] is pure: it knows what is to be measured when, takes what was measured, and says where the analysis stands. It is a
//! copy of its templates with all arguments filled in, so that it goes on from the journal as it began, whatever was edited
//! since. The [`Runner`] measures what is due and reports it; nothing else here touches the network.
//!
//! ```text
//! templates + arguments -> Run -due-> Runner -> provider -> condition -Measured-> Run -> Phase
//! ```
//!
//! Limits and their meaning are Argo's, with one difference: what cannot be measured is inconclusive in the end, never failed and
//! never passed.

mod arguments;
mod condition;
mod json_path;
mod metric;
mod providers;
mod run;
mod runner;

pub use run::{Measured, Phase, Run};
pub(crate) use runner::{RunId, Runner};
