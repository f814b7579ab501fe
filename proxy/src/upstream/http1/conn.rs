//! A connection to an endpoint, idle or in use.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::super::pool::{Opened, Pool};
use crate::coarse::{self, Ticks, ticks};
use crate::limits::Limits;
use crate::socket::{self, Queue};
use crate::worker::Shared;

/// An open connection that carries nothing.
#[derive(Debug)]
pub(in crate::upstream) struct Idle {
    stream: TcpStream,
    opened: Ticks,
    since: Ticks,
    /// How long the endpoint says that it keeps an idle connection (`Keep-Alive: timeout`), less a second.
    kept_for: Option<Ticks>,
    closing: Closing,
}

impl Idle {
    /// Whether it is not too old.
    pub(in crate::upstream) fn is_fresh(&self, now: Ticks, limits: &Limits) -> bool {
        let idle_max = ticks(limits.upstream_idle).min(self.kept_for.unwrap_or(Ticks::MAX));
        now - self.since <= idle_max && now - self.opened < ticks(limits.upstream_age)
    }

    /// Whether the endpoint has closed it, or sent what nobody asked for, as far as the runtime knows. No system call unless
    /// something has happened.
    pub(in crate::upstream) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_ready()
    }

    /// The same as far as the kernel knows, at the price of a system call.
    pub(in crate::upstream) fn is_over_now(&self) -> bool {
        socket::peek(std::os::fd::AsRawFd::as_raw_fd(&self.stream)) != Queue::Empty
    }

    /// How long it has been idle.
    pub(in crate::upstream) fn idle_for(&self, now: Ticks) -> Ticks {
        now - self.since
    }

    pub(in crate::upstream) fn lend(self, pool: &Rc<Pool>) -> Conn {
        Conn { idle: self, lent: pool.opened() }
    }
}

/// Counts a connection as closed.
#[derive(Debug)]
struct Closing {
    shared: Arc<Shared>,
    worker: usize,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.shared.cells[self.worker].upstream_closed.add(1);
    }
}

/// A connection that carries an exchange. Dropped, it is closed.
#[derive(Debug)]
pub(in crate::upstream) struct Conn {
    idle: Idle,
    lent: Opened,
}

impl Conn {
    pub(super) fn new(stream: TcpStream, lent: Opened, shared: Arc<Shared>, worker: usize) -> Self {
        let now = coarse::now();
        let closing = Closing { shared, worker };
        Self { idle: Idle { stream, opened: now, since: now, kept_for: None, closing }, lent }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.idle.stream
    }

    /// Takes note of how long the endpoint keeps it when idle.
    pub(super) fn heed(&mut self, keeps_idle: Option<Duration>) {
        if let Some(keeps_idle) = keeps_idle {
            // A second less, since the endpoint's clock started before ours.
            self.idle.kept_for = Some(ticks(keeps_idle.saturating_sub(Duration::from_secs(1))));
        }
    }

    /// Gives it back to its pool.
    pub(super) fn give_back(mut self) {
        self.idle.since = coarse::now();
        let Self { idle, lent } = self;
        lent.pool().put(idle);
    }

    /// The connection itself, which is ours no longer.
    pub(super) fn into_stream(self) -> TcpStream {
        let Idle { stream, closing, .. } = self.idle;
        drop(closing);
        stream
    }
}
