//! A worker's client connections are counted here, served or parked.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::Notify;

use crate::worker::Shared;

/// The places for client connections that one worker has.
#[derive(Debug)]
pub(crate) struct Places {
    shared: Arc<Shared>,
    worker: usize,
    taken: Cell<usize>,
    /// Told when a place was given back.
    freed: Notify,
}

/// A connection's place. It counts as open until this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Rc<Places>);

impl Places {
    pub(crate) fn new(worker: usize, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self { shared, worker, taken: Cell::new(0), freed: Notify::new() })
    }

    /// Whether another connection is allowed.
    pub(crate) fn has_room(&self) -> bool {
        self.taken.get() < self.shared.limits.connections_per_worker
    }

    /// Waits for a place that is given back.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Gives a place to a connection that was accepted.
    pub(crate) fn take(self: &Rc<Self>) -> Place {
        self.taken.set(self.taken.get() + 1);
        self.shared.cells[self.worker].connections_accepted.add(1);
        self.shared.open.fetch_add(1, Relaxed);
        Place(Rc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.0;
        places.taken.set(places.taken.get() - 1);
        places.shared.cells[places.worker].connections_closed.add(1);
        places.shared.open.fetch_sub(1, Relaxed);
        places.freed.notify_waiters();
    }
}
