//! HTTP/1.1 with clients, as hyper speaks it.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::{HttpService, service_fn};
use tokio::net::TcpStream;

use super::state::ConnState;
use super::{Graceful, Served, drive};
use crate::body::ResponseBody;
use crate::io::Io;
use crate::limits::Limits;
use crate::request;
use crate::worker::Worker;

/// Headers that hyper allows in a head if it is not told a number.
const HYPER_HEADERS: usize = 100;

/// Serves a connection until it ends (`Err`), or comes to rest and may be parked: then what is left of it is its socket.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    state: &Rc<ConnState>,
    mut io: Io,
) -> Result<TcpStream, Served> {
    let Limits { head_bytes, headers, .. } = worker.shared.limits;
    let mut builder = http1::Builder::new();
    // A client that closes its side may still read the answer; `ConnState::look_for_end` tells when to give up.
    builder.max_buf_size(head_bytes).half_close(true);
    if headers != HYPER_HEADERS {
        // Asked for its own number, hyper would fill and drop a list of that length for each head.
        builder.max_headers(headers);
    }
    let (w, s) = (Rc::clone(worker), Rc::clone(state));
    let mut service = service_fn(move |request: Request<Incoming>| {
        let answer = request::handle(&w, &s, request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    loop {
        let mut connection = builder.serve_connection(io, service).with_upgrades();
        if let Some(served) = drive(worker, state, Pin::new(&mut connection)).await {
            return Err(served);
        }
        let parts = connection.into_parts().expect("pending, hence not handed over for an upgrade");
        service = parts.service;
        let (stream, ahead) = parts.io.into_parts();
        let unread = [&*parts.read_buf, &*ahead].concat();
        if unread.is_empty() {
            return Ok(stream);
        }
        // A part of the next head came together with the request before it, and nobody but hyper knew. It is read again, and
        // from here on there is a limit on how long the rest may take.
        io = Io::of_client(stream, unread, Arc::clone(&state.activity));
    }
}

impl<S> Graceful for UpgradeableConnection<Io, S>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
    const CLOSES_WHEN_IDLE: bool = true;
}
