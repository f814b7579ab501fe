//! Clients that remember how every request ended, and the audit of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use fastrand::Rng;

use crate::support::{Answer, Connection, Pod, Watershed};

/// Connections at a time.
pub(super) const CLIENTS: usize = 8;
/// Largest body in bytes: several times what a socket takes at once is slow, and this is already several frames.
const BODY_MAX: usize = 20_000;

/// How a request ended.
#[derive(Debug)]
pub(super) struct Outcome {
    id: String,
    is_post: bool,
    end: End,
}

#[derive(Debug)]
enum End {
    /// A complete answer made by this pod.
    Pod(String),
    /// 502 `closed_while_sending`.
    ClosedWhileSending,
    /// Anything else.
    Lost(String),
}

/// A client with one connection at a time.
pub(super) struct Client {
    number: usize,
    address: SocketAddr,
    random: Rng,
    connection: Option<Connection>,
}

impl Client {
    pub(super) fn new(number: usize, address: SocketAddr, seed: u64) -> Self {
        Self { number, address, random: Rng::with_seed(seed ^ number as u64), connection: None }
    }

    pub(super) fn ask_until(mut self, stop: &AtomicBool) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while !stop.load(SeqCst) {
            let id = format!("{}-{}", self.number, outcomes.len());
            let is_post = self.random.bool();
            let end = self.ask(&id, is_post);
            outcomes.push(Outcome { id, is_post, end });
        }
        outcomes
    }

    fn ask(&mut self, id: &str, is_post: bool) -> End {
        let body = if is_post { self.body() } else { String::new() };
        let text = self.text(id, is_post, &body);
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(self.address),
        };
        let asked = connection.and_then(|mut connection| {
            let answer = connection.ask(&text)?;
            Ok((connection, answer))
        });
        let (connection, answer) = match asked {
            Ok(asked) => asked,
            Err(error) => return End::Lost(format!("{error}")),
        };
        if !answer.closes() {
            self.connection = Some(connection);
        }
        judge(&answer, is_post, &body)
    }

    fn body(&mut self) -> String {
        let length = self.random.usize(1..BODY_MAX);
        let letter = self.random.lowercase();
        std::iter::repeat_n(letter, length).collect()
    }

    fn text(&mut self, id: &str, is_post: bool, body: &str) -> String {
        let path = self.random.choice(["/", "/special", "/special/deep?x=1", "/other"]).unwrap_or("/");
        let method = if is_post { "POST" } else { "GET" };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: hello\r\nx-id: {id}\r\n");
        match is_post {
            false => head + "\r\n",
            // Both framings.
            true if self.random.bool() => format!("{head}content-length: {}\r\n\r\n{body}", body.len()),
            true => {
                format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            }
        }
    }
}

fn judge(answer: &Answer, is_post: bool, body: &str) -> End {
    if answer.status == 502 && answer.reason() == "closed_while_sending" && is_post {
        return End::ClosedWhileSending;
    }
    if answer.status != 200 || answer.pod().is_empty() {
        return End::Lost(format!("{} {}", answer.status, answer.reason()));
    }
    if answer.json()["body"] != *body {
        return End::Lost("another body than the one sent".to_owned());
    }
    End::Pod(answer.pod().to_owned())
}

/// What came of it all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    outcomes: Vec<Outcome>,
    answered: usize,
    pub(super) closed_while_sending: usize,
    lost: BTreeMap<String, usize>,
    pub(super) edits: usize,
    pub(super) generations: u64,
    pub(super) restarts: usize,
    pub(super) sheds: usize,
    pods: String,
}

impl Tally {
    pub(super) fn new(outcomes: Vec<Outcome>) -> Self {
        let mut tally = Self::default();
        for outcome in &outcomes {
            match &outcome.end {
                End::Pod(_) => tally.answered += 1,
                End::ClosedWhileSending => tally.closed_while_sending += 1,
                End::Lost(how) => {
                    let method = if outcome.is_post { "POST" } else { "GET" };
                    *tally.lost.entry(format!("{method}: {how}")).or_default() += 1;
                }
            }
        }
        tally.outcomes = outcomes;
        tally
    }

    /// Compares with the pods' books: an answered POST ran once, at the pod that answered, and no POST ran twice.
    pub(super) fn audit(&mut self, pods: Vec<&Pod>) {
        self.pods = super::names(&pods);
        let mut ran: HashMap<String, Vec<String>> = HashMap::new();
        for pod in pods {
            for (id, times) in pod.ids() {
                let at = ran.entry(id).or_default();
                at.extend(std::iter::repeat_n(pod.name().to_owned(), times));
            }
        }
        for Outcome { id, is_post, end } in &self.outcomes {
            let at = ran.get(id).map(Vec::as_slice).unwrap_or_default();
            let wrong = match end {
                End::Pod(pod) if !at.contains(pod) => Some("answered by a pod that never saw it"),
                _ if *is_post && at.len() > 1 => Some("a POST that ran twice"),
                _ => None,
            };
            if let Some(wrong) = wrong {
                *self.lost.entry(format!("{wrong} (first: {id} at {at:?})")).or_default() += 1;
            }
        }
    }

    /// Compares with the proxy's books.
    pub(super) fn compare(&self, watershed: &Watershed) {
        let metrics = watershed.metrics();
        assert_eq!(metrics.count("requests_total", &[]), self.outcomes.len() as u64, "{self}");
        let named = metrics.count("requests_total", &[("reason", "closed_while_sending")]);
        assert_eq!(named, self.closed_while_sending as u64, "{self}");
        assert_eq!(metrics.count("requests_total", &[("reason", "")]), self.answered as u64, "{self}");
    }

    pub(super) fn assert_nothing_lost(&self) {
        assert!(self.lost.is_empty(), "{self}");
        assert!(
            self.answered > 100 && self.edits > 50 && self.generations > 10 && self.restarts > 0,
            "too little happened: {self}"
        );
        // Rare by nature: a moment before a pod closes its idle connections. Many of them would be a bug by that name.
        assert!(self.closed_while_sending <= self.sheds / 4 + 2, "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requests {}, answered {}", self.outcomes.len(), self.answered)?;
        writeln!(f, "closed_while_sending {}, lost {:?}", self.closed_while_sending, self.lost)?;
        let Self { edits, generations, restarts, sheds, .. } = self;
        writeln!(
            f,
            "edits {edits}, generations {generations}, restarts {restarts}, idle connections closed {sheds} times"
        )?;
        write!(f, "{}", self.pods)
    }
}
