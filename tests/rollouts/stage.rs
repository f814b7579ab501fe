//! A Service `hello` with a Rollout, pods by revision, a process, and load.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Manifests, Pod, PodFile, Speaks, Start, Watershed, eventually, service, test_seed};
use crate::zero_loss::client::{CLIENTS, Client};
use crate::zero_loss::tally::Tally;

/// Everything that a rollout needs.
pub(super) struct Stage {
    pub(super) manifests: Manifests,
    pub(super) pods: Vec<Pod>,
    pub(super) state: TempDir,
}

impl Stage {
    /// With this strategy, from `v1`, which has so many pods. Nothing runs yet.
    pub(super) fn new(strategy: &str, pods: usize) -> Self {
        let manifests = Manifests::new();
        manifests.write("service.yaml", service("hello", "app: hello"));
        let mut stage = Self { manifests, pods: Vec::new(), state: TempDir::new().unwrap() };
        stage.write_rollout("v1", strategy);
        stage.add("v1", pods);
        stage
    }

    /// Writes the Rollout.
    pub(super) fn write_rollout(&self, target: &str, strategy: &str) {
        let text = format!(
            "apiVersion: watershed.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: hello}}\nspec:\n  serviceRef: {{name: hello}}\n  \
             revisionLabel: version\n  stableRevision: v1\n  targetRevision: {target}\n  strategy: {strategy}\n"
        );
        self.manifests.write("rollout.yaml", text);
    }

    /// Starts so many pods of a revision and writes their files.
    pub(super) fn add(&mut self, revision: &str, count: usize) {
        for number in 0..count {
            let pod = Pod::speaking(&format!("hello-{revision}-{number}"), Speaks::Http1);
            let labels = format!("app: hello, version: {revision}");
            self.manifests.write(&format!("pods/{}.yaml", pod.name()), PodFile::of(&pod, &labels).text());
            self.pods.push(pod);
        }
    }

    /// The pods of a revision.
    pub(super) fn of(&self, revision: &str) -> impl Iterator<Item = &Pod> {
        let prefix = format!("hello-{revision}-");
        self.pods.iter().filter(move |pod| pod.name().starts_with(&prefix))
    }

    pub(super) fn start(&self) -> Start {
        Start::over(self.manifests.path()).state_dir(self.state.path()).args(&["--workers", "2"])
    }

    /// `watershed rollout VERB hello`, as an operator types it.
    pub(super) fn rollout(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watershed"));
        let (verb, rest) = arguments.split_first().unwrap();
        command.args(["rollout", verb, "hello"]).args(rest).arg("--state-dir").arg(self.state.path());
        command.env_clear().output().unwrap()
    }

    /// The same, which has to go well.
    #[track_caller]
    pub(super) fn ask(&self, arguments: &[&str]) -> String {
        let output = self.rollout(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// What the journal says.
    pub(super) fn journal(&self) -> Option<Value> {
        let text = std::fs::read(self.state.path().join("rollouts/default.hello.json")).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// Load for as long as `during` takes, and the audit of it.
    pub(super) fn under_load(&self, watershed: &Watershed, during: impl FnOnce()) -> Tally {
        let stop = AtomicBool::new(false);
        let seed = test_seed();
        let outcomes = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let (stop, address) = (&stop, watershed.services());
                    scope.spawn(move || Client::new(number, address, seed).ask_until(stop))
                })
                .collect();
            // Clients end also when what they are there for has failed.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(during));
            stop.store(true, SeqCst);
            let outcomes = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcomes
        });
        let mut tally = Tally::new(outcomes);
        tally.audit(self.pods.iter().collect());
        tally
    }
}

/// What the process shows of the rollout.
#[track_caller]
pub(super) fn view(watershed: &Watershed) -> Value {
    watershed.admin("/api/v1/namespaces/default/rollouts/hello").json()
}

/// Waits until what it shows satisfies this.
#[track_caller]
pub(super) fn wait(watershed: &Watershed, what: &str, mut holds: impl FnMut(&Value) -> bool) {
    let mut last = Value::Null;
    let mut look = || {
        last = view(watershed);
        holds(&last)
    };
    eventually(what, &mut look);
}

/// The share in percent that a revision has.
pub(super) fn applied(view: &Value, revision: &str) -> f64 {
    let revisions = view["revisions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = revisions.iter().find(|candidate| candidate["revision"] == revision);
    found.and_then(|found| found["applied"].as_f64()).unwrap_or(0.0)
}
