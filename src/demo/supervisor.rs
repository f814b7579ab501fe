//! Runs the pods of the Deployments: what a cluster's controllers and kubelets do, on one machine.
//!
//! It is the only part that starts processes; the proxy never does. It tells the proxy about pods only by writing their files,
//! and takes orders from files too: a Deployment's `replicas`, a Pod's `deletionTimestamp`, a Pod file that somebody removed.

mod managed;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::child::{Child, Output};
use super::deployment::Identity;
use super::exchange::Ids;
use super::folders::Folders;
use super::ledger::PodBook;
use super::manifests::VERSIONS;
use super::pod;
use managed::{Managed, Pod};

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
            let (happened, starts) = self.deployments[index].tick()?;
            said.extend(happened);
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
        let pid = child.id();
        self.books.push((name.clone(), managed.version, record));
        managed.add(identity, child, &self.pods_folder)?;
        Ok(format!("started pod {name} on {addr} (process {pid})"))
    }

    /// Kills the oldest serving pod of this version with SIGKILL and waits until its process, and with it its sockets, is gone.
    pub(super) async fn kill_one(&mut self, version: usize) -> anyhow::Result<Killed> {
        let mut of_version = self.deployments.iter_mut().filter(|managed| managed.version == version);
        let pod = of_version.find_map(Managed::oldest_serving);
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
