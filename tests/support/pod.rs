//! Pods: small HTTP servers that remember what they were asked, and close connections in all the ways that real ones do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::pod_runtime::{self, Command};
use super::{eventually, free_port};

/// What a pod understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

/// A request that a pod has read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `GET /path?query`.
    pub(crate) line: String,
    /// The header `x-id`.
    pub(crate) id: Option<String>,
}

/// What pod and test share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// Whether `/healthz` answers 200, else 503. Asking it is not remembered.
    pub(crate) healthy: AtomicBool,
    /// Of a thousand requests, so many are answered 500, at random.
    pub(crate) failing: AtomicUsize,
    /// Connections that are open.
    pub(crate) open: AtomicUsize,
    /// Requests of `/hold` that wait.
    pub(crate) held: AtomicUsize,
    pub(crate) release: Notify,
}

/// A running pod. Dropping it ends it as SIGKILL would.
#[derive(Debug)]
pub(crate) struct Pod {
    address: SocketAddr,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Pod {
    /// A pod that speaks HTTP/1.1, on a free port.
    pub(crate) fn start(name: &str) -> Self {
        Self::speaking(name, Speaks::Http1)
    }

    /// A pod on a free port.
    pub(crate) fn speaking(name: &str, speaks: Speaks) -> Self {
        Self::at(name, SocketAddr::from(([127, 0, 0, 1], free_port())), speaks)
    }

    /// A pod at an address.
    pub(crate) fn at(name: &str, address: SocketAddr, speaks: Speaks) -> Self {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            seen: Mutex::default(),
            healthy: AtomicBool::new(true),
            failing: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            release: Notify::new(),
        });
        let (commands, received) = mpsc::unbounded_channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("pod {name}"))
            .spawn(move || pod_runtime::run(address, speaks, &for_thread, received))
            .unwrap();
        let pod = Self { address, shared, commands, thread: Some(thread) };
        pod.listen();
        pod
    }

    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far, probes excepted.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// How often each id came.
    pub(crate) fn ids(&self) -> HashMap<String, usize> {
        let mut ids = HashMap::new();
        for seen in self.seen() {
            *ids.entry(seen.id.unwrap_or_default()).or_default() += 1;
        }
        ids
    }

    /// What `/healthz` answers from now on.
    pub(crate) fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, SeqCst);
    }

    /// Answers 500 to so many of a thousand requests from now on, at random.
    pub(crate) fn fail(&self, per_thousand: usize) {
        self.shared.failing.store(per_thousand, SeqCst);
    }

    /// Waits until this many requests of `/hold` wait here.
    #[track_caller]
    pub(crate) fn wait_for_held(&self, count: usize) {
        eventually("requests wait at the pod", || self.shared.held.load(SeqCst) == count);
    }

    /// Answers all requests of `/hold`.
    pub(crate) fn release(&self) {
        self.shared.release.notify_waiters();
    }

    /// Closes idle connections without a word, and those in use after their answer; over HTTP/2 with GOAWAY.
    pub(crate) fn shed(&self) {
        self.commands.send(Command::Shed).unwrap();
    }

    /// Connections to this pod are refused from now on; what is open stays open.
    pub(crate) fn refuse(&self) {
        self.tell(Command::Refuse);
    }

    /// Listens again after [`Pod::refuse`].
    pub(crate) fn listen(&self) {
        self.tell(Command::Listen);
    }

    /// Ends as a polite server does: no new connections, what is in flight is finished, then everything is closed.
    #[track_caller]
    pub(crate) fn drain(&self) {
        self.refuse();
        eventually("the pod's connections are closed", || {
            self.shed();
            self.shared.open.load(SeqCst) == 0
        });
    }

    fn tell(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, is_done) = oneshot::channel();
        self.commands.send(command(done)).unwrap();
        is_done.blocking_recv().expect("the pod's thread has panicked");
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Quit);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How long `?delay=MS` in a target asks a pod to wait.
pub(crate) fn delay_of(query: &str) -> Option<Duration> {
    let millis = query.split('&').find_map(|pair| pair.strip_prefix("delay="))?;
    millis.parse().ok().map(Duration::from_millis)
}
