//! Runs the readiness probes of the pods, as there is no kubelet to do it.
//!
//! Each probe is a task of its own that asks ([`http`], [`tcp`], [`grpc`]), weighs the answer against Kubernetes' thresholds
//! ([`gauge`]) and reports when its verdict changes. A pod is ready when all of its probes say so. The tasks of a pod that is
//! gone or changed are aborted, and what they might still report is recognised by its serial number and ignored.
//!
//! At the start of the process every probe runs at once and its first result counts without thresholds. The probes of a pod that
//! appears later begin as Kubernetes has it: unready, after the initial delay.

mod gauge;
mod grpc;
mod http;
mod tcp;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use watershed_config::model::{ObjectName, Pod, Probe, ProbeAction};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::client::{Client, Target};
use gauge::Gauge;

/// Most probes that run at once: each holds a file descriptor, of which a process has 1024 unless it asks for more.
const PROBES_AT_ONCE_MAX: usize = 512;
/// Reports that may wait for the driver; beyond it tasks wait.
const REPORTS_MAX: usize = 1024;

/// What a probe has to say: that its verdict is this from now on.
#[derive(Debug)]
pub(crate) struct Report {
    uid: Arc<str>,
    serial: u64,
    index: usize,
    verdict: Verdict,
}

/// Whether a probe passes, and if not, why.
#[derive(Debug, Clone)]
struct Verdict {
    ready: bool,
    reason: String,
}

/// What the probes of a pod say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodVerdict {
    /// The pod.
    pub pod: ObjectName,
    /// All of its probes pass.
    pub ready: bool,
    /// Why the first of them that fails does; empty for a ready pod.
    pub reason: String,
}

/// All probes of all pods.
#[derive(Debug)]
pub(crate) struct Prober {
    client: Client,
    pods: HashMap<Arc<str>, Probed>,
    tasks: JoinSet<()>,
    reports: mpsc::Sender<Report>,
    last_serial: u64,
    /// Pods that come now were there at the start.
    starting: bool,
}

#[derive(Debug)]
struct Probed {
    serial: u64,
    name: ObjectName,
    ip: IpAddr,
    probes: Vec<Probe>,
    verdicts: Vec<Option<Verdict>>,
    tasks: Vec<AbortHandle>,
}

impl Prober {
    /// No pods yet; what the probes find comes out of the receiver and goes into [`Self::take`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Report>) {
        let (reports, receiver) = mpsc::channel(REPORTS_MAX);
        let client = Client::new(PROBES_AT_ONCE_MAX);
        let tasks = JoinSet::new();
        (Self { client, pods: HashMap::new(), tasks, reports, last_serial: 0, starting: true }, receiver)
    }

    /// Probes these pods and no others; returns the UIDs of which nothing is known any more.
    pub(crate) fn follow<'a>(&mut self, pods: impl Iterator<Item = &'a Pod>) -> Vec<Arc<str>> {
        while self.tasks.try_join_next().is_some() {}
        let mut forgotten = Vec::new();
        let mut current: HashSet<Arc<str>> = HashSet::new();
        for pod in pods.filter(|pod| !pod.probes.is_empty()) {
            // Of two pods with one UID the first counts; a UID that was copied by mistake is the user's to mend.
            if !current.insert(Arc::clone(&pod.meta.uid)) {
                continue;
            }
            let before = self.pods.get(&pod.meta.uid);
            if before.is_some_and(|before| before.ip == pod.ip && before.probes == pod.probes) {
                continue;
            }
            // Another address is another endpoint, of which nothing is known.
            let ready = before.filter(|before| before.ip == pod.ip).is_some_and(Probed::is_ready);
            if before.is_some() && !ready {
                forgotten.push(Arc::clone(&pod.meta.uid));
            }
            self.begin(pod, ready);
        }
        self.pods.retain(|uid, probed| {
            let stays = current.contains(uid);
            if !stays {
                probed.abort();
                forgotten.push(Arc::clone(uid));
            }
            stays
        });
        forgotten
    }

    /// From now on, pods are new when they come.
    pub(crate) fn started(&mut self) {
        self.starting = false;
    }

    /// How many probes have not answered yet.
    pub(crate) fn unanswered(&self) -> usize {
        let verdicts = self.pods.values().flat_map(|probed| &probed.verdicts);
        verdicts.filter(|verdict| verdict.is_none()).count()
    }

    /// Takes in a report; returns the pod and whether it is ready, if that may have changed.
    pub(crate) fn take(&mut self, report: Report) -> Option<(Arc<str>, bool)> {
        let probed = self.pods.get_mut(&report.uid).filter(|probed| probed.serial == report.serial)?;
        probed.verdicts[report.index] = Some(report.verdict);
        let verdict = probed.verdict();
        let (pod, reason) = (&probed.name, &verdict.reason);
        tracing::info!(%pod, ready = verdict.ready, %reason, "readiness probes report");
        Some((report.uid, verdict.ready))
    }

    /// What is known of every pod with probes, in order of name.
    pub(crate) fn verdicts(&self) -> Vec<PodVerdict> {
        let mut verdicts: Vec<PodVerdict> = self.pods.values().map(Probed::verdict).collect();
        verdicts.sort_by(|one, other| one.pod.cmp(&other.pod));
        verdicts
    }

    fn begin(&mut self, pod: &Pod, ready: bool) {
        self.last_serial += 1;
        let serial = self.last_serial;
        let start = match (self.starting, ready) {
            (true, _) => Start::Process,
            (false, true) => Start::Edited,
            (false, false) => Start::Appeared,
        };
        let mut tasks = Vec::with_capacity(pod.probes.len());
        for (index, probe) in pod.probes.iter().enumerate() {
            let uid = Arc::clone(&pod.meta.uid);
            let task = Task {
                phase: phase(&uid, index, probe.period),
                ip: pod.ip,
                probe: probe.clone(),
                client: self.client.clone(),
                reports: self.reports.clone(),
                identity: (uid, serial, index),
            };
            tasks.push(self.tasks.spawn(task.run(start)));
        }
        let verdict = ready.then(|| Verdict { ready, reason: String::new() });
        let probed = Probed {
            serial,
            name: pod.meta.name().clone(),
            ip: pod.ip,
            probes: pod.probes.clone(),
            verdicts: vec![verdict; pod.probes.len()],
            tasks,
        };
        if let Some(before) = self.pods.insert(Arc::clone(&pod.meta.uid), probed) {
            before.abort();
        }
    }
}

impl Probed {
    fn is_ready(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.as_ref().is_some_and(|verdict| verdict.ready))
    }

    fn verdict(&self) -> PodVerdict {
        let failing = self.verdicts.iter().flatten().find(|verdict| !verdict.ready);
        let reason = match failing {
            Some(verdict) => verdict.reason.clone(),
            None if self.is_ready() => String::new(),
            None => "not every probe has answered yet".to_owned(),
        };
        PodVerdict { pod: self.name.clone(), ready: self.is_ready(), reason }
    }

    fn abort(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// How a probe begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With the process: at once, and the first result counts without thresholds.
    Process,
    /// Anew for a ready pod whose probes were edited: at once, and the pod stays ready until they have failed often enough.
    Edited,
    /// With its pod: after the initial delay, unready.
    Appeared,
}

/// One probe of one pod.
struct Task {
    ip: IpAddr,
    probe: Probe,
    client: Client,
    reports: mpsc::Sender<Report>,
    identity: (Arc<str>, u64, usize),
    /// How long after its first result it begins its regular rhythm, so that many pods are not probed in one moment.
    phase: Duration,
}

impl Task {
    async fn run(self, start: Start) {
        let mut gauge = match start {
            Start::Process => Gauge::undecided(),
            Start::Edited => Gauge::decided(true),
            Start::Appeared => Gauge::decided(false),
        };
        if start == Start::Appeared {
            sleep(self.probe.initial_delay).await;
        }
        let mut due = Instant::now();
        if !self.once(&mut gauge).await {
            return;
        }
        due += match start {
            Start::Process => self.probe.initial_delay.max(self.phase),
            Start::Edited | Start::Appeared => self.phase.max(self.probe.period / 2),
        };
        loop {
            sleep_until(due).await;
            if !self.once(&mut gauge).await {
                return;
            }
            // A probe that takes longer than its period follows at once, and does not try to catch up.
            due = (due + self.probe.period).max(Instant::now());
        }
    }

    /// Asks once and reports a change; false if nobody listens any more.
    async fn once(&self, gauge: &mut Gauge) -> bool {
        let result = self.ask().await;
        let Some(ready) = gauge.record(result.is_ok(), &self.probe) else { return true };
        let reason = result.err().unwrap_or_default();
        let (uid, serial, index) = self.identity.clone();
        self.reports.send(Report { uid, serial, index, verdict: Verdict { ready, reason } }).await.is_ok()
    }

    async fn ask(&self) -> Result<(), String> {
        let deadline = self.probe.timeout;
        match &self.probe.action {
            ProbeAction::Http { host, port, path, headers } => {
                http::check(&self.client, self.target(host.as_ref(), *port), path, headers, deadline).await
            }
            ProbeAction::Tcp { host, port } => {
                tcp::check(&self.client, self.target(host.as_ref(), *port), deadline).await
            }
            ProbeAction::Grpc { port, service } => {
                grpc::check(&self.client, self.target(None, *port), service, deadline).await
            }
        }
    }

    fn target(&self, host: Option<&Arc<str>>, port: NonZeroU16) -> Target {
        match host.map(|host| (host, host.parse())) {
            None => Target::Address(SocketAddr::new(self.ip, port.get())),
            Some((_, Ok(ip))) => Target::Address(SocketAddr::new(ip, port.get())),
            Some((host, Err(_))) => Target::Named(Arc::clone(host), port.get()),
        }
    }
}

/// A part of the period that is the same at every start, and evenly spread over all probes.
fn phase(uid: &str, index: usize, period: Duration) -> Duration {
    let hash = xxh3_64_with_seed(uid.as_bytes(), index as u64);
    period.mul_f64((hash >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests;
