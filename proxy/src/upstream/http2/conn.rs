//! Connections to HTTP/2 endpoints: opened as needed, driven by a task each, asked for signs of life.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::Notify;

use super::super::connect;
use super::super::pool::{Opened, Pool};
use crate::coarse::{self, Limit, Ticks, ticks};
use crate::io::{Activity, FirstRead, Watched};
use crate::reason::Reason;
use crate::socket::{self, Queue};
use crate::worker::{Shared, Worker};

/// Bytes that an endpoint may send ahead on one stream. On the connection it is that for all its streams together, since they
/// belong to different clients: those who do not read must not stop the others.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes of a request's body buffered per stream while the endpoint does not read.
const SEND_BUFFER: usize = 128 * 1024;
/// A silent connection with open streams is asked for a sign of life this often, and given up after this long.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked whether that is due.
const PING_LOOK: Duration = Duration::from_secs(5);

/// An HTTP/2 connection.
#[derive(Debug)]
pub(in crate::upstream) struct Http2 {
    pub(super) sender: SendRequest<Bytes>,
    driven: Rc<Driven>,
    fd: RawFd,
    opened: Ticks,
    idle_since: Cell<Ticks>,
    pub(super) used: Cell<bool>,
}

/// What a connection and its task know of each other.
#[derive(Debug, Default)]
struct Driven {
    streams: Cell<usize>,
    has_ended: Cell<bool>,
}

impl Http2 {
    /// Whether there is no connection any more.
    pub(in crate::upstream) fn is_closed(&self) -> bool {
        self.driven.has_ended.get()
    }

    pub(in crate::upstream) fn streams(&self) -> usize {
        self.driven.streams.get()
    }

    pub(in crate::upstream) fn opened(&self) -> Ticks {
        self.opened
    }

    pub(in crate::upstream) fn idle_since(&self) -> Ticks {
        self.idle_since.get()
    }

    pub(in crate::upstream) fn begin_stream(&self) {
        self.driven.streams.set(self.streams() + 1);
    }

    pub(in crate::upstream) fn end_stream(&self) {
        self.driven.streams.set(self.streams().saturating_sub(1));
        self.idle_since.set(coarse::now());
    }

    /// Streams that the endpoint allows at this moment; none once the connection has ended.
    pub(in crate::upstream) fn streams_max(&self) -> usize {
        if self.is_closed() { 0 } else { self.sender.current_max_send_streams() }
    }

    /// Whether the endpoint has closed the connection without a word, and its task has not noticed yet.
    pub(in crate::upstream) fn is_cut(&self) -> bool {
        self.is_closed() || matches!(socket::peek(self.fd), Queue::Closed | Queue::Reset)
    }
}

/// A connection with room for a stream. As long as it is not known how many streams the endpoint allows, only one connection
/// is opened, and who comes meanwhile waits to hear.
pub(super) async fn checkout(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    repeatable: bool,
) -> Result<Rc<Http2>, Reason> {
    let limits = &worker.shared.limits;
    loop {
        if let Some(conn) = pool.checkout_shared(repeatable, limits) {
            return Ok(conn);
        }
        if pool.openings.may_begin(limits.upstream_streams) {
            break;
        }
        pool.openings.wait().await;
        if pool.endpoint.is_refused() {
            return Err(Reason::ConnectFailed);
        }
    }
    let announced = Announced::new(pool);
    // Boxed because it is rare, and larger than all the rest of an exchange.
    Box::pin(open(worker, pool, announced)).await
}

/// Connections to an endpoint that are being opened, and those who wait for them.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Openings {
    running: Cell<usize>,
    waiting: Cell<usize>,
    /// Streams that the endpoint allowed on its last connection.
    streams: Cell<Option<usize>>,
    ended: Notify,
}

impl Openings {
    /// Whether another one is worth its while: those that run would not be enough for all who wait.
    fn may_begin(&self, streams_max: usize) -> bool {
        let streams = self.streams.get().map(|streams| streams.clamp(1, streams_max.max(1)));
        let wanted = streams.map_or(1, |streams| (self.waiting.get() + 1).div_ceil(streams));
        self.running.get() < wanted
    }

    async fn wait(&self) {
        let _waiting = Counted::one_more(&self.waiting);
        self.ended.notified().await;
    }
}

struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn one_more(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Says that a connection is being opened, until dropped; also when the one who opens it is cancelled.
struct Announced(Rc<Pool>);

impl Announced {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.openings.running.set(pool.openings.running.get() + 1);
        Self(Rc::clone(pool))
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let openings = &self.0.openings;
        openings.running.set(openings.running.get() - 1);
        openings.ended.notify_waiters();
    }
}

async fn open(worker: &Rc<Worker>, pool: &Rc<Pool>, announced: Announced) -> Result<Rc<Http2>, Reason> {
    let limits = &worker.shared.limits;
    let opened = pool.opened();
    let stream = connect::connect(worker, pool).await?;
    let fd = stream.as_raw_fd();
    let activity = Arc::<Activity>::default();
    let (io, first_read) = Watched::to_endpoint(stream, Arc::clone(&activity));
    let handshake = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(limits.upstream_streams))
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        // Until the endpoint has said how many it allows.
        .initial_max_send_streams(1)
        .enable_push(false)
        .handshake(io)
        .await;
    let (sender, connection) = handshake.map_err(|_| Reason::ConnectFailed)?;
    let driven = Rc::<Driven>::default();
    let driving =
        drive(connection, Rc::clone(&driven), activity, opened, Arc::clone(&worker.shared), worker.index);
    tokio::task::spawn_local(driving);
    let now = coarse::now();
    let (idle_since, used) = (Cell::new(now), Cell::new(false));
    let conn = Rc::new(Http2 { sender, driven, fd, opened: now, idle_since, used });
    pool.shared.borrow_mut().push(Rc::clone(&conn));
    tokio::task::spawn_local(announce(Rc::downgrade(&conn), announced, first_read, limits.connect_timeout));
    Ok(conn)
}

fn connection_window(streams: usize) -> u32 {
    /// RFC 9113 section 6.9.1.
    const MAX: u32 = i32::MAX as u32;
    STREAM_WINDOW.saturating_mul(u32::try_from(streams).unwrap_or(MAX)).clamp(STREAM_WINDOW, MAX)
}

/// Runs a connection until it ends, or its other side shows no sign of life.
async fn drive(
    mut connection: client::Connection<Watched, Bytes>,
    driven: Rc<Driven>,
    activity: Arc<Activity>,
    opened: Opened,
    shared: Arc<Shared>,
    worker: usize,
) {
    let mut pinger = connection.ping_pong().map(Pinger::new);
    poll_fn(|cx| {
        // Its requests carry the news of a failure to those that it concerns.
        let polled = Pin::new(&mut connection).poll(cx).map(drop);
        let gives_up = pinger.as_mut().is_some_and(|pinger| {
            polled.is_pending() && pinger.gives_up(activity.last(), driven.streams.get() > 0, cx)
        });
        if gives_up { Poll::Ready(()) } else { polled }
    })
    .await;
    driven.has_ended.set(true);
    drop((connection, opened));
    shared.cells[worker].upstream_closed.add(1);
}

/// Asks a silent connection for a sign of life.
struct Pinger {
    ping_pong: PingPong,
    look: Limit,
    asked: Option<Ticks>,
}

impl Pinger {
    fn new(ping_pong: PingPong) -> Self {
        Self { ping_pong, look: Limit::new(ticks(PING_LOOK)), asked: None }
    }

    /// Whether the other side was asked and has not answered in time.
    fn gives_up(&mut self, moved: Ticks, is_used: bool, cx: &mut Context<'_>) -> bool {
        if !self.look.exceeded(cx) {
            return false;
        }
        self.look.restart();
        // Begins to wait for the next look.
        self.look.exceeded(cx);
        if let Some(asked) = self.asked {
            if self.ping_pong.poll_pong(cx).is_ready() {
                self.asked = None;
            }
            return self.asked.is_some() && coarse::now() - asked > ticks(PING_TIMEOUT);
        }
        let is_silent = coarse::now() - moved > ticks(PING_EVERY);
        if is_used && is_silent && self.ping_pong.send_ping(Ping::opaque()).is_ok() {
            self.asked = Some(coarse::now());
            // Has the ping written: this wakes the connection's task, which is ours.
            cx.waker().wake_by_ref();
        }
        false
    }
}

/// Ends the announcement of a connection when the endpoint has said how many streams it allows: its settings come before
/// anything else (RFC 9113 section 3.4). One that says nothing within the limit is not waited for.
async fn announce(conn: Weak<Http2>, announced: Announced, first_read: FirstRead, limit: Duration) {
    if tokio::time::timeout(limit, first_read).await.is_ok()
        && let Some(conn) = conn.upgrade()
    {
        announced.0.openings.streams.set(Some(conn.streams_max()));
    }
}
