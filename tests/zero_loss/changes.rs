//! Everything that changes while the load runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::support::{Manifests, Pod, PodFile, Speaks, Watershed};

/// Between two edits: a hundred a second.
const EDIT: Duration = Duration::from_millis(10);
/// Between two closings of some pod's idle connections.
const SHED: Duration = Duration::from_millis(7);

/// One pod of each version stays; its connections do not.
const STAYING: [&str; 2] = ["v1-stays", "v2-stays"];
/// The editor makes them come and go, unready, terminating, and others of the same name.
const CHANGING: [&str; 4] = ["v1-a", "v1-b", "v2-a", "v2-b"];
/// They restart: withdrawn, drained, gone, and back as another pod at the same address.
const RESTARTING: [&str; 2] = ["v1-restarts", "v2-restarts"];

/// All pods.
pub(super) struct Fleet {
    staying: Vec<Pod>,
    changing: Vec<Pod>,
    restarting: Vec<Pod>,
    restarts: AtomicUsize,
    sheds: AtomicUsize,
}

fn labels(pod: &str) -> String {
    format!("app: hello, version: {}", &pod[..2])
}

fn file(pod: &str) -> String {
    format!("pods/{pod}.yaml")
}

impl Fleet {
    /// Starts the pods and writes all manifests.
    pub(super) fn start(manifests: &Manifests, speaks: Speaks) -> Self {
        let start = |names: &[&str]| -> Vec<Pod> {
            let pods: Vec<_> = names.iter().map(|name| Pod::speaking(name, speaks)).collect();
            for pod in &pods {
                manifests.write(&file(pod.name()), PodFile::of(pod, &labels(pod.name())).text());
            }
            pods
        };
        let (staying, changing, restarting) = (start(&STAYING), start(&CHANGING), start(&RESTARTING));
        let protocol = if speaks == Speaks::H2c { "kubernetes.io/h2c" } else { "http" };
        for (name, selector) in [
            ("hello", "app: hello"),
            ("hello-v1", "app: hello, version: v1"),
            ("hello-v2", "app: hello, version: v2"),
        ] {
            let port = format!("{{name: http, port: 80, targetPort: http, appProtocol: {protocol}}}");
            let spec = format!("spec:\n  selector: {{{selector}}}\n  ports: [{port}]\n");
            manifests.write(
                &format!("{name}.yaml"),
                format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n{spec}"),
            );
        }
        Self { staying, changing, restarting, restarts: AtomicUsize::new(0), sheds: AtomicUsize::new(0) }
    }

    pub(super) fn pods(&self) -> Vec<&Pod> {
        self.staying.iter().chain(&self.changing).chain(&self.restarting).collect()
    }

    pub(super) fn restarts(&self) -> usize {
        self.restarts.load(SeqCst)
    }

    /// How often some pod closed its idle connections.
    pub(super) fn sheds(&self) -> usize {
        self.sheds.load(SeqCst)
    }

    /// Closes idle connections of one pod after the other.
    pub(super) fn shed_until(&self, stop: &AtomicBool, seed: u64) {
        let (mut random, pods) = (Rng::with_seed(!seed), self.pods());
        while !stop.load(SeqCst) {
            pods[random.usize(..pods.len())].shed();
            self.sheds.fetch_add(1, SeqCst);
            std::thread::sleep(SHED);
        }
    }

    /// Restarts one pod after the other, as a kubelet does: withdrawn first, and only then asked to end.
    pub(super) fn restart_until(&self, stop: &AtomicBool, manifests: &Manifests, watershed: &Watershed) {
        for (round, pod) in (0..).zip(self.restarting.iter().cycle()) {
            if stop.load(SeqCst) {
                return;
            }
            let of =
                |round: usize| PodFile::of(pod, &labels(pod.name())).uid(&format!("{}-{round}", pod.name()));
            let written = file(pod.name());
            let is = |state: &str, round: usize| {
                let (name, uid) = (format!("default/{}", pod.name()), format!("{}-{round}", pod.name()));
                let state = state.to_owned();
                move |config: &serde_json::Value| has(config, &name, &uid, &state)
            };
            manifests.write(&written, of(round).text());
            watershed.wait_for_config("a pod is back", is("ready", round));
            manifests.write(&written, of(round).deleted().text());
            watershed.wait_for_config("a pod is withdrawn", is("terminating", round));
            pod.drain();
            pod.listen();
            self.restarts.fetch_add(1, SeqCst);
        }
    }
}

fn has(config: &serde_json::Value, pod: &str, uid: &str, state: &str) -> bool {
    let backends = config["backends"].as_array().unwrap();
    let mut endpoints = backends.iter().flat_map(|backend| backend["endpoints"].as_array().unwrap());
    // In all of them: a pod serves several Services.
    let found: Vec<_> = endpoints.by_ref().filter(|endpoint| endpoint["pod"] == *pod).collect();
    !found.is_empty() && found.iter().all(|endpoint| endpoint["uid"] == *uid && endpoint["state"] == *state)
}

/// Edits one file after the other.
pub(super) struct Editor<'a> {
    manifests: &'a Manifests,
    fleet: &'a Fleet,
    random: Rng,
    edits: usize,
}

impl<'a> Editor<'a> {
    pub(super) fn new(manifests: &'a Manifests, fleet: &'a Fleet, seed: u64) -> Self {
        Self { manifests, fleet, random: Rng::with_seed(seed), edits: 0 }
    }

    /// Returns how often it edited.
    pub(super) fn edit_until(mut self, stop: &AtomicBool) -> usize {
        let mut due = Instant::now();
        while !stop.load(SeqCst) {
            if self.random.bool() {
                self.edit_route();
            } else {
                self.edit_pod();
            }
            self.edits += 1;
            due += EDIT;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.edits
    }

    /// Other weights, rules that come and go, or no route at all: then the Service's own pods answer.
    fn edit_route(&mut self) {
        if self.random.u8(..20) == 0 {
            let _ = std::fs::remove_file(self.manifests.file("route.yaml"));
            return;
        }
        let first = self.random.u32(..=100);
        let backends = |first: u32| {
            format!(
                "[{{name: hello-v1, port: 80, weight: {first}}}, {{name: hello-v2, port: 80, weight: {}}}]",
                100 - first
            )
        };
        let special = if self.random.bool() {
            let matched = ["{path: {value: /special}}", "{path: {type: Exact, value: /other}}"];
            let matched = self.random.choice(matched).unwrap_or_default();
            format!("  - matches: [{matched}]\n    backendRefs: {}\n", backends(self.random.u32(..=100)))
        } else {
            String::new()
        };
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: hello}}\nspec:\n  \
             parentRefs: [{{kind: Service, group: \"\", name: hello}}]\n  rules:\n{special}  - name: main\n    \
             backendRefs: {}\n",
            backends(first)
        );
        self.manifests.write("route.yaml", text);
    }

    fn edit_pod(&mut self) {
        let pod = &self.fleet.changing[self.random.usize(..CHANGING.len())];
        let written = file(pod.name());
        let manifest = PodFile::of(pod, &labels(pod.name()));
        let manifest = match self.random.u8(..6) {
            0 => {
                let _ = std::fs::remove_file(self.manifests.file(&written));
                return;
            }
            1 => manifest.ready(false),
            2 => manifest.deleted(),
            3 => manifest.uid(&format!("{}-{}", pod.name(), self.edits)),
            _ => manifest.ready(true),
        };
        self.manifests.write(&written, manifest.text());
    }
}
