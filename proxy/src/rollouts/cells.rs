//! Counts by revision.

use std::sync::OnceLock;
use std::time::Duration;

use watershed_config::observation::RevisionCounts;

use crate::telemetry::cells::{Counter, Durations};

/// What all workers counted for one revision of one Rollout.
#[derive(Debug)]
pub struct RevisionCells {
    /// Allocated by a worker at its first request.
    workers: Box<[OnceLock<Box<Cells>>]>,
}

#[derive(Debug, Default)]
struct Cells {
    begun: Counter,
    ended: Counter,
    failed: Counter,
    durations: Durations,
}

impl RevisionCells {
    /// Nothing yet.
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    fn of(&self, worker: usize) -> &Cells {
        self.workers[worker].get_or_init(Box::default)
    }

    /// Counts a request that begins. Must only be called by the worker itself, as all that count here.
    pub fn begin(&self, worker: usize) {
        self.of(worker).begun.add(1);
    }

    /// Counts a request that ends; its duration, if that says something about the revision.
    pub fn end(&self, worker: usize, failed: bool, duration: Option<Duration>) {
        let cells = self.of(worker);
        cells.ended.add(1);
        cells.failed.add(u64::from(failed));
        if let Some(duration) = duration {
            cells.durations.record(duration);
        }
    }

    /// Over all workers.
    pub fn sums(&self) -> RevisionCounts {
        let mut sums = RevisionCounts::default();
        for cells in self.workers.iter().filter_map(OnceLock::get) {
            // Read before what began: a request is never seen to have ended without having begun.
            let ended = cells.ended.value();
            sums.requests += ended;
            sums.failed += cells.failed.value();
            sums.in_flight += cells.begun.value().saturating_sub(ended);
            for (sum, count) in sums.durations.iter_mut().zip(cells.durations.counts()) {
                *sum += count;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RevisionCells;

    #[test]
    fn requests_are_in_flight_from_their_beginning_to_their_end() {
        let cells = RevisionCells::new(2);
        for worker in [0, 0, 1] {
            cells.begin(worker);
        }
        assert_eq!((cells.sums().requests, cells.sums().in_flight), (0, 3));
        cells.end(0, true, Some(Duration::from_micros(250)));
        cells.end(1, false, None);
        let sums = cells.sums();
        assert_eq!((sums.requests, sums.failed, sums.in_flight), (2, 1, 1));
        assert_eq!(
            (sums.durations[0], sums.durations.iter().sum::<u64>()),
            (1, 1),
            "a bound belongs to its bucket"
        );
    }
}
