//! Cells to Prometheus' text format, through the `prometheus` crate.
//!
//! Everything here runs on the thread that scrapes. Names and labels are an interface (design: `watershed_` prefix, labels only
//! from configuration objects); `promtool check metrics` passes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::cells::{CodeClass, SeriesKey, SeriesSet, Sums, WorkerCells};
use crate::table::{Action, RevisionSplit};
use crate::worker::Shared;
use watershed_config::observation::DURATION_BOUNDS_US;

/// A family of metrics in the making.
#[derive(Debug)]
pub struct Family(MetricFamily);

impl Family {
    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(format!("watershed_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// A family of counters; the name ends in `_total`.
    pub fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// A family of gauges.
    pub fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// A family of histograms.
    pub fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    /// Adds a value with labels.
    pub fn push(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = labelled(labels);
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// The same with the value already there.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        self.push(labels, value);
        self
    }

    fn push_durations(&mut self, labels: &[(&str, &str)], sums: &Sums) {
        let mut histogram = Histogram::default();
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(DURATION_BOUNDS_US.len());
        for (bound, count) in DURATION_BOUNDS_US.iter().zip(&sums.durations) {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e6);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        histogram.set_sample_count(sums.durations.iter().sum());
        histogram.set_sample_sum(sums.duration_sum_us as f64 / 1e6);
        histogram.set_bucket(buckets);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.0.mut_metric().push(metric);
    }

    /// The finished family; `None` if nothing was pushed, since an empty one must not be exposed.
    pub fn build(self) -> Option<MetricFamily> {
        (!self.0.get_metric().is_empty()).then_some(self.0)
    }
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

/// All families of the data plane.
pub fn gather(shared: &Shared, series: &SeriesSet) -> Vec<MetricFamily> {
    let mut families = requests(&series.scrape());
    families.extend(splits(shared));
    families.extend(workers(shared));
    families.into_iter().filter_map(Family::build).collect()
}

fn requests(all: &[(SeriesKey, Sums)]) -> Vec<Family> {
    let mut total = Family::counter(
        "requests_total",
        "Requests by where they went and how they ended. A reason is given where no pod answered, or not to the end.",
    );
    let mut seconds = Family::histogram(
        "request_duration_seconds",
        "Time from a request's head to the last byte of its response.",
    );
    for (key, sums) in all.iter().filter(|(_, sums)| sums.total() > 0) {
        let labels = labels_of(key);
        for (class, count) in CodeClass::ALL.iter().zip(&sums.complete).filter(|(_, count)| **count > 0) {
            total.push(&with_result(&labels, *class, ""), *count as f64);
        }
        for (class, reason, count) in &sums.with_reason {
            total.push(&with_result(&labels, *class, reason.as_str()), *count as f64);
        }
        seconds.push_durations(&labels, sums);
    }
    vec![total, seconds]
}

fn labels_of(key: &SeriesKey) -> [(&'static str, &str); 6] {
    [
        ("namespace", &key.namespace),
        ("listener", &key.listener),
        ("route", &key.route),
        ("rule", &key.rule),
        ("service", &key.service),
        ("revision", &key.revision),
    ]
}

fn with_result<'a>(
    labels: &[(&'a str, &'a str)],
    class: CodeClass,
    reason: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let result = [("code_class", class.as_str()), ("reason", reason)];
    labels.iter().copied().chain(result).collect()
}

/// Target and observed shares of every split of the current table.
fn splits(shared: &Shared) -> Vec<Family> {
    let mut target = Family::gauge(
        "split_target_ratio",
        "Share of a rule's requests that a backend is to get; with a revision, of those for the backend that its Rollout's weights decide.",
    );
    let mut observed = Family::gauge(
        "split_observed_ratio",
        "The same share as it was since the current weights came into force.",
    );
    for share in shares(shared) {
        let labels = [
            ("namespace", &*share.namespace),
            ("route", &*share.route),
            ("rule", &*share.rule),
            ("service", &*share.service),
            ("revision", &*share.revision),
        ];
        target.push(&labels, share.target);
        if let Some(ratio) = share.observed() {
            observed.push(&labels, ratio);
        }
    }
    vec![target, observed]
}

/// One backend's share of one rule, or one revision's share of such a share.
#[derive(Debug, Clone)]
pub struct Share {
    /// Of the route.
    pub namespace: Arc<str>,
    /// The route's kind.
    pub kind: &'static str,
    /// The route.
    pub route: Arc<str>,
    /// The rule's name or index.
    pub rule: Arc<str>,
    /// The backend.
    pub service: Arc<str>,
    /// The revision; empty for the backend's share.
    pub revision: Arc<str>,
    /// From 0 to 1.
    pub target: f64,
    /// Requests that it got since the current weights came into force.
    pub picked: u64,
    /// Requests of the rule since then; with a revision, those for the backend that were decided by weight.
    pub total: u64,
}

impl Share {
    /// From 0 to 1; `None` before the first request.
    pub fn observed(&self) -> Option<f64> {
        (self.total > 0).then(|| self.picked as f64 / self.total as f64)
    }
}

/// All shares of the current table, each rule once.
pub fn shares(shared: &Shared) -> Vec<Share> {
    let table = shared.table.load();
    let mut seen = std::collections::HashSet::new();
    let mut all = Vec::new();
    for rule in table.rules() {
        let Action::Split(split) = &rule.action else { continue };
        if !seen.insert(Arc::as_ptr(&split.picks)) {
            continue;
        }
        let weights: u64 = split.arms.iter().map(|arm| u64::from(arm.weight)).sum();
        let picked = split.picks.sums();
        let total = picked.iter().sum();
        for (arm, picked) in split.arms.iter().zip(picked) {
            let share = Share {
                namespace: Arc::clone(&rule.id.route.namespace),
                kind: rule.id.kind,
                route: Arc::clone(&rule.id.route.name),
                rule: Arc::clone(&rule.id.rule),
                service: Arc::clone(&arm.series.key.service),
                revision: Arc::default(),
                target: f64::from(arm.weight) / weights as f64,
                picked,
                total,
            };
            let divided = arm.rollout().filter(|split| seen.insert(Arc::as_ptr(&split.picks)));
            let revisions = divided.map(|split| revisions(split, &share)).unwrap_or_default();
            all.push(share);
            all.extend(revisions);
        }
    }
    all.sort_by(|a, b| (&a.namespace, &a.route, &a.rule).cmp(&(&b.namespace, &b.route, &b.rule)));
    all
}

/// How a Rollout divides a share.
fn revisions(split: &RevisionSplit, share: &Share) -> Vec<Share> {
    let decisions = split.decisions();
    let total = decisions.iter().map(|(_, _, picked)| picked).sum();
    let of_revision = |(revision, millionths, picked): (Arc<str>, u32, u64)| Share {
        revision,
        target: f64::from(millionths) / 1e6,
        picked,
        total,
        ..share.clone()
    };
    decisions.into_iter().map(of_revision).collect()
}

type Pick = fn(&WorkerCells) -> &super::cells::Counter;

/// Counters of workers that have no labels: name, help, cell.
const WORKER_COUNTERS: [(&str, &str, Pick); 9] = [
    ("connections_accepted_total", "Client connections accepted.", |cells| &cells.connections_accepted),
    ("connection_parks_total", "Times that an idle client connection was parked.", |cells| {
        &cells.connections_parked
    }),
    ("upstream_connects_total", "Connections opened to endpoints.", |cells| &cells.upstream_connects),
    ("upstream_connect_failures_total", "Attempts to connect to an endpoint that failed.", |cells| {
        &cells.upstream_connect_failures
    }),
    ("upstream_reused_total", "Requests sent on a connection that had been used before.", |cells| {
        &cells.upstream_reused
    }),
    (
        "upstream_informational_dropped_total",
        "Informational responses (103 and the like) from pods that were not passed on.",
        |cells| &cells.informational_dropped,
    ),
    ("upgrades_total", "Connections that became tunnels (WebSocket).", |cells| &cells.upgrades),
    ("accept_paused_total", "Times that accepting paused because file descriptors ran out.", |cells| {
        &cells.accept_paused
    }),
    (
        "log_lines_dropped_total",
        "Log lines about requests that were dropped because the writer fell behind.",
        |cells| &cells.log_dropped,
    ),
];

fn workers(shared: &Shared) -> Vec<Family> {
    let sum = |pick: Pick| shared.cells.iter().map(|cells| pick(cells).value()).sum::<u64>() as f64;
    let gauge_of = |pick: fn(&crate::worker::UpstreamGauge) -> usize| {
        shared.upstream.iter().map(pick).sum::<usize>() as f64
    };
    let idle = gauge_of(|gauge| gauge.idle.load(Relaxed));
    let open = gauge_of(|gauge| gauge.open.load(Relaxed));
    let applied = shared.cells.iter().map(|cells| cells.generation.load(Relaxed)).min().unwrap_or(0);
    let mut families: Vec<Family> = WORKER_COUNTERS
        .into_iter()
        .map(|(name, help, pick)| Family::counter(name, help).with(&[], sum(pick)))
        .collect();
    families.extend([
        Family::gauge("connections_open", "Client connections that are open.")
            .with(&[], sum(|cells| &cells.connections_accepted) - sum(|cells| &cells.connections_closed)),
        Family::gauge("connections_parked", "Those of them that are idle and hold no buffers.")
            .with(&[], sum(|cells| &cells.connections_parked) - sum(|cells| &cells.connections_unparked)),
        Family::gauge("tunnels_open", "Tunnels that are open.")
            .with(&[], sum(|cells| &cells.upgrades) - sum(|cells| &cells.upgrades_ended)),
        Family::gauge("upstream_connections", "Connections to endpoints, as of at most a second ago.")
            .with(&[("state", "idle")], idle)
            .with(&[("state", "busy")], (open - idle).max(0.0)),
        Family::counter("upstream_retries_total", "Requests sent again, by why that was safe.")
            .with(&[("cause", "connect")], sum(|cells| &cells.retries_connect))
            .with(&[("cause", "unsent")], sum(|cells| &cells.retries_unsent))
            .with(&[("cause", "stale")], sum(|cells| &cells.retries_stale)),
        Family::gauge("config_generation", "Generation of the routing table that is published.")
            .with(&[], shared.table.load().generation.0 as f64),
        Family::gauge(
            "config_generation_applied",
            "Oldest generation that any worker still uses for new requests.",
        )
        .with(&[], applied as f64),
        Family::gauge("workers", "Worker threads.").with(&[], shared.cells.len() as f64),
    ]);
    families
}
