//! Pods: an address, labels, and whether they are ready.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::name::Meta;

/// A `v1` Pod as far as traffic is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Name, labels, UID and origin.
    pub meta: Meta,
    /// `status.podIP`; without one there would be no endpoint, so it is never missing.
    pub ip: IpAddr,
    /// False only if the Ready condition says so: absent counts as ready.
    pub ready_condition: bool,
    /// `metadata.deletionTimestamp` is set: no new request goes to it.
    pub terminating: bool,
    /// The node, for "all pods of a node may vanish at once"; empty when not said.
    pub node: Arc<str>,
    /// Container ports, by which a Service's `targetPort` may be named.
    pub ports: Vec<ContainerPort>,
    /// The readiness probes of its containers that we run; a pod is ready when all pass.
    pub probes: Vec<Probe>,
}

/// A named or numbered port of one of the pod's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPort {
    /// Its name; empty when it has none.
    pub name: Arc<str>,
    /// Its number.
    pub port: NonZeroU16,
}

/// A readiness probe with Kubernetes' defaults applied (period 10 s, timeout 1 s, 1 success, 3 failures).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Probe {
    /// What is asked.
    pub action: ProbeAction,
    /// Wait before the first regular probe; the very first result at our own start does not wait.
    pub initial_delay: Duration,
    /// Time between two probes.
    pub period: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Successes in a row that make an unready pod ready.
    pub success_threshold: u32,
    /// Failures in a row that make a ready pod unready.
    pub failure_threshold: u32,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProbeAction {
    /// `httpGet` in clear text: 200 to 399 is a success.
    Http {
        /// Where; the pod's own address unless `host` is given.
        host: Option<Arc<str>>,
        /// The port.
        port: NonZeroU16,
        /// Path and query; begins with `/`.
        path: Arc<str>,
        /// `httpHeaders`, already checked to be valid.
        headers: Vec<(http::HeaderName, http::HeaderValue)>,
    },
    /// `tcpSocket`: a connection that is accepted is a success.
    Tcp {
        /// Where; the pod's own address unless `host` is given.
        host: Option<Arc<str>>,
        /// The port.
        port: NonZeroU16,
    },
    /// `grpc.health.v1.Health/Check` for this service name.
    Grpc {
        /// The port.
        port: NonZeroU16,
        /// The service asked for; empty asks for the server as a whole.
        service: Arc<str>,
    },
}
