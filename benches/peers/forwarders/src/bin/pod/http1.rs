//! HTTP/1.1: one `epoll` loop, level-triggered, answers made beforehand.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use peer_forwarders::{Outcome, listen};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventFlags};
use slab::Slab;

const READ_SIZE: usize = 64 * 1024;
const EVENTS: usize = 256;
/// Beyond these are the numbers of listeners.
const CONNECTIONS_MAX: usize = 1 << 32;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Serves until killed.
pub fn run(pods: &[(u16, String)]) -> Outcome<()> {
    let answers: Vec<Answers> = pods.iter().map(|(_, name)| Answers::new(name)).collect();
    let listeners = pods.iter().map(|(port, _)| listen(*port)).collect::<Outcome<Vec<_>>>()?;
    serve(&listeners, &answers).map_err(|error| format!("pod: {error}"))
}

fn serve(listeners: &[TcpListener], answers: &[Answers]) -> std::io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (pod, listener) in listeners.iter().enumerate() {
        let data = epoll::EventData::new_u64((CONNECTIONS_MAX + pod) as u64);
        epoll::add(&epoll, listener, data, EventFlags::IN)?;
    }
    let mut connections: Slab<Connection> = Slab::new();
    let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
    let mut scratch = vec![0; READ_SIZE];
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let key = event.data.u64() as usize;
            if let Some(pod) = key.checked_sub(CONNECTIONS_MAX) {
                let Ok((stream, _)) = listeners[pod].accept() else { continue };
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let entry = connections.vacant_entry();
                let data = epoll::EventData::new_u64(entry.key() as u64);
                epoll::add(&epoll, &stream, data, EventFlags::IN)?;
                entry.insert(Connection::new(stream, pod));
                continue;
            }
            let connection = &mut connections[key];
            match connection.turn(&mut scratch, &answers[connection.pod]) {
                Next::Close => drop(connections.remove(key)),
                Next::Watch(flags) if flags == connection.watched => {}
                Next::Watch(flags) => {
                    connection.watched = flags;
                    epoll::modify(&epoll, &connection.stream, event.data, flags)?;
                }
            }
        }
    }
}

/// Every answer there is, with head.
struct Answers {
    kept: Vec<(usize, Rc<[u8]>)>,
    closing: Vec<(usize, Rc<[u8]>)>,
    missing: Rc<[u8]>,
}

impl Answers {
    fn new(name: &str) -> Self {
        let make = |size: usize, more: &str| -> Rc<[u8]> {
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\npod: {name}\r\n\
                 date: Sun, 06 Nov 1994 08:49:37 GMT\r\n{more}\r\n"
            )
            .into_bytes();
            answer.resize(answer.len() + size, b'a');
            answer.into()
        };
        Self {
            kept: crate::SIZES.map(|size| (size, make(size, ""))).into(),
            closing: crate::SIZES.map(|size| (size, make(size, "connection: close\r\n"))).into(),
            missing: Rc::from(&b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..]),
        }
    }

    fn answer(&self, path: &[u8], close: bool) -> Rc<[u8]> {
        let from = if close { &self.closing } else { &self.kept };
        let size = crate::size_of(path);
        let found = from.iter().find(|(own, _)| Some(*own) == size);
        Rc::clone(found.map_or(&self.missing, |(_, answer)| answer))
    }
}

struct Connection {
    stream: TcpStream,
    pod: usize,
    watched: EventFlags,
    /// The beginning of a head whose end has not come yet.
    head: Vec<u8>,
    /// Bytes of the current request's body that are still to come.
    body_left: usize,
    /// The answer to the current request, until its body has come.
    next: Option<Rc<[u8]>>,
    /// Answers to be sent, and how much of the first has gone.
    out: VecDeque<Rc<[u8]>>,
    sent: usize,
    closing: bool,
}

enum Next {
    Watch(EventFlags),
    Close,
}

impl Connection {
    fn new(stream: TcpStream, pod: usize) -> Self {
        let (head, out) = (Vec::new(), VecDeque::new());
        let watched = EventFlags::IN;
        Self { stream, pod, watched, head, body_left: 0, next: None, out, sent: 0, closing: false }
    }

    /// Reads once if nothing waits to be sent, and sends what there is.
    fn turn(&mut self, scratch: &mut [u8], answers: &Answers) -> Next {
        if self.out.is_empty() {
            match self.stream.read(scratch) {
                Ok(0) => return Next::Close,
                Ok(count) => self.take(&scratch[..count], answers),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Next::Close,
            }
        }
        while let Some(answer) = self.out.front() {
            match self.stream.write(&answer[self.sent..]) {
                Ok(count) if self.sent + count == answer.len() => {
                    self.sent = 0;
                    self.out.pop_front();
                }
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Watch(EventFlags::OUT),
                Err(_) => return Next::Close,
            }
        }
        if self.closing { Next::Close } else { Next::Watch(EventFlags::IN) }
    }

    /// Takes what was received; puts an answer for each whole request.
    fn take(&mut self, mut bytes: &[u8], answers: &Answers) {
        while !bytes.is_empty() && !self.closing {
            if self.next.is_none() {
                let Some(rest) = self.take_head(bytes, answers) else { return };
                bytes = rest;
            }
            let count = self.body_left.min(bytes.len());
            self.body_left -= count;
            bytes = &bytes[count..];
            if self.body_left == 0 {
                self.out.extend(self.next.take());
            }
        }
    }

    /// What follows the head, once that is complete.
    fn take_head<'b>(&mut self, bytes: &'b [u8], answers: &Answers) -> Option<&'b [u8]> {
        if self.head.is_empty()
            && let Some(end) = memchr::memmem::find(bytes, HEAD_END)
        {
            self.read_head(&bytes[..end], answers);
            return Some(&bytes[end + HEAD_END.len()..]);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(HEAD_END.len());
        let end = from + memchr::memmem::find(&self.head[from..], HEAD_END)?;
        let head = std::mem::take(&mut self.head);
        self.read_head(&head[..end], answers);
        Some(&bytes[end + HEAD_END.len() - before..])
    }

    fn read_head(&mut self, head: &[u8], answers: &Answers) {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let path = lines.next().and_then(|line| line.split(|byte| *byte == b' ').nth(1)).unwrap_or_default();
        self.body_left = 0;
        for line in lines {
            if let Some(value) = value_of(line, b"content-length:") {
                self.body_left =
                    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            } else if let Some(value) = value_of(line, b"connection:") {
                self.closing = value.eq_ignore_ascii_case(b"close");
            }
        }
        // `closing` stops the reading of further requests only; this one's body is still awaited.
        self.next = Some(answers.answer(path, self.closing));
        if self.body_left == 0 {
            self.out.extend(self.next.take());
        }
    }
}

fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (own, value) = line.split_at_checked(name.len())?;
    own.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}
