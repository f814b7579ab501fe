//! From a Deployment to the Pods that a cluster's controllers and kubelet would make of it.
//!
//! Only what the demo needs is read: replicas, the template's labels, and the first container's arguments, port and readiness probe.
//! The container's port number cannot be kept, since several pods share 127.0.0.1: each pod has its own number under the
//! same *name*, which is what the Service's `targetPort` names.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use serde_json::{Value, json};

/// As many pods as a demo on one machine may sensibly run.
const REPLICAS_MAX: u32 = 20;

/// What the supervisor needs to know of a Deployment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deployment {
    /// `metadata.name`: the stem of its pods' names.
    pub(super) name: String,
    /// `spec.replicas`, 1 when absent.
    pub(super) replicas: u32,
    /// The template's labels.
    pub(super) labels: BTreeMap<String, String>,
    /// The container's `args`: what a pod's process is given besides its name and version.
    pub(super) args: Vec<String>,
    container: String,
    port_name: String,
    readiness_probe: Option<Value>,
}

/// What distinguishes one pod from its siblings and from its predecessors.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Its name, never used again.
    pub(super) name: String,
    /// Its UID, never used again.
    pub(super) uid: String,
    /// Where it listens.
    pub(super) addr: SocketAddr,
}

#[derive(Deserialize)]
struct File {
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct Spec {
    replicas: Option<u32>,
    template: Template,
}

#[derive(Deserialize)]
struct Template {
    metadata: Labels,
    spec: PodSpec,
}

#[derive(Deserialize)]
struct Labels {
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    #[serde(default)]
    args: Vec<String>,
    ports: Vec<Port>,
    readiness_probe: Option<Value>,
}

#[derive(Deserialize)]
struct Port {
    name: String,
}

impl Deployment {
    /// Reads one Deployment from YAML.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File =
            serde_yaml::from_str(text).context("this is not a Deployment that the demo can run")?;
        if file.kind != "Deployment" {
            bail!("kind is {}, but only a Deployment can be run", file.kind);
        }
        let mut containers = file.spec.template.spec.containers;
        if containers.len() != 1 {
            bail!("the demo runs pods of one container, this template has {}", containers.len());
        }
        let container = containers.remove(0);
        let port = container.ports.into_iter().next();
        let port = port.ok_or_else(|| anyhow!("container {} has no port to serve on", container.name))?;
        let replicas = file.spec.replicas.unwrap_or(1);
        if replicas > REPLICAS_MAX {
            bail!("{replicas} replicas are more than the demo's limit of {REPLICAS_MAX}");
        }
        Ok(Self {
            name: file.metadata.name,
            replicas,
            labels: file.spec.template.metadata.labels,
            args: container.args,
            container: container.name,
            port_name: port.name,
            readiness_probe: container.readiness_probe,
        })
    }

    /// The Pod manifest of one pod of this Deployment.
    ///
    /// `deleted_at`, an RFC 3339 time, marks it as terminating: it gets no new request.
    pub(super) fn pod(&self, identity: &Identity, deleted_at: Option<&str>) -> String {
        let mut container = json!({
            "name": self.container,
            "ports": [{"name": self.port_name, "containerPort": identity.addr.port()}],
        });
        if let Some(probe) = &self.readiness_probe {
            container["readinessProbe"] = probe.clone();
        }
        let mut metadata = json!({"name": identity.name, "uid": identity.uid, "labels": self.labels});
        if let Some(time) = deleted_at {
            metadata["deletionTimestamp"] = json!(time);
        }
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": [container]},
            "status": {"podIP": identity.addr.ip().to_string()},
        });
        serde_yaml::to_string(&pod).expect("a tree of strings and numbers is always YAML")
    }
}

/// Whether a Pod file says that the pod is to go, as `kubectl delete pod` would make it say.
pub(super) fn is_terminating(pod: &str) -> bool {
    let value: Result<Value, _> = serde_yaml::from_str(pod);
    value.is_ok_and(|pod| pod["metadata"]["deletionTimestamp"].is_string())
}

#[cfg(test)]
mod tests {
    use super::super::manifests::{self, VERSIONS};
    use super::*;

    fn identity() -> Identity {
        Identity {
            name: "hello-v2-abcde".into(),
            uid: "uid-1".into(),
            addr: "127.0.0.1:40001".parse().unwrap(),
        }
    }

    #[test]
    fn the_demo_runs_its_own_deployments() {
        let failing = manifests::Workload { args: &["--fail-chance=0.03"], ..manifests::Workload::of(2) };
        assert_eq!(Deployment::parse(&failing.text()).unwrap().args, ["--fail-chance=0.03"]);
        for version in VERSIONS {
            let deployment = Deployment::parse(&manifests::deployment(&version)).unwrap();
            assert!(deployment.args.is_empty(), "edited weights are shown with pods that answer at once");
            assert_eq!(deployment.name, version.service);
            assert_eq!(deployment.replicas, version.replicas);
            assert_eq!(deployment.labels["version"], version.label);
        }
    }

    #[test]
    fn a_pod_has_its_own_number_under_the_templates_port_name() {
        let deployment = Deployment::parse(&manifests::deployment(&VERSIONS[1])).unwrap();
        let pod: Value = serde_yaml::from_str(&deployment.pod(&identity(), None)).unwrap();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["ports"][0], json!({"name": "http", "containerPort": 40001}));
        assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/healthz", "port": "http"}));
        assert_eq!(pod["metadata"]["labels"], json!({"app": "hello", "version": "2.0.0"}));
        assert_eq!(pod["status"]["podIP"], "127.0.0.1");
    }

    #[test]
    fn a_pod_is_terminating_only_once_it_says_so() {
        let deployment = Deployment::parse(&manifests::deployment(&VERSIONS[0])).unwrap();
        assert!(!is_terminating(&deployment.pod(&identity(), None)));
        assert!(is_terminating(&deployment.pod(&identity(), Some("2026-01-01T00:00:00Z"))));
        assert!(!is_terminating("half a fi: [le"));
    }

    #[test]
    fn what_the_demo_cannot_run_is_said_and_never_guessed() {
        let good = manifests::deployment(&VERSIONS[0]);
        for (from, to, said) in [
            ("kind: Deployment", "kind: DaemonSet", "DaemonSet"),
            ("replicas: 2", "replicas: 2000", "limit of 20"),
            ("replicas: 2", "replicas: many", "not a Deployment"),
            ("containers:", "initContainers:", "not a Deployment"),
        ] {
            let error = Deployment::parse(&good.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
