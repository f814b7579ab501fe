//! One client connection, from its first byte to its last.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge share a port: the [first bytes](mod@first_bytes) tell them apart. hyper speaks the
//! protocol ([`http1`], [`http2`]); what is ours is when a connection must end: a head that does not arrive, idleness, draining
//! ([`state`]).
//!
//! A connection that has been idle for a while is taken apart, waits in the [parking lot](lot) without a buffer or a task, and is
//! put together again when its client speaks. It keeps its [place] among the open ones all along.

mod first_bytes;
mod http1;
mod http2;
pub(crate) mod lot;
mod place;
mod state;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::net::TcpStream;

use self::first_bytes::{First, PREFACE, first_bytes};
use self::lot::Parked;
use self::place::Place;
pub(crate) use self::place::Places;
pub(crate) use self::state::{ConnState, Order, Patience};
use crate::io::Io;
use crate::reason::Reason;
use crate::worker::Worker;

/// Who is connected, served or parked.
#[derive(Debug)]
struct Guest {
    /// Kept, not looked at.
    _place: Place,
    peer: SocketAddr,
    /// The slot of the address that it came in on.
    bind: usize,
    /// Whether it has had a request: then it stays with HTTP/1.1. Else its protocol is not known yet.
    has_spoken: bool,
}

/// How serving a connection ended.
enum Served {
    Ended(hyper::Result<()>),
    Killed(Reason),
}

/// A connection of either protocol that can be asked to take no further request.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn shut_down(self: Pin<&mut Self>);
    /// Whether being asked would cut a connection whose next request may be on its way.
    const CLOSES_WHEN_IDLE: bool;
}

/// Serves a connection that was accepted until it ends. It counts as open before this returns, so that whoever waits for the
/// last one does not miss it.
pub(crate) fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, bind: usize) {
    spawn(worker, stream, Guest { _place: worker.places.take(), peer, bind, has_spoken: false });
}

/// Serves a connection again that was parked.
fn wake(worker: &Rc<Worker>, parked: Parked) {
    match TcpStream::from_std(parked.stream) {
        Ok(stream) => spawn(worker, stream, parked.guest),
        // The kernel has no room to watch it. Its client sees an idle connection closed, as may happen to any.
        Err(error) => tracing::debug!(%error, "a parked connection cannot be woken"),
    }
}

fn spawn(worker: &Rc<Worker>, stream: TcpStream, guest: Guest) {
    let state = Rc::new(ConnState::new(guest.peer, guest.bind, stream.as_raw_fd()));
    let registered = Registered { key: worker.register(&state), worker: Rc::clone(worker) };
    tokio::task::spawn_local(async move {
        let worker = &registered.worker;
        if let Some((stream, has_spoken)) = run(worker, &state, stream, guest.has_spoken).await {
            park(worker, &state, stream, Guest { has_spoken, ..guest });
        }
    });
}

/// Serves a connection until it ends or comes to rest; then what is left is its socket, and whether the client has ever spoken.
async fn run(
    worker: &Rc<Worker>,
    state: &Rc<ConnState>,
    mut stream: TcpStream,
    has_spoken: bool,
) -> Option<(TcpStream, bool)> {
    let ahead = if has_spoken {
        Vec::new()
    } else {
        match first_bytes(&worker.shared.limits, state, &mut stream).await {
            First::Bytes(bytes) => bytes,
            First::Silence => return Some((stream, false)),
            // Port scans and load balancers' checks.
            First::End => return None,
        }
    };
    let is_http2 = ahead.starts_with(PREFACE);
    let io = Io::of_client(stream, ahead, Arc::clone(&state.activity));
    // In boxes, because a task is as large as the largest state that it may come to: a silent client needs none of this.
    let served = if is_http2 {
        Box::pin(http2::serve(worker, state, io)).await
    } else {
        match Box::pin(http1::serve(worker, state, io)).await {
            Ok(at_rest) => return Some((at_rest, true)),
            Err(served) => served,
        }
    };
    let reason = match served {
        Served::Ended(Ok(())) => None,
        Served::Ended(Err(error)) => refusal(&error),
        Served::Killed(reason) => (reason == Reason::HeadTimeout).then_some(reason),
    };
    if let Some(reason) = reason {
        worker.count_refused(state.peer, reason);
    }
    None
}

/// Runs a connection and carries out the orders that it gets. `None` if it was told to park and is at rest.
async fn drive<C: Graceful>(
    worker: &Worker,
    state: &ConnState,
    mut connection: Pin<&mut C>,
) -> Option<Served> {
    poll_fn(|cx| {
        state.remember(cx.waker());
        let order = state.take_order();
        match order {
            Order::None | Order::Park => {}
            Order::Kill(reason) => return Poll::Ready(Some(Served::Killed(reason))),
            // A request whose first bytes have arrived is still answered, with `Connection: close`.
            Order::Drain | Order::Retire => {
                if !C::CLOSES_WHEN_IDLE || state.in_flight.get() > 0 || state.is_idle() {
                    connection.as_mut().shut_down();
                }
            }
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(Served::Ended(ended))),
            // Asked after hyper has looked, which may have found a request.
            Poll::Pending if order == Order::Park && state.is_at_rest(&worker.patience) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Puts what is left of a connection into the worker's lot.
fn park(worker: &Rc<Worker>, state: &ConnState, stream: TcpStream, guest: Guest) {
    // Taken from the runtime here: no descriptor is watched twice.
    let Ok(stream) = stream.into_std() else { return };
    let parked = Parked { stream, guest, since: state.activity.last() };
    if let Err(parked) = worker.lot.park(parked, worker.cells()) {
        wake(worker, parked);
    }
}

/// Ends a connection's being served, whichever way that ends.
struct Registered {
    worker: Rc<Worker>,
    key: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.deregister(self.key);
    }
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
