//! Rollouts: how a Service's traffic moves from one revision of its pods to another.
//!
//! Field names and meaning follow Argo Rollouts and the Deployment where they have the field. Defaults are applied; what a
//! rollout is doing right now is not here but in the control component's journal.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::host::Hostname;
use super::name::{Meta, ObjectName};
use super::route::HeaderMatch;
use crate::problem::Spot;

/// A part of a Service's traffic, exact to the millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const WHOLE: Self = Self(1_000_000);

    /// This many millionths; more than all of them are all of them.
    pub fn from_millionths(millionths: u32) -> Self {
        Self(millionths.min(Self::WHOLE.0))
    }

    /// In millionths, at most 1,000,000.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// What is left of the whole.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(Self::WHOLE.0 - self.0)
    }

    /// As a number from 0 to 100.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// As a percentage without its sign and without needless decimals: `10`, `0.5`, `33.3333`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.percent().fmt(f)
    }
}

/// A `watershed.dev/v1alpha1` `Rollout`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Name, labels and origin.
    pub meta: Meta,
    /// The Service whose traffic is moved; in the Rollout's own namespace.
    pub service: ObjectName,
    /// Where the Service is named.
    pub service_spot: Spot,
    /// The pod label whose values are the revisions.
    pub revision_label: Arc<str>,
    /// Where the label is named, else the Rollout itself.
    pub revision_label_spot: Spot,
    /// Which revision is stable while nothing is recorded.
    pub stable_revision: Option<Arc<str>>,
    /// The wanted revision; without it, the newest one with ready pods.
    pub target_revision: Option<Arc<str>>,
    /// Where the wanted revision is written, else the Rollout itself.
    pub target_spot: Spot,
    /// Where `paused: true` is written, if it is.
    pub paused: Option<Spot>,
    /// How long a rollout may go without getting further, pauses and analyses not counted.
    pub progress_deadline: Duration,
    /// How many ended rollouts are remembered.
    pub history_limit: u32,
    /// What keeps a user on one revision.
    pub sticky: Option<Sticky>,
    /// How the traffic moves.
    pub strategy: Strategy,
    /// Where the strategy is written.
    pub strategy_spot: Spot,
    /// What happens when a wait has taken too long.
    pub on_deadline: Reaction,
    /// The judge on the proxies' own counters.
    pub judge: JudgeSpec,
}

/// What keeps a user on one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// A request header whose value is the user.
    Header(HeaderName),
    /// A cookie of this name, issued when it is absent.
    Cookie(Arc<str>),
    /// The client's address.
    ClientAddress,
}

/// How the traffic moves from the stable revision to the target.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// In steps.
    Canary(Canary),
    /// All at once, after a preview.
    BlueGreen(BlueGreen),
    /// Pod by pod.
    RollingUpdate(RollingUpdate),
}

impl Strategy {
    /// As people say it; the words of `kubectl argo rollouts get`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Canary(_) => "Canary",
            Self::BlueGreen(_) => "BlueGreen",
            Self::RollingUpdate(_) => "RollingUpdate",
        }
    }
}

/// `strategy.canary`.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// In this order; after the last the target gets everything. At least one.
    pub steps: Vec<Step>,
    /// Runs beside the steps.
    pub analysis: Option<BackgroundAnalysis>,
}

/// One step of a canary.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it does.
    pub action: StepAction,
    /// Where it is written.
    pub spot: Spot,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepAction {
    /// Gives the target this share, and waits until it has it.
    SetWeight(Share),
    /// Waits; without a duration until it is promoted.
    Pause(Option<Duration>),
    /// Waits for an analysis to succeed.
    Analysis(Analyses),
    /// Sends requests with these headers to the target from here on, whatever the weight.
    SetHeaderRoute(HeaderRoute),
    /// Wishes for so many pods of the target.
    SetCanaryScale(CanaryScale),
}

/// Requests that go to the target by their headers.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderRoute {
    /// Its name: a later step of the same name replaces it.
    pub name: Arc<str>,
    /// All must hold; none removes the route.
    pub headers: Vec<HeaderMatch>,
}

/// How many pods of the target are wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryScale {
    /// This share of the stable revision's number, rounded up.
    Weight(Share),
    /// So many.
    Replicas(u32),
    /// As the traffic's share asks for, from here on.
    MatchTrafficWeight,
}

/// Templates to run, and what to tell them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analyses {
    /// `AnalysisTemplate`s of the Rollout's namespace; at least one.
    pub templates: Vec<TemplateRef>,
    /// Values of their arguments. `{{stable-revision}}`, `{{canary-revision}}`, `{{service}}` and `{{namespace}}` need no value,
    /// and may stand in the values of others.
    pub args: BTreeMap<Arc<str>, Arc<str>>,
}

impl Analyses {
    /// Arguments that are filled in without being told: the facts of a rollout.
    pub const GIVEN: [&'static str; 4] = ["stable-revision", "canary-revision", "service", "namespace"];
}

/// A reference to an `AnalysisTemplate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateRef {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is named.
    pub spot: Spot,
}

/// `strategy.canary.analysis`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackgroundAnalysis {
    /// What is run, from the starting step to the end of the steps.
    pub analyses: Analyses,
    /// Index of the first step beside which it runs.
    pub starting_step: usize,
}

/// `strategy.blueGreen`.
#[derive(Debug, Clone, PartialEq)]
pub struct BlueGreen {
    /// Which requests see the target before the switch.
    pub preview: Option<Preview>,
    /// Whether the switch comes by itself.
    pub auto_promotion: bool,
    /// How long it waits before it does.
    pub auto_promotion_after: Option<Duration>,
    /// How long the old revision stays warm after the switch.
    pub scale_down_delay: Duration,
    /// Has to succeed before the switch.
    pub pre_promotion: Option<Analyses>,
    /// Has to succeed after the switch, else it is switched back.
    pub post_promotion: Option<Analyses>,
}

/// Which requests see a revision before the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preview {
    /// Those with this header.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its whole value.
        value: HeaderValue,
    },
    /// Those for this host.
    Hostname(Hostname),
}

/// `strategy.rollingUpdate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollingUpdate {
    /// How many pods may be in rotation above the stable revision's number; a percentage is rounded up.
    pub max_surge: Amount,
    /// How many ready pods may be missing from it; a percentage is rounded down.
    pub max_unavailable: Amount,
    /// How long a new pod has to be ready before it counts.
    pub min_ready: Duration,
}

/// A number of pods or a percentage of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Count(u32),
    /// So many in a hundred, up to 100.
    Percent(u32),
}

impl Amount {
    /// Of so many pods, rounded up.
    pub fn of_rounded_up(self, pods: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (pods * percent).div_ceil(100),
        }
    }

    /// Of so many pods, rounded down.
    pub fn of_rounded_down(self, pods: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => pods * percent / 100,
        }
    }
}

/// What is done about something that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Everything goes to the stable revision.
    Abort,
    /// It waits for somebody.
    Pause,
    /// It goes on.
    Proceed,
}

/// `judge`: compares the target with the stable revision on the proxies' own counters.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeSpec {
    /// Whether it judges.
    pub enabled: bool,
    /// The most probable it may be that a rollout without any difference is ever found to be worse; above 0, below 1.
    pub false_alarm_rate: f64,
    /// Odds ratio up to which a difference does not count; at least 1.
    pub minimum_effect: f64,
    /// What is done about a finding.
    pub on_failure: Reaction,
    /// More failed requests of the target than this, in excess of the stable revision's rate, are too many.
    pub max_failed_requests: Option<u64>,
}

/// A `watershed.dev/v1alpha1` `AnalysisTemplate`: metrics from outside, in Argo's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisTemplate {
    /// Name, labels and origin.
    pub meta: Meta,
    /// What has to be told; `None` has no default.
    pub args: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// What is measured; at least one.
    pub metrics: Vec<AnalysisMetric>,
}

/// One metric of an analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisMetric {
    /// Its name, distinct in its template.
    pub name: Arc<str>,
    /// Where it is written.
    pub spot: Spot,
    /// From one measurement to the next; `None` measures once.
    pub interval: Option<Duration>,
    /// Before the first measurement.
    pub initial_delay: Duration,
    /// How many measurements; `None` with an interval goes on until it is stopped.
    pub count: Option<NonZeroU32>,
    /// CEL over `result`; a measurement for which it is true is a success. May hold `{{args.NAME}}`.
    pub success_condition: Option<Arc<str>>,
    /// CEL over `result`; a measurement for which it is true is a failure. May hold `{{args.NAME}}`.
    pub failure_condition: Option<Arc<str>>,
    /// More failures than this fail the metric.
    pub failure_limit: u32,
    /// More inconclusive measurements than this make it inconclusive.
    pub inconclusive_limit: u32,
    /// More errors in a row than this make it inconclusive.
    pub consecutive_error_limit: u32,
    /// Measured and shown, without any effect.
    pub dry_run: bool,
    /// Where the value comes from.
    pub provider: Provider,
}

/// Where a metric's value comes from. Texts may hold `{{args.NAME}}`, where each name is one of the template's arguments or one
/// of the four that need no value; these may also stand alone (`{{service}}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// An instant query; `result` is a list of numbers, one for each series (a scalar is a list of one).
    Prometheus {
        /// Base URL, for example `http://prometheus:9090`.
        address: Arc<str>,
        /// `PromQL`.
        query: Arc<str>,
    },
    /// A request whose JSON answer is `result`.
    Web {
        /// The URL.
        url: Arc<str>,
        /// `GET`, `POST` or `PUT`.
        method: http::Method,
        /// Additional headers.
        headers: Vec<(HeaderName, Arc<str>)>,
        /// What is sent.
        body: Option<Arc<str>>,
        /// What of the answer is the result: names and indices in braces, as in `{$.data.items[0]['a key']}`; without it, all.
        json_path: Option<Arc<str>>,
        /// How long an answer may take.
        timeout: Duration,
    },
}

/// An `apps/v1` `Deployment` or `ReplicaSet`, read for facts about revisions only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Name, labels and origin.
    pub meta: Meta,
    /// How many pods it wants.
    pub replicas: u32,
    /// Labels of the pods that it makes: the value of a Rollout's revision label among them says whose facts these are.
    pub pod_labels: super::labels::Labels,
    /// `deployment.kubernetes.io/revision`.
    pub revision_number: Option<u64>,
    /// `kubernetes.io/change-cause`.
    pub change_cause: Option<Arc<str>>,
}
