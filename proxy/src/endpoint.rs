//! An endpoint as the data plane knows it: what belongs to it outlives every table.
//!
//! Load and the memory of a refused connection belong to the endpoint's identity (pod UID, address, protocol), never to a
//! table, so that a weight change costs no warm connection and an address that is given to another pod starts clean.
//! Connections belong to workers ([`crate::upstream`]) and are found there by the endpoint's key.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use watershed_config::snapshot::EndpointId;

/// One endpoint. Shared by all tables and requests that know it.
#[derive(Debug)]
pub struct Endpoint {
    /// Never given twice within a process.
    pub key: u64,
    /// What it is.
    pub id: EndpointId,
    load: Box<[Load]>,
    refused: AtomicBool,
    ready: AtomicBool,
}

/// Requests in flight from one worker, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Load {
    in_flight: AtomicU32,
}

impl Endpoint {
    /// An endpoint for this many workers.
    pub fn new(key: u64, id: EndpointId, workers: usize) -> Self {
        let load = (0..workers).map(|_| Load::default()).collect();
        Self { key, id, load, refused: AtomicBool::new(false), ready: AtomicBool::new(true) }
    }

    /// Requests that this worker has in flight to it.
    pub fn in_flight(&self, worker: usize) -> u32 {
        self.load[worker].in_flight.load(Relaxed)
    }

    /// Requests in flight from all workers.
    pub fn in_flight_total(&self) -> u32 {
        self.load.iter().map(|load| load.in_flight.load(Relaxed)).sum()
    }

    /// Counts a request in. Only the worker itself writes its cell, hence no read-modify-write.
    pub(crate) fn begin(&self, worker: usize) {
        let cell = &self.load[worker].in_flight;
        cell.store(cell.load(Relaxed) + 1, Relaxed);
    }

    /// Counts a request out.
    pub(crate) fn end(&self, worker: usize) {
        let cell = &self.load[worker].in_flight;
        cell.store(cell.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Whether it refused a connection and has not accepted one since.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    /// Records a refused connection; true for the first one, whose worker then waits for it to come back.
    pub(crate) fn refuse(&self) -> bool {
        !self.refused.swap(true, Relaxed)
    }

    /// Records that it accepts connections again.
    pub(crate) fn accept(&self) {
        self.refused.store(false, Relaxed);
    }

    /// Whether it could get requests: it is ready, be it withdrawn by a rolling update or not. When not, idle connections to it
    /// are closed.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }
}
