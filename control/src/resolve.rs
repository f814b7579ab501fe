//! Services to endpoints. Pure.
//!
//! The story: a [`Resolver`] is made for one catalog and asked for each Service port that something refers to. It answers with a
//! [`Resolution`]: the [`Backend`] with every endpoint, ready or not, and what stood in the way of more. Asking twice gives the
//! very same `Arc`, so that all rules that name a Service port share one backend.
//!
//! Where endpoints come from:
//! - The pods of the Service's namespace that carry all labels of its selector, each on the port's `targetPort` (its number, or
//!   the pod's container port of that name; a pod without such a port is no endpoint).
//! - The `EndpointSlice`s that name the Service, on the slice's port of the same name. For a Service without a selector they are
//!   all there is. For a Service with one they are *added* to its pods (this is how an address outside of the directory joins
//!   a Service); where both name one address and port, the pod is taken, because it knows its labels and its readiness.
//!
//! A slice's endpoint that refers to a pod which is known takes UID and labels from it, and is ready only if both say so: the
//! slice may be older than the pod's last word.
//!
//! Deliberately absent: `publishNotReadyAddresses` and kube-proxy's fallback to endpoints that terminate but still serve. Here a
//! terminating or unready endpoint gets no new request.

mod pods;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use watershed_config::model::{
    AppProtocol, EndpointSlice, Kind, Labels, Object, ObjectId, ObjectName, Pod, Service, ServicePort,
    SliceEndpoint, TargetPort,
};
use watershed_config::snapshot::{Backend, Endpoint, EndpointId, EndpointState};

use crate::catalog::Catalog;
use crate::readiness::Readiness;
use crate::rollout::plan::Plans;
pub(crate) use pods::PodIndex;

/// The labels that name a pod's revision, the first that is there counts (see [`Endpoint::revision`]).
const REVISION_LABELS: [&str; 3] = ["pod-template-hash", "version", "app.kubernetes.io/version"];

/// Resolves the Services of one catalog, each port once.
#[derive(Debug)]
pub struct Resolver<'a> {
    catalog: &'a Catalog,
    readiness: &'a Readiness,
    plans: &'a Plans,
    pods: PodIndex<'a>,
    slices: HashMap<&'a ObjectName, Vec<&'a EndpointSlice>>,
    resolved: HashMap<(&'a ObjectName, NonZeroU16), Resolution<'a>>,
    /// The revision of pods that have none of the labels: one allocation for all.
    no_revision: Arc<str>,
}

/// What was found for one port of a Service.
#[derive(Debug, Clone)]
pub struct Resolution<'a> {
    /// The endpoints, in order of address and UID; their identities are distinct.
    pub backend: Arc<Backend>,
    /// How many pods the Service's selector matches.
    pub selected: usize,
    /// Those of them that have no container port of the name that `targetPort` asks for: they are no endpoints.
    pub without_port: Vec<&'a Pod>,
    /// The slices that name the Service, whether or not they have this port.
    pub slices: Vec<&'a EndpointSlice>,
}

impl<'a> Resolver<'a> {
    /// Prepares to resolve the Services of a catalog: one pass over its pods and slices.
    pub fn new(catalog: &'a Catalog, readiness: &'a Readiness, plans: &'a Plans) -> Self {
        let mut slices: HashMap<&ObjectName, Vec<&EndpointSlice>> = HashMap::new();
        for slice in catalog.endpoint_slices() {
            if let Some(service) = &slice.service {
                slices.entry(service).or_default().push(slice);
            }
        }
        let pods = PodIndex::new(catalog);
        Self { catalog, readiness, plans, pods, slices, resolved: HashMap::new(), no_revision: Arc::from("") }
    }

    /// The endpoints of one of a Service's ports.
    pub fn resolve(&mut self, service: &'a Service, port: &'a ServicePort) -> &Resolution<'a> {
        let key = (service.meta.name(), port.port);
        if !self.resolved.contains_key(&key) {
            let resolution = self.find(service, port);
            self.resolved.insert(key, resolution);
        }
        &self.resolved[&key]
    }

    /// The pods that a Service's selector matches, in order of name; none without a selector.
    pub(crate) fn pods_of(&self, service: &Service) -> Vec<&'a Pod> {
        let namespace = &service.meta.name().namespace;
        service.selector.as_ref().map(|selector| self.pods.select(namespace, selector)).unwrap_or_default()
    }

    /// What was found for a port that has been resolved.
    pub fn resolved(&self, service: &'a ObjectName, port: NonZeroU16) -> Option<&Resolution<'a>> {
        self.resolved.get(&(service, port))
    }

    fn find(&self, service: &'a Service, port: &'a ServicePort) -> Resolution<'a> {
        let name = service.meta.name();
        let pods = match &service.selector {
            Some(selector) => self.pods.select(&name.namespace, selector),
            None => Vec::new(),
        };
        let selected = pods.len();
        let mut without_port = Vec::new();
        let mut endpoints = Vec::with_capacity(selected);
        for pod in pods {
            match pod_port(pod, &port.target) {
                Some(number) => endpoints.push(self.pod_endpoint(name, pod, number, port)),
                None => without_port.push(pod),
            }
        }
        let slices = self.slices.get(name).cloned().unwrap_or_default();
        self.add_slices(name, &slices, port, &mut endpoints);
        endpoints.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        endpoints.dedup_by(|a, b| a.id == b.id);
        let rollout = self.plans.get(name).map(|plan| {
            plan.withdraw(&mut endpoints);
            Arc::new(plan.split(&endpoints))
        });
        let backend = Arc::new(Backend { service: name.clone(), port: port.port.get(), endpoints, rollout });
        Resolution { backend, selected, without_port, slices }
    }

    fn pod_endpoint(
        &self,
        service: &ObjectName,
        pod: &Pod,
        number: NonZeroU16,
        port: &ServicePort,
    ) -> Endpoint {
        let address = SocketAddr::new(pod.ip, number.get());
        let uid = Arc::clone(&pod.meta.uid);
        Endpoint {
            id: EndpointId { uid, address, protocol: port.app_protocol },
            pod: pod.meta.name().clone(),
            revision: self.revision(service, &pod.meta.labels),
            state: self.pod_state(pod),
        }
    }

    /// Adds what slices say, except for addresses that a pod has already given. Of one address in several slices (which
    /// Kubernetes allows for a moment) the readiest is taken.
    fn add_slices(
        &self,
        service: &ObjectName,
        slices: &[&EndpointSlice],
        port: &ServicePort,
        endpoints: &mut Vec<Endpoint>,
    ) {
        let mut found = Vec::new();
        for slice in slices {
            for slice_port in slice.ports.iter().filter(|candidate| candidate.name == port.name) {
                let protocol = slice_port.app_protocol.unwrap_or(port.app_protocol);
                found.extend(slice.endpoints.iter().map(|endpoint| {
                    let address = SocketAddr::new(endpoint.address, slice_port.port.get());
                    self.slice_endpoint(service, slice, endpoint, address, protocol)
                }));
            }
        }
        if found.is_empty() {
            return;
        }
        found.sort_by(|a, b| (a.id.address, a.state, &a.id.uid).cmp(&(b.id.address, b.state, &b.id.uid)));
        found.dedup_by(|a, b| a.id.address == b.id.address);
        // Kept as long as the snapshot is: no more places than that.
        endpoints.reserve_exact(found.len());
        let taken: HashSet<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.id.address).collect();
        endpoints.extend(found.into_iter().filter(|endpoint| !taken.contains(&endpoint.id.address)));
    }

    fn slice_endpoint(
        &self,
        service: &ObjectName,
        slice: &EndpointSlice,
        endpoint: &SliceEndpoint,
        address: SocketAddr,
        protocol: AppProtocol,
    ) -> Endpoint {
        let said = match (endpoint.terminating, endpoint.ready) {
            (true, _) => EndpointState::Terminating,
            (false, true) => EndpointState::Ready,
            (false, false) => EndpointState::Unready,
        };
        if let Some(pod) = endpoint.pod.as_ref().and_then(|name| self.pod(name)) {
            return Endpoint {
                id: EndpointId { uid: Arc::clone(&pod.meta.uid), address, protocol },
                pod: pod.meta.name().clone(),
                revision: self.revision(service, &pod.meta.labels),
                state: said.max(self.pod_state(pod)),
            };
        }
        let name = slice.meta.name();
        Endpoint {
            id: EndpointId { uid: format!("{name}/{}", endpoint.address).into(), address, protocol },
            pod: endpoint.pod.as_ref().unwrap_or(name).clone(),
            revision: Arc::clone(&self.no_revision),
            state: said,
        }
    }

    fn pod(&self, name: &ObjectName) -> Option<&'a Pod> {
        match &**self.catalog.get(&ObjectId { kind: Kind::Pod, name: name.clone() })? {
            Object::Pod(pod) => Some(pod),
            _ => None,
        }
    }

    fn pod_state(&self, pod: &Pod) -> EndpointState {
        if pod.terminating {
            EndpointState::Terminating
        } else if self.readiness.is_ready(pod) {
            EndpointState::Ready
        } else {
            EndpointState::Unready
        }
    }

    fn revision(&self, service: &ObjectName, labels: &Labels) -> Arc<str> {
        let revision = match self.plans.get(service) {
            Some(plan) => labels.get(&plan.revision_label),
            None => REVISION_LABELS.iter().find_map(|label| labels.get(label)),
        };
        Arc::clone(revision.unwrap_or(&self.no_revision))
    }
}

/// Where a pod listens for a `targetPort`.
fn pod_port(pod: &Pod, target: &TargetPort) -> Option<NonZeroU16> {
    match target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => {
            pod.ports.iter().find(|candidate| candidate.name == *name).map(|found| found.port)
        }
    }
}

/// The stable order of a backend's endpoints.
fn order(endpoint: &Endpoint) -> (SocketAddr, &str, AppProtocol, EndpointState) {
    (endpoint.id.address, &endpoint.id.uid, endpoint.id.protocol, endpoint.state)
}
