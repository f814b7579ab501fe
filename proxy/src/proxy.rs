//! The data plane as its owner sees it: start, apply snapshots, drain.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use watershed_config::snapshot::{BindAddress, Generation, Snapshot};

use crate::limits::Limits;
use crate::listener::{self, BindError};
use crate::request_log::LogWriter;
use crate::rollouts::Observer;
use crate::table::{Compiler, RoutingTable};
use crate::telemetry::Telemetry;
use crate::telemetry::cells::{SeriesKey, SeriesSet, WorkerCells};
use crate::worker::{self, Command, Handle, Marks, Shared};

/// How often draining looks whether all connections are gone.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// What is decided once, at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Worker threads; at least one.
    pub workers: usize,
    /// Limits.
    pub limits: Limits,
    /// What is added to messages.
    pub marks: Marks,
    /// Whether every request gets a line on standard output.
    pub access_log: bool,
}

/// The running data plane. Dropping it without [`Proxy::drain`] cuts everything.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    series: Arc<SeriesSet>,
    workers: Vec<Handle>,
    compiler: Compiler,
    generations: watch::Sender<Generation>,
    bound: HashMap<BindAddress, SocketAddr>,
    /// Addresses that workers have been told to close, and may not have closed yet.
    closing: Vec<(BindAddress, Vec<oneshot::Receiver<()>>)>,
    /// Tables that a worker may still use. Dropped here, on the control thread: freeing one with thousands of routes would
    /// delay the requests of the worker that happened to let go last.
    retired: Vec<Arc<RoutingTable>>,
}

/// How draining ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections and tunnels that the deadline cut.
    pub cut: usize,
}

impl Proxy {
    /// Starts the workers. Nothing is listened on before the first snapshot.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let count = settings.workers.max(1);
        let series = Arc::new(SeriesSet::new(count));
        let shared = Arc::new(Shared {
            limits: settings.limits.clone(),
            marks: settings.marks,
            table: Arc::new(ArcSwap::from_pointee(RoutingTable::empty())),
            cells: (0..count).map(|_| WorkerCells::default()).collect(),
            unrouted: series.get(SeriesKey::default()),
            draining: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            upstream: (0..count).map(|_| worker::UpstreamGauge::default()).collect(),
        });
        let log = LogWriter::start(settings.access_log)?;
        let (generations, seen) = watch::channel(Generation(0));
        let workers = (0..count)
            .map(|index| worker::start(index, Arc::clone(&shared), log.clone(), seen.clone()))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            compiler: Compiler::new(count, Arc::clone(&series)),
            shared,
            series,
            workers,
            generations,
            bound: HashMap::new(),
            closing: Vec::new(),
            retired: Vec::new(),
        })
    }

    /// Compiles a snapshot, listens on its new addresses, publishes it with one pointer, and stops listening on addresses that it
    /// does not have. Returns the addresses that could not be bound; they are tried again with the next snapshot or by
    /// [`Proxy::bind_missing`], and the rest serves.
    pub fn apply(&mut self, snapshot: &Snapshot) -> Vec<BindError> {
        let table = Arc::new(self.compile(snapshot));
        self.publish(table);
        self.unbind_missing(snapshot);
        self.bind_missing(snapshot)
    }

    /// The first half of [`Proxy::apply`], for measurements that want the second alone.
    #[doc(hidden)]
    pub fn compile(&mut self, snapshot: &Snapshot) -> RoutingTable {
        self.compiler.compile(snapshot)
    }

    /// The second half of [`Proxy::apply`], without looking at addresses: every request from now on sees this table.
    #[doc(hidden)]
    pub fn publish(&mut self, table: Arc<RoutingTable>) {
        let generation = table.generation;
        let before = self.shared.table.swap(table);
        self.generations.send_replace(generation);
        // A table that is published again and again, as measurements do, is retired once.
        if !self.retired.iter().any(|table| Arc::ptr_eq(table, &before)) {
            self.retired.push(before);
        }
        self.drop_retired();
    }

    /// Frees tables that nobody uses any more.
    pub fn drop_retired(&mut self) {
        self.retired.retain(|table| Arc::strong_count(table) > 1);
    }

    fn unbind_missing(&mut self, snapshot: &Snapshot) {
        let gone: Vec<BindAddress> = self
            .bound
            .keys()
            .filter(|address| snapshot.binds.iter().all(|bind| bind.address != **address))
            .copied()
            .collect();
        for address in gone {
            tracing::info!(%address, "no longer listening");
            let closed = self.unlisten(address);
            self.closing.push((address, closed));
        }
    }

    /// Tells all workers to close their sockets for an address; the receivers hear when each has.
    fn unlisten(&mut self, address: BindAddress) -> Vec<oneshot::Receiver<()>> {
        self.bound.remove(&address);
        let slot = self.compiler.slot(address);
        let tell = |worker: &Handle| {
            let (done, closed) = oneshot::channel();
            worker.tell(Command::Unlisten { slot, done });
            closed
        };
        self.workers.iter().map(tell).collect()
    }

    /// Listens on the addresses of a snapshot that are not listened on yet.
    pub fn bind_missing(&mut self, snapshot: &Snapshot) -> Vec<BindError> {
        let mut errors = Vec::new();
        for bind in &snapshot.binds {
            if self.bound.contains_key(&bind.address) {
                continue;
            }
            if let Err(error) = self.listen(bind.address) {
                errors.push(error);
            }
        }
        errors
    }

    fn listen(&mut self, address: BindAddress) -> Result<(), BindError> {
        self.closing.retain_mut(|(_, closed)| {
            closed.retain_mut(|closed| matches!(closed.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
            !closed.is_empty()
        });
        let overlaps = |ours: &BindAddress| {
            ours.port == address.port && (ours.ip.is_none() || address.ip.is_none() || ours.ip == address.ip)
        };
        let overlapping = self.bound.keys().chain(self.closing.iter().map(|(ours, _)| ours)).any(overlaps);
        let sockets = listener::bind(address, self.workers.len(), overlapping)?;
        let local = sockets[0].local_addr().map_err(|source| BindError { address, source, holder: None })?;
        tracing::info!(address = %local, "listening");
        self.bound.insert(address, local);
        let slot = self.compiler.slot(address);
        for (worker, listener) in self.workers.iter().zip(sockets) {
            worker.tell(Command::Listen { slot, listener });
        }
        Ok(())
    }

    /// Where a wanted address is really listened on.
    pub fn bound(&self, address: BindAddress) -> Option<SocketAddr> {
        self.bound.get(&address).copied()
    }

    /// All addresses that are listened on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.bound.values().copied().collect();
        addresses.sort_unstable();
        addresses
    }

    /// The oldest generation that any worker uses for new requests.
    pub fn acknowledged(&self) -> Generation {
        Generation(self.shared.cells.iter().map(|cells| cells.generation.load(Relaxed)).min().unwrap_or(0))
    }

    /// What is counted for rollouts, for the control thread.
    pub fn observer(&self) -> Observer {
        Observer::new(Arc::clone(&self.shared))
    }

    /// What is counted, and the current table, for the admin thread.
    pub fn telemetry(&self) -> Telemetry {
        Telemetry::new(Arc::clone(&self.shared), Arc::clone(&self.series))
    }

    /// Ends politely: clients are told at once that no further request will be taken on their connections; new connections are
    /// accepted for `delay`; then what is queued is accepted, the listeners are closed, and what is in flight has until
    /// `deadline` (from the beginning) to finish.
    pub async fn drain(mut self, delay: Duration, deadline: Duration) -> Drained {
        let end = tokio::time::Instant::now() + deadline.max(delay);
        self.shared.draining.store(true, Relaxed);
        self.tell_all(|| Command::Drain);
        tokio::time::sleep(delay).await;
        let addresses: Vec<BindAddress> = self.bound.keys().copied().collect();
        let closing: Vec<_> = addresses.into_iter().flat_map(|address| self.unlisten(address)).collect();
        for closed in closing {
            // An error means that the worker is gone, and its sockets with it.
            let _ = tokio::time::timeout_at(end, closed).await;
        }
        // Connections that were accepted since the first time and have said nothing.
        self.tell_all(|| Command::Drain);
        while self.shared.open.load(Relaxed) > 0 && tokio::time::Instant::now() < end {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        Drained { cut: self.stop() }
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        self.workers.iter().for_each(|worker| worker.tell(command()));
    }

    /// Ends the workers; returns how many connections were still open.
    fn stop(&mut self) -> usize {
        let open = self.shared.open.load(Relaxed);
        self.tell_all(|| Command::Stop);
        self.workers.iter_mut().for_each(Handle::join);
        open
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}
