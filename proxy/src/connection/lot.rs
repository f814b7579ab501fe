//! The parking lot: where client connections wait that have nothing to say.
//!
//! An idle connection that is served costs some 25 KB: hyper's buffers, a task, what we know of it. Most connections of a busy
//! proxy are idle most of the time. One that has been for a while is therefore taken apart, and what is kept is its socket and
//! whose it is. All sockets of a worker wait together in an epoll instance of their own, of which the runtime sees one file; when
//! bytes or an end arrive on one of them, the connection is served again as if it had just been accepted.
//!
//! Only HTTP/1.1 connections are parked, and those that have not said anything yet. An HTTP/2 connection has state on both
//! sides (settings, header tables, windows) that hyper cannot hand over.
//!
//! The rejected alternative, a small task for each socket, is simpler and costs ten times as much.

use std::cell::RefCell;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Guest;
use crate::coarse::{self, Ticks};
use crate::socket::{self, Queue};
use crate::telemetry::cells::WorkerCells;
use crate::worker::Worker;

/// Connections that are woken or closed before others get their turn on the thread: each costs some 10 us.
const BATCH: usize = 64;

/// A connection without a task.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) stream: TcpStream,
    pub(super) guest: Guest,
    /// Tick of its last byte.
    pub(super) since: Ticks,
}

/// The parked connections of one worker.
#[derive(Debug)]
pub(crate) struct Lot {
    /// Level-triggered, so that bytes which arrived before a socket was added are reported too.
    epoll: AsyncFd<OwnedFd>,
    parked: RefCell<Slab<Parked>>,
}

impl Lot {
    /// An empty lot. To be called within the worker's runtime.
    #[allow(
        deprecated,
        reason = "its replacement wants a promise about the type, for types whose `AsRawFd` lies; `OwnedFd` does not, so the safe one stays safe"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = AsyncFd::with_interest(epoll::create(CreateFlags::CLOEXEC)?, Interest::READABLE)?;
        Ok(Self { epoll, parked: RefCell::default() })
    }

    /// Parks a connection; gives it back if the kernel has no room for it.
    pub(super) fn park(&self, parked: Parked, cells: &WorkerCells) -> Result<(), Parked> {
        let mut lot = self.parked.borrow_mut();
        let entry = lot.vacant_entry();
        let (key, wanted) = (EventData::new_u64(entry.key() as u64), EventFlags::IN | EventFlags::RDHUP);
        if let Err(error) = epoll::add(&self.epoll, &parked.stream, key, wanted) {
            tracing::debug!(%error, "a connection cannot be parked");
            return Err(parked);
        }
        entry.insert(parked);
        cells.connections_parked.add(1);
        Ok(())
    }

    /// Takes a connection out of the lot, to be served or closed.
    fn take(&self, key: usize, cells: &WorkerCells) -> Option<Parked> {
        let parked = self.parked.borrow_mut().try_remove(key)?;
        // Fails for no reason that would matter: the socket was added and is open.
        let _ = epoll::delete(&self.epoll, &parked.stream);
        cells.connections_unparked.add(1);
        Some(parked)
    }

    /// Closes connections that have been idle for too long; called every tick. What is left over has its turn in the next.
    pub(crate) fn close_idle(&self, idle: Ticks, cells: &WorkerCells) {
        let is_due = |parked: &Parked| coarse::now() - parked.since > idle && parked.is_silent();
        let due: Vec<usize> = {
            let lot = self.parked.borrow();
            lot.iter().filter(|(_, parked)| is_due(parked)).map(|(key, _)| key).take(BATCH).collect()
        };
        for key in due {
            drop(self.take(key, cells));
        }
    }

    fn keys(&self) -> Vec<usize> {
        self.parked.borrow().iter().map(|(key, _)| key).collect()
    }
}

impl Parked {
    /// Whether the client has sent nothing, not even an end: what it has sent is about to be noticed and served.
    fn is_silent(&self) -> bool {
        socket::peek(self.stream.as_raw_fd()) == Queue::Empty
    }
}

/// Wakes the connections of a worker's lot on which something arrives.
pub(crate) async fn attend(worker: Rc<Worker>) {
    while let Ok(mut ready) = worker.lot.epoll.readable().await {
        match wake_some(&worker) {
            Ok(0) => ready.clear_ready(),
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                tracing::error!(%error, "waiting for parked connections");
                ready.clear_ready();
            }
        }
    }
}

/// Wakes a batch; returns how many there were.
fn wake_some(worker: &Rc<Worker>) -> io::Result<usize> {
    let mut events = Vec::with_capacity(BATCH);
    epoll::wait(&worker.lot.epoll, rustix::buffer::spare_capacity(&mut events), Some(&Timespec::default()))?;
    for event in &events {
        let (key, flags) = (event.data, event.flags);
        let Some(parked) = worker.lot.take(key.u64() as usize, worker.cells()) else { continue };
        let may_be_over = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        // A client that has only closed, as most do in the end, needs no buffers for that.
        if !may_be_over || socket::peek(parked.stream.as_raw_fd()) == Queue::Data {
            super::wake(worker, parked);
        }
    }
    Ok(events.len())
}

/// Closes all parked connections, a few at a time, but for those on which something has arrived: they are about to be woken and
/// answered.
pub(crate) async fn close_all(worker: Rc<Worker>) {
    for keys in worker.lot.keys().chunks(BATCH) {
        for key in keys {
            let silent = worker.lot.parked.borrow().get(*key).is_some_and(Parked::is_silent);
            if silent {
                drop(worker.lot.take(*key, worker.cells()));
            }
        }
        tokio::task::yield_now().await;
    }
}
