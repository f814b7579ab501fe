//! Counters that one worker writes and a scrape reads.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use http::StatusCode;
use watershed_config::observation::{DURATION_BOUNDS_US, DurationCounts};

use crate::reason::Reason;

/// A counter with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Must only be called by the worker that owns the cell.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value, exact to the last increment that the reader's core has seen.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A histogram of durations with a single writer.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Counter; DURATION_BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Durations {
    /// Records one duration.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[DURATION_BOUNDS_US.partition_point(|bound| *bound < us)].add(1);
        self.sum_us.add(us);
    }

    /// Durations by bucket, not cumulative.
    pub fn counts(&self) -> DurationCounts {
        std::array::from_fn(|bucket| self.buckets[bucket].value())
    }
}

/// First digit of the status as the metric label has it; `none` where no status was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CodeClass {
    /// The client went away before there was a status.
    None,
    /// 101: an upgrade.
    Informational,
    /// 200 to 299.
    Success,
    /// 300 to 399.
    Redirection,
    /// 400 to 499.
    ClientError,
    /// 500 and above.
    ServerError,
}

impl CodeClass {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// The class of a status.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// As it stands in the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

const REASONS: usize = Reason::ALL.len();

/// What one worker counted for one [`Series`].
#[derive(Debug, Default)]
pub struct Cells {
    complete: [Counter; CodeClass::ALL.len()],
    /// By class and reason; only allocated when something has gone wrong.
    with_reason: OnceLock<Box<[Counter]>>,
    durations: Durations,
}

impl Cells {
    /// Counts one finished request.
    pub fn record(&self, class: CodeClass, reason: Option<Reason>, duration: Duration) {
        match reason {
            None => self.complete[class as usize].add(1),
            Some(reason) => {
                let cells = self.with_reason.get_or_init(|| {
                    (0..REASONS * CodeClass::ALL.len()).map(|_| Counter::default()).collect()
                });
                cells[class as usize * REASONS + reason as usize].add(1);
            }
        }
        self.durations.record(duration);
    }
}

/// Labels of a series: names of configuration objects only, never a host, path, peer or pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SeriesKey {
    /// Namespace of the route.
    pub namespace: Arc<str>,
    /// The listener; empty if none matched.
    pub listener: Arc<str>,
    /// The route's name; empty if none matched.
    pub route: Arc<str>,
    /// The rule's name or index.
    pub rule: Arc<str>,
    /// The Service that the share went to; empty where none was chosen.
    pub service: Arc<str>,
    /// The revision of the pod; empty where none was chosen or it has none.
    pub revision: Arc<str>,
}

/// Sums of a [`Series`] over all workers.
#[derive(Debug, Default, Clone)]
pub struct Sums {
    /// Requests without a reason, by class.
    pub complete: [u64; CodeClass::ALL.len()],
    /// Requests with a reason: class, reason, count; only those above zero.
    pub with_reason: Vec<(CodeClass, Reason, u64)>,
    /// Requests per duration bucket, not cumulative; one more than [`DURATION_BOUNDS_US`].
    pub durations: [u64; DURATION_BOUNDS_US.len() + 1],
    /// Sum of the durations in microseconds.
    pub duration_sum_us: u64,
}

impl Sums {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.complete.iter().sum::<u64>() + self.with_reason.iter().map(|(_, _, count)| count).sum::<u64>()
    }
}

/// The cells of all workers for one set of labels.
#[derive(Debug)]
pub struct Series {
    /// Its labels.
    pub key: SeriesKey,
    /// Allocated by a worker at its first request: thousands of routes that nobody calls cost nothing.
    workers: Box<[OnceLock<Box<Cells>>]>,
}

impl Series {
    fn new(key: SeriesKey, workers: usize) -> Self {
        Self { key, workers: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// The cells of one worker.
    pub fn cells(&self, worker: usize) -> &Cells {
        self.workers[worker].get_or_init(Box::default)
    }

    /// Sums over all workers.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for cells in self.workers.iter().filter_map(OnceLock::get) {
            add_all(&mut sums.complete, &cells.complete);
            add_all(&mut sums.durations, &cells.durations.buckets);
            sums.duration_sum_us += cells.durations.sum_us.value();
            for (index, count) in cells.with_reason.get().into_iter().flatten().enumerate() {
                let (class, reason) = (CodeClass::ALL[index / REASONS], Reason::ALL[index % REASONS]);
                add_reason(&mut sums.with_reason, class, reason, count.value());
            }
        }
        sums
    }
}

fn add_all(sums: &mut [u64], counters: &[Counter]) {
    for (sum, counter) in sums.iter_mut().zip(counters) {
        *sum += counter.value();
    }
}

fn add_reason(sums: &mut Vec<(CodeClass, Reason, u64)>, class: CodeClass, reason: Reason, count: u64) {
    if count == 0 {
        return;
    }
    match sums.iter_mut().find(|(c, r, _)| (*c, *r) == (class, reason)) {
        Some((_, _, sum)) => *sum += count,
        None => sums.push((class, reason, count)),
    }
}

/// All series, by labels. Locked when a table is compiled and when it is scraped, never by a request.
#[derive(Debug)]
pub struct SeriesSet {
    workers: usize,
    hasher: RandomState,
    /// By the key in the series: there are several to a route, and the key is most of each.
    series: Mutex<HashTable<Kept>>,
}

#[derive(Debug)]
struct Kept {
    series: Arc<Series>,
    /// Scrapes since no table names it; it goes one scrape after that, so that its last counts are seen.
    scrapes_unused: u8,
}

impl SeriesSet {
    /// None yet, for this many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers, hasher: RandomState::default(), series: Mutex::default() }
    }

    /// The series with these labels: counters survive table swaps.
    pub fn get(&self, key: SeriesKey) -> Arc<Series> {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = |key: &SeriesKey| self.hasher.hash_one(key);
        let entry = all.entry(hash(&key), |kept| kept.series.key == key, |kept| hash(&kept.series.key));
        let entry = entry
            .or_insert_with(|| Kept { series: Arc::new(Series::new(key, self.workers)), scrapes_unused: 0 });
        Arc::clone(&entry.get().series)
    }

    /// All series with their sums, for one scrape. What no table and no request holds any more is given out once more.
    pub fn scrape(&self) -> Vec<(SeriesKey, Sums)> {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|kept| {
            let unused = Arc::strong_count(&kept.series) == 1;
            kept.scrapes_unused = if unused { kept.scrapes_unused.saturating_add(1) } else { 0 };
            kept.scrapes_unused < 2
        });
        let mut sums: Vec<_> = all.iter().map(|kept| (kept.series.key.clone(), kept.series.sums())).collect();
        sums.sort_by(|(a, _), (b, _)| a.cmp(b));
        sums
    }
}

/// Counters of one worker that belong to no route.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerCells {
    /// Client connections accepted.
    pub connections_accepted: Counter,
    /// Client connections closed.
    pub connections_closed: Counter,
    /// Times that an idle client connection was parked.
    pub connections_parked: Counter,
    /// Times that a parked client connection was woken or closed.
    pub connections_unparked: Counter,
    /// Connections to endpoints that were opened.
    pub upstream_connects: Counter,
    /// Attempts to connect that failed.
    pub upstream_connect_failures: Counter,
    /// Connections to endpoints that were closed.
    pub upstream_closed: Counter,
    /// Requests sent on a connection that had been used before.
    pub upstream_reused: Counter,
    /// Requests sent once more because the first attempt was provably not sent (or not processed).
    pub retries_unsent: Counter,
    /// Bodiless idempotent requests sent once more because their reused connection closed before any byte of the response.
    pub retries_stale: Counter,
    /// Requests sent once more to another endpoint because the first could not be connected to.
    pub retries_connect: Counter,
    /// Informational responses (103 and the like) from pods that were dropped.
    pub informational_dropped: Counter,
    /// Connections that became tunnels.
    pub upgrades: Counter,
    /// Tunnels that ended.
    pub upgrades_ended: Counter,
    /// Times that accepting paused because file descriptors ran out.
    pub accept_paused: Counter,
    /// Access-log lines dropped because the writer fell behind.
    pub log_dropped: Counter,
    /// Generation that this worker's loop has seen last.
    pub generation: AtomicU64,
}
