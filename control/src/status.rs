//! What is to be said of the control component's own state: for `/readyz?verbose`, `/debug/config`, metrics and people.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use watershed_config::Problem;
use watershed_config::model::{Kind, ObjectId};
use watershed_config::snapshot::Generation;

pub use crate::probe::PodVerdict;

/// The state after the latest look or swap.
#[derive(Debug, Clone)]
pub struct Status {
    /// The generation that is published.
    pub generation: Generation,
    /// Everything that is wrong now, in the order in which problems are shown.
    pub problems: Vec<Problem>,
    /// Why what cannot be seen any more is still served, if so.
    pub source_lost: Option<String>,
    /// Objects of which an earlier version is served, because their current text is in error.
    pub last_good: Vec<ObjectId>,
    /// How many objects of each kind are current.
    pub objects: BTreeMap<Kind, usize>,
    /// How many manifest files there are.
    pub files: usize,
    /// How often something was not taken since the start, by kind; `file` for files as a whole, `unknown` where no identity
    /// could be made out. Never falls.
    pub rejected_total: BTreeMap<&'static str, u64>,
    /// When the published generation was assembled.
    pub applied_at: SystemTime,
    /// How long listing, reading and parsing took at the latest look that changed something.
    pub read_duration: Duration,
    /// How long assembling the published generation took.
    pub assemble_duration: Duration,
    /// What is wrong with the state directory: what it costs is the last good versions after a restart.
    pub state_note: Option<String>,
    /// Why not everything is watched: changes are then seen by polling, every second.
    pub watch_note: Option<String>,
    /// What the readiness probes say, of every pod that has some.
    pub pods: Vec<PodVerdict>,
}
