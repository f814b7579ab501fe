//! Services: who answers, and on which ports.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::labels::Labels;
use super::name::Meta;
use crate::problem::Spot;

/// A `v1` Service as far as traffic is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name, labels and origin.
    pub meta: Meta,
    /// Equality selector over pod labels. `None` means that its endpoints are written by hand in `EndpointSlice`s; an empty
    /// selector is `None` too, as in Kubernetes (it never means "every pod").
    pub selector: Option<Labels>,
    /// Where the selector is written, else the Service itself.
    pub selector_spot: Spot,
    /// `ClusterIP` (the default), `NodePort` or `LoadBalancer`; decides about ways in.
    pub service_type: ServiceType,
    /// `spec.clusterIP: None`. Changes nothing for an L7 proxy, which always balances over the endpoints; kept for `explain`.
    pub headless: bool,
    /// At least one, except for headless Services.
    pub ports: Vec<ServicePort>,
}

/// How a Service may be reached besides Gateways and `--service-listener`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceType {
    /// Only through `--service-listener` (and Gateways).
    ClusterIp,
    /// Listened for on each port's `nodePort`, on all addresses.
    NodePort,
    /// Listened for on each port's `port`, on all addresses.
    LoadBalancer,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The port's name; empty when it has none (allowed for a single port only).
    pub name: Arc<str>,
    /// The Service's own port, to which `backendRef.port` refers.
    pub port: NonZeroU16,
    /// Where pods listen; by default the same number as `port`.
    pub target: TargetPort,
    /// Given or not: without it a `NodePort` Service has no way in (nobody allocates one in a directory).
    pub node_port: Option<NonZeroU16>,
    /// What the pods speak on it.
    pub app_protocol: AppProtocol,
    /// Where its number is written.
    pub spot: Spot,
}

/// Where pods listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// The same number on every pod.
    Number(NonZeroU16),
    /// The pod's container port of this name.
    Name(Arc<str>),
}

/// `appProtocol` as far as it changes what we do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AppProtocol {
    /// HTTP/1.1 in clear text: nothing said, `http` or `kubernetes.io/ws`.
    Http1,
    /// HTTP/2 in clear text with prior knowledge: `kubernetes.io/h2c`.
    H2c,
}
