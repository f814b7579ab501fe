//! HTTP/1.1 requests at a fixed rate, and how long each took from when it was to be sent.
//!
//! `pace PORT RATE SECONDS CONNECTIONS ROUTES SIZE UPLOAD`. One `epoll` loop that wakes for every request on its own, where a
//! generator on a general runtime sends a burst each millisecond and then measures that burst. A request whose time has come
//! while all connections are busy waits for one, and its wait counts.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use peer_forwarders::{Arguments, Outcome};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

const READ_SIZE: usize = 64 * 1024;
const EVENTS: usize = 256;
const HEAD_END: &[u8] = b"\r\n\r\n";
/// What the machine does to everybody (its host takes the core away, a kernel thread runs for a millisecond) is in few of them.
const WINDOW: Duration = Duration::from_millis(100);
/// After the last request was to be sent, answers are awaited for this long.
const GRACE: Duration = Duration::from_secs(10);

fn main() -> Outcome<()> {
    // Without it the kernel may wake us 50 us late.
    let exact = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    exact.map_err(|error| format!("timer slack: {error}"))?;
    let mut arguments = Arguments::of_process();
    let mut pace = Pace::new(&mut arguments).map_err(|error| format!("pace: {error}"))?;
    pace.run().map_err(|error| format!("pace: {error}"))?;
    pace.report()
}

struct Pace {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    requests: Vec<Vec<u8>>,
    size: usize,
    every: Duration,
    total: usize,
    /// Connections without a request; the one that has rested longest is next, so that all are used.
    free: VecDeque<usize>,
    /// When requests that no connection was free for were to be sent.
    due: VecDeque<Instant>,
    planned: usize,
    /// With the window in which each was to be sent.
    latencies: Vec<(u32, Duration)>,
    took: Duration,
}

struct Connection {
    stream: TcpStream,
    since: Instant,
    head: Vec<u8>,
    /// Bytes of the body that are still to come; `None` while in the head.
    left: Option<usize>,
}

impl Pace {
    fn new(arguments: &mut Arguments) -> Outcome<Self> {
        let port: u16 = arguments.next("PORT")?;
        let rate: f64 = arguments.next("RATE")?;
        let seconds: f64 = arguments.next("SECONDS")?;
        let connections: usize = arguments.next("CONNECTIONS")?;
        let routes: usize = arguments.next("ROUTES")?;
        let size: usize = arguments.next("SIZE")?;
        let upload: usize = arguments.next("UPLOAD")?;
        let text = |error: std::io::Error| error.to_string();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
        let connect = |key: usize| connect(port, key, &epoll).map_err(text);
        let connections = (0..connections).map(connect).collect::<Outcome<Vec<_>>>()?;
        let total = (rate * seconds) as usize;
        Ok(Self {
            free: (0..connections.len()).collect(),
            epoll,
            connections,
            requests: (0..routes).map(|route| request(route, size, upload)).collect(),
            size,
            every: Duration::from_secs_f64(1.0 / rate),
            total,
            due: VecDeque::new(),
            planned: 0,
            latencies: Vec::with_capacity(total),
            took: Duration::ZERO,
        })
    }

    fn run(&mut self) -> Outcome<()> {
        let began = Instant::now();
        let end = began + self.every.mul_f64(self.total as f64) + GRACE;
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let mut scratch = vec![0; READ_SIZE];
        while self.latencies.len() < self.total {
            let now = Instant::now();
            if now > end {
                return Err(format!("{} of {} requests were answered", self.latencies.len(), self.total));
            }
            let wait = self.send_due(began, now)?;
            events.clear();
            let limit = Timespec::try_from(wait).unwrap_or_default();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&limit)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.to_string()),
            }
            for event in &events {
                self.receive(event.data.u64() as usize, began, &mut scratch)?;
            }
        }
        self.took = began.elapsed();
        Ok(())
    }

    /// Sends what is due; how long until the next is.
    fn send_due(&mut self, began: Instant, now: Instant) -> Outcome<Duration> {
        let mut next = began + self.every.mul_f64(self.planned as f64);
        while self.planned < self.total && next <= now {
            self.due.push_back(next);
            self.planned += 1;
            next = began + self.every.mul_f64(self.planned as f64);
        }
        while !self.due.is_empty() {
            let Some(key) = self.free.pop_front() else { break };
            let since = self.due.pop_front().expect("not empty");
            let request = &self.requests[(self.planned - self.due.len()) % self.requests.len()];
            let connection = &mut self.connections[key];
            connection.since = since;
            let sent = connection.stream.write(request).map_err(|error| format!("sending: {error}"))?;
            if sent < request.len() {
                return Err("a request did not fit into a socket's buffer".to_owned());
            }
        }
        // Nothing but answers is awaited after the last.
        Ok(if self.planned < self.total {
            next.saturating_duration_since(Instant::now())
        } else {
            GRACE / 10
        })
    }

    fn receive(&mut self, key: usize, began: Instant, scratch: &mut [u8]) -> Outcome<()> {
        let connection = &mut self.connections[key];
        match connection.stream.read(scratch) {
            Ok(0) => Err("a connection was closed".to_owned()),
            Ok(count) => {
                if connection.take(&scratch[..count], self.size)? {
                    let window = connection.since.duration_since(began).as_millis() / WINDOW.as_millis();
                    self.latencies.push((window as u32, connection.since.elapsed()));
                    self.free.push_back(key);
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(format!("receiving: {error}")),
        }
    }

    fn report(&mut self) -> Outcome<()> {
        let calm = self.calm_p99()?;
        let mut all: Vec<Duration> = self.latencies.iter().map(|(_, latency)| *latency).collect();
        all.sort_unstable();
        println!(
            "{{\"p50\": {:.1}, \"p99\": {:.1}, \"p999\": {:.1}, \"calm_p99\": {calm:.1}, \"rate\": {:.1}}}",
            micros(&all, 0.5)?,
            micros(&all, 0.99)?,
            micros(&all, 0.999)?,
            self.total as f64 / self.took.as_secs_f64()
        );
        Ok(())
    }

    /// The p99 of each window, and of those the median: a stall counts in one window, whatever it does to the p99 of them all.
    fn calm_p99(&mut self) -> Outcome<f64> {
        self.latencies.sort_unstable();
        let windows = self.latencies.chunk_by(|(a, _), (b, _)| a == b);
        let p99 = |window: &[(u32, Duration)]| {
            let latencies: Vec<Duration> = window.iter().map(|(_, latency)| *latency).collect();
            micros(&latencies, 0.99)
        };
        let mut all = windows.map(p99).collect::<Outcome<Vec<f64>>>()?;
        all.sort_unstable_by(f64::total_cmp);
        all.get(all.len() / 2).copied().ok_or_else(|| "no requests".to_owned())
    }
}

/// The latency below which this share of them is; they are sorted.
fn micros(sorted: &[Duration], share: f64) -> Outcome<f64> {
    let index = (sorted.len() as f64 * share) as usize;
    let found = sorted.get(index.min(sorted.len().saturating_sub(1)));
    found.map(|latency| latency.as_secs_f64() * 1e6).ok_or_else(|| "no requests".to_owned())
}

impl Connection {
    /// Takes a part of an answer; whether it is whole now.
    fn take(&mut self, bytes: &[u8], size: usize) -> Outcome<bool> {
        let body = match self.left {
            Some(_) => bytes.len(),
            None => {
                self.head.extend_from_slice(bytes);
                let Some(end) = memchr::memmem::find(&self.head, HEAD_END) else { return Ok(false) };
                if !self.head.starts_with(b"HTTP/1.1 200") {
                    return Err(format!("an answer: {}", String::from_utf8_lossy(&self.head[..end])));
                }
                let body = self.head.len() - end - HEAD_END.len();
                self.head.clear();
                self.left = Some(size);
                body
            }
        };
        let left = self.left.unwrap_or(0).checked_sub(body).ok_or("an answer is too long")?;
        self.left = (left > 0).then_some(left);
        Ok(left == 0)
    }
}

fn connect(port: u16, key: usize, epoll: &OwnedFd) -> std::io::Result<Connection> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    epoll::add(epoll, &stream, epoll::EventData::new_u64(key as u64), epoll::EventFlags::IN)?;
    Ok(Connection { stream, since: Instant::now(), head: Vec::new(), left: None })
}

fn request(route: usize, size: usize, upload: usize) -> Vec<u8> {
    let (method, length) = match upload {
        0 => ("GET", String::new()),
        upload => ("POST", format!("content-length: {upload}\r\n")),
    };
    let head = format!("{method} /r{route}/{size} HTTP/1.1\r\nhost: bench.example\r\n{length}\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + upload, b'u');
    request
}
