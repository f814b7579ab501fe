//! HTTP/2 with clients, as hyper speaks it. These connections are never parked: see [`lot`](super::lot).

use std::convert::Infallible;
use std::error::Error;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Sleep, Timer};
use hyper::server::conn::http2;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioTimer;

use super::state::{ConnState, Order};
use super::{Graceful, Served, drive};
use crate::body::ResponseBody;
use crate::coarse;
use crate::io::Io;
use crate::request;
use crate::worker::{LocalExec, Worker};

/// Bytes that a client may send ahead on one stream, and on all streams of its connection together: sixteen uploads that stand
/// still do not stop its others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Response bytes buffered per stream while the client does not read.
const SEND_BUFFER: usize = 128 * 1024;
/// A silent HTTP/2 client is asked for a sign of life this often, and given up after this long.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<Worker>, state: &Rc<ConnState>, io: Io) -> Served {
    let limits = &worker.shared.limits;
    state.multiplexed.set(true);
    let mut builder = http2::Builder::new(LocalExec);
    builder
        .timer(CoarseTimer)
        .max_concurrent_streams(limits.streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let (w, s) = (Rc::clone(worker), Rc::clone(state));
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = request::handle(&w, &s, request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    if worker.is_draining() {
        state.order(Order::Drain);
    }
    let connection = pin!(builder.serve_connection(io, service));
    drive(worker, state, connection).await.expect("only HTTP/1.1 connections come to rest")
}

impl<S> Graceful for http2::Connection<Io, S, LocalExec>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: 'static,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
    const CLOSES_WHEN_IDLE: bool = false;
}

/// The runtime's timer with the worker's clock: hyper asks for the time at every turn of a connection, and only wants to know
/// whether a client has been silent for [`PING_EVERY`].
#[derive(Debug, Clone, Copy)]
struct CoarseTimer;

impl Timer for CoarseTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        TokioTimer::new().sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        TokioTimer::new().sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        coarse::instant()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        TokioTimer::new().reset(sleep, new_deadline);
    }
}
