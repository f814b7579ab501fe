//! The composition root of `watershed run`: the only place that knows control and proxy.
//!
//! Threads: the main one runs control (sources, probes, compiling) and listens to signals, one serves the admin address, one
//! writes the request log, and the rest are the proxy's workers. All but the last two kinds give way to the workers
//! ([`priority`]). Snapshots go from control to the proxy through a `watch` channel, last value wins.

mod logging;
mod priority;
mod signals;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{oneshot, watch};
use watershed_config::snapshot::Snapshot;
use watershed_control::driver::{self, Running, StartError};
use watershed_control::load;
use watershed_control::state_dir::{StateDir, StateEnvironment};
use watershed_proxy::{BindError, Limits, Marks, Proxy, Settings};

use crate::admin::{self, Access, AdminState};
use crate::cli::RunArgs;
use signals::{Signal, Signals};

/// How often an address that could not be bound is tried again, and retired tables are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Runs until a signal ends it. Exit codes: 0 after draining, 1 if it could not start or a second signal came.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    if let Err(error) = logging::init(&args.log, args.log_format) {
        eprintln!("watershed: --log: {error}");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("cannot start the control runtime").and_then(|runtime| {
        let code = runtime.block_on(run_until_signal(args))?;
        // Blocking work (a look at the directories) must not hold up the end.
        runtime.shutdown_background();
        Ok(code)
    });
    result.unwrap_or_else(|error| {
        eprintln!("watershed: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run_until_signal(args: RunArgs) -> anyhow::Result<ExitCode> {
    raise_file_limit();
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let workers = match args.workers {
        Some(workers) => usize::from(workers),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let state = Arc::new(AdminState::new());
    let options = control_options(&args)?;
    let access = Access::over(options.state_dir.as_ref());
    let mut proxy = Proxy::start(&settings(&args, workers)).context("cannot start the workers")?;
    // After the workers, which would inherit it, and before every other thread, which shall.
    priority::give_way();
    let admin = admin::start(args.admin, Arc::clone(&state), access)?;
    tracing::info!(address = %admin.address, "admin");
    let running = match driver::start(options).await {
        Ok(running) => running,
        Err(error) => return Ok(refuse(&error)),
    };
    let Running { mut snapshots, status, reload, rollouts, mut driver } = running;
    state.connect_rollouts(rollouts);
    let first = snapshots.borrow_and_update().clone();
    state.connect(proxy.telemetry(), status, snapshots.clone());
    let failed = apply(&mut proxy, &first, &state);
    if !failed.is_empty() {
        for error in &failed {
            eprintln!("watershed: {error}");
        }
        return Ok(ExitCode::FAILURE);
    }
    while proxy.acknowledged() < first.generation {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    state.ready.store(true, Relaxed);
    tracing::info!(workers, generation = first.generation.0, addresses = ?proxy.addresses(), "ready");
    let observer = proxy.observer();
    driver.observe_with(Arc::new(move || observer.observe()));
    let (stop_control, control_stopped) = oneshot::channel::<()>();
    let control = tokio::spawn(driver.run(async move { drop(control_stopped.await) }));
    follow(&mut proxy, &mut snapshots, &state, &mut signals, || reload.now()).await;
    state.ready.store(false, Relaxed);
    tracing::info!(delay = ?args.drain_delay, deadline = ?args.drain_deadline, "draining");
    let drained = tokio::select! {
        drained = proxy.drain(args.drain_delay, args.drain_deadline) => drained,
        () = signals.second_end() => {
            tracing::warn!("second signal: ending at once");
            std::process::exit(1);
        }
    };
    tracing::info!(cut = drained.cut, "drained");
    drop(stop_control);
    let _ = tokio::time::timeout(HOUSEKEEPING, control).await;
    drop(admin);
    Ok(ExitCode::SUCCESS)
}

/// Applies every snapshot until a signal says to end.
async fn follow(
    proxy: &mut Proxy,
    snapshots: &mut watch::Receiver<Arc<Snapshot>>,
    state: &AdminState,
    signals: &mut Signals,
    reload: impl Fn(),
) {
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    let mut missing = false;
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => reload(),
                Signal::End => return,
            },
            Ok(()) = snapshots.changed() => {
                let snapshot = snapshots.borrow_and_update().clone();
                missing = !apply(proxy, &snapshot, state).is_empty();
            }
            _ = housekeeping.tick() => {
                proxy.drop_retired();
                if missing {
                    let snapshot = snapshots.borrow().clone();
                    let errors = proxy.bind_missing(&snapshot);
                    missing = !errors.is_empty();
                    state.set_bind_errors(&errors);
                }
            }
        }
    }
}

/// Publishes a snapshot; returns the addresses that could not be bound, which are reported and tried again.
fn apply(proxy: &mut Proxy, snapshot: &Snapshot, state: &AdminState) -> Vec<BindError> {
    let began = Instant::now();
    let errors = proxy.apply(snapshot);
    state.apply_seconds.observe(began.elapsed().as_secs_f64());
    for error in &errors {
        tracing::error!(%error, "address cannot be listened on; the rest serves, and it is tried again every second");
    }
    state.set_bind_errors(&errors);
    errors
}

fn settings(args: &RunArgs, workers: usize) -> Settings {
    Settings {
        workers,
        limits: Limits { request_body_bytes: args.max_request_body, ..Limits::default() },
        marks: Marks { via: args.via, revision: args.revision_header },
        access_log: args.access_log,
    }
}

fn control_options(args: &RunArgs) -> anyhow::Result<driver::Options> {
    let state_dir = match state_directory(args) {
        Some(path) => Some(StateDir::open(path)?),
        None => None,
    };
    Ok(driver::Options {
        paths: args.paths.clone(),
        state_dir,
        lenient: args.lenient,
        service_listener: args.service_listener.0,
        ..driver::Options::default()
    })
}

fn state_directory(args: &RunArgs) -> Option<std::path::PathBuf> {
    let variable = |name: &str| std::env::var_os(name);
    args.state_dir.clone().or_else(|| {
        let environment = StateEnvironment {
            state_directory: variable("STATE_DIRECTORY"),
            xdg_state_home: variable("XDG_STATE_HOME"),
            home: variable("HOME"),
        };
        environment.default_directory(&args.paths)
    })
}

/// Says why there is nothing to serve: every problem with its line, then the summary.
fn refuse(error: &StartError) -> ExitCode {
    if let StartError::Refused { problems, .. } = error {
        let mut problems = problems.clone();
        load::show_excerpts(&mut problems);
        for problem in &problems {
            eprintln!("{problem}\n");
        }
    }
    eprintln!("watershed: {error}");
    ExitCode::FAILURE
}

/// A proxy needs two file descriptors per request in flight; many systems start processes with 1,024 and allow far more.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = limit.current, "the limit of open files cannot be raised");
    }
}
