//! One run from start to verdict: pods, proxy, load, script, audit.

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
use super::manifests::{self, CANARY, VERSIONS};
use super::net::fetch;
use super::proxy::Proxy;
use super::script::{Act, Script, WEIGHTS};
use super::summary::{self, PhaseEnd};
use super::supervisor::Supervisor;
use super::view::{self, Frame, PhaseRow, Stage};
use crate::screen::Screen;

/// How often files, processes and the script are looked at.
const TICK: Duration = Duration::from_millis(20);

/// After the proxy says that an edit is in force, requests that an older table matched may still be between
/// client and match for this long; they count in the totals but in no phase.
const SETTLE: Duration = Duration::from_millis(50);

/// Over which time rates and latencies of the live view are taken.
const RECENT: Duration = Duration::from_secs(1);

/// Every request ends within its client's patience, which is shorter: when none has ended for so long, none will.
const STUCK: Duration = Duration::from_secs(12);

/// How long a pod may take to say what it counted.
const STATS_MAX: Duration = Duration::from_secs(5);

/// A run whose pods and proxy are up.
pub(super) struct Conduct<'a> {
    options: &'a Options,
    folders: &'a Folders,
    screen: Screen,
    stop: watch::Receiver<bool>,
    supervisor: Supervisor,
    proxy: Proxy,
    kills: Vec<Kill>,
    stages: [Stage; WEIGHTS.len()],
    recent: Recent,
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
        for version in VERSIONS {
            let file = folders.deployments().join(format!("{}.yaml", version.service));
            manifests::replace(&file, &manifests::deployment(&version))?;
        }
        manifests::replace(&folders.manifests().join("services.yaml"), &manifests::services())?;
        manifests::replace(&folders.manifests().join("route.yaml"), &manifests::route(0))?;
        let mut supervisor = Supervisor::new(folders)?;
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
            stages: [Stage::Ahead; WEIGHTS.len()],
            recent: Recent { tally: Tally::default(), took: RECENT, until: Instant::now() },
        })
    }

    /// Makes load, plays the script, audits and prints the summary.
    pub(super) async fn play(&mut self) -> anyhow::Result<Audit> {
        let ids = Ids::new(&format!("{:08x}", fastrand::u32(..)));
        let Options { rate, duration, .. } = *self.options;
        self.screen.say(&format!(
            "sending {rate} requests/s, half of them POSTs, to http://{}\n",
            self.proxy.gateway
        ))?;
        let plan = Plan { target: self.proxy.gateway, rate, length: duration, ids: ids.clone() };
        let load = Load::start(plan, Progress::default())?;
        self.recent.until = Instant::now();
        self.follow(&load).await?;
        self.frame(&load)?;
        self.screen.keep_frame();
        let audit = self.audit(&load, &ids).await?;
        self.screen.say(&format!("\n{}", summary::text(&self.ends(&load), &audit, self.screen.width())))?;
        Ok(audit)
    }

    async fn follow(&mut self, load: &Load) -> anyhow::Result<()> {
        let mut script = Script::over(self.options.duration);
        let mut shown = Instant::now();
        // A load that fell behind still has to catch up when its time is over; it is given up only when nothing moves any more.
        let (mut answered, mut moved) = (0, Instant::now());
        while !load.progress().is_over() && moved.elapsed() < STUCK {
            let now_answered = load.progress().ended();
            if now_answered != answered {
                (answered, moved) = (now_answered, Instant::now());
            }
            if *self.stop.borrow() {
                load.stop();
            } else {
                while let Some(act) = script.next_due(load.elapsed()) {
                    self.act(act, load).await?;
                }
            }
            self.look(load).await?;
            if shown.elapsed() >= view::every(&self.screen) {
                shown += view::every(&self.screen);
                self.frame(load)?;
            }
            sleep(TICK).await;
        }
        if let Some(last) = self.stages.iter_mut().find(|stage| **stage == Stage::Now) {
            *last = Stage::Done;
        }
        Ok(())
    }

    /// Lets the supervisor work, and notices if the proxy is gone.
    async fn look(&mut self, load: &Load) -> anyhow::Result<()> {
        for said in self.supervisor.tick().await? {
            self.event(load, &said)?;
        }
        self.proxy.check()
    }

    async fn act(&mut self, act: Act, load: &Load) -> anyhow::Result<()> {
        match act {
            Act::Enter { phase: 0 } => {
                self.stages[0] = Stage::Now;
                load.progress().enter(Some(0));
            }
            Act::Enter { phase } => self.enter(phase, load).await?,
            Act::Kill => {
                let killed = self.supervisor.kill_one(CANARY).await?;
                let said = format!("killed pod {} (process {}) with SIGKILL", killed.pod, killed.process);
                let (at, gone) = (load.since_begin(killed.at), load.since_begin(killed.gone));
                self.kills.push(Kill { pod: killed.pod, at, gone });
                self.event(load, &said)?;
            }
        }
        Ok(())
    }

    async fn enter(&mut self, phase: usize, load: &Load) -> anyhow::Result<()> {
        load.progress().enter(None);
        self.stages[phase - 1] = Stage::Done;
        self.stages[phase] = Stage::Now;
        let took = self.proxy.edit(self.folders, phase).await?;
        let canary = WEIGHTS[phase];
        let said = match took {
            Some(took) => {
                format!("weights edited to {}/{canary}, in force after {} ms", 100 - canary, took.as_millis())
            }
            None => format!(
                "weights edited to {}/{canary}, but the proxy does not say that they are in force",
                100 - canary
            ),
        };
        self.event(load, &said)?;
        sleep(SETTLE).await;
        load.progress().enter(Some(phase));
        Ok(())
    }

    fn event(&mut self, load: &Load, said: &str) -> anyhow::Result<()> {
        self.screen.say(&format!("{:6.1} s  {said}", load.elapsed().as_secs_f64()))?;
        Ok(())
    }

    fn frame(&mut self, load: &Load) -> anyhow::Result<()> {
        let mut progress = load.progress();
        let took = self.recent.until.elapsed();
        // Half a tick early at most, so that a line every second finds a second that is over.
        if took + TICK / 2 >= RECENT {
            self.recent = Recent { tally: progress.take_recent(), took, until: Instant::now() };
        }
        let (recent, whole) = (&self.recent, progress.whole());
        let frame = Frame {
            elapsed: load.elapsed(),
            length: self.options.duration,
            phases: rows(self.stages, &progress),
            rate: ((recent.tally.total() + recent.tally.failed) as f64 / recent.took.as_secs_f64()).round()
                as u64,
            requests: progress.ended(),
            p50: recent.tally.latency_at(0.5),
            p99: recent.tally.latency_at(0.99),
            errors: whole.failed,
            in_flight: progress.in_flight(),
        };
        drop(progress);
        view::show(&mut self.screen, &frame).context("standard output was closed")
    }

    fn ends(&self, load: &Load) -> Vec<PhaseEnd> {
        let progress = load.progress();
        let end = |(phase, row)| {
            let tally = progress.phase(phase);
            PhaseEnd { row, p50: tally.latency_at(0.5), p99: tally.latency_at(0.99) }
        };
        rows(self.stages, &progress).into_iter().enumerate().map(end).collect()
    }

    async fn audit(&mut self, load: &Load, ids: &Ids) -> anyhow::Result<Audit> {
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
        for pod in self.supervisor.running() {
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
        self.screen.say_verbatim(&commands(&self.proxy, self.folders.root.as_path()))?;
        while !*self.stop.borrow() {
            for said in self.supervisor.tick().await? {
                self.screen.say(&said)?;
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

fn rows(stages: [Stage; WEIGHTS.len()], progress: &Progress) -> [PhaseRow; WEIGHTS.len()] {
    std::array::from_fn(|phase| PhaseRow {
        weight: WEIGHTS[phase],
        stage: stages[phase],
        answered: progress.phase(phase).answered,
    })
}

fn commands(proxy: &Proxy, root: &Path) -> String {
    let (gateway, admin, services, root) = (proxy.gateway, proxy.admin, proxy.services, root.display());
    let stable = VERSIONS[0].service;
    let canary = VERSIONS[CANARY].service;
    let binary = own_binary();
    let here = std::env::current_dir().unwrap_or_default();
    let watershed = binary.strip_prefix(here).unwrap_or(&binary).display();
    format!(
        "\
Everything is left running. Try, in another terminal:
  curl http://{gateway}/
  for i in $(seq 20); do curl -s http://{gateway}/; done | grep -o '\"version\":\"[^\"]*\"' | sort | uniq -c
  curl -H 'Host: {stable}' http://{services}/          # one Service by its name, whatever the route says
  {watershed} explain -f {root}/manifests http://{gateway}/
  sed -i 's/weight: .*/weight: 50/' {root}/manifests/route.yaml     # halves, at once
  sed -i 's/replicas: .*/replicas: 4/' {root}/deployments/{canary}.yaml
  curl -s http://{admin}/metrics | grep watershed_requests_total
  curl -s 'http://{admin}/readyz?verbose'
Ctrl-C ends it.
"
    )
}
