//! The floor: bytes from a client's connection to one of its own to a pod and back, knowing nothing of what they mean.
//!
//! `floor PORT WORKERS POD`. Two receives and two sends per exchange: no proxy that terminates TCP can do with fewer system calls, so
//! whatever a real one takes beyond this is its own code. There is no pool, because what does not know where a message ends
//! cannot give a connection back; with a new connection per request it therefore connects to the pod each time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use peer_forwarders::{Arguments, Outcome, listen, on_threads};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventFlags};
use slab::Slab;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const READ_SIZE: usize = 64 * 1024;
const EVENTS: usize = 256;
/// The listener's key; sockets have those of the slab.
const LISTENER: u64 = u64::MAX;

fn main() -> Outcome<()> {
    let mut arguments = Arguments::of_process();
    let port: u16 = arguments.next("PORT")?;
    let workers: usize = arguments.next("WORKERS")?;
    let pod: SocketAddr = arguments.next("POD")?;
    on_threads(workers, || Forwarder::new(port, pod).map_err(text)?.run().map_err(text))
}

fn text(error: std::io::Error) -> String {
    format!("floor: {error}")
}

struct Forwarder {
    epoll: OwnedFd,
    listener: TcpListener,
    pod: SocketAddr,
    sockets: Slab<Socket>,
    scratch: Box<[u8]>,
}

struct Socket {
    stream: TcpStream,
    /// The socket that gets what this one receives.
    other: usize,
    /// What this one could not send yet; while there is any, nothing is read from the other.
    unsent: Vec<u8>,
}

impl Forwarder {
    fn new(port: u16, pod: SocketAddr) -> std::io::Result<Self> {
        let listener = listen(port).map_err(std::io::Error::other)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self { epoll, listener, pod, sockets: Slab::new(), scratch: vec![0; READ_SIZE].into() })
    }

    fn run(mut self) -> std::io::Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let flags = event.flags;
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    key if flags.contains(EventFlags::OUT) => self.send_rest(key as usize)?,
                    key => self.forward(key as usize)?,
                }
            }
        }
    }

    fn accept(&mut self) -> std::io::Result<()> {
        let (client, _) = match self.listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            accepted => accepted?,
        };
        let pod = TcpStream::connect(self.pod)?;
        let first = self.add(client)?;
        let second = self.add(pod)?;
        self.sockets[first].other = second;
        self.sockets[second].other = first;
        Ok(())
    }

    fn add(&mut self, stream: TcpStream) -> std::io::Result<usize> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let key = self.sockets.vacant_key();
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(key as u64), EventFlags::IN)?;
        Ok(self.sockets.insert(Socket { stream, other: 0, unsent: Vec::new() }))
    }

    /// One receive, one send.
    fn forward(&mut self, key: usize) -> std::io::Result<()> {
        // Its pair may have been closed by an event of the same batch.
        let Some(socket) = self.sockets.get_mut(key) else { return Ok(()) };
        let count = match socket.stream.read(&mut self.scratch) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // A reset is an end as well.
            Err(_) => 0,
        };
        let other = socket.other;
        if count == 0 {
            self.sockets.remove(key);
            self.sockets.remove(other);
            return Ok(());
        }
        let sent = match self.sockets[other].stream.write(&self.scratch[..count]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // Gone; its own event will say so.
            Err(_) => count,
        };
        if sent == count {
            return Ok(());
        }
        self.sockets[other].unsent.extend_from_slice(&self.scratch[sent..count]);
        self.watch(key, EventFlags::empty())?;
        self.watch(other, EventFlags::OUT)
    }

    /// Sends what did not fit before; then both directions go on.
    fn send_rest(&mut self, key: usize) -> std::io::Result<()> {
        let Some(socket) = self.sockets.get_mut(key) else { return Ok(()) };
        let other = socket.other;
        match socket.stream.write(&socket.unsent) {
            Ok(sent) => drop(socket.unsent.drain(..sent)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => socket.unsent.clear(),
        }
        if socket.unsent.is_empty() {
            self.watch(key, EventFlags::IN)?;
            self.watch(other, EventFlags::IN)?;
        }
        Ok(())
    }

    fn watch(&self, key: usize, flags: EventFlags) -> std::io::Result<()> {
        let data = epoll::EventData::new_u64(key as u64);
        Ok(epoll::modify(&self.epoll, &self.sockets[key].stream, data, flags)?)
    }
}
