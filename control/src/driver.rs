//! The one loop that turns events into snapshots.
//!
//! Wake-ups (a directory changed, SIGHUP, a poll, a pod's readiness) are gathered until there has been quiet for a moment, or
//! for at most [`Options::burst_max`], so that a burst of writes becomes one swap and a stream of them cannot starve it; a pod
//! that became unready is taken out at once. Each step runs off the runtime's thread; events that arrive meanwhile count for
//! the next step, and from the moment when they happened ([`wake`](crate::wake)).
//!
//! Deliberately absent: deciding anything. The ledger, the gauges and `assemble` do, and they are pure.

mod debounce;
mod rollouts;

use std::future::Future;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep_until;
use watershed_config::Problem;
use watershed_config::snapshot::Snapshot;

use crate::assemble::AssembleOptions;
use crate::engine::{Engine, Heard, Looked};
use crate::probe::{Prober, Report};
use crate::rollout::board::Board;
use crate::state_dir::StateDir;
use crate::status::Status;
use crate::wake::Wake;
use debounce::Debounce;
pub use rollouts::Observe;
use rollouts::RolloutLoop;

/// How often the directories are looked at where they cannot be watched.
const POLL_INTERVAL_UNWATCHED: Duration = Duration::from_secs(1);

/// What to watch, and how.
#[derive(Debug)]
pub struct Options {
    /// Files and directories of manifests.
    pub paths: Vec<PathBuf>,
    /// Where last good versions are kept; `None` keeps none.
    pub state_dir: Option<StateDir>,
    /// Start although objects are in error that have no last good version.
    pub lenient: bool,
    /// Where every Service answers by its name; `None` switches it off.
    pub service_listener: Option<SocketAddr>,
    /// How often to look although nothing was heard: a safety net under the watching.
    pub poll_interval: Duration,
    /// How long it has to be quiet before a change is taken.
    pub quiet: Duration,
    /// How long a change waits at most while there is no quiet.
    pub burst_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            state_dir: None,
            lenient: false,
            service_listener: None,
            poll_interval: Duration::from_secs(5),
            quiet: Duration::from_millis(20),
            burst_max: Duration::from_millis(50),
        }
    }
}

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Objects are in error and have no last good version.
    #[error("{} in the manifests without a last good version: mend them, or start without those objects with --lenient", count(errors.len()))]
    Refused {
        /// These errors.
        errors: Vec<Problem>,
        /// Everything that is wrong, in the order in which problems are shown.
        problems: Vec<Problem>,
    },
    /// A bug.
    #[error("cannot read the manifests because of a bug in Watershed; please report it with the lines above")]
    Bug,
}

fn count(errors: usize) -> String {
    if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") }
}

/// What a started control component offers.
pub struct Running {
    /// The published snapshot, generation 1 to begin with.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// How things are.
    pub status: watch::Receiver<Arc<Status>>,
    /// Asks for a look at everything.
    pub reload: Reload,
    /// Shows rollouts and takes verbs.
    pub rollouts: Arc<Board>,
    /// Has to be run for anything to change.
    pub driver: Driver,
}

/// Asks for a look at everything, as SIGHUP does.
#[derive(Debug, Clone)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// Reads every file soon, whether it seems to have changed or not.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// The loop.
pub struct Driver {
    /// Away while it works.
    engine: Option<Engine>,
    prober: Prober,
    reports: mpsc::Receiver<Report>,
    wake: Arc<Wake>,
    reload: Arc<Notify>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    status: watch::Sender<Arc<Status>>,
    poll_interval: Duration,
    /// Changes of directories.
    changes: Debounce,
    /// Changes of readiness.
    verdicts: Debounce,
    last_look: Instant,
    recheck: Option<Instant>,
    rollouts: RolloutLoop,
}

/// Reads everything, runs every probe once and assembles the first generation. The directories are watched from before they
/// are read, so nothing is missed between this and [`Driver::run`]. Needs a tokio runtime with I/O and time.
///
/// # Errors
/// Objects are in error and neither have last good versions nor may be left out.
pub async fn start(options: Options) -> Result<Running, StartError> {
    let (wake, reload) = (Arc::<Wake>::default(), Arc::new(Notify::new()));
    let Options { paths, state_dir, lenient, service_listener, poll_interval, quiet, burst_max } = options;
    let assembling = AssembleOptions { service_listener, ..AssembleOptions::default() };
    let for_engine = Arc::clone(&wake);
    let opened = tokio::task::spawn_blocking(move || {
        let mut engine = Engine::new(paths, state_dir, assembling, for_engine);
        let looked = engine.look();
        (engine, looked)
    });
    let (mut engine, looked) = opened.await.map_err(|_| StartError::Bug)?;
    let errors = engine.hopeless();
    if !errors.is_empty() && !lenient {
        return Err(StartError::Refused { errors, problems: engine.problems() });
    }
    let (mut prober, mut reports) = Prober::new();
    prober.follow(engine.catalog().pods());
    while prober.unanswered() > 0 {
        // The prober holds a sender, so there is always a report to come.
        let Some(report) = reports.recv().await else { break };
        if let Some((uid, ready)) = prober.take(report) {
            engine.readiness.set(&uid, ready);
        }
    }
    prober.started();
    let pods = prober.verdicts();
    let assembled = tokio::task::spawn_blocking(move || {
        // Listeners open only after what is journaled is in the first snapshot.
        engine.tick_rollouts(Heard::default());
        let snapshot = engine.assemble();
        let status = engine.report(pods);
        (engine, snapshot, status)
    });
    let (engine, snapshot, status) = assembled.await.map_err(|_| StartError::Bug)?;
    let (snapshots, published) = watch::channel(snapshot);
    let (status, reported) = watch::channel(status);
    let (board, rollouts) = RolloutLoop::new();
    board.show(engine.rollouts.views());
    let mut driver = Driver {
        rollouts,
        engine: Some(engine),
        prober,
        reports,
        wake,
        reload: Arc::clone(&reload),
        snapshots,
        status,
        poll_interval,
        changes: Debounce::new(quiet, burst_max),
        verdicts: Debounce::new(quiet, burst_max),
        last_look: Instant::now(),
        recheck: None,
    };
    driver.plan(&looked);
    Ok(Running { snapshots: published, status: reported, reload: Reload(reload), rollouts: board, driver })
}

impl Driver {
    /// Rollouts see what the data plane has counted through this from now on.
    pub fn observe_with(&mut self, observe: Observe) {
        self.rollouts.observe_with(observe);
    }

    /// Follows every change until `shutdown` is ready. Cancelling it, or its end, stops all probes and writes what is left to
    /// be written; the last snapshot stays.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let due = tokio::time::Instant::from_std(self.due().1);
            tokio::select! {
                () = &mut shutdown => break,
                heard = self.wake.rung() => self.changes.note_span(heard),
                () = self.reload.notified() => self.reload(),
                Some(report) = self.reports.recv() => self.take(report),
                () = self.rollouts.heard() => {}
                () = sleep_until(due) => self.step().await,
            }
            if self.engine.is_none() {
                tracing::error!(
                    "control stopped because of a bug; what was last published keeps being served"
                );
                return shutdown.await;
            }
        }
        // Dropping it waits for the disk.
        tokio::task::spawn_blocking(move || drop(self.engine.take())).await.ok();
    }

    /// When the next look is due, and the next step.
    fn due(&self) -> (Instant, Instant) {
        let polling = self.engine.as_ref().is_some_and(Engine::needs_polling);
        let interval =
            if polling { self.poll_interval.min(POLL_INTERVAL_UNWATCHED) } else { self.poll_interval };
        let poll = self.last_look + interval;
        let look = [self.changes.due(), self.recheck].into_iter().flatten().fold(poll, Instant::min);
        let tick = (self.has_rollouts() || self.rollouts.is_asked()).then(|| self.rollouts.due());
        (look, [self.verdicts.due(), tick].into_iter().flatten().fold(look, Instant::min))
    }

    fn reload(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.distrust();
        }
        self.changes.note(Instant::now());
    }

    fn take(&mut self, report: Report) {
        let Some((uid, ready)) = self.prober.take(report) else { return };
        let changed = self.engine.as_mut().is_some_and(|engine| engine.readiness.set(&uid, ready));
        let now = Instant::now();
        if changed && !ready {
            self.verdicts.hurry(now);
        } else {
            self.verdicts.note(now);
        }
    }

    /// Does what is due: looks, lets the probes follow, publishes, reports.
    async fn step(&mut self) {
        // Many pods that fail together are one swap.
        while let Ok(report) = self.reports.try_recv() {
            self.take(report);
        }
        let now = Instant::now();
        let mut looked = Looked::default();
        if self.due().0 <= now {
            self.changes.clear();
            looked = self.work(Engine::look).await.unwrap_or_default();
            self.plan(&looked);
        }
        let mut stale = looked.changed;
        if looked.changed {
            self.follow_pods();
        }
        if self.verdicts.is_due(now) {
            self.verdicts.clear();
            stale = true;
            if let Some(engine) = &mut self.engine {
                engine.unseen_by_rollouts = true;
            }
        }
        if stale || self.rollouts.due() <= now {
            stale |= self.tick_rollouts().await;
        }
        if stale && let Some(snapshot) = self.work(Engine::assemble).await {
            self.snapshots.send_replace(snapshot);
        }
        if stale || looked.news {
            let pods = self.prober.verdicts();
            if let Some(status) = self.work(move |engine| engine.report(pods)).await {
                self.status.send_replace(status);
            }
        }
    }

    fn has_rollouts(&self) -> bool {
        self.engine.as_ref().is_some_and(Engine::has_rollouts)
    }

    /// Lets rollouts decide; true if that changes the snapshot.
    async fn tick_rollouts(&mut self) -> bool {
        if !self.has_rollouts() && !self.rollouts.is_asked() {
            return false;
        }
        let heard = self.rollouts.take();
        let changed = self.work(move |engine| engine.tick_rollouts(heard)).await.unwrap_or(false);
        if let Some(engine) = &mut self.engine {
            self.rollouts.ticked(&mut engine.rollouts);
        }
        changed
    }

    /// Remembers when a look wants to be followed by another.
    fn plan(&mut self, looked: &Looked) {
        self.last_look = Instant::now();
        self.recheck = looked.recheck;
        if looked.again {
            self.changes.note(self.last_look);
        }
    }

    fn follow_pods(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        let forgotten = self.prober.follow(engine.catalog().pods());
        for uid in forgotten {
            engine.readiness.forget(&uid);
        }
    }

    /// Runs something off the runtime's thread. `None` if it panicked; the engine comes back all the same.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Option<T> {
        let mut engine = self.engine.take()?;
        let working = tokio::task::spawn_blocking(move || {
            let result = panic::catch_unwind(AssertUnwindSafe(|| work(&mut engine)));
            (engine, result.ok())
        });
        let (engine, result) = working.await.ok()?;
        self.engine = Some(engine);
        if result.is_none() {
            tracing::error!(
                "a step of control failed because of a bug; what was published before keeps being served"
            );
        }
        result
    }
}
