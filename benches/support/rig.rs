//! The other side of a proxy: its clients and its pods, in one loop on one thread.
//!
//! Raw non-blocking sockets and one `epoll`, level-triggered: a message costs one receive and one send, messages are made
//! beforehand and answers only looked at for their end. It has to be cheaper than what it measures, or it would be the ceiling;
//! a run straight against the pods shows how high that ceiling is.

mod conn;
mod paced;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use slab::Slab;

use super::messages::{Exchange, Messages};
use super::{Outcome, during};
use conn::{Conn, Moved};
use paced::Paced;

/// Bytes read at once.
const READ_SIZE: usize = 64 * 1024;
/// Events taken at once.
const EVENTS: usize = 256;
/// If nothing at all happens for this long, something is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// Clients and pods.
pub(crate) struct Rig {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    scratch: Box<[u8]>,
    peers: Slab<Peer>,
    messages: Messages,
    work: Work,
}

enum Peer {
    Listener(TcpListener),
    Pod(Conn),
    Client(Client),
}

struct Client {
    conn: Conn,
    /// Requests without an answer yet.
    open: usize,
    /// When the request of each stream was to be sent; only kept while pacing.
    since: Vec<Instant>,
}

/// What the clients are to do.
#[derive(Default)]
struct Work {
    /// Where to.
    target: Option<SocketAddr>,
    /// Requests that one connection has open at most.
    depth: usize,
    /// Whether each request gets a new connection.
    fresh: bool,
    issued: usize,
    done: usize,
    total: usize,
    paced: Option<Paced>,
}

impl Rig {
    /// Without pods and clients.
    pub(crate) fn new(exchange: Exchange) -> Outcome<Self> {
        Ok(Self {
            epoll: during("making an epoll", epoll::create(epoll::CreateFlags::CLOEXEC))?,
            events: Vec::with_capacity(EVENTS),
            scratch: vec![0; READ_SIZE].into(),
            peers: Slab::new(),
            messages: Messages::new(exchange),
            work: Work::default(),
        })
    }

    /// Starts a pod; returns its port.
    pub(crate) fn open_pod(&mut self) -> Outcome<u16> {
        let listener = during("opening a pod", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        during("opening a pod", listener.set_nonblocking(true))?;
        let port = during("opening a pod", listener.local_addr())?.port();
        let entry = self.peers.vacant_entry();
        during("watching a pod", watch(&self.epoll, &listener, entry.key()))?;
        entry.insert(Peer::Listener(listener));
        Ok(port)
    }

    /// Serves as pods until told to stop. For runs whose clients are elsewhere.
    pub(crate) fn serve_until(&mut self, stop: &Arc<AtomicBool>) -> Outcome<()> {
        while !stop.load(Relaxed) {
            self.turn(Some(Duration::from_millis(20)))?;
        }
        Ok(())
    }

    /// Opens client connections, each with up to `depth` requests at once. `fresh`: a new connection for each request.
    pub(crate) fn connect(
        &mut self,
        target: SocketAddr,
        connections: usize,
        depth: usize,
        fresh: bool,
    ) -> Outcome<()> {
        self.work = Work { target: Some(target), depth, fresh, ..Work::default() };
        let connections = if fresh { 0 } else { connections };
        (0..connections).try_for_each(|_| self.connect_one().map(drop))
    }

    fn connect_one(&mut self) -> Outcome<usize> {
        let target = self.work.target.ok_or("no target")?;
        // Loopback: the kernel completes it before the call returns.
        let stream = during("connecting", TcpStream::connect(target))?;
        let conn = Conn::client(stream, self.messages.exchange)?;
        let entry = self.peers.vacant_entry();
        let key = entry.key();
        during("watching a client", watch(&self.epoll, &conn.stream, key))?;
        entry.insert(Peer::Client(Client { conn, open: 0, since: Vec::new() }));
        Ok(key)
    }

    /// Closes all client connections.
    pub(crate) fn disconnect(&mut self) {
        self.peers.retain(|_, peer| !matches!(peer, Peer::Client(_)));
    }

    /// Sends this many requests, each as soon as there is an answer to one before it, and waits for all answers. `together`
    /// connections at once where each request has its own.
    pub(crate) fn closed_loop(&mut self, total: usize, together: usize) -> Outcome<Duration> {
        let began = Instant::now();
        (self.work.issued, self.work.done, self.work.total) = (0, 0, total);
        if self.work.fresh {
            (0..together).try_for_each(|_| self.issue_fresh())?;
        } else {
            self.clients().into_iter().try_for_each(|key| self.refill(key))?;
        }
        while self.work.done < self.work.total {
            self.turn(Some(STUCK))?;
        }
        Ok(began.elapsed())
    }

    /// Sends requests at a fixed rate whatever the answers do, for so long. Latencies in nanoseconds count from when each request
    /// was to be sent, so that a stall is not hidden. Never sleeps: the generator's own waking must not be measured.
    pub(crate) fn open_loop(&mut self, rate: usize, lasting: Duration) -> Outcome<Histogram<u64>> {
        self.open_loop_in_slices(rate, lasting, 1)?.pop().ok_or_else(|| "no latencies".to_owned())
    }

    /// The same, apart for each of several slices of that time, by when a request was to be sent.
    pub(crate) fn open_loop_in_slices(
        &mut self,
        rate: usize,
        lasting: Duration,
        slices: u32,
    ) -> Outcome<Vec<Histogram<u64>>> {
        let clients = self.clients();
        self.work.paced = Some(Paced::new(rate, lasting, slices, &clients, self.work.depth)?);
        (self.work.issued, self.work.done, self.work.total) = (0, 0, usize::MAX);
        let ends = Instant::now() + lasting;
        loop {
            let now = Instant::now();
            let Some(paced) = &mut self.work.paced else { break };
            if now < ends {
                paced.plan(now);
            } else if self.work.done == self.work.issued {
                break;
            } else if now > ends + STUCK {
                return Err("requests without an answer".to_owned());
            }
            while let Some((key, at)) = self.work.paced.as_mut().and_then(Paced::next) {
                self.send_one(key, at)?;
            }
            self.turn(Some(Duration::ZERO))?;
        }
        self.work.paced.take().map(|paced| paced.slices).ok_or_else(|| "no latencies".to_owned())
    }

    fn clients(&self) -> Vec<usize> {
        self.peers.iter().filter(|(_, peer)| matches!(peer, Peer::Client(_))).map(|(key, _)| key).collect()
    }

    fn issue_fresh(&mut self) -> Outcome<()> {
        if self.work.issued >= self.work.total {
            return Ok(());
        }
        let key = self.connect_one()?;
        self.refill(key)
    }

    /// Gives a client as many requests as it may have open, and sends them.
    fn refill(&mut self, key: usize) -> Outcome<()> {
        let Some(Peer::Client(client)) = self.peers.get_mut(key) else { return Ok(()) };
        while client.open < self.work.depth && self.work.issued < self.work.total {
            let stream = client.conn.next_stream();
            self.messages.put_request(&mut client.conn.out, self.work.issued, stream);
            client.open += 1;
            self.work.issued += 1;
        }
        client.conn.flush()
    }

    fn send_one(&mut self, key: usize, at: Instant) -> Outcome<()> {
        let Some(Peer::Client(client)) = self.peers.get_mut(key) else { return Ok(()) };
        let stream = client.conn.next_stream();
        self.messages.put_request(&mut client.conn.out, self.work.issued, stream);
        let slot = slot(stream);
        client.since.resize(client.since.len().max(slot + 1), at);
        client.since[slot] = at;
        client.open += 1;
        self.work.issued += 1;
        client.conn.flush()
    }

    /// Waits for events and handles them.
    fn turn(&mut self, timeout: Option<Duration>) -> Outcome<()> {
        self.events.clear();
        let limit = timeout.map(|limit| Timespec::try_from(limit).unwrap_or_default());
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(0) if timeout == Some(STUCK) => {
                return Err(format!("stuck: {} of {} requests answered", self.work.done, self.work.issued));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("epoll: {error}")),
        }
        for index in 0..self.events.len() {
            let key = self.events[index].data.u64() as usize;
            match self.peers.get_mut(key) {
                Some(Peer::Listener(_)) => self.accept(key)?,
                Some(Peer::Pod(_)) => self.serve(key)?,
                Some(Peer::Client(_)) => self.take_answers(key)?,
                None => {}
            }
        }
        Ok(())
    }

    fn accept(&mut self, key: usize) -> Outcome<()> {
        let Some(Peer::Listener(listener)) = self.peers.get(key) else { return Ok(()) };
        let Ok((stream, _)) = listener.accept() else { return Ok(()) };
        let conn = Conn::pod(stream, self.messages.exchange)?;
        let entry = self.peers.vacant_entry();
        during("watching a connection to a pod", watch(&self.epoll, &conn.stream, entry.key()))?;
        entry.insert(Peer::Pod(conn));
        Ok(())
    }

    /// Answers every whole request that has come.
    fn serve(&mut self, key: usize) -> Outcome<()> {
        let Some(Peer::Pod(conn)) = self.peers.get_mut(key) else { return Ok(()) };
        let messages = &self.messages;
        match conn.receive(&mut self.scratch, |out, stream| messages.put_response(out, stream))? {
            Moved::Some => conn.flush(),
            Moved::End => {
                self.peers.remove(key);
                Ok(())
            }
        }
    }

    /// Counts every whole answer that has come, and sends the next requests.
    fn take_answers(&mut self, key: usize) -> Outcome<()> {
        let Some(Peer::Client(client)) = self.peers.get_mut(key) else { return Ok(()) };
        let Client { conn, open, since } = client;
        let (before, paced) = (*open, &mut self.work.paced);
        let now = paced.is_some().then(Instant::now);
        let moved = conn.receive(&mut self.scratch, |_, stream| {
            *open -= 1;
            if let (Some(paced), Some(now)) = (paced.as_mut(), now) {
                let since = since[slot(stream)];
                paced.record(key, since, now - since);
            }
        })?;
        self.work.done += before - *open;
        if matches!(moved, Moved::End) {
            return Err(format!("a client's connection was closed with {open} requests open"));
        }
        if self.work.paced.is_some() {
            return conn.flush();
        }
        if self.work.fresh && before > 0 && *open == 0 {
            self.peers.remove(key);
            return self.issue_fresh();
        }
        self.refill(key)
    }
}

/// Where a stream's time is kept: HTTP/1.1 has one slot, HTTP/2 one for each of a client's odd numbers.
fn slot(stream: u32) -> usize {
    stream as usize / 2
}

fn watch(epoll: &OwnedFd, source: impl std::os::fd::AsFd, key: usize) -> rustix::io::Result<()> {
    epoll::add(epoll, source, epoll::EventData::new_u64(key as u64), epoll::EventFlags::IN)
}
