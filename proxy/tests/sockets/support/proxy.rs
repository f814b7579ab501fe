//! A proxy under test.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::proto::{Metric, MetricType};
use watershed_config::snapshot::{Generation, Rule, Snapshot, VirtualHost};
use watershed_proxy::telemetry::Telemetry;
use watershed_proxy::{Drained, Limits, Marks, Proxy, Settings};

use super::snapshot::{ANY_PORT, candidate, host, snapshot};
use super::{Client, PATIENCE, eventually};

/// One worker, so that a test knows which pool and which sequence it meets; default limits.
pub(crate) fn settings() -> Settings {
    Settings { workers: 1, limits: Limits::default(), marks: Marks::default(), access_log: false }
}

/// A running proxy that listens on one address.
#[derive(Debug)]
pub(crate) struct TestProxy {
    pub(crate) proxy: Proxy,
    telemetry: Telemetry,
    generation: u64,
}

impl TestProxy {
    /// A proxy with these settings and no snapshot yet.
    pub(crate) fn start(settings: &Settings) -> Self {
        let proxy = Proxy::start(settings).unwrap();
        Self { telemetry: proxy.telemetry(), proxy, generation: 0 }
    }

    /// A proxy with one worker, default limits and one rule for everything.
    pub(crate) fn serving(rule: Rule) -> Self {
        Self::serving_with(&settings(), rule)
    }

    /// A proxy with one rule for everything.
    pub(crate) fn serving_with(settings: &Settings, rule: Rule) -> Self {
        let mut proxy = Self::start(settings);
        proxy.apply_rule(rule);
        proxy
    }

    /// A proxy with one rule for everything and changed limits.
    pub(crate) fn limited(rule: Rule, change: impl FnOnce(&mut Limits)) -> Self {
        let mut settings = settings();
        change(&mut settings.limits);
        Self::serving_with(&settings, rule)
    }

    /// Makes this the only rule.
    pub(crate) fn apply_rule(&mut self, rule: Rule) {
        self.apply_hosts(vec![host("", vec![candidate("/", &Arc::new(rule))])]);
    }

    /// Makes these the only hosts.
    pub(crate) fn apply_hosts(&mut self, hosts: Vec<VirtualHost>) {
        self.apply(snapshot(0, ANY_PORT, hosts));
    }

    /// Applies a snapshot under the next generation and waits until all workers use it.
    pub(crate) fn apply(&mut self, mut snapshot: Snapshot) {
        self.generation += 1;
        snapshot.generation = Generation(self.generation);
        let errors = self.proxy.apply(&snapshot);
        assert!(errors.is_empty(), "{errors:?}");
        eventually("all workers use the snapshot", || self.proxy.acknowledged().0 == self.generation);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.bound(ANY_PORT).unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// What can be observed of it, also after it was drained.
    pub(crate) fn telemetry(&self) -> Telemetry {
        self.telemetry.clone()
    }

    /// The sum of a metric (without `watershed_`) over the series with these labels; of a histogram the number of samples.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metric(&self.telemetry, name, labels)
    }

    /// Waits until a metric has this value.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let end = std::time::Instant::now() + PATIENCE;
        while (self.metric(name, labels) - value).abs() > f64::EPSILON {
            let is = self.metric(name, labels);
            assert!(std::time::Instant::now() < end, "{name}{labels:?} is {is}, not {value}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until exactly this many requests were counted under a reason (empty: answered by a pod), and no other request.
    #[track_caller]
    pub(crate) fn wait_for_reason(&self, reason: &str, count: f64) {
        self.wait_for("requests_total", &[("reason", reason)], count);
        self.wait_for("request_duration_seconds", &[], self.metric("requests_total", &[]));
    }

    /// Drains it to the end.
    pub(crate) fn drain(self, delay: Duration, deadline: Duration) -> Drained {
        block_on(self.proxy.drain(delay, deadline))
    }

    /// Begins to drain it on a thread of its own, and returns once the workers have been told.
    pub(crate) fn begin_drain(self, delay: Duration, deadline: Duration) -> JoinHandle<Drained> {
        // Closed at once because it is idle: the sign that draining has begun.
        let before = self.metric("connections_accepted_total", &[]);
        let mut idle = self.connect();
        eventually("the idle connection is served", || {
            self.metric("connections_accepted_total", &[]) > before
        });
        let draining = std::thread::spawn(move || self.drain(delay, deadline));
        idle.expect_close();
        draining
    }
}

/// See [`TestProxy::metric`].
pub(crate) fn metric(telemetry: &Telemetry, name: &str, labels: &[(&str, &str)]) -> f64 {
    let name = format!("watershed_{name}");
    let has = |metric: &Metric, (name, value): &(&str, &str)| {
        metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
    };
    let families = telemetry.gather();
    let Some(family) = families.iter().find(|family| family.name() == name) else { return 0.0 };
    let metrics = family.get_metric().iter().filter(|metric| labels.iter().all(|label| has(metric, label)));
    metrics
        .map(|metric| match family.get_field_type() {
            MetricType::COUNTER => metric.get_counter().get_value(),
            MetricType::HISTOGRAM => metric.get_histogram().get_sample_count() as f64,
            _ => metric.get_gauge().get_value(),
        })
        .sum()
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
