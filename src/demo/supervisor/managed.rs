//! One version of a Deployment and its pods: reads their files, looks at their processes, takes single steps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow, bail};

use super::super::child::Child;
use super::super::deployment::{Deployment, Identity, is_terminating};
use super::super::manifests::{self, VERSIONS};
use super::super::replicas::{State, Step, plan};

/// A pod that lives shorter than this died of itself, not of what happened to it.
const QUICK_DEATH: Duration = Duration::from_secs(1);

/// After so many of them the supervisor gives up and shows why.
const QUICK_DEATHS_MAX: u32 = 5;

/// One version of a Deployment: a `ReplicaSet`.
#[derive(Debug)]
pub(super) struct Managed {
    /// What the Deployment's file said last without an error, while this was its version.
    pub(super) deployment: Deployment,
    /// Index of its version.
    pub(super) version: usize,
    /// Its pods, oldest first.
    pub(super) pods: Vec<Pod>,
    /// How many pods a rollout wants, where that is not what the Deployment says.
    pub(super) scaled: Option<u32>,
    /// `None` once another version follows it.
    file: Option<PathBuf>,
    seen: Option<SystemTime>,
    quick_deaths: u32,
}

/// What came of a look at a set.
#[derive(Debug)]
pub(super) struct Ticked {
    /// What happened.
    pub(super) said: Vec<String>,
    /// How many pods to start.
    pub(super) starts: usize,
    /// The Deployment, if it is of another version now.
    pub(super) other_version: Option<Deployment>,
}

/// A pod and its process.
#[derive(Debug)]
pub(super) struct Pod {
    /// Who it is.
    pub(super) identity: Identity,
    /// Its process.
    pub(super) child: Child,
    /// Its death is part of the script and not worth a message.
    pub(super) expected_to_die: bool,
    file: PathBuf,
    written: Option<SystemTime>,
    stage: Stage,
    since: Instant,
}

/// How far a pod is; that its process is gone is seen from the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    Withdrawn,
    Ending,
}

impl Managed {
    /// Reads a Deployment's file.
    pub(super) fn read(file: PathBuf) -> anyhow::Result<Self> {
        let seen = modified(&file);
        let shown = file.display().to_string();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
        let deployment = Deployment::parse(&text).with_context(|| shown.clone())?;
        Self::new(deployment, Some(file), seen).with_context(|| shown.clone())
    }

    fn new(deployment: Deployment, file: Option<PathBuf>, seen: Option<SystemTime>) -> anyhow::Result<Self> {
        let label = deployment.labels.get("version");
        let version = VERSIONS.iter().position(|version| label.is_some_and(|label| label == version.label));
        let labels = || VERSIONS.map(|version| version.label).join(", ");
        let version =
            version.ok_or_else(|| anyhow!("its label version is none of the demo's: {}", labels()))?;
        Ok(Self { deployment, version, pods: Vec::new(), scaled: None, file, seen, quick_deaths: 0 })
    }

    /// Whether this set does what the file says.
    pub(super) fn follows(&self, file: &Path) -> bool {
        self.file.as_deref() == Some(file)
    }

    /// A set without pods that follows the file from now on.
    pub(super) fn hand_over(&mut self, deployment: Deployment) -> anyhow::Result<Self> {
        Self::new(deployment, self.file.take(), self.seen)
    }

    /// Follows the file that this set without pods was made to follow.
    pub(super) fn take_over(&mut self, set: Self) {
        (self.deployment, self.file, self.seen, self.scaled) = (set.deployment, set.file, set.seen, None);
    }

    /// Looks at files and processes and takes the steps that are due.
    pub(super) fn tick(&mut self) -> anyhow::Result<Ticked> {
        let (said, other_version) = self.reread();
        let mut said: Vec<String> = said.into_iter().collect();
        self.notice_orders();
        let (steps, starts) = plan(self.scaled.unwrap_or(self.deployment.replicas), &self.states()?);
        // Backwards, so that the indexes stay valid: what is forgotten shifts only those that come after it.
        for step in steps.into_iter().rev() {
            said.extend(self.take(step)?);
        }
        Ok(Ticked { said, starts, other_version })
    }

    /// Writes the file of a pod that listens now.
    pub(super) fn add(&mut self, identity: Identity, child: Child, folder: &Path) -> anyhow::Result<()> {
        let file = folder.join(format!("{}.yaml", identity.name));
        manifests::replace(&file, &self.deployment.pod(&identity, None))?;
        self.pods.push(Pod {
            identity,
            child,
            expected_to_die: false,
            written: modified(&file),
            file,
            stage: Stage::Serving,
            since: Instant::now(),
        });
        Ok(())
    }

    /// Takes an edited Deployment; a broken one leaves the last good one in force, and one of another version is given back.
    fn reread(&mut self) -> (Option<String>, Option<Deployment>) {
        let Some(file) = &self.file else { return (None, None) };
        let now = modified(file);
        if now == self.seen {
            return (None, None);
        }
        self.seen = now;
        match Self::read(file.clone()) {
            Ok(Self { deployment, version, .. }) if version == self.version => {
                let said = format!("{} asks for {} pods", deployment.name, deployment.replicas);
                self.deployment = deployment;
                (Some(said), None)
            }
            Ok(Self { deployment, .. }) => (None, Some(deployment)),
            Err(error) => (Some(format!("{error:#}; the last good one stays in force")), None),
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
    /// Whether it was not told to go.
    pub(super) fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

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
