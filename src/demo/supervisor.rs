//! Runs the pods of the Deployments: what a cluster's controllers and kubelets do, on one machine.
//!
//! It is the only part that starts processes; the proxy never does. It tells the proxy about pods only by writing their files,
//! and takes orders from files too: a Deployment's `replicas`, a Pod's `deletionTimestamp`, a Pod file that somebody removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow, bail};

use super::child::{Child, Output};
use super::deployment::{Deployment, Identity, is_terminating};
use super::exchange::Ids;
use super::folders::Folders;
use super::ledger::PodBook;
use super::manifests::{self, VERSIONS};
use super::pod;
use super::replicas::{State, Step, plan};

/// A pod that lives shorter than this died of itself, not of what happened to it.
const QUICK_DEATH: Duration = Duration::from_secs(1);

/// After so many of them the supervisor gives up and shows why.
const QUICK_DEATHS_MAX: u32 = 5;

/// How long the pods get to end when the demo ends.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Letters of generated names: no vowels, so that no words come out, as Kubernetes does it.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// All Deployments and their pods.
#[derive(Debug)]
pub(super) struct Supervisor {
    pods_folder: PathBuf,
    logs: PathBuf,
    records: PathBuf,
    deployments: Vec<Managed>,
    books: Vec<(String, usize, PathBuf)>,
}

#[derive(Debug)]
struct Managed {
    file: PathBuf,
    seen: Option<SystemTime>,
    deployment: Deployment,
    version: usize,
    pods: Vec<Pod>,
    quick_deaths: u32,
}

#[derive(Debug)]
struct Pod {
    identity: Identity,
    child: Child,
    file: PathBuf,
    written: Option<SystemTime>,
    stage: Stage,
    since: Instant,
    expected_to_die: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    Withdrawn,
    Ending,
}

/// A pod that was killed on purpose, and when.
#[derive(Debug)]
pub(super) struct Killed {
    /// Its name.
    pub(super) pod: String,
    /// Its process id.
    pub(super) process: u32,
    /// Just before the signal.
    pub(super) at: Instant,
    /// When its process was gone.
    pub(super) gone: Instant,
}

impl Supervisor {
    /// Reads every Deployment file; nothing runs until the first [`Supervisor::tick`].
    pub(super) fn new(folders: &Folders) -> anyhow::Result<Self> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folders.deployments())?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        files.sort();
        let deployments = files.into_iter().map(Managed::read).collect::<Result<_, _>>()?;
        Ok(Self {
            pods_folder: folders.pods(),
            logs: folders.logs(),
            records: folders.records(),
            deployments,
            books: Vec::new(),
        })
    }

    /// Looks at files and processes, and does what is to be done; gives what happened as sentences.
    ///
    /// # Errors
    /// A pod cannot be started or dies at once, again and again. The message has its last lines.
    pub(super) async fn tick(&mut self) -> anyhow::Result<Vec<String>> {
        let mut said = Vec::new();
        for index in 0..self.deployments.len() {
            let managed = &mut self.deployments[index];
            said.extend(managed.reread());
            managed.notice_orders();
            let states = managed.states()?;
            let (steps, starts) = plan(managed.deployment.replicas, &states);
            // Indexes stay valid because what is forgotten is removed from the end backwards.
            for step in steps.into_iter().rev() {
                said.extend(managed.take(step)?);
            }
            for _ in 0..starts {
                said.push(self.start(index).await?);
            }
        }
        Ok(said)
    }

    async fn start(&mut self, index: usize) -> anyhow::Result<String> {
        let managed = &mut self.deployments[index];
        let name = format!("{}-{}", managed.deployment.name, suffix());
        let record = self.records.join(format!("{name}.ids"));
        let args = [
            "demo-pod".to_owned(),
            format!("--name={name}"),
            format!("--app-version={}", VERSIONS[managed.version].label),
            format!("--record={}", record.display()),
            format!("--parent={}", std::process::id()),
        ];
        let mut child = Child::start(&args, &self.logs.join(format!("{name}.log")), Output::Read)?;
        let line = child.first_line().await.with_context(|| format!("pod {name}"))?;
        let addr = line.trim().strip_prefix("listening on ").and_then(|addr| addr.parse().ok());
        let addr = addr.ok_or_else(|| anyhow!("pod {name} said {line:?} instead of its address"))?;
        let identity = Identity { name: name.clone(), uid: uid(), addr };
        let file = self.pods_folder.join(format!("{name}.yaml"));
        manifests::replace(&file, &managed.deployment.pod(&identity, None))?;
        let pid = child.id();
        self.books.push((name.clone(), managed.version, record));
        managed.pods.push(Pod {
            identity,
            child,
            written: modified(&file),
            file,
            stage: Stage::Serving,
            since: Instant::now(),
            expected_to_die: false,
        });
        Ok(format!("started pod {name} on {addr} (process {pid})"))
    }

    /// Kills the oldest serving pod of this version with SIGKILL and waits until its process, and with it its sockets, is gone.
    pub(super) async fn kill_one(&mut self, version: usize) -> anyhow::Result<Killed> {
        let pods = self.deployments.iter_mut().filter(|managed| managed.version == version);
        let pod = pods.flat_map(|managed| &mut managed.pods).find(|pod| pod.stage == Stage::Serving);
        let pod =
            pod.ok_or_else(|| anyhow!("no pod of {} is there to be killed", VERSIONS[version].service))?;
        pod.expected_to_die = true;
        let (name, process, at) = (pod.identity.name.clone(), pod.child.id(), Instant::now());
        pod.child.kill()?;
        pod.child.wait(STOP_MAX).await?;
        Ok(Killed { pod: name, process, at, gone: Instant::now() })
    }

    /// The addresses of the pods that run, by name.
    pub(super) fn running(&self) -> Vec<Identity> {
        let pods = self.deployments.iter().flat_map(|managed| &managed.pods);
        pods.map(|pod| pod.identity.clone()).collect()
    }

    /// What every pod wrote down, those that are gone included.
    pub(super) fn books(&self, ids: &Ids) -> anyhow::Result<Vec<PodBook>> {
        let read = |(name, version, path): &(String, usize, PathBuf)| {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let ran = pod::ids(&text).filter_map(|id| ids.number(id)).collect();
            Ok(PodBook { name: name.clone(), version: *version, ran })
        };
        self.books.iter().map(read).collect()
    }

    /// Ends all pods gracefully.
    pub(super) async fn stop(&mut self) -> io::Result<()> {
        let mut pods: Vec<Pod> = self.deployments.drain(..).flat_map(|managed| managed.pods).collect();
        for pod in &pods {
            pod.child.ask_to_end();
        }
        for pod in &mut pods {
            pod.child.wait(STOP_MAX).await?;
        }
        Ok(())
    }
}

impl Managed {
    fn read(file: PathBuf) -> anyhow::Result<Self> {
        let seen = modified(&file);
        let shown = file.display().to_string();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
        let deployment = Deployment::parse(&text).with_context(|| shown.clone())?;
        let label = deployment.labels.get("version");
        let version = VERSIONS.iter().position(|version| label.is_some_and(|label| label == version.label));
        let version =
            version.ok_or_else(|| anyhow!("{shown}: its label version is none of the demo's two"))?;
        Ok(Self { file, seen, deployment, version, pods: Vec::new(), quick_deaths: 0 })
    }

    /// Takes an edited Deployment; a broken one leaves the last good one in force.
    fn reread(&mut self) -> Option<String> {
        let now = modified(&self.file);
        if now == self.seen {
            return None;
        }
        self.seen = now;
        match Self::read(self.file.clone()) {
            Ok(Self { deployment, version, .. }) if version == self.version => {
                let said = format!("{} asks for {} pods", deployment.name, deployment.replicas);
                self.deployment = deployment;
                Some(said)
            }
            Ok(_) => {
                Some(format!("{}: a running Deployment cannot change its version here", self.file.display()))
            }
            Err(error) => Some(format!("{error:#}; the last good one stays in force")),
        }
    }

    /// Finds the pods that somebody deleted, by marking their file or by removing it.
    fn notice_orders(&mut self) {
        for pod in self.pods.iter_mut().filter(|pod| pod.stage == Stage::Serving) {
            let now = modified(&pod.file);
            if now == pod.written {
                continue;
            }
            pod.written = now;
            let text = fs::read_to_string(&pod.file);
            if text.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |text| is_terminating(&text))
            {
                pod.enter(Stage::Withdrawn);
            }
        }
    }

    fn states(&mut self) -> io::Result<Vec<State>> {
        let state = |pod: &mut Pod| {
            let since = pod.since.elapsed();
            Ok(match (pod.child.ended()?, pod.stage) {
                (Some(_), _) => State::Ended,
                (None, Stage::Serving) => State::Serving,
                (None, Stage::Withdrawn) => State::Withdrawn(since),
                (None, Stage::Ending) => State::Ending(since),
            })
        };
        self.pods.iter_mut().map(state).collect()
    }

    fn take(&mut self, step: Step) -> anyhow::Result<Option<String>> {
        match step {
            Step::Withdraw(index) => {
                let pod = &mut self.pods[index];
                let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
                manifests::replace(&pod.file, &self.deployment.pod(&pod.identity, Some(&now)))?;
                pod.enter(Stage::Withdrawn);
                return Ok(Some(format!("withdrew pod {}", pod.identity.name)));
            }
            Step::Terminate(index) => {
                self.pods[index].child.ask_to_end();
                self.pods[index].enter(Stage::Ending);
            }
            Step::Kill(index) => self.pods[index].child.kill()?,
            Step::Forget(index) => return self.forget(index).map(Some),
        }
        Ok(None)
    }

    fn forget(&mut self, index: usize) -> anyhow::Result<String> {
        let mut pod = self.pods.remove(index);
        remove(&pod.file)?;
        let name = &pod.identity.name;
        if pod.expected_to_die || pod.stage != Stage::Serving {
            return Ok(format!("removed pod {name}"));
        }
        let how = pod.child.ended()?.map_or_else(String::new, |status| status.to_string());
        let said = format!("pod {name} died ({how}); its last lines:\n{}", pod.child.last_lines());
        self.quick_deaths += u32::from(pod.since.elapsed() < QUICK_DEATH);
        if self.quick_deaths >= QUICK_DEATHS_MAX {
            bail!("{} keeps dying: {said}", self.deployment.name);
        }
        Ok(said)
    }
}

impl Pod {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Five letters that tell pods of one Deployment apart.
fn suffix() -> String {
    (0..5).map(|_| char::from(NAME_LETTERS[fastrand::usize(..NAME_LETTERS.len())])).collect()
}

fn uid() -> String {
    let (a, b) = (fastrand::u64(..), fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}
