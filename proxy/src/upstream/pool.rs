//! The connections of one worker to one endpoint.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};

use super::http2::{Driven, Openings};
use crate::body::{Gate, RequestBody};
use crate::coarse::{self, Ticks, ticks};
use crate::endpoint::Endpoint;
use crate::io::Activity;
use crate::limits::Limits;
use crate::socket::{self, Queue};

/// Connections to one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) endpoint: Arc<Endpoint>,
    /// Idle HTTP/1.1 connections, the last used one last.
    idle: RefCell<Vec<Http1>>,
    /// HTTP/2 connections.
    pub(super) shared: RefCell<Vec<Rc<Http2>>>,
    /// HTTP/2 connections that are being opened.
    pub(super) openings: Openings,
    open: Cell<usize>,
}

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) activity: Arc<Activity>,
    pub(super) fd: RawFd,
    pub(super) opened: Ticks,
    pub(super) idle_since: Ticks,
    /// How long the endpoint says that it keeps an idle connection (`Keep-Alive: timeout`), less a second.
    pub(super) keeps_idle: Option<Ticks>,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) driven: Driven,
    pub(super) activity: Arc<Activity>,
    pub(super) fd: RawFd,
    pub(super) opened: Ticks,
    pub(super) idle_since: Cell<Ticks>,
    pub(super) streams: Cell<usize>,
    pub(super) used: Cell<bool>,
}

impl Http2 {
    /// Streams that the endpoint allows at this moment; none once the connection has ended.
    pub(super) fn streams_max(&self) -> usize {
        self.driven.borrow().as_ref().map_or(0, http2::Connection::current_max_send_streams)
    }

    /// Whether the endpoint has closed the connection without a word, and hyper has not noticed yet.
    fn is_cut(&self) -> bool {
        // Who reads the socket shares the note of what passes; alone with it, the socket is closed.
        let is_open = Arc::strong_count(&self.activity) > 1;
        !is_open || matches!(socket::peek(self.fd), Queue::Closed | Queue::Reset)
    }
}

impl Pool {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            idle: RefCell::default(),
            shared: RefCell::default(),
            openings: Openings::default(),
            open: Cell::new(0),
        }
    }

    /// The warmest idle connection that may carry the request. One that must not be repeated gets only a connection that was
    /// used a moment ago and is open as far as the kernel knows.
    pub(super) fn checkout(&self, repeatable: bool, limits: &Limits) -> Option<Http1> {
        let mut idle = self.idle.borrow_mut();
        let now = coarse::now();
        let mut index = idle.len();
        while index > 0 {
            index -= 1;
            let conn = &idle[index];
            if conn.sender.is_closed() || !conn.is_fresh(now, limits) {
                idle.remove(index);
                continue;
            }
            // Still busy with the end of its last exchange.
            if !conn.sender.is_ready() {
                continue;
            }
            if !repeatable {
                if now - conn.idle_since > ticks(limits.upstream_idle_unrepeatable) {
                    return None;
                }
                if socket::peek(conn.fd) != Queue::Empty {
                    idle.remove(index);
                    continue;
                }
            }
            return Some(idle.remove(index));
        }
        None
    }

    /// An HTTP/2 connection with room for another stream. A request that must not be repeated gets one that was idle only if it
    /// is open as far as the kernel knows; a `GOAWAY` that waits there does no harm, it says what was not handled.
    pub(super) fn checkout_shared(&self, repeatable: bool, limits: &Limits) -> Option<Rc<Http2>> {
        let mut shared = self.shared.borrow_mut();
        let now = coarse::now();
        loop {
            shared.retain(|conn| !conn.sender.is_closed());
            let index = shared.iter().position(|conn| {
                conn.streams.get() < conn.streams_max().min(limits.upstream_streams)
                    && now - conn.opened < ticks(limits.upstream_age)
            })?;
            let conn = &shared[index];
            if repeatable || conn.streams.get() > 0 || !conn.is_cut() {
                return Some(Rc::clone(conn));
            }
            shared.remove(index);
        }
    }

    /// Gives no further stream to an HTTP/2 connection.
    pub(super) fn forget(&self, conn: &Rc<Http2>) {
        self.shared.borrow_mut().retain(|other| !Rc::ptr_eq(other, conn));
    }

    /// Gives a connection back.
    fn put(&self, mut conn: Http1) {
        if !conn.sender.is_closed() && self.endpoint.is_ready() {
            conn.idle_since = coarse::now();
            self.idle.borrow_mut().push(conn);
        }
    }

    pub(super) fn sweep(&self, limits: &Limits) {
        let (now, ready) = (coarse::now(), self.endpoint.is_ready());
        self.idle.borrow_mut().retain(|conn| ready && !conn.sender.is_closed() && conn.is_fresh(now, limits));
        self.shared.borrow_mut().retain(|conn| {
            let idle = conn.streams.get() == 0;
            let idle_too_long = idle && now - conn.idle_since.get() > ticks(limits.upstream_idle);
            !conn.sender.is_closed() && !idle_too_long && (ready || !idle)
        });
    }

    /// Counts a connection as open, from the attempt to connect on, until what is returned is dropped.
    pub(super) fn opened(self: &Rc<Self>) -> Opened {
        self.open.set(self.open.get() + 1);
        Opened(Rc::clone(self))
    }

    /// Drops idle connections that have been closed. Asked after one turned out to be: the others may have been closed in the
    /// same breath (an endpoint that restarts), and a request has few attempts.
    pub(super) fn drop_closed(&self) {
        self.idle
            .borrow_mut()
            .retain(|conn| !conn.sender.is_closed() && socket::peek(conn.fd) == Queue::Empty);
    }

    /// Open connections.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    /// Idle HTTP/1.1 connections.
    pub(super) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.get() == 0
    }
}

/// An open connection's place in the count.
#[derive(Debug)]
pub(super) struct Opened(Rc<Pool>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

impl Http1 {
    fn is_fresh(&self, now: Ticks, limits: &Limits) -> bool {
        let idle_max = ticks(limits.upstream_idle).min(self.keeps_idle.unwrap_or(Ticks::MAX));
        now - self.idle_since <= idle_max && now - self.opened < ticks(limits.upstream_age)
    }

    /// Takes note of how long the endpoint keeps idle connections.
    pub(super) fn heed_keep_alive(&mut self, headers: &http::HeaderMap) {
        let Some(value) = headers.get("keep-alive").and_then(|value| value.to_str().ok()) else { return };
        let timeout = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="));
        if let Some(seconds) = timeout.and_then(|seconds| seconds.trim().parse::<u64>().ok()) {
            // A second less, since the endpoint's clock started before ours.
            self.keeps_idle = Some(ticks(Duration::from_secs(seconds.saturating_sub(1))));
        }
    }
}

/// The use of a connection for one exchange; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Rc<Pool>,
    held: Held,
    /// Closed if the endpoint has answered without asking for the body.
    gate: Option<Arc<Gate>>,
}

#[derive(Debug)]
enum Held {
    Http1(Http1),
    Http2(Rc<Http2>),
    Nothing,
}

impl Lease {
    pub(super) fn http1(pool: Rc<Pool>, conn: Http1, gate: Option<Arc<Gate>>) -> Self {
        Self { pool, held: Held::Http1(conn), gate }
    }

    pub(super) fn http2(pool: Rc<Pool>, conn: Rc<Http2>, gate: Option<Arc<Gate>>) -> Self {
        conn.streams.set(conn.streams.get() + 1);
        Self { pool, held: Held::Http2(conn), gate }
    }

    /// The connection must not be used again.
    pub(crate) fn poison(&mut self) {
        if matches!(self.held, Held::Http1(_)) {
            self.held = Held::Nothing;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take().filter(|gate| !gate.is_open()) {
            // The answer is there and the body was never asked for: it stays where it is.
            gate.refuse();
            self.poison();
        }
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Http1(conn) => self.pool.put(conn),
            Held::Http2(conn) => {
                conn.streams.set(conn.streams.get().saturating_sub(1));
                conn.idle_since.set(coarse::now());
            }
            Held::Nothing => {}
        }
    }
}
