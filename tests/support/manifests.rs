//! A directory of manifests, and the shortest words for those that every test writes.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Pod;

/// A directory of manifests that goes away with the test.
#[derive(Debug)]
pub(crate) struct Manifests {
    folder: TempDir,
}

impl Manifests {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::with_prefix("watershed-").unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file as careful programs do: beside it, then renamed over it.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = path.with_file_name(format!(".{}.new", path.file_name().unwrap().display()));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, path).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }
}

/// A Pod's manifest in the making.
#[derive(Debug, Clone)]
pub(crate) struct PodFile {
    name: String,
    labels: String,
    address: SocketAddr,
    /// More fields below `metadata`, each line indented by two.
    pub(crate) metadata: String,
    /// More fields of the container, each line indented by four.
    pub(crate) container: String,
    /// More fields below `status`, each line indented by two.
    pub(crate) status: String,
}

impl PodFile {
    /// The manifest of a pod that listens here, with labels as in `app: hello, version: v1`. Its port is called `http`.
    pub(crate) fn new(name: &str, labels: &str, address: SocketAddr) -> Self {
        let (metadata, container, status) = (String::new(), String::new(), String::new());
        Self { name: name.to_owned(), labels: labels.to_owned(), address, metadata, container, status }
    }

    /// The manifest of a running pod.
    pub(crate) fn of(pod: &Pod, labels: &str) -> Self {
        Self::new(pod.name(), labels, pod.address())
    }

    /// With a Ready condition.
    pub(crate) fn ready(mut self, ready: bool) -> Self {
        let status = if ready { "True" } else { "False" };
        let _ = writeln!(self.status, "  conditions: [{{type: Ready, status: \"{status}\"}}]");
        self
    }

    /// Going away.
    pub(crate) fn deleted(mut self) -> Self {
        self.metadata.push_str("  deletionTimestamp: \"2026-01-01T00:00:00Z\"\n");
        self
    }

    /// With another UID than namespace/name.
    pub(crate) fn uid(mut self, uid: &str) -> Self {
        let _ = writeln!(self.metadata, "  uid: {uid}");
        self
    }

    /// With a readiness probe, as in `httpGet: {path: /healthz, port: http}`, once a second.
    pub(crate) fn probe(mut self, action: &str) -> Self {
        let probe = format!("    readinessProbe: {{{action}, periodSeconds: 1, failureThreshold: 1}}\n");
        self.container.push_str(&probe);
        self
    }

    pub(crate) fn text(&self) -> String {
        let Self { name, labels, address, metadata, container, status } = self;
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{{labels}}}\n{metadata}spec:\n  containers:\n  \
             - name: app\n    image: app\n    ports: [{{name: http, containerPort: {}}}]\n{container}status:\n  podIP: {}\n\
             {status}---\n",
            address.port(),
            address.ip(),
        )
    }
}

/// A Service on port 80 for pods with these labels.
pub(crate) fn service(name: &str, selector: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{{selector}}}\n  \
         ports: [{{name: http, port: 80, targetPort: http}}]\n---\n"
    )
}

/// A Gateway on loopback with one listener for all hosts, called `http`.
pub(crate) fn gateway(name: &str, port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  \
         gatewayClassName: watershed\n  addresses: [{{type: IPAddress, value: 127.0.0.1}}]\n  \
         listeners: [{{name: http, port: {port}, protocol: HTTP}}]\n---\n"
    )
}

/// An HTTPRoute with one rule for everything and these weights. `parent` is as in `name: web` or `kind: Service, group: "", name: hello`.
pub(crate) fn route(name: &str, parent: &str, weights: &[(&str, u32)]) -> String {
    let backends =
        weights.iter().map(|(service, weight)| format!("{{name: {service}, port: 80, weight: {weight}}}"));
    let backends = backends.collect::<Vec<_>>().join(", ");
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  \
         parentRefs: [{{{parent}}}]\n  rules:\n  - name: main\n    backendRefs: [{backends}]\n---\n"
    )
}
