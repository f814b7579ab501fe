//! Lines about requests: the access log (off by default) and, at a limited rate, what was answered without a pod or with a 5xx.
//!
//! A worker only formats and hands over; a thread of its own writes. If that falls behind, lines are dropped and counted: a
//! slow disk must not slow a request.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, StatusCode};
use serde::Serialize;
use watershed_config::snapshot::Generation;

use crate::endpoint::Endpoint;
use crate::headers::RequestId;
use crate::reason::Reason;
use crate::record::Facts;
use crate::table::Rule;
use crate::telemetry::cells::SeriesKey;
use crate::worker::Worker;

/// Lines that may wait for the writer: a few megabytes at most.
const QUEUE_LINES: usize = 8_192;
/// Problem lines per worker and second, and how many may come at once.
const PROBLEMS_PER_SECOND: f64 = 10.0;
const PROBLEMS_BURST: f64 = 50.0;

/// All that is known of a finished request.
#[derive(Debug)]
pub(crate) struct LogLine<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) client: SocketAddr,
    pub(crate) status: Option<StatusCode>,
    pub(crate) reason: Option<Reason>,
    pub(crate) rule: Option<&'a Rule>,
    pub(crate) series: Option<&'a SeriesKey>,
    pub(crate) endpoint: Option<&'a Endpoint>,
    pub(crate) generation: Generation,
    pub(crate) retries: u8,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
}

/// As a line of the access log.
#[derive(Debug, Serialize)]
struct Entry {
    time: String,
    method: String,
    host: String,
    path: String,
    status: u16,
    reason: &'static str,
    listener: String,
    namespace: String,
    route: String,
    rule: String,
    service: String,
    revision: String,
    endpoint: String,
    generation: u64,
    retries: u8,
    client: SocketAddr,
    request_id: String,
    bytes: u64,
    duration_us: u64,
}

impl LogLine<'_> {
    fn entry(&self) -> Entry {
        let text = |value: Option<&[u8]>| {
            value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
        };
        let label =
            |pick: fn(&SeriesKey) -> &str| self.series.map(|key| pick(key).to_owned()).unwrap_or_default();
        let host = self.facts.uri.authority().map(|authority| authority.as_str().to_owned());
        Entry {
            time: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            method: self.facts.method.to_string(),
            host: host.unwrap_or_else(|| text(self.facts.host.as_ref().map(HeaderValue::as_bytes))),
            path: self.facts.uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default(),
            status: self.status.map_or(0, |status| status.as_u16()),
            reason: self.reason.map_or("", Reason::as_str),
            listener: self.rule.map(|rule| rule.listener.to_string()).unwrap_or_default(),
            namespace: label(|key| &key.namespace),
            route: label(|key| &key.route),
            rule: label(|key| &key.rule),
            service: label(|key| &key.service),
            revision: label(|key| &key.revision),
            endpoint: self.endpoint.map(|endpoint| endpoint.id.address.to_string()).unwrap_or_default(),
            generation: self.generation.0,
            retries: self.retries,
            client: self.client,
            request_id: text(self.facts.request_id.as_ref().map(RequestId::as_bytes)),
            bytes: self.bytes,
            duration_us: u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// A line on its way to the writer. Entries are boxed: the queue's slots are allocated at once, used or not.
#[derive(Debug)]
enum Line {
    Access(Box<Entry>),
    Problem {
        entry: Box<Entry>,
        suppressed: u64,
    },
    /// What hyper answered itself: a client's address and a reason.
    Refused {
        client: SocketAddr,
        reason: Reason,
        suppressed: u64,
    },
}

/// The way to the writer, cloned for each worker.
#[derive(Debug, Clone)]
pub(crate) struct LogWriter {
    access: bool,
    lines: SyncSender<Line>,
}

impl LogWriter {
    /// Starts the writer's thread. It ends when the last clone is dropped.
    pub(crate) fn start(access: bool) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE_LINES);
        std::thread::Builder::new().name("ws-log".into()).spawn(move || write_all(&queue))?;
        Ok(Self { access, lines })
    }
}

fn write_all(queue: &Receiver<Line>) {
    let mut out = io::BufWriter::new(io::stdout());
    while let Ok(first) = queue.recv() {
        write_one(&mut out, first);
        // Whatever has gathered meanwhile goes out with one flush.
        for line in queue.try_iter() {
            write_one(&mut out, line);
        }
        let _ = out.flush();
    }
}

fn write_one(out: &mut impl Write, line: Line) {
    match line {
        Line::Access(entry) => {
            // Nobody is left to tell if standard output is gone.
            let _ = serde_json::to_writer(&mut *out, &entry)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"));
        }
        Line::Problem { entry, suppressed } => tracing::warn!(
            reason = entry.reason,
            status = entry.status,
            method = entry.method,
            host = entry.host,
            path = entry.path,
            listener = entry.listener,
            namespace = entry.namespace,
            route = entry.route,
            rule = entry.rule,
            service = entry.service,
            revision = entry.revision,
            endpoint = entry.endpoint,
            generation = entry.generation,
            retries = entry.retries,
            client = %entry.client,
            request_id = entry.request_id,
            duration_us = entry.duration_us,
            suppressed,
            "request not answered well"
        ),
        Line::Refused { client, reason, suppressed } => {
            tracing::warn!(reason = reason.as_str(), %client, suppressed, "request refused before it was routed");
        }
    }
}

/// One worker's end of the log.
#[derive(Debug)]
pub(crate) struct RequestLog {
    writer: LogWriter,
    bucket: RefCell<Bucket>,
}

/// A token bucket, and how many lines it has swallowed since the last one that passed.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    suppressed: u64,
}

impl Bucket {
    /// The number of lines suppressed before this one, if this one may pass.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let gained = now.duration_since(self.filled).as_secs_f64() * PROBLEMS_PER_SECOND;
        self.tokens = (self.tokens + gained).min(PROBLEMS_BURST);
        self.filled = now;
        if self.tokens < 1.0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl RequestLog {
    pub(crate) fn new(writer: LogWriter) -> Self {
        let bucket = Bucket { tokens: PROBLEMS_BURST, filled: Instant::now(), suppressed: 0 };
        Self { writer, bucket: RefCell::new(bucket) }
    }

    /// Logs a finished request if it is to be logged; `line` is only asked for then.
    pub(crate) fn request<'a>(
        &self,
        worker: &Worker,
        line: impl FnOnce() -> LogLine<'a>,
        status: Option<StatusCode>,
        reason: Option<Reason>,
    ) {
        if self.writer.access {
            self.send(worker, Line::Access(Box::new(line().entry())));
        } else if is_problem(status, reason)
            && let Some(suppressed) = self.bucket.borrow_mut().take(Instant::now())
        {
            self.send(worker, Line::Problem { entry: Box::new(line().entry()), suppressed });
        }
    }

    /// Logs what hyper refused by itself.
    pub(crate) fn refused(&self, worker: &Worker, client: SocketAddr, reason: Reason) {
        if let Some(suppressed) = self.bucket.borrow_mut().take(Instant::now()) {
            self.send(worker, Line::Refused { client, reason, suppressed });
        }
    }

    fn send(&self, worker: &Worker, line: Line) {
        if self.writer.lines.try_send(line).is_err() {
            worker.cells().log_dropped.add(1);
        }
    }
}

/// A client that goes away is everyday life; everything else without a pod's good answer is worth a line.
fn is_problem(status: Option<StatusCode>, reason: Option<Reason>) -> bool {
    status.is_some_and(|status| status.is_server_error())
        || reason.is_some_and(|reason| reason != Reason::ClientAborted)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Bucket, PROBLEMS_BURST};

    #[test]
    fn a_storm_of_problems_is_a_burst_then_a_trickle_that_says_how_many_were_left_out() {
        let start = Instant::now();
        let mut bucket = Bucket { tokens: PROBLEMS_BURST, filled: start, suppressed: 0 };
        let passed = (0..1_000).filter_map(|_| bucket.take(start)).count();
        assert_eq!(passed, 50);
        assert_eq!(bucket.take(start + Duration::from_millis(150)), Some(950));
    }
}
