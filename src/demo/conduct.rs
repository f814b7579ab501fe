//! One run from start to verdict: pods, proxy, load, a story, audit.
//!
//! Which story is told is `split`'s or [`super::story`]'s business; what all of them need is here.

mod split;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Options;
use super::exchange::Ids;
use super::folders::Folders;
use super::leash::own_binary;
use super::ledger::{Audit, Evidence, Kill};
use super::load::{Load, Plan, Progress, Tally};
use super::manifests::{self, CANARY, VERSIONS, Workload};
use super::net::fetch;
use super::proxy::Proxy;
use super::scenario::{Pace, Scenario};
use super::story;
use super::supervisor::Supervisor;
use super::view::Numbers;
use crate::screen::Screen;

/// How often files, processes and the script are looked at.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// Over which time rates and latencies of the live view are taken.
const RECENT: Duration = Duration::from_secs(1);

/// Every request ends within its client's patience, which is shorter: when none has ended for so long, none will.
const STUCK: Duration = Duration::from_secs(12);

/// How long a pod may take to say what it counted.
const STATS_MAX: Duration = Duration::from_secs(5);

/// As many pods as exchange one by one in a rolling update that can be watched.
pub(super) const ROLLING_REPLICAS: u32 = 4;

/// A run whose pods and proxy are up.
pub(super) struct Conduct<'a> {
    pub(super) options: &'a Options,
    pub(super) folders: &'a Folders,
    pub(super) screen: Screen,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) supervisor: Supervisor,
    pub(super) proxy: Proxy,
    pub(super) kills: Vec<Kill>,
    recent: Recent,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What the books say.
    pub(super) audit: Audit,
    /// Why the story was not told to its end; `None` if it was.
    pub(super) untold: Option<String>,
}

impl Verdict {
    /// Nothing was lost, all counts agree, and what was to be shown was shown.
    pub(super) fn is_good(&self) -> bool {
        self.audit.is_good() && self.untold.is_none()
    }
}

/// The last whole second of the load.
struct Recent {
    tally: Tally,
    took: Duration,
    until: Instant,
}

impl<'a> Conduct<'a> {
    /// Writes the manifests, starts pods and proxy, and waits until the proxy is ready.
    pub(super) async fn start(
        options: &'a Options,
        folders: &'a Folders,
        mut screen: Screen,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        screen.say(&format!("working folder: {}", folders.root.display()))?;
        write_manifests(options, folders)?;
        let mut supervisor = Supervisor::new(folders);
        for said in supervisor.tick().await? {
            screen.say(&said)?;
        }
        let proxy = Proxy::start(folders, options.workers).await?;
        screen.say(&format!("started the proxy (process {}):\n  {}", proxy.id(), proxy.command))?;
        screen.say(&format!("everything is ready after {} ms", began.elapsed().as_millis()))?;
        Ok(Self {
            options,
            folders,
            screen,
            stop,
            supervisor,
            proxy,
            kills: Vec::new(),
            recent: Recent { tally: Tally::default(), took: RECENT, until: Instant::now() },
        })
    }

    /// Makes load, tells the story, audits and prints the summary.
    pub(super) async fn play(&mut self) -> anyhow::Result<Verdict> {
        match self.options.scenario {
            Scenario::Split => Ok(Verdict { audit: split::play(self).await?, untold: None }),
            scenario => story::play(self, scenario).await,
        }
    }

    /// Sends load for at most this long.
    pub(super) fn begin_load(&mut self, length: Duration) -> anyhow::Result<(Load, Plan)> {
        let ids = Ids::new(&format!("{:08x}", fastrand::u32(..)));
        let rate = self.options.rate;
        self.screen.say(&format!(
            "sending {rate} requests/s, half of them POSTs, to http://{}\n",
            self.proxy.gateway
        ))?;
        let plan = Plan { target: self.proxy.gateway, rate, length, ids };
        let load = Load::start(plan.clone(), Progress::default())?;
        self.recent.until = Instant::now();
        Ok((load, plan))
    }

    /// Lets the supervisor work, and notices if the proxy is gone.
    pub(super) async fn look(&mut self, load: &Load) -> anyhow::Result<()> {
        for said in self.supervisor.tick().await? {
            self.event(load, &said)?;
        }
        self.proxy.check()
    }

    /// Kills a pod with SIGKILL.
    pub(super) async fn kill(&mut self, pod: &str, load: &Load) -> anyhow::Result<()> {
        let killed = self.supervisor.kill(pod).await?;
        let said = format!("killed pod {} (process {}) with SIGKILL", killed.pod, killed.process);
        let (at, gone) = (load.since_begin(killed.at), load.since_begin(killed.gone));
        self.kills.push(Kill { pod: killed.pod, at, gone });
        self.event(load, &said)
    }

    /// Says what happened, and when.
    pub(super) fn event(&mut self, load: &Load, said: &str) -> anyhow::Result<()> {
        self.screen.say(&format!("{:6.1} s  {said}", load.elapsed().as_secs_f64()))?;
        Ok(())
    }

    /// What the clients see now, in numbers.
    pub(super) fn numbers(&mut self, load: &Load) -> Numbers {
        let mut progress = load.progress();
        let took = self.recent.until.elapsed();
        // Half a tick early at most, so that a line every second finds a second that is over.
        if took + TICK / 2 >= RECENT {
            self.recent = Recent { tally: progress.take_recent(), took, until: Instant::now() };
        }
        let recent = &self.recent;
        let ended = (recent.tally.total() + recent.tally.bad()) as f64;
        Numbers {
            elapsed: load.elapsed(),
            rate: (ended / recent.took.as_secs_f64()).round() as u64,
            requests: progress.ended(),
            p50: recent.tally.latency_at(0.5),
            p99: recent.tally.latency_at(0.99),
            errors: progress.whole().bad(),
            in_flight: progress.in_flight(),
        }
    }

    /// Compares the three books.
    pub(super) async fn audit(&mut self, load: &Load, ids: &Ids) -> anyhow::Result<Audit> {
        let exchanges = load.progress().exchanges().to_vec();
        let answering_pods = load.progress().pods().to_vec();
        let proxy = self.proxy.counts(exchanges.len() as u64).await?;
        let books = self.supervisor.books(ids)?;
        let mut audit = Audit::of(&Evidence {
            exchanges: &exchanges,
            answering_pods: &answering_pods,
            books: &books,
            proxy: &proxy,
            kills: &self.kills,
        });
        for pod in self.supervisor.serving() {
            let (_, text) = fetch(pod.addr, "/demo/stats", STATS_MAX).await?;
            let stats: serde_json::Value =
                serde_json::from_str(&text).with_context(|| format!("stats of {}", pod.name))?;
            let counted = stats["total"].as_u64().unwrap_or(0) - stats["withoutId"].as_u64().unwrap_or(0);
            let wrote =
                books.iter().find(|book| book.name == pod.name).map_or(0, |book| book.ran.len() as u64);
            if counted != wrote {
                audit
                    .disagreements
                    .push(format!("{} counted {counted} requests but wrote down {wrote}", pod.name));
            }
        }
        Ok(audit)
    }

    /// Leaves everything running, and prints what to try, until told to stop.
    pub(super) async fn keep(&mut self) -> anyhow::Result<()> {
        let text = match self.options.scenario {
            Scenario::Split => split::commands(&self.proxy, self.folders.root.as_path()),
            scenario => story::commands(&self.proxy, self.folders.root.as_path(), scenario),
        };
        self.screen.say_verbatim(&text)?;
        let mut scaler = story::Scaler::new(Pace::of(self.options).warm);
        while !*self.stop.borrow() {
            for said in self.supervisor.tick().await? {
                self.screen.say(&said)?;
            }
            if self.options.scenario != Scenario::Split {
                scaler.follow(&self.proxy, &mut self.supervisor).await;
            }
            self.proxy.check()?;
            sleep(TICK).await;
        }
        Ok(())
    }

    /// Ends the proxy first, while its pods still answer what is in flight, then the pods.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.proxy.stop().await?;
        Ok(self.supervisor.stop().await?)
    }
}

/// Tells whether a load still moves: one that fell behind has to catch up when its time is over, and is given up only when
/// nothing moves any more.
pub(super) struct Watchdog {
    ended: u64,
    moved: Instant,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self { ended: 0, moved: Instant::now() }
    }

    /// Whether there is still something to wait for.
    pub(super) fn has_life(&mut self, load: &Load) -> bool {
        let progress = load.progress();
        if progress.ended() != self.ended {
            (self.ended, self.moved) = (progress.ended(), Instant::now());
        }
        !progress.is_over() && self.moved.elapsed() < STUCK
    }
}

fn write_manifests(options: &Options, folders: &Folders) -> anyhow::Result<()> {
    let write = |name: &str, text: &str| manifests::replace(&folders.manifests().join(name), text);
    if options.scenario == Scenario::Split {
        for version in [VERSIONS[0], VERSIONS[CANARY]] {
            let file = folders.deployments().join(format!("{}.yaml", version.service));
            manifests::replace(&file, &manifests::deployment(&version))?;
        }
        write("services.yaml", &manifests::services())?;
        return Ok(write("route.yaml", &manifests::route(0))?);
    }
    let workload = match options.scenario {
        Scenario::Rolling => {
            Workload { name: manifests::rollout::HELLO, replicas: ROLLING_REPLICAS, ..Workload::of(0) }
        }
        _ => Workload::of(0),
    };
    deploy(folders, &workload)?;
    write("service.yaml", &manifests::rollout::service())?;
    write("route.yaml", &manifests::rollout::route())?;
    if let Some(rollout) = manifests::rollout::rollout(options.scenario, &Pace::of(options)) {
        write("rollout.yaml", &rollout)?;
    }
    Ok(())
}

/// Writes a Deployment, as a user would.
pub(super) fn deploy(folders: &Folders, workload: &Workload<'_>) -> anyhow::Result<()> {
    let file = folders.deployments().join(format!("{}.yaml", workload.name));
    manifests::replace(&file, &workload.text()).with_context(|| format!("cannot write {}", file.display()))
}

/// How to call this binary from where the user is.
pub(super) fn shown_binary() -> String {
    let binary = own_binary();
    let here = std::env::current_dir().unwrap_or_default();
    let path: &Path = binary.strip_prefix(here).unwrap_or(&binary);
    path.display().to_string()
}
