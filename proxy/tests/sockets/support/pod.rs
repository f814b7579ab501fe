//! Pods that follow a script, and remember what they were sent.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use watershed_config::snapshot::Endpoint;

use super::PATIENCE;
use super::message::{Message, Reader};
use super::snapshot::endpoint;

/// A listening pod. Each connection runs the script on a thread of its own.
#[derive(Debug)]
pub(crate) struct Pod {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    accepted: AtomicUsize,
    open: AtomicUsize,
    received: Mutex<Vec<Message>>,
}

impl Pod {
    /// A pod with a script.
    pub(crate) fn start(script: impl Fn(&mut PodConn) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// A pod with a script on a listener that is there already.
    pub(crate) fn on(listener: TcpListener, script: impl Fn(&mut PodConn) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let (own, script) = (Arc::clone(&shared), Arc::new(script));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if own.stopped.load(SeqCst) {
                    return;
                }
                let number = own.accepted.fetch_add(1, SeqCst);
                own.open.fetch_add(1, SeqCst);
                let (own, script) = (Arc::clone(&own), Arc::clone(&script));
                std::thread::spawn(move || {
                    let mut conn = PodConn::new(stream, number, Arc::clone(&own));
                    script(&mut conn);
                    own.open.fetch_sub(1, SeqCst);
                });
            }
        });
        Self { address, shared }
    }

    /// A pod that answers every request with its name and keeps connections.
    pub(crate) fn named(name: &str) -> Self {
        Self::answering(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
    }

    /// A pod that answers every request with these bytes and keeps connections.
    pub(crate) fn answering(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::start(move |conn| {
            while conn.request().is_some() {
                conn.send(&answer);
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a ready HTTP/1.1 endpoint with this uid.
    pub(crate) fn endpoint(&self, uid: &str) -> Endpoint {
        endpoint(uid, self.address)
    }

    /// Requests that were read by [`PodConn::request`] so far.
    pub(crate) fn received(&self) -> Vec<Message> {
        self.shared.received.lock().unwrap().clone()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.shared.received.lock().unwrap().len()
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// Connections whose script still runs.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(SeqCst)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        // Wakes the accepting thread, which closes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// A connection that a pod has accepted. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct PodConn {
    pub(crate) stream: TcpStream,
    pub(crate) reader: Reader<TcpStream>,
    /// How many were accepted before it.
    pub(crate) number: usize,
    shared: Arc<Shared>,
}

impl PodConn {
    fn new(stream: TcpStream, number: usize, shared: Arc<Shared>) -> Self {
        stream.set_nodelay(true).unwrap();
        // A pod waits longer than a client, so that the client's failure is the one that is seen.
        stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        stream.set_write_timeout(Some(PATIENCE * 2)).unwrap();
        let reader = Reader::new(stream.try_clone().unwrap());
        Self { stream, reader, number, shared }
    }

    /// The next request with its body; `None` at the end of the connection, or if it broke off.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        self.reader.body(&mut message).ok()?;
        self.note(&message);
        Some(message)
    }

    /// The next request's head.
    pub(crate) fn head(&mut self) -> Option<Message> {
        self.reader.head().ok().flatten()
    }

    /// Remembers a request that was read by hand.
    pub(crate) fn note(&self, message: &Message) {
        self.shared.received.lock().unwrap().push(message.clone());
    }

    /// Sends bytes; the proxy may have closed.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends bytes.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Waits until the proxy has closed or reset the connection; what else comes is thrown away.
    pub(crate) fn wait_for_close(&mut self) {
        while matches!(self.reader.fill(), Ok(true)) {}
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the end of the connection an RST instead of a FIN.
    pub(crate) fn reset_at_end(&self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
