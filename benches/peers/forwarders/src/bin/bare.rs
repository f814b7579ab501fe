//! Bare hyper: what a proxy made of hyper costs before it does anything.
//!
//! `bare PORT WORKERS POD FRONT BACK`, where the last two are `http1` or `http2`. Each worker has a single-threaded runtime, hyper's
//! server and client connections and a pool of its own; every header but `Connection` is passed on as it came. No routing, no split, no
//! limits, no forwarding headers, no metrics: the distance from here to Watershed is what Watershed adds.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::server::conn::{http1 as server1, http2 as server2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use peer_forwarders::{Arguments, Outcome, listen, on_threads};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Outcome<()> {
    let mut arguments = Arguments::of_process();
    let port: u16 = arguments.next("PORT")?;
    let workers: usize = arguments.next("WORKERS")?;
    let pod: SocketAddr = arguments.next("POD")?;
    let front: String = arguments.next("FRONT")?;
    let back: String = arguments.next("BACK")?;
    on_threads(workers, || run(port, pod, front == "http2", back == "http2"))
}

fn run(port: u16, pod: SocketAddr, front2: bool, back2: bool) -> Outcome<()> {
    let text = |error: std::io::Error| format!("bare: {error}");
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default()).map_err(text)?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listen(port)?).map_err(text)?;
        let pools = Rc::new(Pools::new(pod, back2));
        loop {
            let (stream, _) = listener.accept().await.map_err(text)?;
            stream.set_nodelay(true).map_err(text)?;
            serve(stream, front2, Rc::clone(&pools));
        }
    })
}

fn serve(stream: TcpStream, front2: bool, pools: Rc<Pools>) {
    let service = service_fn(move |request| forward(request, Rc::clone(&pools)));
    let stream = TokioIo::new(stream);
    if front2 {
        tokio::task::spawn_local(server2::Builder::new(LocalExec).serve_connection(stream, service));
    } else {
        tokio::task::spawn_local(server1::Builder::new().serve_connection(stream, service));
    }
}

async fn forward(mut request: Request<Incoming>, pools: Rc<Pools>) -> Result<Response<Pooled>, Failure> {
    request.headers_mut().remove(CONNECTION);
    if pools.back2 {
        let mut sender = pools.shared().await?;
        let response = sender.send_request(request).await?;
        return Ok(response.map(|incoming| Pooled { incoming, lent: None }));
    }
    if request.version() == Version::HTTP_2 {
        to_http1(&mut request)?;
    }
    let mut sender = pools.take().await?;
    let response = sender.send_request(request).await?;
    Ok(response.map(|incoming| Pooled { incoming, lent: Some((sender, pools)) }))
}

/// HTTP/1.1 has the authority in a header and only path and query in its first line.
fn to_http1(request: &mut Request<Incoming>) -> Result<(), Failure> {
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned().ok_or("a request without a path")?;
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    Ok(())
}

/// Connections to the pod.
struct Pools {
    pod: SocketAddr,
    back2: bool,
    idle: RefCell<Vec<client1::SendRequest<Incoming>>>,
    /// All HTTP/2 streams share one connection; whoever finds it closed opens the next, and others wait for that.
    shared: RefCell<Option<client2::SendRequest<Incoming>>>,
    opening: tokio::sync::Mutex<()>,
}

impl Pools {
    fn new(pod: SocketAddr, back2: bool) -> Self {
        let (idle, shared, opening) = Default::default();
        Self { pod, back2, idle, shared, opening }
    }

    async fn connect(&self) -> std::io::Result<TokioIo<TcpStream>> {
        let stream = TcpStream::connect(self.pod).await?;
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(stream))
    }

    async fn take(&self) -> Result<client1::SendRequest<Incoming>, Failure> {
        let idle = self.idle.borrow_mut().pop();
        let mut sender = if let Some(sender) = idle {
            sender
        } else {
            let (sender, connection) = client1::handshake(self.connect().await?).await?;
            tokio::task::spawn_local(connection);
            sender
        };
        sender.ready().await?;
        Ok(sender)
    }

    async fn shared(&self) -> Result<client2::SendRequest<Incoming>, Failure> {
        let mut sender = match self.open_one() {
            Some(sender) => sender,
            None => {
                let _alone = self.opening.lock().await;
                match self.open_one() {
                    Some(sender) => sender,
                    None => self.connect2().await?,
                }
            }
        };
        sender.ready().await?;
        Ok(sender)
    }

    fn open_one(&self) -> Option<client2::SendRequest<Incoming>> {
        self.shared.borrow().clone().filter(|sender| !sender.is_closed())
    }

    async fn connect2(&self) -> Result<client2::SendRequest<Incoming>, Failure> {
        let (sender, connection) = client2::handshake(LocalExec, self.connect().await?).await?;
        tokio::task::spawn_local(connection);
        self.shared.replace(Some(sender.clone()));
        Ok(sender)
    }
}

/// A body that gives its HTTP/1.1 connection back when it ends.
struct Pooled {
    incoming: Incoming,
    lent: Option<(client1::SendRequest<Incoming>, Rc<Pools>)>,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some((sender, pools)) = self.lent.take() {
            pools.idle.borrow_mut().push(sender);
        }
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
