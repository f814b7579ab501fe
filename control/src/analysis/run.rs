//! Where an analysis stands: what was measured so far, and what follows from it. Pure; times are milliseconds since 1970.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use watershed_config::model::AnalysisTemplate;

use super::arguments::Arguments;
use super::metric::{Metric, Question};
use crate::rollout::view::{AnalysisMetricView, AnalysisView};

/// After a measurement that could not be made, the next comes this much later, whatever the interval is; as in Argo.
const ERROR_RETRY_MS: u64 = 10_000;

/// Longest text of a value or an error that is kept, in characters: it goes into the journal, and what a server says of itself
/// may be a megabyte.
const LAST_MAX: usize = 1_000;

/// An analysis. It begins when it is made and ends by itself, but for metrics with an interval and without a count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    started_at: u64,
    metrics: Vec<Progress>,
}

/// A metric and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    metric: Metric,
    phase: Phase,
    seen: Seen,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Seen {
    successful: u32,
    failed: u32,
    inconclusive: u32,
    errors: u32,
    errors_in_a_row: u32,
    /// The last value or error, as text.
    last: String,
    /// When that was.
    last_at: Option<u64>,
}

/// Where a metric or an analysis stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Not over; the worst of several that are over counts, hence the order.
    Running,
    /// It is fine.
    Successful,
    /// Nobody knows: neither condition held, or it could not be measured.
    Inconclusive,
    /// It is not.
    Failed,
}

impl Phase {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Successful => "Successful",
            Self::Inconclusive => "Inconclusive",
            Self::Failed => "Failed",
        }
    }
}

/// One measurement; the text is its value, or the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measured {
    /// The success condition held, or the failure condition alone was asked and did not.
    Success(String),
    /// The failure condition held, or the success condition alone was asked and did not.
    Failure(String),
    /// Both were asked and neither held.
    Inconclusive(String),
    /// There is no value, or the conditions have none.
    Error(String),
}

impl Run {
    /// Begins to run these templates with these arguments, in which the facts `stable-revision`, `canary-revision`, `service` and
    /// `namespace` are.
    pub fn start(templates: &[Arc<AnalysisTemplate>], args: &BTreeMap<Arc<str>, Arc<str>>, now: u64) -> Self {
        let metrics = templates.iter().flat_map(|template| {
            let arguments = Arguments::of(template, args);
            let begun = |metric: Metric| Progress { metric, phase: Phase::Running, seen: Seen::default() };
            template.metrics.iter().map(move |metric| begun(Metric::new(metric, &arguments)))
        });
        Self { started_at: now, metrics: metrics.collect() }
    }

    /// Metrics to be measured now, by number.
    pub(super) fn due(&self, now: u64) -> impl Iterator<Item = usize> {
        let due = move |progress: &Progress| progress.is_due(self.started_at, now);
        let over = self.phase() != Phase::Running;
        self.metrics
            .iter()
            .enumerate()
            .filter(move |(_, progress)| !over && due(progress))
            .map(|(number, _)| number)
    }

    /// What a metric asks.
    pub(super) fn question(&self, metric: usize) -> Option<&Question> {
        self.metrics.get(metric).map(|progress| &progress.metric.question)
    }

    /// How many measurements of a metric were recorded, whatever came of them.
    pub(super) fn recorded(&self, metric: usize) -> u64 {
        self.metrics.get(metric).map_or(0, |progress| progress.seen.all())
    }

    /// Takes a measurement. One of a metric that is over, or does not exist, changes nothing.
    pub fn record(&mut self, metric: usize, measured: Measured, now: u64) {
        let Some(progress) = self.metrics.get_mut(metric) else { return };
        if progress.phase != Phase::Running {
            return;
        }
        progress.record(measured, now);
        // The first that goes wrong ends the analysis, as in Argo: the others have nothing to add. Dry runs end with the rest.
        let bad = matches!(progress.phase, Phase::Failed | Phase::Inconclusive);
        if (bad && !progress.metric.dry_run) || self.phase() != Phase::Running {
            self.stop();
        }
    }

    /// Ends what is running: it has succeeded if anything was measured, as its limits were kept; otherwise nobody knows.
    pub fn stop(&mut self) {
        for progress in self.metrics.iter_mut().filter(|progress| progress.phase == Phase::Running) {
            let measured = progress.seen.with_value() > 0;
            progress.phase = if measured { Phase::Successful } else { Phase::Inconclusive };
        }
    }

    /// Where it stands: the worst of its metrics once all are over, and dry runs do not count.
    pub fn phase(&self) -> Phase {
        let running = |progress: &&Progress| progress.phase == Phase::Running;
        let mut counting = self.counting().peekable();
        if counting.peek().is_none() {
            // Only dry runs: there is nothing that could go wrong.
            let all_over = !self.metrics.iter().any(|progress| running(&progress));
            return if all_over { Phase::Successful } else { Phase::Running };
        }
        if self.counting().any(|progress| running(&progress)) {
            return Phase::Running;
        }
        counting.map(|progress| progress.phase).max().unwrap_or(Phase::Successful)
    }

    /// Why it stands there, with numbers.
    pub fn sentence(&self) -> String {
        let phase = self.phase();
        let sentences = self.counting().filter(|progress| progress.phase == phase).map(Progress::sentence);
        let all = sentences.collect::<Vec<_>>().join("; ");
        if all.is_empty() { "it has only dry runs".to_owned() } else { all }
    }

    /// Leaves only what decides: which metrics there are and which are over.
    pub fn forget_measurements(&mut self) {
        for progress in &mut self.metrics {
            progress.seen = Seen::default();
        }
    }

    /// For `get` and the API; `role` says what it is for.
    pub fn view(&self, role: &str) -> AnalysisView {
        let metrics = self.metrics.iter().map(Progress::view).collect();
        AnalysisView { role: role.to_owned(), phase: self.phase().as_str().to_owned(), metrics }
    }

    fn counting(&self) -> impl Iterator<Item = &Progress> {
        self.metrics.iter().filter(|progress| !progress.metric.dry_run)
    }
}

impl Progress {
    fn is_due(&self, started_at: u64, now: u64) -> bool {
        let (since, wait) = match self.seen.last_at {
            None => (started_at, self.metric.initial_delay),
            Some(last_at) if self.seen.errors_in_a_row > 0 => (last_at, ERROR_RETRY_MS),
            Some(last_at) => (last_at, self.metric.interval.unwrap_or(0)),
        };
        // A clock that was set back must not make it wait for longer than that.
        self.phase == Phase::Running
            && (now >= since.saturating_add(wait) || since > now.saturating_add(wait))
    }

    fn record(&mut self, measured: Measured, now: u64) {
        let (seen, metric) = (&mut self.seen, &self.metric);
        seen.last_at = Some(now);
        let (count, last) = match measured {
            Measured::Success(value) => (&mut seen.successful, value),
            Measured::Failure(value) => (&mut seen.failed, value),
            Measured::Inconclusive(value) => (&mut seen.inconclusive, value),
            Measured::Error(error) => {
                seen.errors_in_a_row = seen.errors_in_a_row.saturating_add(1);
                seen.errors = seen.errors.saturating_add(1);
                seen.last = in_short(error);
                if seen.errors_in_a_row > metric.consecutive_error_limit {
                    self.phase = Phase::Inconclusive;
                }
                return;
            }
        };
        *count = count.saturating_add(1);
        seen.last = in_short(last);
        seen.errors_in_a_row = 0;
        self.phase = if seen.failed > metric.failure_limit {
            Phase::Failed
        } else if seen.inconclusive > metric.inconclusive_limit {
            Phase::Inconclusive
        } else if metric.count.is_some_and(|count| seen.with_value() >= u64::from(count)) {
            Phase::Successful
        } else {
            Phase::Running
        };
    }

    fn sentence(&self) -> String {
        let Self { metric, phase, seen } = self;
        let (name, last) = (&metric.name, &seen.last);
        let of = seen.with_value();
        match phase {
            Phase::Failed => format!(
                "{name} failed {} of {of} measurements, {} may; the last was {last}",
                seen.failed, metric.failure_limit
            ),
            Phase::Inconclusive if seen.errors_in_a_row > metric.consecutive_error_limit => format!(
                "{name} could not be measured {} times in a row, {} may be; the last time: {last}",
                seen.errors_in_a_row, metric.consecutive_error_limit
            ),
            Phase::Inconclusive if of == 0 && seen.errors == 0 => format!("{name} was never measured"),
            Phase::Inconclusive if of == 0 => format!("{name} could never be measured: {last}"),
            Phase::Inconclusive => format!(
                "{name} was inconclusive in {} of {of} measurements, {} may be; the last was {last}",
                seen.inconclusive, metric.inconclusive_limit
            ),
            Phase::Successful => format!("{name} succeeded in {} of {of} measurements", seen.successful),
            Phase::Running if seen.last_at.is_none() => format!("{name} was not measured yet"),
            Phase::Running => {
                let all = metric.count.map(|count| format!(" of {count}")).unwrap_or_default();
                format!("{name} was measured {of}{all} times; the last was {last}")
            }
        }
    }

    fn view(&self) -> AnalysisMetricView {
        AnalysisMetricView {
            name: self.metric.name.clone(),
            phase: self.phase.as_str().to_owned(),
            successful: self.seen.successful,
            failed: self.seen.failed,
            inconclusive: self.seen.inconclusive,
            errors: self.seen.errors,
            last: self.seen.last.clone(),
            dry_run: self.metric.dry_run,
        }
    }
}

fn in_short(text: String) -> String {
    if text.chars().count() <= LAST_MAX {
        return text;
    }
    text.chars().take(LAST_MAX).chain(['…']).collect()
}

impl Seen {
    /// Measurements that had a value.
    fn with_value(&self) -> u64 {
        [self.successful, self.failed, self.inconclusive].into_iter().map(u64::from).sum()
    }

    fn all(&self) -> u64 {
        self.with_value() + u64::from(self.errors)
    }
}

#[cfg(test)]
mod tests;
