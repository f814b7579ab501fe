//! One client connection, from its first byte to its last.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge share a port: the first bytes tell them apart (RFC 9113 section 3.3). hyper
//! speaks the protocol; what is ours is when a connection must end: a head that does not arrive, idleness, draining.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use slab::Slab;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::coarse::{self, Ticks};
use crate::headers::Client;
use crate::io::{Activity, Io};
use crate::limits::Limits;
use crate::reason::Reason;
use crate::request;
use crate::socket::{self, Queue};
use crate::worker::{LocalExec, Worker};

/// The first bytes of every HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes read at once while telling the protocols apart; most requests' heads fit.
const FIRST_READ: usize = 4 * 1024;
/// Bytes that a client may send ahead on one stream, and on all streams of its connection together: sixteen uploads that stand
/// still do not stop its others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Response bytes buffered per stream while the client does not read.
const SEND_BUFFER: usize = 128 * 1024;
/// A silent HTTP/2 client is asked for a sign of life this often, and given up after this long.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(30);
const PING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// Headers that hyper allows in a head if it is not told a number.
const HYPER_HEADERS: usize = 100;

/// Requests on one HTTP/2 connection that a client may give up if they are most of its requests.
const GIVEN_UP_MAX: u32 = 100;

/// What a connection is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nothing.
    None,
    /// Take no further request: `Connection: close` or GOAWAY.
    Drain,
    /// Idle for too long: close politely.
    Retire,
    /// Close at once.
    Kill(Reason),
}

/// What others may know of a connection. Lives on the worker's thread.
#[derive(Debug)]
pub(crate) struct ConnState {
    pub(crate) peer: SocketAddr,
    /// The slot of the address that it came in on.
    pub(crate) bind: usize,
    /// What endpoints are told of the client.
    pub(crate) client: Client,
    activity: Arc<Activity>,
    fd: RawFd,
    in_flight: Cell<u32>,
    /// Request bodies that are being read; one may outlive its response.
    uploads: Cell<u32>,
    /// Whether the next response is the last: the request's body was not read, and what follows it cannot be found.
    is_last: Cell<bool>,
    /// Since when the client has closed its side with a request in flight; 0 if it has not.
    half_closed_since: Cell<Ticks>,
    /// Since when bytes of a head have been there; 0 if there are none.
    head_since: Cell<Ticks>,
    /// Requests so far, and those of them that the client gave up before there was an answer.
    begun: Cell<u32>,
    given_up: Cell<u32>,
    /// Since when there has been no request.
    idle_since: Cell<Ticks>,
    /// HTTP/2: bytes that arrive need not belong to a request, and requests do not wait for each other.
    multiplexed: Cell<bool>,
    /// Since when each piece of a response that was given out has been waiting for the client to take it.
    untaken: RefCell<Slab<Ticks>>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
}

impl ConnState {
    fn new(peer: SocketAddr, bind: usize, fd: RawFd) -> Self {
        Self {
            peer,
            bind,
            client: Client::new(peer.ip()),
            activity: Arc::default(),
            fd,
            in_flight: Cell::new(0),
            uploads: Cell::new(0),
            is_last: Cell::new(false),
            half_closed_since: Cell::new(0),
            head_since: Cell::new(0),
            begun: Cell::new(0),
            given_up: Cell::new(0),
            idle_since: Cell::new(coarse::now()),
            multiplexed: Cell::new(false),
            untaken: RefCell::default(),
            order: Cell::new(Order::None),
            waker: RefCell::default(),
        }
    }

    pub(crate) fn begin_request(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.begun.set(self.begun.get().saturating_add(1));
        self.head_since.set(0);
    }

    pub(crate) fn end_request(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.idle_since.set(coarse::now());
        self.activity.forget_reads();
    }

    /// A request was given up by the client before it had an answer. One that does so with most of its requests makes us and
    /// the pods work for nothing, and pods may take our shared connections for the attacker (CVE-2023-44487).
    pub(crate) fn give_up(&self) {
        self.given_up.set(self.given_up.get().saturating_add(1));
        if self.multiplexed.get()
            && self.given_up.get() >= GIVEN_UP_MAX
            && self.given_up.get() > self.begun.get() / 2
        {
            self.order(Order::Kill(Reason::ClientAborted));
        }
    }

    pub(crate) fn begin_upload(&self) {
        self.uploads.set(self.uploads.get() + 1);
    }

    /// One that was not read to its end leaves bytes in the socket, and closing that would reset the connection under the
    /// response's last bytes.
    pub(crate) fn end_upload(&self, complete: bool) {
        self.uploads.set(self.uploads.get().saturating_sub(1));
        if !complete {
            self.activity.linger();
        }
    }

    /// Makes the response that is being made the last one of an HTTP/1.1 connection.
    pub(crate) fn make_last(&self) {
        self.is_last.set(true);
        self.activity.linger();
    }

    /// Whether the response that is being made must say that it is the last one.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last.get()
    }

    /// A piece of a response was given to hyper, which asks for the next when the client has taken enough of it.
    /// Of no interest on HTTP/1.1, where a client that does not read stops its own connection.
    pub(crate) fn given(&self) -> Option<usize> {
        self.multiplexed.get().then(|| self.untaken.borrow_mut().insert(coarse::now()))
    }

    /// hyper has asked for the next piece, or given up.
    pub(crate) fn taken(&self, piece: usize) {
        self.untaken.borrow_mut().try_remove(piece);
    }

    /// Gives an order and wakes the connection to follow it. A kill is not taken back.
    pub(crate) fn order(&self, order: Order) {
        if !matches!(self.order.get(), Order::Kill(_)) {
            self.order.set(order);
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ends what takes too long; called every tick.
    pub(crate) fn enforce(&self, head: Ticks, idle: Ticks, stall: Ticks) {
        let quiet_for = coarse::now() - self.activity.last();
        if self.activity.is_blocked() && quiet_for > stall {
            self.order(Order::Kill(Reason::ClientAborted));
        } else if self.in_flight.get() > 0 || self.uploads.get() > 0 {
            // A request has limits of its own.
            self.enforce_taking(stall);
        } else if !self.multiplexed.get() && self.activity.has_read() {
            if self.head_since.get() == 0 {
                self.head_since.set(coarse::now());
            } else if coarse::now() - self.head_since.get() > head {
                self.order(Order::Kill(Reason::HeadTimeout));
            }
        } else {
            self.enforce_idleness(idle, stall);
        }
    }

    /// Looks whether a client with a request in flight has closed its side or is gone, which hyper does not see while it
    /// waits for us.
    pub(crate) fn look_for_end(&self, half_closed: Ticks) {
        if self.in_flight.get() == 0 || self.uploads.get() > 0 {
            return;
        }
        match socket::peek(self.fd) {
            Queue::Empty | Queue::Data => {}
            Queue::Reset => self.order(Order::Kill(Reason::ClientAborted)),
            Queue::Closed if self.half_closed_since.get() == 0 => self.half_closed_since.set(coarse::now()),
            Queue::Closed => {
                if coarse::now() - self.half_closed_since.get() >= half_closed {
                    self.order(Order::Kill(Reason::ClientAborted));
                }
            }
        }
    }

    /// Ends an HTTP/2 connection whose client does not take its responses, although it answers pings. The others on the same
    /// connection must not suffer: while there are others, it only gets no new ones.
    fn enforce_taking(&self, stall: Ticks) {
        let stalled = |since: &Ticks| coarse::now() - since > stall;
        let stalled = self.untaken.borrow().iter().filter(|(_, since)| stalled(since)).count();
        if stalled == 0 || !self.multiplexed.get() {
            return;
        }
        let all = stalled >= self.in_flight.get() as usize;
        self.order(if all { Order::Kill(Reason::ClientAborted) } else { Order::Retire });
    }

    fn enforce_idleness(&self, idle: Ticks, stall: Ticks) {
        // On HTTP/2 pings keep bytes moving, so that only requests count.
        let since = if self.multiplexed.get() { self.idle_since.get() } else { self.activity.last() };
        let idle_for = coarse::now() - since;
        if idle_for > idle.saturating_add(stall) {
            // It was asked politely long ago, and still does not read the end of its last response.
            self.order(Order::Kill(Reason::ClientAborted));
        } else if idle_for > idle {
            self.order(Order::Retire);
        }
    }

    fn remember(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    /// Waits for an order.
    async fn ordered(&self) -> Order {
        poll_fn(|cx| {
            self.remember(cx.waker());
            let order = self.order.get();
            if order == Order::None { Poll::Pending } else { Poll::Ready(order) }
        })
        .await
    }

    fn is_idle(&self) -> bool {
        self.in_flight.get() == 0 && !self.activity.has_read() && socket::peek(self.fd) == Queue::Empty
    }
}

/// Serves a connection until it ends. It counts as open before this returns, so that whoever waits for the last one does not
/// miss it.
pub(crate) fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, bind: usize) {
    let _ = stream.set_nodelay(true);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&stream);
    let state = Rc::new(ConnState::new(peer, bind, fd));
    let registered = Registered { key: worker.register(&state), worker: Rc::clone(worker) };
    tokio::task::spawn_local(async move { run(&registered.worker, &state, stream).await });
}

async fn run(worker: &Rc<Worker>, state: &Rc<ConnState>, stream: TcpStream) {
    // Closed, or silent from the start: port scans and load balancers' checks.
    let Some(ahead) = first_bytes(&worker.shared.limits, state, &stream).await else { return };
    let is_http2 = ahead.starts_with(PREFACE);
    let io = Io::of_client(stream, ahead, Arc::clone(&state.activity));
    let served =
        if is_http2 { serve_http2(worker, state, io).await } else { serve_http1(worker, state, io).await };
    let reason = match served {
        Served::Ended(Ok(())) => None,
        Served::Ended(Err(error)) => refusal(&error),
        Served::Killed(reason) => (reason == Reason::HeadTimeout).then_some(reason),
    };
    if let Some(reason) = reason {
        worker.count_refused(state.peer, reason);
    }
}

/// Gives the connection's place back, whichever way it ends.
struct Registered {
    worker: Rc<Worker>,
    key: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.deregister(self.key);
    }
}

/// Waits for the first bytes and reads until it is clear which protocol the client speaks; `None` if it closed first, said
/// nothing for too long, or was told to go.
async fn first_bytes(limits: &Limits, state: &ConnState, stream: &TcpStream) -> Option<Vec<u8>> {
    let accepted = Instant::now();
    let mut bytes = Vec::new();
    while bytes.is_empty() {
        // Nothing is allocated for a client that has not said anything yet.
        tokio::time::timeout_at(accepted + limits.idle_timeout, readable_or_ordered(state, stream))
            .await
            .ok()??;
        read_more(stream, &mut bytes)?;
    }
    let end = Instant::now() + limits.head_timeout;
    while bytes.len() < PREFACE.len() && PREFACE.starts_with(&bytes) {
        tokio::time::timeout_at(end, stream.readable()).await.ok()?.ok()?;
        read_more(stream, &mut bytes)?;
    }
    Some(bytes)
}

/// Waits until there may be bytes; `None` if the connection is to end before there are.
async fn readable_or_ordered(state: &ConnState, stream: &TcpStream) -> Option<()> {
    tokio::select! {
        biased;
        ready = stream.readable() => ready.ok(),
        _ = state.ordered() => None,
    }
}

/// Reads what is there, if anything; `None` at the end.
fn read_more(stream: &TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    bytes.reserve_exact(FIRST_READ - bytes.len().min(FIRST_READ));
    match stream.try_read_buf(bytes) {
        Ok(0) => None,
        Ok(_) => Some(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            if bytes.is_empty() {
                *bytes = Vec::new();
            }
            Some(())
        }
        Err(_) => None,
    }
}

enum Served {
    Ended(hyper::Result<()>),
    Killed(Reason),
}

async fn serve_http1(worker: &Rc<Worker>, state: &Rc<ConnState>, io: Io) -> Served {
    let Limits { head_bytes, headers, .. } = worker.shared.limits;
    let mut builder = http1::Builder::new();
    // A client that closes its side may still read the answer; `ConnState::look_for_end` tells when to give up.
    builder.max_buf_size(head_bytes).half_close(true);
    if headers != HYPER_HEADERS {
        // Asked for its own number, hyper would fill and drop a list of that length for each head.
        builder.max_headers(headers);
    }
    let (w, s) = (Rc::clone(worker), Rc::clone(state));
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, state) = (Rc::clone(&w), Rc::clone(&s));
        async move { Ok::<_, Infallible>(request::handle(worker, state, request).await) }
    });
    drive(state, builder.serve_connection(io, service).with_upgrades()).await
}

async fn serve_http2(worker: &Rc<Worker>, state: &Rc<ConnState>, io: Io) -> Served {
    let limits = &worker.shared.limits;
    state.multiplexed.set(true);
    let mut builder = http2::Builder::new(LocalExec);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let (w, s) = (Rc::clone(worker), Rc::clone(state));
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, state) = (Rc::clone(&w), Rc::clone(&s));
        async move { Ok::<_, Infallible>(request::handle(worker, state, request).await) }
    });
    if worker.is_draining() {
        state.order(Order::Drain);
    }
    drive(state, builder.serve_connection(io, service)).await
}

/// A connection of either protocol that can be asked to take no further request.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn shut_down(self: Pin<&mut Self>);
    /// Whether being asked would cut a connection whose next request may be on its way.
    const CLOSES_WHEN_IDLE: bool;
}

impl<S> Graceful for http1::UpgradeableConnection<Io, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = crate::body::ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
    const CLOSES_WHEN_IDLE: bool = true;
}

impl<S> Graceful for http2::Connection<Io, S, LocalExec>
where
    S: hyper::service::HttpService<Incoming, ResBody = crate::body::ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: 'static,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
    const CLOSES_WHEN_IDLE: bool = false;
}

/// Runs a connection and carries out the orders that it gets.
async fn drive<C: Graceful>(state: &ConnState, connection: C) -> Served {
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        state.remember(cx.waker());
        match state.order.get() {
            Order::None => {}
            Order::Kill(reason) => return Poll::Ready(Served::Killed(reason)),
            Order::Drain | Order::Retire => {
                state.order.set(Order::None);
                // A request whose first bytes have arrived is still answered, with `Connection: close`.
                if !C::CLOSES_WHEN_IDLE || state.in_flight.get() > 0 || state.is_idle() {
                    connection.as_mut().shut_down();
                }
            }
        }
        connection.as_mut().poll(cx).map(Served::Ended)
    })
    .await
}

/// What hyper answered by itself, from the error with which it ended the connection.
fn refusal(error: &hyper::Error) -> Option<Reason> {
    if error.is_parse_too_large() {
        // hyper tells a long target (414) from long headers (431) in its answer, and in the error's text.
        let uri = error.to_string().contains("URI");
        return Some(if uri { Reason::UriTooLong } else { Reason::HeadTooLarge });
    }
    if error.is_parse() {
        return Some(Reason::MalformedRequest);
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    if source.is_some_and(|error| error.is_library() && error.is_go_away()) {
        return Some(Reason::MalformedRequest);
    }
    error.is_timeout().then_some(Reason::HeadTimeout)
}
