//! Measures what is due, and reports it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use watershed_config::model::ObjectName;

use super::providers::measure;
use super::run::{Measured, Phase, Run};
use crate::client::Client;

/// Calls at once. More wait for their turn, which is not part of their deadline.
const CALLS_MAX: usize = 16;

/// A report that was not recorded by now never will be: whoever was to record it had no Rollout or no journal at that moment.
const REPORT_LOST_AFTER: Duration = Duration::from_mins(1);

/// Which analysis: its Rollout, the number of the rollout's run, its own number.
pub(crate) type RunId = (ObjectName, u64, u64);

/// A measurement: of the Rollout, the number of its run, of the analysis, of the metric.
pub(crate) type Report = (ObjectName, u64, u64, usize, Measured);

/// Measures, each metric in a task of its own and one at a time. The tasks end with it.
pub(crate) struct Runner {
    client: Client,
    reports: mpsc::Sender<Report>,
    tasks: BTreeMap<(RunId, usize), Task>,
}

/// A measurement that was begun, until the run has recorded it.
struct Task {
    handle: JoinHandle<()>,
    began: Instant,
    /// How many measurements the run had recorded before.
    recorded: u64,
}

impl Runner {
    /// Reports go here; where there is no room, measurements wait.
    pub(crate) fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { client: Client::new(CALLS_MAX), reports, tasks: BTreeMap::new() }
    }

    /// Begins what is due now, and gives up what is not wanted any more: of runs that are not there, or are over. To be called
    /// after every decision, with all runs. Must be called within a runtime.
    pub(crate) fn drive<'r>(&mut self, now: u64, runs: impl IntoIterator<Item = (RunId, &'r Run)>) {
        let runs: BTreeMap<RunId, &Run> =
            runs.into_iter().filter(|(_, run)| run.phase() == Phase::Running).collect();
        self.tasks.retain(|(id, metric), task| {
            let wanted = runs.get(id).is_some_and(|run| task.is_awaited(run.recorded(*metric)));
            if !wanted {
                task.handle.abort();
            }
            wanted
        });
        for (id, run) in runs {
            for metric in run.due(now) {
                let Some(question) = run.question(metric) else { continue };
                self.tasks.entry((id.clone(), metric)).or_insert_with(|| {
                    let (client, reports) = (self.client.clone(), self.reports.clone());
                    let (question, (rollout, number, analysis)) = (Arc::new(question.clone()), id.clone());
                    let handle = tokio::spawn(async move {
                        let measured = measure(&client, &question).await;
                        // Nobody listens only when the process ends.
                        let _ = reports.send((rollout, number, analysis, metric, measured)).await;
                    });
                    Task { handle, began: Instant::now(), recorded: run.recorded(metric) }
                });
            }
        }
    }
}

impl Task {
    /// Whether what it reports is still to be recorded: the run was not asked to measure twice at once.
    fn is_awaited(&self, recorded: u64) -> bool {
        let lost = self.handle.is_finished() && self.began.elapsed() > REPORT_LOST_AFTER;
        self.recorded == recorded && !lost
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.tasks.values().for_each(|task| task.handle.abort());
    }
}

#[cfg(test)]
mod tests;
