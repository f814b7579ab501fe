//! The connections of one worker to one endpoint.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::http1::Idle;
use super::http2::{Http2, Openings};
use crate::coarse::{self, ticks};
use crate::endpoint::Endpoint;
use crate::limits::Limits;

/// Connections to one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) endpoint: Arc<Endpoint>,
    /// Idle HTTP/1.1 connections, the last used one last.
    idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections.
    pub(super) shared: RefCell<Vec<Rc<Http2>>>,
    /// HTTP/2 connections that are being opened.
    pub(super) openings: Openings,
    /// HTTP/1.1 connections in use, and all of HTTP/2.
    in_use: Cell<usize>,
}

impl Pool {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            idle: RefCell::default(),
            shared: RefCell::default(),
            openings: Openings::default(),
            in_use: Cell::new(0),
        }
    }

    /// The warmest idle connection that may carry the request. One that must not be repeated gets only a connection that was
    /// used a moment ago and is open as far as the kernel knows.
    pub(super) fn checkout(&self, cx: &mut Context<'_>, repeatable: bool, limits: &Limits) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let now = coarse::now();
        while let Some(mut conn) = idle.pop() {
            if !conn.is_fresh(now, limits) || conn.is_over(cx) {
                continue;
            }
            if !repeatable && conn.idle_for(now) > ticks(limits.upstream_idle_unrepeatable) {
                idle.push(conn);
                return None;
            }
            if repeatable || !conn.is_over_now() {
                return Some(conn);
            }
        }
        None
    }

    /// An HTTP/2 connection with room for another stream. A request that must not be repeated gets one that was idle only if it
    /// is open as far as the kernel knows; a `GOAWAY` that waits there does no harm, it says what was not handled.
    pub(super) fn checkout_shared(&self, repeatable: bool, limits: &Limits) -> Option<Rc<Http2>> {
        let mut shared = self.shared.borrow_mut();
        let now = coarse::now();
        loop {
            shared.retain(|conn| !conn.is_closed());
            let index = shared.iter().position(|conn| {
                conn.streams() < conn.streams_max().min(limits.upstream_streams)
                    && now - conn.opened() < ticks(limits.upstream_age)
            })?;
            let conn = &shared[index];
            if repeatable || conn.streams() > 0 || !conn.is_cut() {
                return Some(Rc::clone(conn));
            }
            shared.remove(index);
        }
    }

    /// Gives no further stream to an HTTP/2 connection.
    pub(super) fn forget(&self, conn: &Rc<Http2>) {
        self.shared.borrow_mut().retain(|other| !Rc::ptr_eq(other, conn));
    }

    /// Takes a connection back.
    pub(super) fn put(&self, conn: Idle) {
        if self.endpoint.is_ready() {
            self.idle.borrow_mut().push(conn);
        }
    }

    pub(super) fn sweep(&self, limits: &Limits) {
        let (now, ready) = (coarse::now(), self.endpoint.is_ready());
        // Nobody drives an idle connection: here it is seen that the endpoint has closed it.
        let mut cx = Context::from_waker(Waker::noop());
        self.idle
            .borrow_mut()
            .retain_mut(|conn| ready && conn.is_fresh(now, limits) && !conn.is_over(&mut cx));
        self.shared.borrow_mut().retain(|conn| {
            let idle = conn.streams() == 0;
            let idle_too_long = idle && now - conn.idle_since() > ticks(limits.upstream_idle);
            !conn.is_closed() && !idle_too_long && (ready || !idle)
        });
    }

    /// Counts a connection as open, from the attempt to connect on, until what is returned is dropped.
    pub(super) fn opened(self: &Rc<Self>) -> Opened {
        self.in_use.set(self.in_use.get() + 1);
        Opened(Rc::clone(self))
    }

    /// Drops idle connections that have been closed. Asked after one turned out to be: the others may have been closed in the
    /// same breath (an endpoint that restarts), and a request has few attempts.
    pub(super) fn drop_closed(&self) {
        self.idle.borrow_mut().retain(|conn| !conn.is_over_now());
    }

    /// Open connections.
    pub(super) fn open(&self) -> usize {
        self.in_use.get() + self.idle()
    }

    /// Idle HTTP/1.1 connections.
    pub(super) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open() == 0
    }
}

/// A connection's place among those in use.
#[derive(Debug)]
pub(super) struct Opened(Rc<Pool>);

impl Opened {
    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.in_use.set(self.0.in_use.get().saturating_sub(1));
    }
}

/// A stream's place on its connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Lease(Rc<Http2>);

impl Lease {
    pub(super) fn new(conn: &Rc<Http2>) -> Self {
        conn.begin_stream();
        Self(Rc::clone(conn))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.end_stream();
    }
}
