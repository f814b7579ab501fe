//! The files that the demo writes: what a user would have written by hand.
//!
//! Deployments are read by the demo's own supervisor only (the proxy never starts a process), everything else by the proxy.
//! The proxy learns of each change through these files and through nothing else.

pub(super) mod rollout;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::script::WEIGHTS;

/// One version of the service `hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    /// The name of its Deployment, and of its Service where each version has one.
    pub(super) service: &'static str,
    /// The value of its pods' label `version`.
    pub(super) label: &'static str,
    /// How many pods its Deployment asks for.
    pub(super) replicas: u32,
}

/// The first version first, then those that are rolled out. An index into this array names a version everywhere in the demo.
pub(super) const VERSIONS: [Version; 3] = [
    Version { service: "hello-v1", label: "1.0.0", replicas: 2 },
    Version { service: "hello-v2", label: "2.0.0", replicas: 2 },
    Version { service: "hello-v3", label: "3.0.0", replicas: 2 },
];

/// The canary's index in [`VERSIONS`] where weights are edited.
pub(super) const CANARY: usize = 1;

/// A Deployment, as for a cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// The version of its template.
    pub(super) label: &'a str,
    /// How many pods it asks for.
    pub(super) replicas: u32,
    /// What its pods' processes are given.
    pub(super) args: &'a [&'a str],
}

/// As long as a service's answer may take. Pods that answer at once would be told apart by how often their processor's caches
/// went cold: one that gets a tenth of the traffic is slower by a fraction of a millisecond, and a judge sees that.
pub(super) const USUAL_LATENCY: [&str; 2] = ["--latency=1ms", "--latency-spread=12ms"];

impl Workload<'_> {
    /// That of the version of this index, for itself.
    pub(super) fn of(version: usize) -> Self {
        let Version { service, label, replicas } = VERSIONS[version];
        Self { name: service, label, replicas, args: &USUAL_LATENCY }
    }

    /// The manifest.
    pub(super) fn text(&self) -> String {
        let Self { name, label, replicas, args } = self;
        let args = if args.is_empty() { String::new() } else { format!("\n        args: {args:?}") };
        format!(
            r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: hello}}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: hello, version: "{label}"}}
  template:
    metadata:
      labels: {{app: hello, version: "{label}"}}
    spec:
      containers:
      - name: hello
        image: example.com/hello:{label}{args}
        ports:
        - name: http
          containerPort: 8080
        readinessProbe:
          httpGet: {{path: /healthz, port: http}}
          periodSeconds: 1
"#
        )
    }
}

/// The Deployment of one version.
pub(super) fn deployment(version: &Version) -> String {
    let Version { service, label, replicas } = *version;
    Workload { name: service, label, replicas, args: &[] }.text()
}

/// The Services of the first two versions: their pods are found by label, on the port that each pod calls `http`.
pub(super) fn services() -> String {
    [VERSIONS[0], VERSIONS[CANARY]]
        .map(|Version { service, label, .. }| {
            service_of(service, &format!("{{app: hello, version: \"{label}\"}}"))
        })
        .join("---\n")
}

/// A Service of the pods with these labels.
pub(super) fn service_of(name: &str, selector: &str) -> String {
    format!(
        r"apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {selector}
  ports:
  - name: http
    port: 80
    targetPort: http
"
    )
}

/// The Gateway through which all of the load comes.
pub(super) fn gateway(addr: SocketAddr) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: demo
spec:
  gatewayClassName: watershed
  addresses:
  - value: {}
  listeners:
  - name: http
    protocol: HTTP
    port: {}
",
        addr.ip(),
        addr.port()
    )
}

/// The HTTPRoute that gives the canary the weight of this phase, and the rest to the stable version.
pub(super) fn route(phase: usize) -> String {
    let canary = WEIGHTS[phase];
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: hello
spec:
  parentRefs:
  - name: demo
  rules:
  - backendRefs:
    - name: {}
      port: 80
      weight: {}
    - name: {}
      port: 80
      weight: {canary}
",
        VERSIONS[0].service,
        100 - canary,
        VERSIONS[CANARY].service,
    )
}

/// Replaces a file in one step, so that a reader sees the old text or the new one and never a part.
///
/// The temporary name begins with a dot: the proxy skips such files.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let path = std::sync::Arc::from(Path::new("demo.yaml"));
        watershed_config::read(&path, text).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_proxy_finds_nothing_to_say_about_what_the_demo_writes() {
        let addr = "127.0.0.1:8080".parse().unwrap();
        let none: [String; 0] = [];
        assert_eq!(problems(&services()), none);
        assert_eq!(problems(&gateway(addr)), none);
        for phase in 0..WEIGHTS.len() {
            assert_eq!(problems(&route(phase)), none);
        }
    }

    #[test]
    fn the_weights_of_every_phase_add_up_to_a_hundred() {
        for (phase, canary) in WEIGHTS.iter().enumerate() {
            let text = route(phase);
            let weights: Vec<u32> = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("weight: "))
                .map(|weight| weight.parse().unwrap())
                .collect();
            assert_eq!(weights, [100 - canary, *canary]);
        }
    }

    #[test]
    fn replacing_leaves_one_file_with_the_new_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("route.yaml");
        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
