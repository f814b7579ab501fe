//! What the admin thread may look at.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus::{Histogram, HistogramOpts};
use tokio::sync::watch;
use watershed_config::snapshot::Snapshot;
use watershed_control::rollout::port::Rollouts;
use watershed_control::status::Status;
use watershed_proxy::BindError;
use watershed_proxy::telemetry::Telemetry;

/// Written by the main thread, read by the admin thread.
#[derive(Debug)]
pub(crate) struct AdminState {
    /// Every worker accepts with the first snapshot, and no signal to end has come.
    pub ready: AtomicBool,
    /// How long compiling and publishing a snapshot takes.
    pub apply_seconds: Histogram,
    connected: OnceLock<Connected>,
    rollouts: OnceLock<Arc<dyn Rollouts>>,
    bind_errors: Mutex<Vec<String>>,
}

/// What there is once control and proxy have started.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The data plane's counters and table.
    pub telemetry: Telemetry,
    status: watch::Receiver<Arc<Status>>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

impl Connected {
    /// How control is.
    pub(crate) fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// The snapshot that was published last.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }
}

impl AdminState {
    /// Not ready, nothing connected.
    pub(crate) fn new() -> Self {
        let options = HistogramOpts::new(
            "watershed_config_apply_seconds",
            "Time to compile and publish a routing table.",
        )
        .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0]);
        Self {
            ready: AtomicBool::new(false),
            apply_seconds: Histogram::with_opts(options).expect("a valid name and ascending buckets"),
            connected: OnceLock::new(),
            rollouts: OnceLock::new(),
            bind_errors: Mutex::default(),
        }
    }

    /// Says where to look. Only the first time counts.
    pub(crate) fn connect(
        &self,
        telemetry: Telemetry,
        status: watch::Receiver<Arc<Status>>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
    ) {
        let _ = self.connected.set(Connected { telemetry, status, snapshot });
    }

    /// Control and proxy, once they have started.
    pub(crate) fn connected(&self) -> Option<&Connected> {
        self.connected.get()
    }

    /// Says who drives rollouts. Only the first time counts.
    pub(crate) fn connect_rollouts(&self, rollouts: Arc<dyn Rollouts>) {
        let _ = self.rollouts.set(rollouts);
    }

    /// Who drives rollouts.
    pub(crate) fn rollouts(&self) -> Option<&dyn Rollouts> {
        self.rollouts.get().map(|rollouts| &**rollouts)
    }

    /// Records which addresses cannot be listened on.
    pub(crate) fn set_bind_errors(&self, errors: &[BindError]) {
        let texts = errors.iter().map(ToString::to_string).collect();
        *self.bind_errors.lock().unwrap_or_else(PoisonError::into_inner) = texts;
    }

    /// Which addresses cannot be listened on.
    pub(crate) fn bind_errors(&self) -> Vec<String> {
        self.bind_errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
