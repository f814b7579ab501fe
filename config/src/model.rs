//! The wanted state: Kubernetes objects as far as they concern traffic, checked once and for all.
//!
//! Types here cannot hold what could not be served: a regular expression is compiled, a port is not zero, a weight is within
//! its limit. References to other objects are kept as written, with their place, because what they name may come and go;
//! resolving them is the control component's work.
//!
//! Deliberately absent: serde (wire shapes live in `lower`), defaults (already applied), and anything that changes over time.

mod endpoint_slice;
mod gateway;
mod host;
mod labels;
mod name;
mod pod;
mod rollout;
mod route;
mod service;

pub use endpoint_slice::{EndpointSlice, SliceEndpoint, SlicePort};
pub use gateway::{
    AllowedNamespaces, Gateway, GatewayAddress, GatewayClass, GatewayListener, ListenerProtocol, RouteKind,
};
pub use host::Hostname;
pub use labels::Labels;
pub use name::{Kind, LabelRequirement, LabelSelector, Meta, ObjectId, ObjectName, Origin, Timestamp};
pub use pod::{ContainerPort, Pod, Probe, ProbeAction};
pub use rollout::{
    Amount, Analyses, AnalysisMetric, AnalysisTemplate, BackgroundAnalysis, BlueGreen, Canary, CanaryScale,
    HeaderRoute, JudgeSpec, Preview, Provider, Reaction, RollingUpdate, Rollout, Share, Step, StepAction,
    Sticky, Strategy, TemplateRef, Workload,
};
pub use route::{
    BackendRef, Filter, HeaderEdits, HeaderMatch, HttpMatch, HttpRoute, HttpRouteRule, ParentKind, ParentRef,
    PathMatch, PathRewrite, Pattern, QueryMatch, Rank, Redirect, RedirectScheme, Rewrite, Timeouts,
    ValueMatch,
};
pub use service::{AppProtocol, Service, ServicePort, ServiceType, TargetPort};

/// An object that can be served. `Namespace` is only its [`Meta`]: labels are all that matters of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A namespace, for the labels that `allowedRoutes` selects by.
    Namespace(Meta),
    /// A Service: a selector or hand-written endpoints, and ports.
    Service(Service),
    /// A Pod: an address, labels and readiness.
    Pod(Pod),
    /// Endpoints written by hand or by another controller.
    EndpointSlice(EndpointSlice),
    /// Says which Gateways are ours.
    GatewayClass(GatewayClass),
    /// Listeners.
    Gateway(Gateway),
    /// Rules that match requests and say where they go.
    HttpRoute(HttpRoute),
    /// Moves a Service's traffic from one revision to another. Boxed: there are many pods, and none should be as big as it.
    Rollout(Box<Rollout>),
    /// Metrics from outside that a rollout waits for.
    AnalysisTemplate(AnalysisTemplate),
    /// Facts about revisions.
    Workload(Workload),
}

impl Object {
    /// Name, labels and origin.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Namespace(meta) => meta,
            Self::Service(service) => &service.meta,
            Self::Pod(pod) => &pod.meta,
            Self::EndpointSlice(slice) => &slice.meta,
            Self::GatewayClass(class) => &class.meta,
            Self::Gateway(gateway) => &gateway.meta,
            Self::HttpRoute(route) => &route.meta,
            Self::Rollout(rollout) => &rollout.meta,
            Self::AnalysisTemplate(template) => &template.meta,
            Self::Workload(workload) => &workload.meta,
        }
    }

    /// Kind, namespace and name: the identity under which the object is stored.
    pub fn id(&self) -> &ObjectId {
        &self.meta().id
    }
}
