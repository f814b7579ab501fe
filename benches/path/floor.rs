//! The floor: bytes from one client connection to one pooled connection and back, knowing nothing of what they mean.
//!
//! Two receives and two sends per exchange, and as few waits as the kernel allows. No proxy that terminates TCP can do with fewer
//! system calls, so whatever a real one takes beyond this is its own code.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use slab::Slab;

use crate::support::{Outcome, during};

const READ_SIZE: usize = 64 * 1024;
const EVENTS: usize = 256;
/// The listener's key; sockets have those of the slab.
const LISTENER: u64 = u64::MAX;

struct Forwarder {
    epoll: std::os::fd::OwnedFd,
    listener: TcpListener,
    upstream: SocketAddr,
    sockets: Slab<Socket>,
    /// Upstream connections without a client.
    idle: Vec<usize>,
}

struct Socket {
    stream: TcpStream,
    is_client: bool,
    /// The socket that gets what this one receives.
    other: Option<usize>,
}

/// Forwards between new clients and this address until killed; prints its own address first.
pub(crate) fn run(upstream: SocketAddr) -> Outcome<()> {
    let listener = during("listening", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    println!("{}", during("listening", listener.local_addr())?);
    let epoll = during("making an epoll", epoll::create(epoll::CreateFlags::CLOEXEC))?;
    let data = epoll::EventData::new_u64(LISTENER);
    during("watching", epoll::add(&epoll, &listener, data, epoll::EventFlags::IN))?;
    let mut forwarder = Forwarder { epoll, listener, upstream, sockets: Slab::new(), idle: Vec::new() };
    let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
    let mut scratch = vec![0; READ_SIZE];
    loop {
        events.clear();
        match epoll::wait(&forwarder.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("epoll: {error}")),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => forwarder.accept()?,
                key => forwarder.forward(key as usize, &mut scratch)?,
            }
        }
    }
}

impl Forwarder {
    fn accept(&mut self) -> Outcome<()> {
        let (stream, _) = during("accepting", self.listener.accept())?;
        let upstream = match self.idle.pop() {
            Some(upstream) => upstream,
            None => self.add(during("connecting", TcpStream::connect(self.upstream))?, false)?,
        };
        let client = self.add(stream, true)?;
        self.sockets[client].other = Some(upstream);
        self.sockets[upstream].other = Some(client);
        Ok(())
    }

    fn add(&mut self, stream: TcpStream, is_client: bool) -> Outcome<usize> {
        during("preparing", stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)))?;
        let key = self.sockets.vacant_key();
        let data = epoll::EventData::new_u64(key as u64);
        during("watching", epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN))?;
        Ok(self.sockets.insert(Socket { stream, is_client, other: None }))
    }

    /// One receive, one send. The scenarios never fill a socket's buffer; if one did, this would say so and end.
    fn forward(&mut self, key: usize, scratch: &mut [u8]) -> Outcome<()> {
        let Some(socket) = self.sockets.get_mut(key) else { return Ok(()) };
        let count = match socket.stream.read(scratch) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // A reset is an end as well.
            Err(_) => 0,
        };
        if count == 0 {
            self.close(key);
            return Ok(());
        }
        let Some(other) = socket.other else { return Ok(()) };
        let sent = during("sending", self.sockets[other].stream.write(&scratch[..count]))?;
        if sent < count { Err(format!("a socket buffer took {sent} of {count} bytes")) } else { Ok(()) }
    }

    /// A client's end gives its upstream connection back; an upstream's end ends the client too.
    fn close(&mut self, key: usize) {
        let socket = self.sockets.remove(key);
        let Some(other) = socket.other else { return self.idle.retain(|idle| *idle != key) };
        self.sockets[other].other = None;
        if socket.is_client {
            self.idle.push(other);
        } else {
            self.sockets.remove(other);
        }
    }
}
