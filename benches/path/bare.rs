//! Bare hyper: what a proxy made of hyper costs before it does anything.
//!
//! One single-threaded runtime, hyper's server and client connections, a pool of our own, every header passed on as it came. No
//! routing, no split, no limits, no forwarding headers, no metrics: the distance from here to Watershed is what Watershed adds.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::server::conn::{http1 as server1, http2 as server2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;

use crate::support::messages::Protocol;
use crate::support::{Outcome, during};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Pool1 = Rc<RefCell<Vec<client1::SendRequest<Incoming>>>>;
type Pool2 = Rc<tokio::sync::OnceCell<client2::SendRequest<Incoming>>>;

/// Forwards between new clients and this address until killed; prints its own address first.
pub(crate) fn run(upstream: SocketAddr, protocol: Protocol) -> Outcome<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = during("starting a runtime", builder.enable_all().build_local(LocalOptions::default()))?;
    runtime.block_on(async {
        let listener = during("listening", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await)?;
        println!("{}", during("listening", listener.local_addr())?);
        let (pool1, pool2) = (Pool1::default(), Pool2::default());
        loop {
            let (stream, _) = during("accepting", listener.accept().await)?;
            during("preparing", stream.set_nodelay(true))?;
            match protocol {
                Protocol::Http1 => serve1(stream, upstream, Rc::clone(&pool1)),
                Protocol::Http2 => serve2(stream, upstream, Rc::clone(&pool2)),
            }
        }
    })
}

fn serve1(stream: TcpStream, upstream: SocketAddr, pool: Pool1) {
    let service = service_fn(move |request| forward1(request, upstream, Rc::clone(&pool)));
    tokio::task::spawn_local(server1::Builder::new().serve_connection(TokioIo::new(stream), service));
}

async fn forward1(
    request: Request<Incoming>,
    upstream: SocketAddr,
    pool: Pool1,
) -> Result<Response<Pooled>, Failure> {
    let idle = pool.borrow_mut().pop();
    let mut sender = if let Some(sender) = idle {
        sender
    } else {
        let stream = TcpStream::connect(upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = client1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        sender
    };
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    Ok(response.map(|incoming| Pooled { incoming, sender: Some(sender), pool }))
}

/// A body that gives its connection back when it ends.
struct Pooled {
    incoming: Incoming,
    sender: Option<client1::SendRequest<Incoming>>,
    pool: Pool1,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.borrow_mut().extend(self.sender.take());
    }
}

impl Body for Pooled {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Spawns onto the runtime's only thread.
#[derive(Clone, Copy)]
struct LocalExec;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

fn serve2(stream: TcpStream, upstream: SocketAddr, pool: Pool2) {
    let service = service_fn(move |request| forward2(request, upstream, Rc::clone(&pool)));
    tokio::task::spawn_local(
        server2::Builder::new(LocalExec).serve_connection(TokioIo::new(stream), service),
    );
}

/// All streams share one connection.
async fn forward2(
    request: Request<Incoming>,
    upstream: SocketAddr,
    pool: Pool2,
) -> Result<Response<Incoming>, Failure> {
    let open = || async {
        let stream = TcpStream::connect(upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = client2::handshake(LocalExec, TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok::<_, Failure>(sender)
    };
    let mut sender = pool.get_or_try_init(open).await?.clone();
    sender.ready().await?;
    Ok(sender.send_request(request).await?)
}
