//! What a decision depends on besides the memory: the specification, the pods, what the data plane does and has seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use watershed_config::model::{AnalysisTemplate, Rollout};
use watershed_config::observation::{BlockCounts, RolloutObservation};

use super::plan::Plan;
use crate::analysis::Measured;

/// Everything that is known at one moment, of one version of the catalog.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The specification.
    pub spec: Arc<Rollout>,
    /// Revisions that have pods, in order of name.
    pub revisions: Vec<RevisionFacts>,
    /// The plan that every worker has acknowledged, if it is the one that was published last.
    pub applied: Option<Plan>,
    /// Whether decisions can be remembered: where they cannot, no rollout begins.
    pub remembers: bool,
    /// How many workers there are.
    pub workers: u32,
    /// What the data plane counted for this rollout.
    pub observed: RolloutObservation,
    /// What came since the last decision.
    pub fresh: Fresh,
    /// The templates of its namespace, by name.
    pub templates: BTreeMap<Arc<str>, Arc<AnalysisTemplate>>,
}

/// What came since the last decision: counted once and never again.
#[derive(Debug, Clone, Default)]
pub struct Fresh {
    /// Blocks for the judge, of the run of [`RolloutObservation::run`].
    pub blocks: BlockCounts,
    /// Requests and failures by revision.
    pub requests: BTreeMap<Arc<str>, (u64, u64)>,
    /// Measurements: number of the run, of its analysis and of the metric.
    pub measured: Vec<(u64, u64, usize, Measured)>,
}

impl Fresh {
    /// Adds what came later.
    pub fn absorb(&mut self, later: Self) {
        self.blocks.failed.absorb(&later.blocks.failed);
        for (table, later) in self.blocks.slow.iter_mut().zip(&later.blocks.slow) {
            table.absorb(later);
        }
        for (revision, (requests, failed)) in later.requests {
            let sum = self.requests.entry(revision).or_default();
            *sum = (sum.0 + requests, sum.1 + failed);
        }
        self.measured.extend(later.measured);
    }
}

/// One revision of the Service's pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevisionFacts {
    /// The value of the revision label.
    pub revision: Arc<str>,
    /// `deployment.kubernetes.io/revision` of its Deployment or `ReplicaSet`.
    pub number: Option<u64>,
    /// The earliest creation of its pods or its workload, in milliseconds since 1970.
    pub created: Option<u64>,
    /// How many pods its workload wants.
    pub replicas: Option<u32>,
    /// `kubernetes.io/change-cause`.
    pub change_cause: Option<Arc<str>>,
    /// Its pods, in order of name.
    pub pods: Vec<PodFacts>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: Arc<str>,
    /// Its UID.
    pub uid: Arc<str>,
    /// Its address.
    pub address: Arc<str>,
    /// Since when it has been ready, if it is.
    pub ready_since: Option<u64>,
    /// Whether it is going away.
    pub terminating: bool,
}

impl RevisionFacts {
    /// How many of its pods are ready.
    pub fn ready(&self) -> u32 {
        self.pods.iter().filter(|pod| pod.ready_since.is_some()).count() as u32
    }
}

impl Facts {
    /// The revision of this name, if it has pods.
    pub fn revision(&self, revision: &str) -> Option<&RevisionFacts> {
        self.revisions.iter().find(|facts| *facts.revision == *revision)
    }

    /// How many ready pods a revision has.
    pub fn ready(&self, revision: &str) -> u32 {
        self.revision(revision).map_or(0, RevisionFacts::ready)
    }
}
