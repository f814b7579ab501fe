//! What others may know of a connection, and when they end it: a head that does not arrive, idleness, a client that does not take
//! what it asked for.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::coarse::{self, Ticks, ticks};
use crate::headers::Client;
use crate::io::Activity;
use crate::limits::Limits;
use crate::reason::Reason;
use crate::socket::{self, Queue};

/// Requests on one HTTP/2 connection that a client may give up if they are most of its requests.
const GIVEN_UP_MAX: u32 = 100;

/// What a connection is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nothing.
    None,
    /// Take no further request: `Connection: close` or GOAWAY.
    Drain,
    /// Idle for a while: go to the parking lot, unless something has happened meanwhile.
    Park,
    /// Idle for too long: close politely.
    Retire,
    /// Close at once.
    Kill(Reason),
}

/// The limits on time of client connections, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    head: Ticks,
    park: Ticks,
    pub(crate) idle: Ticks,
    stall: Ticks,
    half_closed: Ticks,
}

impl Patience {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            head: ticks(limits.head_timeout),
            park: ticks(limits.park_after),
            idle: ticks(limits.idle_timeout),
            stall: ticks(limits.response_stall),
            half_closed: ticks(limits.half_closed),
        }
    }
}

/// What others may know of a connection. Lives on the worker's thread.
#[derive(Debug)]
pub(crate) struct ConnState {
    pub(crate) peer: SocketAddr,
    /// The slot of the address that it came in on.
    pub(crate) bind: usize,
    /// What endpoints are told of the client.
    pub(crate) client: Rc<Client>,
    pub(super) activity: Arc<Activity>,
    pub(super) fd: RawFd,
    pub(super) in_flight: Cell<u32>,
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
    pub(super) multiplexed: Cell<bool>,
    /// Since when each piece of a response that was given out has been waiting for the client to take it.
    untaken: RefCell<Slab<Ticks>>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
}

impl ConnState {
    pub(super) fn new(peer: SocketAddr, bind: usize, fd: RawFd) -> Self {
        Self {
            peer,
            bind,
            client: Rc::new(Client::new(peer.ip())),
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
        } else if self.in_flight.get() == 0 {
            // What was read since the request ended was the rest of its body, and no part of the next head.
            self.activity.forget_reads();
        }
    }

    /// The client has said that this request, which ended with its head, is its last (RFC 9112 section 9.6).
    pub(crate) fn client_is_done(&self) {
        self.activity.expect_nothing();
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
    pub(crate) fn enforce(&self, patience: &Patience) {
        let Patience { head, stall, .. } = *patience;
        if self.activity.is_blocked() && self.quiet_for() > stall {
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
            self.enforce_idleness(patience);
        }
    }

    /// Looks whether a client with a request in flight has closed its side or is gone, which hyper does not see while it
    /// waits for us.
    pub(crate) fn look_for_end(&self, patience: &Patience) {
        if self.in_flight.get() == 0 || self.uploads.get() > 0 {
            return;
        }
        match socket::peek(self.fd) {
            Queue::Empty | Queue::Data => {}
            Queue::Reset => self.order(Order::Kill(Reason::ClientAborted)),
            Queue::Closed if self.half_closed_since.get() == 0 => self.half_closed_since.set(coarse::now()),
            Queue::Closed => {
                if coarse::now() - self.half_closed_since.get() >= patience.half_closed {
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

    fn enforce_idleness(&self, patience: &Patience) {
        // On HTTP/2 pings keep bytes moving, so that only requests count.
        let idle_for =
            if self.multiplexed.get() { coarse::now() - self.idle_since.get() } else { self.quiet_for() };
        if idle_for > patience.idle.saturating_add(patience.stall) {
            // It was asked politely long ago, and still does not read the end of its last response.
            self.order(Order::Kill(Reason::ClientAborted));
        } else if idle_for > patience.idle {
            self.order(Order::Retire);
        }
    }

    /// Ticks since the last byte in either direction.
    fn quiet_for(&self) -> Ticks {
        coarse::now() - self.activity.last()
    }

    /// Whether it has long been at rest and nothing else has been ordered.
    pub(crate) fn can_be_parked(&self, patience: &Patience) -> bool {
        self.order.get() == Order::None && self.is_at_rest(patience)
    }

    /// Tells a connection to go to the parking lot if it can be parked. It looks again by itself: a byte may arrive before it does.
    pub(crate) fn order_to_park(&self, patience: &Patience) {
        if self.can_be_parked(patience) {
            self.order(Order::Park);
        }
    }

    /// Whether nothing is under way on an HTTP/1.1 connection, and has not been for a while. With a body under way the next
    /// bytes are not a head, and with a response in hyper's buffer its end would be lost.
    pub(super) fn is_at_rest(&self, patience: &Patience) -> bool {
        self.quiet_for() >= patience.park
            && self.in_flight.get() == 0
            && self.uploads.get() == 0
            && !self.multiplexed.get()
            && !self.activity.has_read()
            && !self.activity.is_blocked()
            && !self.activity.is_closing()
    }

    pub(super) fn remember(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    /// Takes the order that was given, if any. A kill stays.
    pub(super) fn take_order(&self) -> Order {
        match self.order.get() {
            kill @ Order::Kill(_) => kill,
            _ => self.order.replace(Order::None),
        }
    }

    /// Waits for an order and takes it.
    pub(super) fn poll_order(&self, cx: &mut Context<'_>) -> Poll<Order> {
        self.remember(cx.waker());
        match self.take_order() {
            Order::None => Poll::Pending,
            order => Poll::Ready(order),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0 && !self.activity.has_read() && socket::peek(self.fd) == Queue::Empty
    }
}
