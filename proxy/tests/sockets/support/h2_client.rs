//! A client that speaks HTTP/2 with prior knowledge. Its methods run inside [`block_on`](super::block_on).

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::h2_pod::{read, write};

/// A connection to the proxy.
#[derive(Debug)]
pub(crate) struct H2Client {
    pub(crate) send: SendRequest<Bytes>,
    /// Ends when the connection does.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct H2Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl H2Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The value of a header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl H2Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &Builder::new()).await
    }

    pub(crate) async fn connect_with(address: SocketAddr, builder: &Builder) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Begins a request that has a body.
    pub(crate) async fn begin(&mut self, head: Request<()>) -> (ResponseFuture, SendStream<Bytes>) {
        self.send = self.send.clone().ready().await.unwrap();
        self.send.send_request(head, false).unwrap()
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&mut self, head: Request<()>) -> Result<H2Answer, h2::Error> {
        self.send = self.send.clone().ready().await?;
        let (response, _) = self.send.send_request(head, true)?;
        answer(response.await?).await
    }

    /// GET.
    pub(crate) async fn get(&mut self, path: &str) -> H2Answer {
        self.ask(get(path)).await.unwrap()
    }

    /// Sends a request with a body.
    pub(crate) async fn send(&mut self, head: Request<()>, body: Bytes) -> Result<H2Answer, h2::Error> {
        self.send = self.send.clone().ready().await?;
        let (response, mut stream) = self.send.send_request(head, false)?;
        // An early answer may stop the upload, which is no failure.
        let (_, response) = tokio::join!(write(&mut stream, body, true), response);
        answer(response?).await
    }

    /// POST with a body.
    pub(crate) async fn post(&mut self, path: &str, body: &'static str) -> H2Answer {
        self.send(post(path), Bytes::from_static(body.as_bytes())).await.unwrap()
    }
}

/// Reads an answer to its end.
pub(crate) async fn answer(response: Response<RecvStream>) -> Result<H2Answer, h2::Error> {
    let (parts, mut body) = response.into_parts();
    let (body, trailers) = read(&mut body).await?;
    Ok(H2Answer { status: parts.status, headers: parts.headers, body, trailers })
}

/// A GET's head.
pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://hello{path}")).body(()).unwrap()
}

/// A POST's head.
pub(crate) fn post(path: &str) -> Request<()> {
    Request::post(format!("http://hello{path}")).body(()).unwrap()
}
