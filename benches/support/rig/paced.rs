//! Requests at a fixed rate, each on whichever connection has room.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::support::{Outcome, during};

/// Latencies are kept to three digits, up to this many nanoseconds.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// The plan of an open loop, and what came of it.
pub(super) struct Paced {
    every: Duration,
    next_at: Instant,
    /// Requests whose time has come, by that time.
    due: VecDeque<Instant>,
    /// Clients with room for a request, once for each.
    free: VecDeque<usize>,
    /// From when on latencies are of which slice: by when a request was to be sent.
    began: Instant,
    slice: Duration,
    pub(super) slices: Vec<Histogram<u64>>,
}

impl Paced {
    /// At this rate for so long, which is divided into slices.
    pub(super) fn new(
        rate: usize,
        lasting: Duration,
        slices: u32,
        clients: &[usize],
        depth: usize,
    ) -> Outcome<Self> {
        let histogram: Histogram<u64> =
            during("making a histogram", Histogram::new_with_max(LATENCY_MAX_NS, 3))?;
        let free = (0..depth).flat_map(|_| clients.iter().copied()).collect();
        let every = Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX);
        let (began, slices) = (Instant::now(), slices.max(1));
        Ok(Self {
            every,
            next_at: began,
            due: VecDeque::new(),
            free,
            began,
            slice: lasting / slices,
            slices: vec![histogram; slices as usize],
        })
    }

    /// Notes every request whose time has come.
    pub(super) fn plan(&mut self, now: Instant) {
        while self.next_at <= now {
            self.due.push_back(self.next_at);
            self.next_at += self.every;
        }
    }

    /// The next request that can be sent: by whom, and when it was to be sent.
    pub(super) fn next(&mut self) -> Option<(usize, Instant)> {
        if self.due.is_empty() || self.free.is_empty() {
            return None;
        }
        Some((self.free.pop_front()?, self.due.pop_front()?))
    }

    /// A request of this client was answered, which was to be sent at `since`.
    pub(super) fn record(&mut self, client: usize, since: Instant, took: Duration) {
        self.free.push_back(client);
        let slice = (since - self.began).as_nanos() / self.slice.as_nanos().max(1);
        let last = self.slices.len() - 1;
        self.slices[last.min(slice as usize)]
            .saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}
