//! Clients that send, wait for the answer, and never send anything twice.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::tally::{End, Outcome};
use crate::support::{Answer, Connection};

/// Connections at a time.
pub(crate) const CLIENTS: usize = 8;
/// Requests at a time on a connection that can carry several.
const STREAMS: usize = 4;
/// Largest body in bytes: several frames, and less than is kept for an HTTP/2 pod that refuses the stream.
const BODY_MAX: usize = 20_000;

/// A request.
#[derive(Debug, Clone)]
struct Ask {
    id: String,
    is_post: bool,
    path: &'static str,
    body: String,
    /// Where the length is not said before.
    is_chunked: bool,
}

/// A client with one connection at a time.
pub(crate) struct Client {
    number: usize,
    asked: usize,
    random: Rng,
    wire: Wire,
}

/// What it speaks.
enum Wire {
    Http1(SocketAddr, Option<Connection>),
    Http2(SocketAddr, Runtime, Option<SendRequest<Full<Bytes>>>),
}

impl Client {
    /// Every second one speaks HTTP/2.
    pub(crate) fn new(number: usize, address: SocketAddr, seed: u64) -> Self {
        let wire = if number.is_multiple_of(2) {
            Wire::Http1(address, None)
        } else {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            Wire::Http2(address, runtime, None)
        };
        Self { number, asked: 0, random: Rng::with_seed(seed ^ number as u64), wire }
    }

    pub(crate) fn ask_until(mut self, stop: &AtomicBool) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while !stop.load(SeqCst) {
            let asks: Vec<Ask> = (0..self.wire.streams()).map(|_| self.next()).collect();
            for (ask, answer) in asks.iter().zip(self.wire.send(&asks)) {
                let end =
                    answer.map_or_else(|error| End::Lost(error.to_string()), |answer| judge(&answer, ask));
                outcomes.push(Outcome { id: ask.id.clone(), is_post: ask.is_post, end });
            }
        }
        outcomes
    }

    fn next(&mut self) -> Ask {
        let random = &mut self.random;
        self.asked += 1;
        let is_post = random.bool();
        let (length, letter) = (random.usize(1..BODY_MAX), random.lowercase());
        Ask {
            id: format!("{}-{}", self.number, self.asked),
            is_post,
            path: random.choice(["/", "/special", "/special/deep?x=1", "/other"]).unwrap_or("/"),
            body: if is_post { std::iter::repeat_n(letter, length).collect() } else { String::new() },
            is_chunked: random.bool(),
        }
    }
}

impl Ask {
    fn method(&self) -> &'static str {
        if self.is_post { "POST" } else { "GET" }
    }

    fn text(&self) -> String {
        let Self { id, path, body, .. } = self;
        let head = format!("{} {path} HTTP/1.1\r\nhost: hello\r\nx-id: {id}\r\n", self.method());
        match (self.is_post, self.is_chunked) {
            (false, _) => head + "\r\n",
            (true, false) => format!("{head}content-length: {}\r\n\r\n{body}", body.len()),
            (true, true) => {
                format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            }
        }
    }

    fn message(&self) -> Request<Full<Bytes>> {
        let uri = format!("http://hello{}", self.path);
        let request = Request::builder().method(self.method()).uri(uri).header("x-id", &self.id);
        request.body(Full::new(self.body.clone().into())).unwrap()
    }
}

impl Wire {
    fn streams(&self) -> usize {
        if matches!(self, Self::Http1(..)) { 1 } else { STREAMS }
    }

    /// Sends these at once and waits for all answers.
    fn send(&mut self, asks: &[Ask]) -> Vec<io::Result<Answer>> {
        match self {
            Self::Http1(address, kept) => asks.iter().map(|ask| send_http1(*address, kept, ask)).collect(),
            Self::Http2(address, runtime, kept) => runtime.block_on(send_http2(*address, kept, asks)),
        }
    }
}

fn send_http1(address: SocketAddr, kept: &mut Option<Connection>, ask: &Ask) -> io::Result<Answer> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(address)?,
    };
    let answer = connection.ask(ask.text())?;
    if !answer.closes() {
        *kept = Some(connection);
    }
    Ok(answer)
}

async fn send_http2(
    address: SocketAddr,
    kept: &mut Option<SendRequest<Full<Bytes>>>,
    asks: &[Ask],
) -> Vec<io::Result<Answer>> {
    if kept.as_ref().is_none_or(SendRequest::is_closed) {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        *kept = Some(sender);
    }
    let sending: Vec<_> = asks
        .iter()
        .map(|ask| {
            let sent = kept.as_mut().unwrap().send_request(ask.message());
            tokio::spawn(async move { complete(sent.await.map_err(io::Error::other)?).await })
        })
        .collect();
    let mut answers = Vec::new();
    for one in sending {
        answers.push(one.await.unwrap());
    }
    answers
}

/// The whole answer, in the same form as the other kind's.
async fn complete(response: Response<hyper::body::Incoming>) -> io::Result<Answer> {
    let (parts, body) = response.into_parts();
    let lines =
        parts.headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap_or("")));
    let head = std::iter::once("HTTP/2\r\n".to_owned()).chain(lines).collect();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes().to_vec();
    Ok(Answer { status: parts.status.as_u16(), head, body })
}

fn judge(answer: &Answer, ask: &Ask) -> End {
    if answer.status == 502 && answer.reason() == "closed_while_sending" && ask.is_post {
        return End::ClosedWhileSending;
    }
    if answer.status == 500 && !answer.pod().is_empty() {
        return End::FailedBy(answer.pod().to_owned());
    }
    if answer.status != 200 || answer.pod().is_empty() {
        return End::Lost(format!("{} {}", answer.status, answer.reason()));
    }
    if answer.json()["body"] != *ask.body {
        return End::Lost("another body than the one sent".to_owned());
    }
    End::Pod(answer.pod().to_owned())
}
