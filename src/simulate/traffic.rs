//! Requests: they arrive at random, take a ticket of the data plane's own split, fail or not, and end some time later, when the
//! data plane's own blocks take them for evidence.

use std::sync::Arc;

use fastrand::Rng;
use watershed_config::observation::{BlockCounts, DURATION_BOUNDS_US, RevisionCounts, SLOW_BOUNDS};
use watershed_config::snapshot::{Compared, RevisionSplit};
use watershed_proxy::rollouts::blocks::{Evidence, Outcome, Place, Side, Tables, Terms};
use watershed_proxy::split::{SplitState, Thresholds};

use super::durations::Durations;
use super::profile::{Behaviour, Conditions};

/// Of the clock by which blocks wait, in milliseconds; it begins at 1.
const COARSE_TICK: u64 = 100;

/// The traffic of one Service, through one split.
#[derive(Debug)]
pub(super) struct Traffic {
    random: Rng,
    workers: usize,
    split: SplitState,
    thresholds: Option<Thresholds>,
    /// Index of the share that is the canary's, if it has one; the stable revision has what is left.
    canary_share: Option<usize>,
    rps: f64,
    /// Seconds until the next request.
    until_next: f64,
    /// How the stable revision and the canary answer.
    sides: [Answers; 2],
    tables: Arc<Tables>,
    comparison: Option<Comparison>,
    /// What the tables had when they were last asked.
    told: BlockCounts,
    flights: Vec<Flight>,
    /// What the stable revision and the canary got.
    pub(super) counts: [RevisionCounts; 2],
    /// Decisions for each share since it came into force.
    pub(super) decisions: Vec<u64>,
}

/// How a revision answers.
#[derive(Debug)]
struct Answers {
    errors: f64,
    durations: Durations,
}

/// While something is compared.
#[derive(Debug)]
struct Comparison {
    evidence: Evidence,
    terms: Terms,
    bounds: [Option<u8>; SLOW_BOUNDS],
}

/// A request.
#[derive(Debug, Clone, Copy)]
struct Flight {
    /// In milliseconds.
    ends: u64,
    worker: usize,
    canary: bool,
    failed: bool,
    bucket: usize,
    /// Which of the bounds in force at its beginning it exceeds.
    slow: [bool; SLOW_BOUNDS],
    place: Option<Place>,
}

impl Answers {
    fn new(behaviour: Behaviour) -> Self {
        Self { errors: behaviour.errors, durations: Durations::new(behaviour.latency, behaviour.spread) }
    }
}

impl Comparison {
    /// Of the same run as the one before it, whose blocks go on.
    fn new(
        before: Option<Self>,
        compared: &Compared,
        epoch: u64,
        workers: usize,
        tables: &Arc<Tables>,
    ) -> Self {
        let there = compared.slow.iter().enumerate().map(|(bit, bound)| u8::from(bound.is_some()) << bit);
        let evidence = before.map(|before| before.evidence);
        Self {
            evidence: evidence.unwrap_or_else(|| Evidence::new(workers, Arc::clone(tables))),
            terms: Terms { epoch, bounds: there.sum() },
            bounds: compared.slow,
        }
    }

    fn slow(&self, bucket: usize) -> [bool; SLOW_BOUNDS] {
        self.bounds.map(|bound| bound.is_some_and(|bound| bucket > usize::from(bound)))
    }
}

impl Traffic {
    /// None yet: nobody gets any before [`divide`](Self::divide).
    pub(super) fn new(seed: u64, workers: usize, conditions: &Conditions) -> Self {
        let mut random = Rng::with_seed(seed);
        let split = SplitState::new(workers, || random.u64(..));
        let mut traffic = Self {
            random,
            workers,
            split,
            thresholds: None,
            canary_share: None,
            rps: 0.0,
            until_next: 0.0,
            sides: [Answers::new(conditions.stable), Answers::new(conditions.canary)],
            tables: Arc::new(Tables::new(workers)),
            comparison: None,
            told: BlockCounts::default(),
            flights: Vec::new(),
            counts: [RevisionCounts::default(), RevisionCounts::default()],
            decisions: Vec::new(),
        };
        traffic.change(conditions);
        traffic
    }

    /// Other conditions hold from now on.
    pub(super) fn change(&mut self, conditions: &Conditions) {
        self.rps = conditions.rps;
        // Arrivals have no memory: the next is as far away as if one had just been.
        self.until_next = self.gap();
        self.sides = [Answers::new(conditions.stable), Answers::new(conditions.canary)];
    }

    /// Other shares or latency bounds hold from now on.
    pub(super) fn divide(&mut self, split: &RevisionSplit, canary: &str) {
        let shares: Vec<u32> = split.shares.iter().map(|share| share.millionths).collect();
        self.decisions = vec![0; shares.len()];
        self.thresholds = Thresholds::new(&shares);
        self.canary_share = split.shares.iter().position(|share| *share.revision == *canary);
        let before = self.comparison.take();
        self.comparison = split
            .compared
            .as_ref()
            .map(|compared| Comparison::new(before, compared, split.epoch, self.workers, &self.tables));
    }

    /// Requests between two times in milliseconds.
    pub(super) fn flow(&mut self, from: u64, until: u64) {
        let mut left = (until - from) as f64 / 1000.0;
        while self.until_next <= left {
            left -= self.until_next;
            self.until_next = self.gap();
            self.begin(until - (left * 1000.0) as u64);
        }
        self.until_next -= left;
        let mut flights = std::mem::take(&mut self.flights);
        flights.retain(|flight| {
            let is_over = flight.ends <= until;
            if is_over {
                self.end(flight);
            }
            !is_over
        });
        self.flights = flights;
    }

    /// The blocks that have ended since this was last asked.
    pub(super) fn take_blocks(&mut self) -> BlockCounts {
        let now = self.tables.sums();
        let mut new = BlockCounts { failed: now.failed.since(&self.told.failed), ..BlockCounts::default() };
        for (new, (now, told)) in new.slow.iter_mut().zip(now.slow.iter().zip(&self.told.slow)) {
            *new = now.since(told);
        }
        self.told = now;
        new
    }

    /// Seconds from one request to the next, of a Poisson process.
    fn gap(&mut self) -> f64 {
        if self.rps > 0.0 { -(1.0 - self.random.f64()).ln() / self.rps } else { f64::INFINITY }
    }

    fn begin(&mut self, now: u64) {
        let Some(thresholds) = &self.thresholds else { return };
        let worker = self.random.usize(..self.workers);
        let drawn = self.split.draw_in_block(worker);
        let share = thresholds.pick(drawn.ticket);
        self.decisions[share] += 1;
        let canary = self.canary_share == Some(share);
        let side = if canary { Side::Canary } else { Side::Stable };
        let Answers { errors, durations } = &self.sides[usize::from(canary)];
        let failed = self.random.f64() < *errors;
        let bucket = durations.draw(&mut self.random);
        let ticks = (now / COARSE_TICK + 1) as u32;
        let comparison = self.comparison.as_ref();
        let place = comparison
            .and_then(|compared| compared.evidence.enter(worker, drawn, compared.terms, side, ticks));
        let slow = comparison.map(|compared| compared.slow(bucket)).unwrap_or_default();
        self.counts[usize::from(canary)].in_flight += 1;
        // As long as the longest of its bucket; what exceeds the last bound, as long as that.
        let takes = DURATION_BOUNDS_US[bucket.min(DURATION_BOUNDS_US.len() - 1)] / 1000;
        self.flights.push(Flight { ends: now + takes, worker, canary, failed, bucket, slow, place });
    }

    fn end(&mut self, flight: &Flight) {
        let Flight { worker, canary, failed, bucket, slow, place, .. } = *flight;
        let counts = &mut self.counts[usize::from(canary)];
        counts.in_flight -= 1;
        counts.requests += 1;
        counts.failed += u64::from(failed);
        counts.durations[bucket] += 1;
        if let Some((place, compared)) = place.zip(self.comparison.as_ref()) {
            compared.evidence.leave(worker, place, Outcome::new(failed, slow));
        }
    }
}
