//! A worker: one thread, one single-threaded runtime, its own listeners, connections and pools.
//!
//! Nothing on a request's way is shared between workers but the routing table, which nobody writes, and cells that only their
//! own worker writes. Work reaches a worker as [`Command`]s; the table as one pointer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use arc_swap::{ArcSwap, Cache};
use slab::Slab;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use watershed_config::snapshot::Generation;

use crate::coarse::{self, TICK};
use crate::connection::lot::{self, Lot};
use crate::connection::{ConnState, Order, Patience, Places};
use crate::limits::Limits;
use crate::listener;
use crate::reason::Reason;
use crate::request_log::{LogWriter, RequestLog};
use crate::table::RoutingTable;
use crate::telemetry::cells::{Series, WorkerCells};
use crate::upstream::{Scratch, Upstreams};

/// Sweeps of idle connections happen every this many ticks: once a second.
const SWEEP_EVERY: u32 = 10;
/// Connections that are parked in one tick: each takes some 10 us, so that is a twentieth of the worker's time.
const PARKS_PER_TICK: usize = 512;
/// Connections that are parked at once: a request that comes meanwhile waits for so many.
const PARKS_AT_ONCE: usize = 32;

/// What all workers and the control thread share.
#[derive(Debug)]
pub struct Shared {
    /// Limits.
    pub limits: Limits,
    /// What is added to messages.
    pub marks: Marks,
    /// The current table. The only `ArcSwap` of the project.
    pub table: Arc<ArcSwap<RoutingTable>>,
    /// Counters, by worker.
    pub cells: Box<[WorkerCells]>,
    /// Counts requests that reached no listener's table.
    pub unrouted: Arc<Series>,
    /// Set once, when draining begins.
    pub draining: AtomicBool,
    /// Open client connections and tunnels of all workers; draining waits for zero.
    pub open: AtomicUsize,
    /// Idle and open upstream connections by worker, as of the last sweep.
    pub upstream: Box<[UpstreamGauge]>,
}

/// Upstream connections of one worker, as of its last sweep.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct UpstreamGauge {
    /// Waiting for a request.
    pub idle: AtomicUsize,
    /// All of them.
    pub open: AtomicUsize,
}

/// What is added to messages besides the forwarding headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks {
    /// `Via` on requests and responses.
    pub via: bool,
    /// `watershed-revision` on responses.
    pub revision: bool,
}

/// What a worker is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept on this listener.
    Listen { slot: usize, listener: TcpListener },
    /// Accept what is queued, then close the listener.
    Unlisten { slot: usize, done: oneshot::Sender<()> },
    /// Tell clients that no further request will be taken on their connections.
    Drain,
    /// Drop everything and end.
    Stop,
}

/// The control thread's end of a worker.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Tells the worker something; one that has ended needs no telling.
    pub(crate) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Waits for the thread to end.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker thread panicked");
        }
    }
}

/// A worker, on its own thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) upstreams: Upstreams,
    pub(crate) log: RequestLog,
    table: RefCell<Cache<Arc<ArcSwap<RoutingTable>>, Arc<RoutingTable>>>,
    random: RefCell<fastrand::Rng>,
    pub(crate) scratch: Scratch,
    /// Client connections that are served.
    connections: RefCell<Slab<Rc<ConnState>>>,
    /// Those that are parked.
    pub(crate) lot: Lot,
    /// How many there are of both, and may be.
    pub(crate) places: Rc<Places>,
    pub(crate) patience: Patience,
    ticks: Cell<u32>,
    /// Set when everything that is left is about to be cut.
    cutting: Cell<bool>,
}

impl Worker {
    /// Why a request ends that nobody waits for any more.
    pub(crate) fn why_abandoned(&self) -> Reason {
        if self.cutting.get() { Reason::DrainDeadline } else { Reason::ClientAborted }
    }

    pub(crate) fn cells(&self) -> &WorkerCells {
        &self.shared.cells[self.index]
    }

    /// Runs a synchronous look at the current table.
    pub(crate) fn with_table<R>(&self, look: impl FnOnce(&RoutingTable) -> R) -> R {
        look(self.table.borrow_mut().load())
    }

    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Relaxed)
    }

    pub(crate) fn register(&self, state: &Rc<ConnState>) -> usize {
        self.connections.borrow_mut().insert(Rc::clone(state))
    }

    pub(crate) fn deregister(&self, key: usize) {
        self.connections.borrow_mut().remove(key);
    }

    /// Moves the coarse clock on, enforces the limits on time of client connections and begins to park some that are idle.
    fn tick(self: &Rc<Self>) {
        coarse::advance();
        let patience = &self.patience;
        let parks_max = if self.is_draining() { 0 } else { PARKS_PER_TICK };
        let mut parks = Vec::new();
        for (key, conn) in self.connections.borrow().iter() {
            conn.enforce(patience);
            if parks.len() < parks_max && conn.can_be_parked(patience) {
                parks.push(key);
            }
        }
        if !parks.is_empty() {
            tokio::task::spawn_local(park(Rc::clone(self), parks));
        }
        self.lot.close_idle(patience.idle, self.cells());
        self.ticks.set(self.ticks.get() + 1);
        if self.ticks.get().is_multiple_of(SWEEP_EVERY) {
            for (_, conn) in self.connections.borrow().iter() {
                conn.look_for_end(patience);
            }
            self.upstreams.sweep(self);
            give_back();
            let (idle, open) = self.upstreams.connections();
            self.shared.upstream[self.index].idle.store(idle, Relaxed);
            self.shared.upstream[self.index].open.store(open, Relaxed);
        }
    }

    fn order_all(&self, order: Order) {
        for (_, conn) in self.connections.borrow().iter() {
            conn.order(order);
        }
    }

    /// Takes note of what hyper refused by itself.
    pub(crate) fn count_refused(&self, client: std::net::SocketAddr, reason: Reason) {
        let class = crate::telemetry::cells::CodeClass::of(reason.status());
        self.shared.unrouted.cells(self.index).record(class, Some(reason), std::time::Duration::ZERO);
        self.log.refused(self, client, reason);
    }
}

/// Lets the allocator give back what is free. mimalloc looks for memory that has been free for a second when it is asked for a page,
/// and a worker whose clients have all gone to rest asks for none.
fn give_back() {
    /// More than its pages for small objects hold, so that it always needs a page.
    const BYTES: usize = 1 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BYTES)));
}

/// Spawns futures onto the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExec;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Starts a worker's thread.
pub(crate) fn start(
    index: usize,
    shared: Arc<Shared>,
    log: LogWriter,
    generations: watch::Receiver<Generation>,
) -> io::Result<Handle> {
    let (commands, orders) = mpsc::unbounded_channel();
    let (started, has_started) = std::sync::mpsc::sync_channel(1);
    let run = move || {
        // A local runtime cannot leave its thread, so it is made here and its failure sent back.
        let built = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let with_lot = built.and_then(|runtime| {
            let lot = runtime.block_on(async { Lot::new() })?;
            Ok((runtime, lot))
        });
        let (runtime, lot) = match with_lot {
            Ok(with_lot) => with_lot,
            Err(error) => return drop(started.send(Err(error))),
        };
        drop(started.send(Ok(())));
        let worker = Rc::new(Worker {
            index,
            table: RefCell::new(Cache::new(Arc::clone(&shared.table))),
            places: Places::new(index, Arc::clone(&shared)),
            patience: Patience::new(&shared.limits),
            lot,
            shared,
            upstreams: Upstreams::default(),
            log: RequestLog::new(log),
            random: RefCell::new(fastrand::Rng::new()),
            scratch: Scratch::default(),
            connections: RefCell::default(),
            ticks: Cell::new(0),
            cutting: Cell::new(false),
        });
        runtime.block_on(run(worker, orders, generations));
        // Dropping the runtime drops every connection: that is what cutting means.
    };
    let thread = std::thread::Builder::new().name(format!("ws-worker-{index}")).spawn(run)?;
    has_started.recv().map_err(io::Error::other)??;
    Ok(Handle { commands, thread: Some(thread) })
}

async fn run(
    worker: Rc<Worker>,
    mut orders: mpsc::UnboundedReceiver<Command>,
    mut generations: watch::Receiver<Generation>,
) {
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::task::spawn_local(lot::attend(Rc::clone(&worker)));
    let mut listeners: HashMap<usize, oneshot::Sender<oneshot::Sender<()>>> = HashMap::new();
    loop {
        tokio::select! {
            _ = clock.tick() => worker.tick(),
            Ok(()) = generations.changed() => acknowledge(&worker),
            order = orders.recv() => match order {
                Some(Command::Listen { slot, listener }) => {
                    let (close, closed) = oneshot::channel();
                    listeners.insert(slot, close);
                    tokio::task::spawn_local(listener::accept(Rc::clone(&worker), slot, listener, closed));
                }
                Some(Command::Unlisten { slot, done }) => match listeners.remove(&slot) {
                    Some(close) => drop(close.send(done)),
                    None => drop(done),
                },
                Some(Command::Drain) => {
                    worker.order_all(Order::Drain);
                    tokio::task::spawn_local(lot::close_all(Rc::clone(&worker)));
                }
                Some(Command::Stop) | None => {
                    worker.cutting.set(true);
                    return;
                }
            },
        }
    }
}

/// Parks the connections with these keys, a few at a time.
async fn park(worker: Rc<Worker>, keys: Vec<usize>) {
    for some in keys.chunks(PARKS_AT_ONCE) {
        for key in some {
            // By now it may have ended, and another may have its key; it is looked at again.
            if let Some(conn) = worker.connections.borrow().get(*key) {
                conn.order_to_park(&worker.patience);
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Takes up the new table and says so: from here on every request of this worker sees it, and the one before is let go even if
/// no request comes.
fn acknowledge(worker: &Worker) {
    let generation = worker.with_table(|table| table.generation);
    worker.cells().generation.store(generation.0, Relaxed);
}
