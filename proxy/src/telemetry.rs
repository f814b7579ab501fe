//! What is counted, and how it leaves the process.
//!
//! Workers count into cells of their own ([`cells`]), which nobody else writes: an increment is a plain load and store. A
//! scrape, on another thread, sums the cells of all workers and hands the sums to the `prometheus` crate for exposition
//! ([`exposition`]). The request path never looks up a label: a rule's arm holds its cells.

pub mod cells;
pub mod exposition;

use std::sync::Arc;

use prometheus::proto::MetricFamily;

use crate::table::RoutingTable;
use crate::worker::Shared;
use cells::SeriesSet;
use exposition::Share;

/// What may be asked of the data plane from another thread.
#[derive(Debug, Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
    series: Arc<SeriesSet>,
}

impl Telemetry {
    pub(crate) fn new(shared: Arc<Shared>, series: Arc<SeriesSet>) -> Self {
        Self { shared, series }
    }

    /// All metric families of the data plane.
    pub fn gather(&self) -> Vec<MetricFamily> {
        exposition::gather(&self.shared, &self.series)
    }

    /// Target and observed shares of all splits.
    pub fn shares(&self) -> Vec<Share> {
        exposition::shares(&self.shared)
    }

    /// The current table.
    pub fn table(&self) -> Arc<RoutingTable> {
        self.shared.table.load_full()
    }

    /// The generation that each worker uses for new requests.
    pub fn generations(&self) -> Vec<u64> {
        let load = |cells: &cells::WorkerCells| cells.generation.load(std::sync::atomic::Ordering::Relaxed);
        self.shared.cells.iter().map(load).collect()
    }
}
