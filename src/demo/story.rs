//! The stories in which a Rollout moves the traffic. Each is told as a list of acts and waits, in the order in which they happen;
//! everything that has to go on meanwhile (pods, the view, a look at the rollout) is in [`Story::tick`].
//!
//! What is known of the rollout is what its view in the admin API says; what is done to it is done by manifests and by the
//! commands that a user would type.

mod blue_green;
mod canary;
mod rolling;
mod scaler;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use tokio::time::sleep;
use watershed_control::rollout::view::{EventView, Phase, RolloutView};

use super::conduct::{Conduct, TICK, Verdict, Watchdog, deploy, shown_binary};
use super::load::{Answer, Load, Plan};
use super::manifests::rollout::HELLO;
use super::manifests::{VERSIONS, Workload};
use super::proxy::Proxy;
use super::scenario::{Pace, Scenario};
use super::view::{self, RolloutFrame};
use super::{REQUESTS_MAX, summary};
pub(super) use scaler::Scaler;

/// How often the rollout is looked at: as often as it is decided about.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// A story that is being told.
struct Story<'c, 'a> {
    conduct: &'c mut Conduct<'a>,
    load: Load,
    plan: Plan,
    pace: Pace,
    /// The rollout as it was seen last.
    view: Option<RolloutView>,
    asked: Instant,
    shown: Instant,
    /// The newest event that was told.
    told: Option<EventView>,
    /// The wall clock when the load began, in milliseconds since 1970.
    began_at: u64,
    /// Numbers of the requests that were sent beside the load.
    probes: Vec<usize>,
    scaler: Scaler,
    /// What is worth saying at the end.
    found: Vec<String>,
    /// Finds more to say when the load has ended.
    at_end: Option<fn(&mut Story<'_, '_>)>,
}

/// Why a story was not told to its end.
#[derive(Debug)]
enum Cut {
    /// The user has seen enough.
    Interrupted,
    /// What was to happen did not.
    Untold(String),
    /// The demo itself is broken.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Cut {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Tells the story, audits and prints the summary.
pub(super) async fn play(conduct: &mut Conduct<'_>, scenario: Scenario) -> anyhow::Result<Verdict> {
    // The story ends the load; this is only how much can be audited.
    let longest = Duration::from_secs(REQUESTS_MAX / u64::from(conduct.options.rate));
    let (load, plan) = conduct.begin_load(longest)?;
    let pace = Pace::of(conduct.options);
    let mut story = Story {
        conduct,
        load,
        plan,
        pace,
        view: None,
        asked: Instant::now(),
        shown: Instant::now(),
        told: None,
        began_at: since_1970(),
        probes: Vec::new(),
        scaler: Scaler::new(pace.warm),
        found: Vec::new(),
        at_end: None,
    };
    let told = match scenario {
        Scenario::Canary => canary::tell(&mut story).await,
        Scenario::Bluegreen => blue_green::tell(&mut story).await,
        Scenario::Rolling => rolling::tell(&mut story).await,
        Scenario::Split => Err(Cut::Untold("there is no Rollout in this one".to_owned())),
    };
    let untold = match told {
        Ok(()) | Err(Cut::Interrupted) => None,
        Err(Cut::Untold(why)) => Some(why),
        Err(Cut::Failed(error)) => return Err(error),
    };
    story.end(untold).await
}

fn since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether this version has all the traffic, and nothing is going on.
fn has_everything(view: &RolloutView, version: usize) -> bool {
    view.phase == Phase::Healthy
        && view.stable.as_deref() == Some(VERSIONS[version].label)
        && view.acknowledged
}

impl Story<'_, '_> {
    /// Ends the load, waits for its last answers, audits.
    async fn end(mut self, untold: Option<String>) -> anyhow::Result<Verdict> {
        self.load.stop();
        let mut watchdog = Watchdog::new();
        while watchdog.has_life(&self.load) {
            self.conduct.look(&self.load).await?;
            sleep(TICK).await;
        }
        self.look_at_rollout().await?;
        self.frame()?;
        self.conduct.screen.keep_frame();
        if let Some(find) = self.at_end {
            find(&mut self);
        }
        let audit = self.conduct.audit(&self.load, &self.plan.ids).await?;
        let names = self.conduct.options.scenario.names();
        let books = summary::books(&audit, &names, self.conduct.screen.width());
        let latency = {
            let progress = self.load.progress();
            let [p50, p99] = [0.5, 0.99].map(|quantile| view::millis(progress.whole().latency_at(quantile)));
            format!("{} requests, p50 {p50}, p99 {p99}", view::thousands(progress.ended()))
        };
        self.found.extend(untold.iter().map(|why| format!("not as it should be: {why}")));
        self.found.push(latency);
        self.conduct.screen.say(&format!("\n{}\n\n{books}", self.found.join("\n")))?;
        Ok(Verdict { audit, untold })
    }

    /// Everything that goes on all the time, once.
    async fn tick(&mut self) -> Result<(), Cut> {
        if *self.conduct.stop.borrow() {
            return Err(Cut::Interrupted);
        }
        if self.load.progress().is_over() {
            return Err(Cut::Untold("the load is over, and the story is not".to_owned()));
        }
        self.conduct.look(&self.load).await?;
        if self.asked.elapsed() >= ASK_EVERY {
            self.look_at_rollout().await?;
        }
        let every = view::every(&self.conduct.screen);
        if self.shown.elapsed() >= every {
            self.shown += every;
            self.frame()?;
        }
        sleep(TICK).await;
        Ok(())
    }

    /// Asks for the rollout, tells what has happened to it, and lets pods go that it needs no more.
    async fn look_at_rollout(&mut self) -> anyhow::Result<()> {
        self.asked = Instant::now();
        // A look that fails is made again; that the proxy is gone is noticed elsewhere.
        let Ok(view) = self.conduct.proxy.rollout(HELLO).await else { return Ok(()) };
        let known = self.told.as_ref().and_then(|told| view.events.iter().rposition(|event| event == told));
        for event in &view.events[known.map_or(0, |known| known + 1)..] {
            self.conduct.event(&self.load, &format!("{}: {}", event.reason, event.message))?;
        }
        self.told = view.events.last().cloned();
        for (version, replicas) in self.scaler.orders(&view, Instant::now()).into_iter().enumerate() {
            self.conduct.supervisor.scale(version, replicas);
        }
        self.view = Some(view);
        Ok(())
    }

    fn frame(&mut self) -> anyhow::Result<()> {
        let numbers = self.conduct.numbers(&self.load);
        let (answered, failed_by) = {
            let progress = self.load.progress();
            (progress.whole().answered, progress.whole().failed_by)
        };
        let frame = RolloutFrame { numbers, rollout: self.view.as_ref(), answered, failed_by };
        view::show_rollout(&mut self.conduct.screen, &frame).context("standard output was closed")
    }

    /// Lets time pass.
    async fn wait(&mut self, length: Duration) -> Result<(), Cut> {
        let until = Instant::now() + length;
        while Instant::now() < until {
            self.tick().await?;
        }
        Ok(())
    }

    /// Waits until the rollout is so; `what` says how.
    async fn until(&mut self, what: &str, is_so: impl Fn(&RolloutView) -> bool) -> Result<(), Cut> {
        let deadline = Instant::now() + self.pace.patience;
        loop {
            self.tick().await?;
            if self.view.as_ref().is_some_and(&is_so) {
                return Ok(());
            }
            let is_aborted = self.view.as_ref().is_some_and(|view| view.phase == Phase::Aborted);
            if is_aborted || Instant::now() >= deadline {
                let stands = self.view.as_ref().map_or_else(
                    || "there is no rollout to be seen".to_owned(),
                    |view| format!("it is {}: {}", view.phase.as_str(), view.message),
                );
                return Err(Cut::Untold(format!("it is not so that {what}; {stands}")));
            }
        }
    }

    /// Says something with the time.
    fn say(&mut self, said: &str) -> anyhow::Result<()> {
        self.conduct.event(&self.load, said)
    }

    /// Writes a Deployment, as a user would.
    fn deploy(&mut self, workload: &Workload<'_>) -> anyhow::Result<()> {
        deploy(self.conduct.folders, workload)
    }

    /// Runs `watershed rollout WORDS` and shows what it prints. Gives whether it succeeded.
    async fn command(&mut self, words: &[&str]) -> anyhow::Result<bool> {
        let said = self.conduct.proxy.command(self.conduct.folders, words).await?;
        self.say(&format!("$ {}", said.command))?;
        let width = self.conduct.screen.width();
        let indent = if width < view::NARROW { "  " } else { "          " };
        for line in said.text.lines() {
            // A table's line is cut where it would be broken: what stands below each other should stay there.
            let is_table = line.trim_start().contains("  ");
            let room = if is_table { width.saturating_sub(indent.len() + 1) } else { usize::MAX };
            self.conduct.screen.say(&format!("{indent}{}", view::cut(line, room)))?;
        }
        Ok(said.succeeded)
    }

    /// The same where failing would be the end of the story.
    async fn verb(&mut self, words: &[&str]) -> Result<(), Cut> {
        if self.command(words).await? {
            return Ok(());
        }
        Err(Cut::Untold(format!("`watershed rollout {}` was refused", words.join(" "))))
    }

    /// Sends one request beside the load, with this header.
    async fn probe(&mut self, name: &'static str, value: &'static str) -> Result<Answer, Cut> {
        use hyper::header::{HeaderName, HeaderValue};
        let header = (HeaderName::from_static(name), HeaderValue::from_static(value));
        let (number, outcome) = self.load.probe(&self.plan, header).await;
        self.probes.push(number);
        outcome.map_err(|failure| Cut::Untold(format!("a request with {name}: {value} failed: {failure}")))
    }

    /// When the requests of the load were sent that a version answered, well or not, from the first to the last.
    fn sent_to(&self, version: usize) -> Vec<Duration> {
        let progress = self.load.progress();
        let exchanges = progress.exchanges().iter().enumerate();
        let of_load = exchanges.filter(|(number, _)| !self.probes.contains(number));
        let of_version = of_load.filter(|(_, exchange)| progress.version_of(exchange) == Some(version));
        let mut sent: Vec<Duration> = of_version.map(|(_, exchange)| exchange.sent).collect();
        sent.sort_unstable();
        sent
    }

    /// The newest event of this kind, and when it was in the time of the load.
    fn event_of(&self, reason: &str) -> Option<(f64, &EventView)> {
        let event = self.view.as_ref()?.events.iter().rfind(|event| event.reason == reason)?;
        Some(((event.at as f64 - self.began_at as f64) / 1000.0, event))
    }
}

/// What to try while everything is left running.
pub(super) fn commands(proxy: &Proxy, root: &Path, scenario: Scenario) -> String {
    let (gateway, admin, root) = (proxy.gateway, proxy.admin, root.display());
    let watershed = shown_binary();
    let rollout = |words: &str| format!("{watershed} rollout {words} {HELLO} --state-dir {root}/state");
    let (undo, why, history) = (rollout("undo"), rollout("why"), rollout("history"));
    let next = match scenario {
        Scenario::Canary => format!(
            "  {}         # the bad version once more: its pods are there for a while\n",
            rollout("retry")
        ),
        Scenario::Rolling => format!(
            "  sed -i 's/2\\.0\\.0/3.0.0/' {root}/deployments/{HELLO}.yaml     # another version: pods, then traffic\n"
        ),
        Scenario::Bluegreen | Scenario::Split => format!(
            "  sed 's/2\\.0\\.0/3.0.0/; s/{}/{}/' {root}/deployments/{}.yaml > {root}/deployments/{}.yaml     # another version\n",
            VERSIONS[1].service, VERSIONS[2].service, VERSIONS[1].service, VERSIONS[2].service
        ),
    };
    format!(
        "\
Everything is left running. Try, in another terminal:
  {watershed} rollout get {HELLO} -w --admin {admin}
  {why}
  {history}
{next}  {undo}
  for i in $(seq 20); do curl -s http://{gateway}/; done | grep -o '\"version\":\"[^\"]*\"' | sort | uniq -c
  curl -s http://{admin}/api/v1/namespaces/default/rollouts/{HELLO}
  curl -s http://{admin}/metrics | grep watershed_rollout
Ctrl-C ends it.
"
    )
}
