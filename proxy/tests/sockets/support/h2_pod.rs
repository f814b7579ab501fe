//! Pods that speak HTTP/2 with prior knowledge.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use watershed_config::model::AppProtocol;
use watershed_config::snapshot::Endpoint;

use super::snapshot::endpoint;

type Handler = Arc<dyn Fn(Exchange) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What all connections of a pod are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    Nothing,
    /// GOAWAY in two steps; streams finish.
    GoAway,
    /// Close the socket without a word.
    Cut,
}

/// A pod on a thread of its own, which ends with it.
#[derive(Debug)]
pub(crate) struct H2Pod {
    address: SocketAddr,
    shared: Arc<Shared>,
    tell: watch::Sender<Tell>,
    _alive: mpsc::Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    accepted: AtomicUsize,
    open: AtomicUsize,
    received: Mutex<Vec<Received>>,
}

/// A request that was read by [`Exchange::read`].
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) head: Request<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl H2Pod {
    /// A pod with a handler and settings of its own.
    pub(crate) fn with<F>(builder: Builder, handler: impl Fn(Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let (tell, told) = watch::channel(Tell::Nothing);
        let (alive, mut dead) = mpsc::channel::<()>(1);
        let handler: Handler = Arc::new(move |exchange| Box::pin(handler(exchange)));
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            super::block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let stream = tokio::select! {
                        accepted = listener.accept() => accepted.unwrap().0,
                        _ = dead.recv() => return,
                    };
                    let number = own.accepted.fetch_add(1, SeqCst);
                    own.open.fetch_add(1, SeqCst);
                    let (own, handler) = (Arc::clone(&own), Arc::clone(&handler));
                    let (builder, told) = (builder.clone(), told.clone());
                    tokio::spawn(async move {
                        serve(stream, &builder, number, &handler, &own, told).await;
                        own.open.fetch_sub(1, SeqCst);
                    });
                }
            });
        });
        Self { address, shared, tell, _alive: alive }
    }

    /// A pod with a handler.
    pub(crate) fn start<F>(handler: impl Fn(Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::with(Builder::new(), handler)
    }

    /// A pod that reads every request to its end and answers it with its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |mut exchange| async move {
            exchange.read().await;
            exchange.answer(name);
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a ready HTTP/2 endpoint with this uid.
    pub(crate) fn endpoint(&self, uid: &str) -> Endpoint {
        h2c(endpoint(uid, self.address))
    }

    /// Requests read by [`Exchange::read`] so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    /// Tells all connections that there are.
    pub(crate) fn tell(&self, what: Tell) {
        self.tell.send_replace(what);
    }
}

/// The endpoint, but speaking HTTP/2.
pub(crate) fn h2c(mut endpoint: Endpoint) -> Endpoint {
    endpoint.id.protocol = AppProtocol::H2c;
    endpoint
}

async fn serve(
    stream: TcpStream,
    builder: &Builder,
    number: usize,
    handler: &Handler,
    shared: &Arc<Shared>,
    mut told: watch::Receiver<Tell>,
) {
    stream.set_nodelay(true).unwrap();
    told.mark_unchanged();
    let Ok(mut connection): Result<Connection<TcpStream, Bytes>, _> = builder.handshake(stream).await else {
        return;
    };
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let (head, body) = request.into_parts();
                let head = Request::from_parts(head, ());
                let shared = Arc::clone(shared);
                tokio::spawn(handler(Exchange { head, body, respond, number, shared }));
            }
            Ok(()) = told.changed() => match *told.borrow_and_update() {
                Tell::Nothing => {}
                Tell::GoAway => connection.graceful_shutdown(),
                Tell::Cut => return,
            },
        }
    }
}

/// One request at a pod.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) head: Request<()>,
    pub(crate) body: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
    /// How many connections were accepted before this one.
    pub(crate) number: usize,
    shared: Arc<Shared>,
}

impl Exchange {
    /// Reads the request to its end and remembers it; false if it broke off.
    pub(crate) async fn read(&mut self) -> bool {
        let Ok((body, trailers)) = read(&mut self.body).await else { return false };
        let received = Received { head: self.head.clone(), body, trailers };
        self.shared.received.lock().unwrap().push(received);
        true
    }

    /// Answers 200 with a body.
    pub(crate) fn answer(&mut self, body: &'static str) {
        self.answer_with(Response::new(()), body, None);
    }

    /// Answers with a body and perhaps trailers. The proxy may have reset the stream.
    pub(crate) fn answer_with(
        &mut self,
        head: Response<()>,
        body: &'static str,
        trailers: Option<HeaderMap>,
    ) {
        let Ok(mut stream) = self.respond.send_response(head, false) else { return };
        let _ = stream.send_data(Bytes::from_static(body.as_bytes()), trailers.is_none());
        if let Some(trailers) = trailers {
            let _ = stream.send_trailers(trailers);
        }
    }

    /// Begins an answer.
    pub(crate) fn begin(&mut self, status: StatusCode) -> SendStream<Bytes> {
        self.respond.send_response(Response::builder().status(status).body(()).unwrap(), false).unwrap()
    }
}

/// Reads a body to its end, giving back what it took of the windows.
pub(crate) async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend(data);
    }
    Ok((all, body.trailers().await?))
}

/// Sends a body as fast as the other side takes it.
pub(crate) async fn write(stream: &mut SendStream<Bytes>, body: Bytes, end: bool) -> Result<(), h2::Error> {
    let mut chunks: VecDeque<Bytes> = body.chunks(16 * 1024).map(|chunk| body.slice_ref(chunk)).collect();
    while let Some(mut chunk) = chunks.pop_front() {
        while !chunk.is_empty() {
            stream.reserve_capacity(chunk.len());
            let Some(capacity) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                return Err(h2::Reason::CANCEL.into());
            };
            let part = chunk.split_to(capacity?.min(chunk.len()));
            let last = end && chunk.is_empty() && chunks.is_empty();
            stream.send_data(part, last)?;
        }
    }
    Ok(())
}
