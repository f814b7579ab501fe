//! The clients: keep-alive connections that take turns, one request each at a time, no retries.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::exchange::{Failure, Ids, is_post};
use super::super::manifests::VERSIONS;
use super::super::net::Io;
use super::progress::Answer;

/// Connections opened before the first waits for its turn: enough to reach every worker of the proxy.
const CONNECTIONS: usize = 32;

/// How long a client waits for a complete answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// As much as a pod's answer may hold.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The body of a POST has up to this many bytes.
const BODY_BYTES_MAX: usize = 2048;

type Connection = SendRequest<Full<Bytes>>;

/// All clients of one load.
#[derive(Debug)]
pub(crate) struct Client {
    target: SocketAddr,
    ids: Ids,
    header: Option<(header::HeaderName, header::HeaderValue)>,
    idle: Mutex<VecDeque<Connection>>,
    filler: Bytes,
}

/// What a pod answers.
#[derive(Deserialize)]
struct Said {
    version: String,
    pod: String,
    id: String,
    method: String,
    received: usize,
}

impl Client {
    /// Clients without connections; these are opened as requests need them.
    pub(crate) fn new(target: SocketAddr, ids: Ids) -> Self {
        let filler: Vec<u8> = (0..BODY_BYTES_MAX).map(|at| b'a' + (at % 26) as u8).collect();
        Self { target, ids, header: None, idle: Mutex::default(), filler: filler.into() }
    }

    /// The same with one more header in each request.
    pub(crate) fn with_header(mut self, header: (header::HeaderName, header::HeaderValue)) -> Self {
        self.header = Some(header);
        self
    }

    /// Sends one request and judges its answer; `sent` is called when it is handed to a connection.
    pub(crate) async fn exchange(&self, number: usize, sent: impl FnOnce()) -> Result<Answer, Failure> {
        let exchange = async {
            let mut connection = self.connection().await.map_err(|_| Failure::Connect)?;
            sent();
            let response =
                connection.send_request(self.request(number)).await.map_err(|_| Failure::Broken)?;
            let answer = self.judge(number, response).await;
            // A connection that cannot take another request is not kept: the proxy said so, or it broke.
            if connection.ready().await.is_ok() {
                self.give_back(connection);
            }
            answer
        };
        timeout(PATIENCE, exchange).await.unwrap_or(Err(Failure::TimedOut))
    }

    /// The connection that has been idle for longest, or a new one.
    async fn connection(&self) -> Result<Connection, Box<dyn std::error::Error + Send + Sync>> {
        while let Some(connection) = self.next_idle() {
            if connection.is_ready() {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect(self.target).await?;
        stream.set_nodelay(true)?;
        let (connection, running) = handshake(Io(stream)).await?;
        tokio::spawn(running);
        Ok(connection)
    }

    /// None until all connections are open, so that they are opened early and all of them take turns.
    fn next_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < CONNECTIONS / 2 { None } else { idle.pop_front() }
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
    }

    fn body(&self, number: usize) -> Bytes {
        if is_post(number) { self.filler.slice(..=number % BODY_BYTES_MAX) } else { Bytes::new() }
    }

    fn request(&self, number: usize) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body(number)));
        *request.method_mut() = if is_post(number) { Method::POST } else { Method::GET };
        let headers = request.headers_mut();
        let text =
            |text: String| header::HeaderValue::try_from(text).expect("addresses and ids are visible ASCII");
        headers.insert(header::HOST, text(self.target.to_string()));
        headers.insert("x-demo-id", text(self.ids.id(number)));
        headers.extend(self.header.clone());
        request
    }

    async fn judge(&self, number: usize, response: Response<Incoming>) -> Result<Answer, Failure> {
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| Failure::Broken)?.to_bytes();
        let reason = head.headers.get("watershed-reason").and_then(|reason| reason.to_str().ok());
        let status =
            || Failure::Status { code: head.status.as_u16(), reason: reason.unwrap_or_default().to_owned() };
        let failed = head.status == StatusCode::INTERNAL_SERVER_ERROR && reason.is_none();
        if head.status != StatusCode::OK && !failed {
            return Err(status());
        }
        // A pod that fails a request says all the same whose it was.
        let not_a_pods = || if failed { status() } else { Failure::WrongAnswer };
        let said: Said = serde_json::from_slice(&body).map_err(|_| not_a_pods())?;
        let method = if is_post(number) { "POST" } else { "GET" };
        let mine = said.id == self.ids.id(number)
            && said.method == method
            && said.received == self.body(number).len();
        let version = VERSIONS.iter().position(|version| version.label == said.version);
        let version = version.filter(|_| mine).ok_or_else(not_a_pods)?;
        Ok(Answer { version, pod: said.pod, failed })
    }
}
