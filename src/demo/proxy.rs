//! The proxy under demonstration: a process like any user's, of which the demo knows addresses and files only.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};
use watershed_control::rollout::view::RolloutView;

use super::child::{Child, Output};
use super::folders::Folders;
use super::manifests::{self, CANARY, VERSIONS};
use super::metrics::{ProxyCounts, target_percent};
use super::net::fetch;
use super::script::WEIGHTS;
use crate::admin::SOCKET_FILE;

/// How long the proxy may take until it is ready. Slow machines included, it takes well under a second.
const READY_MAX: Duration = Duration::from_secs(15);

/// How often an answer that is not there yet is asked for.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// How long the admin address may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// How long an edit may take until every worker has it; the aim is 100 ms.
const EDIT_MAX: Duration = Duration::from_secs(2);

/// How long a command may take.
const COMMAND_MAX: Duration = Duration::from_secs(15);

/// How long the proxy gets to end.
const STOP_MAX: Duration = Duration::from_secs(8);

/// Ports are chosen below the range from which the kernel takes those of outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Somebody may take a chosen port before the proxy does; then others are chosen.
const ATTEMPTS: u32 = 5;

/// A running proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    child: Child,
    /// What a user would type to start it.
    pub(super) command: String,
    /// Its admin address.
    pub(super) admin: SocketAddr,
    /// The Gateway's address.
    pub(super) gateway: SocketAddr,
    /// Where every Service answers by its name.
    pub(super) services: SocketAddr,
}

/// What a command said.
#[derive(Debug)]
pub(super) struct Said {
    /// The command, as it would be typed.
    pub(super) command: String,
    /// What it printed.
    pub(super) text: String,
    /// Whether its exit code was 0.
    pub(super) succeeded: bool,
}

impl Proxy {
    /// Writes the Gateway, starts the proxy and waits until it is ready.
    pub(super) async fn start(folders: &Folders, workers: Option<u16>) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let mut proxy = Self::spawn(folders, workers)?;
            match proxy.ready().await {
                Ok(()) => return Ok(proxy),
                Err(error) if error.to_string().to_lowercase().contains("in use") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.expect("the loop runs at least once and ends early unless it failed"))
    }

    fn spawn(folders: &Folders, workers: Option<u16>) -> anyhow::Result<Self> {
        let [gateway, admin, services] = free_addrs()?;
        manifests::replace(&folders.manifests().join("gateway.yaml"), &manifests::gateway(gateway))?;
        let mut args: Vec<String> =
            vec!["run".into(), "-f".into(), folders.manifests().display().to_string()];
        args.extend(["--admin".into(), admin.to_string(), "--service-listener".into(), services.to_string()]);
        args.extend(["--state-dir".into(), folders.state().display().to_string()]);
        if let Some(workers) = workers {
            args.extend(["--workers".into(), workers.to_string()]);
        }
        let command = format!("watershed {}", args.join(" "));
        args.splice(..0, ["demo-proxy".into(), format!("--parent={}", std::process::id()), "--".into()]);
        let child = Child::start(&args, &folders.logs().join("proxy.log"), Output::Log)?;
        Ok(Self { child, command, admin, gateway, services })
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            self.check()?;
            if let Ok((status, _)) = fetch(self.admin, "/readyz", ANSWER_MAX).await
                && status.is_success()
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "the proxy is not ready after {READY_MAX:?}; its last lines:\n{}",
                    self.child.last_lines()
                );
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// The proxy has ended, which it never should by itself. The message has its last lines.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.ended()? {
            bail!("the proxy ended ({status}); its last lines:\n{}", self.child.last_lines());
        }
        Ok(())
    }

    async fn scrape(&self) -> anyhow::Result<String> {
        let (status, text) = fetch(self.admin, "/metrics", ANSWER_MAX).await?;
        if !status.is_success() {
            bail!("http://{}/metrics answered {status}", self.admin);
        }
        Ok(text)
    }

    /// What it has counted. It counts a request when its last byte is out, which the client may see first, so this
    /// looks again until `expected` requests are counted, for a second at most.
    pub(super) async fn counts(&self, expected: u64) -> anyhow::Result<ProxyCounts> {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            let counts = ProxyCounts::read(&self.scrape().await?);
            if counts.all() >= expected || Instant::now() >= deadline {
                return Ok(counts);
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Edits the HTTPRoute to the weight of this phase; gives how long the proxy took until it said that the weight is in force.
    pub(super) async fn edit(&mut self, folders: &Folders, phase: usize) -> anyhow::Result<Option<Duration>> {
        let path = folders.manifests().join("route.yaml");
        manifests::replace(&path, &manifests::route(phase))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let written = Instant::now();
        while written.elapsed() < EDIT_MAX {
            self.check()?;
            let target = target_percent(&self.scrape().await?, VERSIONS[CANARY].service);
            if target.is_some_and(|target| (target - f64::from(WEIGHTS[phase])).abs() < 1e-6) {
                return Ok(Some(written.elapsed()));
            }
            sleep(ASK_EVERY).await;
        }
        Ok(None)
    }

    /// What it says of a Rollout.
    pub(super) async fn rollout(&self, name: &str) -> anyhow::Result<RolloutView> {
        let path = format!("/api/v1/namespaces/default/rollouts/{name}");
        let (status, text) = fetch(self.admin, &path, ANSWER_MAX).await?;
        if !status.is_success() {
            bail!("http://{}{path} answered {status}", self.admin);
        }
        serde_json::from_str(&text).with_context(|| format!("http://{}{path}", self.admin))
    }

    /// Runs `watershed rollout WORDS` for this process, as a user would in another terminal.
    pub(super) async fn command(&self, folders: &Folders, words: &[&str]) -> anyhow::Result<Said> {
        let mut args: Vec<String> = vec!["rollout".into()];
        args.extend(words.iter().map(|word| (*word).to_owned()));
        args.extend(["--state-dir".into(), folders.state().display().to_string()]);
        if !folders.state().join(SOCKET_FILE).exists() {
            // No socket fits into a path this long.
            args.extend(["--admin".into(), self.admin.to_string()]);
        }
        let log = folders.logs().join("command.log");
        let status = Child::start(&args, &log, Output::Log)?.wait(COMMAND_MAX).await?;
        let text = std::fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let quoted = |word: &String| if word.contains(' ') { format!("'{word}'") } else { word.clone() };
        let command = args.iter().map(quoted).collect::<Vec<_>>().join(" ");
        Ok(Said {
            command: format!("watershed {command}"),
            text: String::from_utf8_lossy(&text).into_owned(),
            succeeded: status.success(),
        })
    }

    /// Ends it gracefully.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.ask_to_end();
        let status = self.child.wait(STOP_MAX).await?;
        if !status.success() {
            bail!(
                "the proxy ended with {status} when asked to end; its last lines:\n{}",
                self.child.last_lines()
            );
        }
        Ok(())
    }
}

/// Three loopback addresses that were free just now, all different.
fn free_addrs() -> anyhow::Result<[SocketAddr; 3]> {
    let mut held = Vec::new();
    for _ in 0..100 {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS)));
        held.extend(TcpListener::bind(addr).map(|listener| (addr, listener)));
        if let [(a, _), (b, _), (c, _)] = held[..] {
            return Ok([a, b, c]);
        }
    }
    bail!("no three free ports on 127.0.0.1 among 100 tries between {} and {}", PORTS.start, PORTS.end)
}
