//! What people and programs are shown of a rollout: the body of `GET /api/v1/namespaces/NS/rollouts/NAME`, from which the
//! command draws its tree. Plain data; names are the interface.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

/// Where a rollout stands, in Argo's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Getting further.
    Progressing,
    /// Waiting for somebody, or for a pause to end.
    Paused,
    /// The stable revision is the wanted one and has all the traffic.
    #[default]
    Healthy,
    /// Something is wrong: it cannot start, or a deadline has passed.
    Degraded,
    /// Everything went back to the stable revision.
    Aborted,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Progressing, Self::Paused, Self::Healthy, Self::Degraded, Self::Aborted];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Progressing => "Progressing",
            Self::Paused => "Paused",
            Self::Healthy => "Healthy",
            Self::Degraded => "Degraded",
            Self::Aborted => "Aborted",
        }
    }
}

/// A rollout as it stands. Times are milliseconds since 1970; shares are percentages.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Service whose traffic it moves.
    pub service: String,
    /// `Canary`, `BlueGreen` or `RollingUpdate`.
    pub strategy: String,
    /// The pod label whose values are the revisions.
    pub revision_label: String,
    /// Where it stands.
    pub phase: Phase,
    /// Since when it stands there.
    #[serde(default)]
    pub phase_since: Option<u64>,
    /// Why, in a sentence; empty if there is nothing to say.
    pub message: String,
    /// Version of its journal: a verb that carries an older one is refused with 409.
    pub journal_version: u64,
    /// The revision that has the traffic, or gets it back.
    pub stable: Option<String>,
    /// The revision that is wanted.
    pub target: Option<String>,
    /// `Overridden: the file wants 2.0.0`, while an undo is in force.
    pub overridden: Option<String>,
    /// Index of the current step; as many as there are steps once all are done. `None` without steps or without a run.
    pub step: Option<usize>,
    /// The steps.
    pub steps: Vec<StepView>,
    /// Since when the current step is current.
    pub step_started_at: Option<u64>,
    /// When the run began.
    pub started_at: Option<u64>,
    /// What stops it.
    pub pauses: Vec<PauseView>,
    /// The revisions that matter, the wanted one first.
    pub revisions: Vec<RevisionView>,
    /// Whether every worker uses the shares.
    pub acknowledged: bool,
    /// What the judge knows.
    pub judge: JudgeView,
    /// Analyses that run or ran beside this run.
    pub analyses: Vec<AnalysisView>,
    /// Ended runs, the newest last.
    pub history: Vec<HistoryView>,
    /// What happened, the newest last.
    pub events: Vec<EventView>,
    /// Wishes that nothing here can fulfil: pods by revision.
    pub wished_replicas: BTreeMap<String, u32>,
    /// How often runs were aborted, by reason: a word of a small fixed set (`operator`, `judge`, `deadline`), because it becomes
    /// the label of a metric. Never falls.
    #[serde(default)]
    pub aborts: BTreeMap<String, u64>,
    /// Something that keeps it from being driven at all: no Service, an unwritable journal.
    pub problem: Option<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// As `get` shows it: `setWeight: 10`, `pause: 30s`.
    pub text: String,
    /// Whether it is over, current or to come.
    pub state: StepState,
}

/// Whether a step is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    /// It is over.
    Done,
    /// It is the one.
    Current,
    /// It is to come.
    Pending,
}

/// Something that stops a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PauseView {
    /// What: `pause step`, `spec.paused (hello.yaml:12:3)`, `paused by ann: looking at the graphs`.
    pub reason: String,
    /// Since when.
    pub since: u64,
    /// When it ends by itself; `None` if it does not.
    pub until: Option<u64>,
}

/// What kind of thing stops a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseKind {
    /// A step of the strategy.
    Step,
    /// The manifest.
    Manifest,
    /// Somebody who said so.
    Operator,
}

impl PauseKind {
    /// As it is written in a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Manifest => "manifest",
            Self::Operator => "operator",
        }
    }
}

impl PauseView {
    /// By how its reason begins: the rest is what people wrote.
    pub fn kind(&self) -> PauseKind {
        if self.reason.starts_with("spec.paused") {
            PauseKind::Manifest
        } else if self.reason.starts_with("paused by") {
            PauseKind::Operator
        } else {
            PauseKind::Step
        }
    }
}

/// One revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionView {
    /// The value of the revision label.
    pub revision: String,
    /// Its number in the history, from 1.
    pub number: Option<u64>,
    /// `stable`, `canary`, `active`, `preview`, `aborted`, `new` (never rolled out), `old`.
    pub role: String,
    /// The share it should have.
    pub desired: f64,
    /// The share that the current snapshot gives it: less where it has no ready endpoint.
    pub applied: f64,
    /// The share of weighted decisions it really got since then; `None`: unmeasured, there were none.
    pub measured: Option<f64>,
    /// Whether its share is withheld because it has no ready endpoint.
    pub clamped: bool,
    /// Requests since the process started.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// In flight.
    pub in_flight: u64,
    /// Its pods.
    pub pods: Vec<PodView>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// `ready`, `withdrawn`, `unready` or `terminating`.
    pub state: String,
    /// Its address.
    pub address: String,
}

/// What the judge knows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgeView {
    /// Whether it is on.
    pub enabled: bool,
    /// In a sentence: what it compares, or why there is nothing to compare.
    pub state: String,
    /// Evidence against the canary in all: at `limit` it is found to be worse.
    #[serde(serialize_with = "finite")]
    pub evidence: f64,
    /// 1 / falseAlarmRate.
    #[serde(serialize_with = "finite")]
    pub limit: f64,
    /// What is compared, one by one.
    pub metrics: Vec<JudgeMetricView>,
    /// Failed requests of the canary in excess of stable's rate.
    pub excess_failed: f64,
    /// The most of them that are allowed.
    pub max_failed_requests: Option<u64>,
}

/// One thing that the judge compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgeMetricView {
    /// `failed`, `slower than 25 ms`.
    pub name: String,
    /// Evidence.
    #[serde(serialize_with = "finite")]
    pub evidence: f64,
    /// Requests of the canary that were compared.
    pub canary: u64,
    /// Bad ones among them.
    pub bad_canary: u64,
    /// Requests of the stable revision that were compared.
    pub stable: u64,
    /// Bad ones among them.
    pub bad_stable: u64,
}

/// Evidence grows exponentially and may overflow, but JSON has no infinity: it would be read as nothing at all.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn finite<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.clamp(-f64::MAX, f64::MAX))
}

/// One analysis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisView {
    /// What it is for: `step 3`, `background`, `prePromotion`.
    pub role: String,
    /// `Running`, `Successful`, `Failed` or `Inconclusive`.
    pub phase: String,
    /// Its metrics.
    pub metrics: Vec<AnalysisMetricView>,
}

/// One metric of an analysis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisMetricView {
    /// Its name.
    pub name: String,
    /// `Running`, `Successful`, `Failed` or `Inconclusive`.
    pub phase: String,
    /// Measurements that succeeded.
    pub successful: u32,
    /// That failed.
    pub failed: u32,
    /// That said neither.
    pub inconclusive: u32,
    /// That could not be made.
    pub errors: u32,
    /// The last value, or the last error, as text.
    pub last: String,
    /// Has no effect.
    pub dry_run: bool,
}

/// An ended (or running) run of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    /// From 1.
    pub number: u64,
    /// Its revision.
    pub revision: String,
    /// `stable`, `superseded`, `aborted`, `progressing`.
    pub outcome: String,
    /// CHANGE-CAUSE: what was changed by whom and why.
    pub cause: String,
    /// When it began.
    pub started_at: u64,
    /// When it ended.
    pub ended_at: Option<u64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// When.
    pub at: u64,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// One word, as in Kubernetes events: `RolloutAborted`, `RolloutStepCompleted`.
    pub reason: String,
    /// A sentence with numbers, for somebody woken at 3 a.m.
    pub message: String,
}

/// The body of `POST /api/v1/namespaces/NS/rollouts/NAME/VERB`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct VerbRequest {
    /// The version that was seen; `None` is unconditional (only `abort` may).
    pub journal_version: Option<u64>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
    /// `promote`: all steps.
    pub full: bool,
    /// `undo`: to the revision of this number in the history.
    pub to_revision: Option<u64>,
    /// `set-weight`: the share in percent.
    pub weight: Option<f64>,
}

/// The answer to a verb. Status 200 when its effect is journaled, 404 without such a Rollout, 409 when the version has moved,
/// 422 when it is refused, 503 when the journal cannot be written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerbAnswer {
    /// What was done, or why not, in a sentence.
    pub message: String,
    /// The version from which the effect holds.
    pub journal_version: u64,
}
