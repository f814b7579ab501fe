//! Two observers of a running process: clients that look at which version serves them, and a reader of what the workers have
//! acknowledged. Both only take notes; what the notes mean is worked out afterwards.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::manifests::MARK_HEADER;
use crate::support::messages::HOST;
use crate::support::{Outcome, during};

/// Connections that look. The kernel spreads them over the workers; that all of so many are with one of two workers happens once
/// in 2^15 runs.
const CONNECTIONS: usize = 16;
/// How often each of them looks, and how often the acknowledgements are read: the resolution of the results.
const EVERY: Duration = Duration::from_millis(1);

/// The versions that all connections saw at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// When the last answer had come.
    pub(crate) at: Instant,
    pub(crate) oldest: u32,
    pub(crate) newest: u32,
}

/// What the admin address said at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledged {
    pub(crate) asked: Instant,
    pub(crate) answered: Instant,
    pub(crate) generation: u64,
    /// The oldest generation that a worker uses.
    pub(crate) workers: u64,
}

/// Sends a request on every connection once a millisecond and notes which versions answer.
pub(crate) fn look(target: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<Outcome<Vec<Sight>>> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let connect = || {
            let stream = TcpStream::connect(target)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            Ok(stream)
        };
        let connections: std::io::Result<Vec<TcpStream>> = (0..CONNECTIONS).map(|_| connect()).collect();
        let mut connections = during("connecting", connections)?;
        let request = format!("GET /r0/items HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        let mut sights = Vec::new();
        while !stop.load(Relaxed) {
            let began = Instant::now();
            for connection in &mut connections {
                during("asking", connection.write_all(request.as_bytes()))?;
            }
            let (mut oldest, mut newest) = (u32::MAX, 0);
            for connection in &mut connections {
                let mark = mark_of(&during("reading an answer", read_answer(connection))?)?;
                (oldest, newest) = (oldest.min(mark), newest.max(mark));
            }
            sights.push(Sight { at: Instant::now(), oldest, newest });
            thread::sleep(EVERY.saturating_sub(began.elapsed()));
        }
        Ok(sights)
    })
}

/// One whole answer; all have the same short body.
fn read_answer(connection: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = [0; 4096];
    let mut filled = 0;
    loop {
        let count = connection.read(&mut bytes[filled..])?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += count;
        if let Some(end) = memchr::memmem::find(&bytes[..filled], b"\r\n\r\n")
            && filled >= end + 4 + crate::EXCHANGE.answer
        {
            return Ok(String::from_utf8_lossy(&bytes[..end]).into_owned());
        }
    }
}

/// The version in an answer; 0 before the first edit.
fn mark_of(head: &str) -> Outcome<u32> {
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("an unexpected answer:\n{head}"));
    }
    let line = head.lines().find_map(|line| line.strip_prefix(MARK_HEADER)?.strip_prefix(": "));
    during("the mark of an answer", line.unwrap_or("0").parse())
}

/// Reads which generations the workers use, again and again.
pub(crate) fn read_generations(
    admin: SocketAddr,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<Outcome<Vec<Acknowledged>>> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let mut notes = Vec::new();
        while !stop.load(Relaxed) {
            let asked = Instant::now();
            let text =
                during("asking for generations", crate::support::watershed::ask(admin, "/readyz?verbose"))?;
            let answered = Instant::now();
            let (generation, workers) =
                generations_of(&text).ok_or_else(|| format!("no generations in:\n{text}"))?;
            notes.push(Acknowledged { asked, answered, generation, workers });
            thread::sleep(EVERY);
        }
        Ok(notes)
    })
}

/// From the line `generation 7 (workers use [7, 6])`.
fn generations_of(text: &str) -> Option<(u64, u64)> {
    let (generation, workers) = text.split_once("generation ")?.1.split_once(" (workers use [")?;
    let workers = workers.split_once(']')?.0.split(", ").map(str::parse::<u64>);
    Some((generation.parse().ok()?, workers.collect::<Result<Vec<_>, _>>().ok()?.into_iter().min()?))
}
