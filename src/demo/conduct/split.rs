//! The story without a Rollout: the weights of an HTTPRoute are edited, phase by phase, and a pod is killed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::sleep;

use super::super::ledger::Audit;
use super::super::load::{Load, Progress};
use super::super::manifests::{CANARY, VERSIONS};
use super::super::proxy::Proxy;
use super::super::script::{Act, Script, WEIGHTS};
use super::super::summary::{self, PhaseEnd};
use super::super::view::{self, Frame, PhaseRow, Stage};
use super::{Conduct, TICK, Watchdog, shown_binary};

/// After the proxy says that an edit is in force, requests that an older table matched may still be between
/// client and match for this long; they count in the totals but in no phase.
const SETTLE: Duration = Duration::from_millis(50);

/// Plays the script, audits and prints the summary.
pub(super) async fn play(conduct: &mut Conduct<'_>) -> anyhow::Result<Audit> {
    let (load, plan) = conduct.begin_load(conduct.options.duration)?;
    let mut split = Split { conduct, stages: [Stage::Ahead; WEIGHTS.len()] };
    split.follow(&load).await?;
    split.frame(&load)?;
    let ends = split.ends(&load);
    conduct.screen.keep_frame();
    let audit = conduct.audit(&load, &plan.ids).await?;
    let (names, width) = (conduct.options.scenario.names(), conduct.screen.width());
    conduct.screen.say(&format!("\n{}", summary::text(&ends, &audit, &names, width)))?;
    Ok(audit)
}

struct Split<'c, 'a> {
    conduct: &'c mut Conduct<'a>,
    stages: [Stage; WEIGHTS.len()],
}

impl Split<'_, '_> {
    async fn follow(&mut self, load: &Load) -> anyhow::Result<()> {
        let mut script = Script::over(self.conduct.options.duration);
        let mut shown = Instant::now();
        let mut watchdog = Watchdog::new();
        while watchdog.has_life(load) {
            if *self.conduct.stop.borrow() {
                load.stop();
            } else {
                while let Some(act) = script.next_due(load.elapsed()) {
                    self.act(act, load).await?;
                }
            }
            self.conduct.look(load).await?;
            if shown.elapsed() >= view::every(&self.conduct.screen) {
                shown += view::every(&self.conduct.screen);
                self.frame(load)?;
            }
            sleep(TICK).await;
        }
        if let Some(last) = self.stages.iter_mut().find(|stage| **stage == Stage::Now) {
            *last = Stage::Done;
        }
        Ok(())
    }

    async fn act(&mut self, act: Act, load: &Load) -> anyhow::Result<()> {
        match act {
            Act::Enter { phase: 0 } => {
                self.stages[0] = Stage::Now;
                load.progress().enter(Some(0));
                Ok(())
            }
            Act::Enter { phase } => self.enter(phase, load).await,
            Act::Kill => {
                let pod = self.conduct.supervisor.oldest(CANARY)?;
                self.conduct.kill(&pod, load).await
            }
        }
    }

    async fn enter(&mut self, phase: usize, load: &Load) -> anyhow::Result<()> {
        load.progress().enter(None);
        self.stages[phase - 1] = Stage::Done;
        self.stages[phase] = Stage::Now;
        let took = self.conduct.proxy.edit(self.conduct.folders, phase).await?;
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
        self.conduct.event(load, &said)?;
        sleep(SETTLE).await;
        load.progress().enter(Some(phase));
        Ok(())
    }

    fn frame(&mut self, load: &Load) -> anyhow::Result<()> {
        let numbers = self.conduct.numbers(load);
        let phases = rows(self.stages, &load.progress());
        let frame = Frame { numbers, length: self.conduct.options.duration, phases };
        view::show(&mut self.conduct.screen, &frame).context("standard output was closed")
    }

    fn ends(&self, load: &Load) -> Vec<PhaseEnd> {
        let progress = load.progress();
        let end = |(phase, row)| {
            let tally = progress.phase(phase);
            PhaseEnd { row, p50: tally.latency_at(0.5), p99: tally.latency_at(0.99) }
        };
        rows(self.stages, &progress).into_iter().enumerate().map(end).collect()
    }
}

fn rows(stages: [Stage; WEIGHTS.len()], progress: &Progress) -> [PhaseRow; WEIGHTS.len()] {
    std::array::from_fn(|phase| PhaseRow {
        weight: WEIGHTS[phase],
        stage: stages[phase],
        answered: progress.phase(phase).answered,
    })
}

/// What to try while everything is left running.
pub(super) fn commands(proxy: &Proxy, root: &Path) -> String {
    let (gateway, admin, services, root) = (proxy.gateway, proxy.admin, proxy.services, root.display());
    let stable = VERSIONS[0].service;
    let canary = VERSIONS[CANARY].service;
    let watershed = shown_binary();
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
