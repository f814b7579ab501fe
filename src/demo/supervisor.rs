//! Runs the pods of the Deployments: what a cluster's controllers and kubelets do, on one machine.
//!
//! It is the only part that starts processes; the proxy never does. It tells the proxy about pods only by writing their files,
//! and takes orders from files too: a new Deployment, its `replicas`, another version in its template, a Pod's `deletionTimestamp`,
//! a Pod file that somebody removed. A rollout's wishes for pods come to it through [`Supervisor::scale`].
//!
//! Each [`Managed`] is what a `ReplicaSet` is: one version of a Deployment. When another version is written into the template, the
//! set that was there keeps its pods until somebody lets them go, so that traffic can be moved, and moved back.

mod managed;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::child::{Child, Output};
use super::deployment::{Deployment, Identity};
use super::exchange::Ids;
use super::folders::Folders;
use super::ledger::PodBook;
use super::manifests::VERSIONS;
use super::pod;
use managed::{Managed, Pod, Ticked};

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
    folder: PathBuf,
    sets: Vec<Managed>,
    /// Files in which there is no Deployment that could be run, each told once.
    refused: BTreeSet<PathBuf>,
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
    /// Nothing runs until the first [`Supervisor::tick`].
    pub(super) fn new(folders: &Folders) -> Self {
        Self {
            pods_folder: folders.pods(),
            logs: folders.logs(),
            records: folders.records(),
            folder: folders.deployments(),
            sets: Vec::new(),
            refused: BTreeSet::new(),
            books: Vec::new(),
        }
    }

    /// Looks at files and processes, and does what is to be done; gives what happened as sentences.
    ///
    /// # Errors
    /// A pod cannot be started or dies at once, again and again. The message has its last lines.
    pub(super) async fn tick(&mut self) -> anyhow::Result<Vec<String>> {
        let mut said = self.discover()?;
        for index in 0..self.sets.len() {
            let Ticked { said: happened, starts, other_version } = self.sets[index].tick()?;
            said.extend(happened);
            if let Some(deployment) = other_version {
                said.push(self.change_version(index, deployment)?);
            }
            for _ in 0..starts {
                said.push(self.start(index).await?);
            }
        }
        Ok(said)
    }

    /// Takes up Deployment files that were not there before.
    fn discover(&mut self) -> anyhow::Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path()));
        let mut files: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
        let is_followed = |file: &PathBuf| self.sets.iter().any(|set| set.follows(file));
        let is_hidden =
            |file: &PathBuf| file.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        files.retain(|file| !is_followed(file) && !is_hidden(file));
        files.sort();
        let mut said = Vec::new();
        for file in files {
            match Managed::read(file.clone()) {
                Ok(set) => self.sets.push(set),
                Err(error) if self.refused.insert(file) => said.push(format!("{error:#}")),
                Err(_) => {}
            }
        }
        Ok(said)
    }

    /// Lets another set, which may have been there before, follow the file of this one, which keeps its pods.
    fn change_version(&mut self, index: usize, deployment: Deployment) -> anyhow::Result<String> {
        let from = VERSIONS[self.sets[index].version].label;
        let set = self.sets[index].hand_over(deployment)?;
        let said = format!(
            "the Deployment {} has pods of {} now; those of {from} stay for as long as they are needed",
            set.deployment.name, VERSIONS[set.version].label
        );
        let is_it = |known: &&mut Managed| {
            known.version == set.version && known.deployment.name == set.deployment.name
        };
        match self.sets.iter_mut().find(is_it) {
            Some(known) => known.take_over(set),
            None => self.sets.push(set),
        }
        Ok(said)
    }

    /// Has so many pods of a version, whatever its Deployment says; `None` is what that says.
    pub(super) fn scale(&mut self, version: usize, replicas: Option<u32>) {
        for set in self.sets.iter_mut().filter(|set| set.version == version) {
            set.scaled = replicas;
        }
    }

    async fn start(&mut self, index: usize) -> anyhow::Result<String> {
        let managed = &mut self.sets[index];
        let name = format!("{}-{}", managed.deployment.name, suffix());
        let record = self.records.join(format!("{name}.ids"));
        let mut args = vec![
            "demo-pod".to_owned(),
            format!("--name={name}"),
            format!("--app-version={}", VERSIONS[managed.version].label),
            format!("--record={}", record.display()),
            format!("--parent={}", std::process::id()),
        ];
        args.extend(managed.deployment.args.iter().cloned());
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

    /// The name of the oldest pod of this version that was not told to go.
    pub(super) fn oldest(&self, version: usize) -> anyhow::Result<String> {
        let of_version = self.sets.iter().filter(|managed| managed.version == version);
        let pod = of_version.flat_map(|managed| &managed.pods).find(|pod| pod.is_serving());
        let name = pod.map(|pod| pod.identity.name.clone());
        name.ok_or_else(|| anyhow!("no pod of {} is there", VERSIONS[version].label))
    }

    /// Kills this pod with SIGKILL and waits until its process, and with it its sockets, is gone.
    pub(super) async fn kill(&mut self, name: &str) -> anyhow::Result<Killed> {
        let pod = self.sets.iter_mut().flat_map(|managed| &mut managed.pods);
        let pod = pod.into_iter().find(|pod| pod.identity.name == name);
        let pod = pod.ok_or_else(|| anyhow!("the pod {name} is not there to be killed"))?;
        pod.expected_to_die = true;
        let (name, process, at) = (pod.identity.name.clone(), pod.child.id(), Instant::now());
        pod.child.kill()?;
        pod.child.wait(STOP_MAX).await?;
        Ok(Killed { pod: name, process, at, gone: Instant::now() })
    }

    /// The pods that run and were not told to go.
    pub(super) fn serving(&self) -> Vec<Identity> {
        let pods = self.sets.iter().flat_map(|managed| &managed.pods);
        pods.filter(|pod| pod.is_serving()).map(|pod| pod.identity.clone()).collect()
    }

    /// What every pod wrote down, those that are gone included.
    pub(super) fn books(&self, ids: &Ids) -> anyhow::Result<Vec<PodBook>> {
        let read = |(name, version, path): &(String, usize, PathBuf)| {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let known = |entry: pod::Entry<'_>| Some((ids.number(entry.id)?, entry.failed));
            let entries: Vec<(usize, bool)> = pod::entries(&text).filter_map(known).collect();
            Ok(PodBook {
                name: name.clone(),
                version: *version,
                ran: entries.iter().map(|(number, _)| *number).collect(),
                failed: entries.iter().filter(|(_, failed)| *failed).map(|(number, _)| *number).collect(),
            })
        };
        self.books.iter().map(read).collect()
    }

    /// Ends all pods gracefully.
    pub(super) async fn stop(&mut self) -> io::Result<()> {
        let mut pods: Vec<Pod> = self.sets.drain(..).flat_map(|managed| managed.pods).collect();
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
