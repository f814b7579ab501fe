//! `watershed demo`: the whole thing on one machine, with nothing else installed.
//!
//! Deployments say which pods there are, a small supervisor runs them as processes of this same binary and writes a Pod file for
//! each, and the real proxy (`watershed run`, a process too) knows nothing but the files. An open load is sent through it while a
//! [`story`] is told: a canary that is promoted and one that is aborted, a blue-green switch and the way back, a rolling update; or,
//! without a Rollout, weights edited by hand. At the end three independent books are compared request by request: the client's,
//! the proxy's and the pods'. The last line is `lost: N`.
//!
//! Pure parts: [`script`], [`scenario`], [`deployment`], [`replicas`], [`exchange`], [`ledger`], [`metrics`], [`summary`],
//! `view::block`, `view::rollout`, `load::progress`, the orders of `story::scaler`. Everything else is edge: processes, files,
//! sockets, the terminal.
//!
//! Deliberately absent: any knowledge of the proxy's inside. What a user cannot see, the demo does not use.

mod child;
mod conduct;
mod deployment;
mod exchange;
mod folders;
pub(crate) mod leash;
mod ledger;
mod load;
mod manifests;
mod metrics;
mod net;
pub(crate) mod pod;
mod proxy;
mod replicas;
mod scenario;
mod script;
mod story;
mod summary;
mod supervisor;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use conduct::Conduct;
use folders::Folders;
use scenario::Scenario;

use crate::screen::Screen;

/// Shorter runs leave no time for four phases, or for the steps of a Rollout.
const DURATION_MIN: Duration = Duration::from_secs(2);
const DURATION_OF_ROLLOUT_MIN: Duration = Duration::from_secs(4);

/// With fewer requests a second the judge has next to nothing to compare while the demo lasts.
const RATE_OF_CANARY_MIN: u32 = 100;

/// Every request is kept for the audit; this many take about 200 MB.
const REQUESTS_MAX: u64 = 2_000_000;

/// How long an interrupted run may take to sum up and end its children; then they are killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Usage errors exit with this, as clap's own do.
const EXIT_USAGE: u8 = 2;

/// A run that was ended by a signal exits as a shell expects it of SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Options of `watershed demo`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// What to show
    #[arg(long, value_enum, default_value_t = Scenario::Canary)]
    pub(crate) scenario: Scenario,
    /// About how long to send load; everything that takes time takes its part of it
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Requests per second in all
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) rate: u32,
    /// Worker threads of the proxy [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// An empty or absent folder to work in; it is left as it is at the end [default: a temporary one, removed]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Leave pods and proxy running afterwards, and print commands to try, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Runs the demo. Exit 0 if all counts agree and nothing was lost, 1 otherwise, 2 for options that make no sense, 130 after a signal.
pub(crate) fn run(options: &Options) -> ExitCode {
    if let Err(error) = options.check() {
        eprintln!("error: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    let folders = match Folders::create(options.dir.as_deref()) {
        Ok(folders) => folders,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    // On this very thread: the kernel ends the children when the thread that started them ends.
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(interruptible(options, &folders)));
    match done {
        Ok(Ending::Interrupted) => {
            folders.remove();
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Ok(Ending::Good) => {
            folders.remove();
            ExitCode::SUCCESS
        }
        Ok(Ending::Bad) => ExitCode::FAILURE,
        Err(error) if is_closed_output(&error) => {
            folders.remove();
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}\nfiles and logs are left in {}", folders.root.display());
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn check(&self) -> anyhow::Result<()> {
        let requests = u64::from(self.rate) * self.duration.as_secs();
        let (least, why) = match self.scenario {
            Scenario::Split => (DURATION_MIN, "four phases share it"),
            _ => (DURATION_OF_ROLLOUT_MIN, "the steps of a rollout take their parts of it"),
        };
        if self.duration < least {
            bail!("--duration must be at least {least:?}: {why}");
        }
        if self.scenario == Scenario::Canary && self.rate < RATE_OF_CANARY_MIN {
            bail!(
                "--rate must be at least {RATE_OF_CANARY_MIN} here: the judge finds nothing in fewer requests"
            );
        }
        if requests > REQUESTS_MAX {
            bail!(
                "--rate times --duration is {requests} requests; every one is kept for the audit, so {REQUESTS_MAX} is the limit"
            );
        }
        Ok(())
    }
}

/// Nobody reads any more (`watershed demo | head`), which is no failure to report.
fn is_closed_output(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

enum Ending {
    Good,
    Bad,
    Interrupted,
}

/// A first signal lets the run sum up what it has; a second one, or too much time, ends it where it is.
async fn interruptible(options: &Options, folders: &Folders) -> anyhow::Result<Ending> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [mut int, mut term, mut hangup] = {
        let mut signals = kinds.into_iter().map(signal).collect::<Result<Vec<Signal>, _>>()?.into_iter();
        std::array::from_fn(|_| signals.next().expect("as many signals as kinds"))
    };
    let mut signalled = async move || {
        tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hangup.recv() => {} }
    };
    let (stop, stopping) = watch::channel(false);
    let impatient = async {
        signalled().await;
        stop.send_replace(true);
        tokio::select! { () = signalled() => {}, () = sleep(STOP_MAX) => {} }
    };
    tokio::select! {
        done = perform(options, folders, stopping) => done,
        // Dropping the run kills its children.
        () = impatient => Ok(Ending::Interrupted),
    }
}

async fn perform(
    options: &Options,
    folders: &Folders,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Ending> {
    let screen = Screen::of_stdout();
    let mut conduct = Conduct::start(options, folders, screen, stop.clone()).await?;
    let verdict = conduct.play().await?;
    let interrupted = *stop.borrow();
    if options.keep && !interrupted {
        conduct.keep().await?;
    }
    conduct.stop().await?;
    if !verdict.is_good() {
        Screen::of_stdout().say(&format!("files and logs are left in {}", folders.root.display()))?;
    }
    Screen::of_stdout().say(&summary::last_line(&verdict.audit)).context("standard output was closed")?;
    Ok(match verdict.is_good() {
        _ if interrupted => Ending::Interrupted,
        true => Ending::Good,
        false => Ending::Bad,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(duration: Duration, rate: u32) -> Options {
        Options { scenario: Scenario::Split, duration, rate, workers: None, dir: None, keep: false }
    }

    #[test]
    fn runs_too_short_or_too_big_to_audit_are_refused_with_the_limit() {
        assert!(options(Duration::from_secs(20), 1000).check().is_ok());
        let short = options(Duration::from_secs(1), 1000).check().unwrap_err().to_string();
        assert!(short.contains("at least 2s"), "{short}");
        let big = options(Duration::from_hours(1), 1000).check().unwrap_err().to_string();
        assert!(big.contains("2000000 is the limit"), "{big}");
        let canary = |seconds, rate| {
            let scenario = Scenario::Canary;
            Options { scenario, ..options(Duration::from_secs(seconds), rate) }
                .check()
                .unwrap_err()
                .to_string()
        };
        assert!(canary(3, 1000).contains("at least 4s"));
        assert!(canary(20, 99).contains("at least 100"));
    }
}
