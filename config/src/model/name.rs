//! Names, labels, and where an object came from.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::labels::Labels;
use crate::problem::Spot;

/// The kinds of object that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `v1` Service.
    Service,
    /// `v1` Pod.
    Pod,
    /// `discovery.k8s.io/v1` `EndpointSlice`.
    EndpointSlice,
    /// `gateway.networking.k8s.io` `GatewayClass`.
    GatewayClass,
    /// `gateway.networking.k8s.io` Gateway.
    Gateway,
    /// `gateway.networking.k8s.io` `HTTPRoute`.
    HttpRoute,
    /// `watershed.dev` Rollout.
    Rollout,
    /// `watershed.dev` `AnalysisTemplate`.
    AnalysisTemplate,
    /// `apps/v1` Deployment, for facts about revisions.
    Deployment,
    /// `apps/v1` `ReplicaSet`, for facts about revisions.
    ReplicaSet,
}

impl Kind {
    /// The kind as a manifest writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::Pod => "Pod",
            Self::EndpointSlice => "EndpointSlice",
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::HttpRoute => "HTTPRoute",
            Self::Rollout => "Rollout",
            Self::AnalysisTemplate => "AnalysisTemplate",
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
        }
    }

    /// Whether objects of this kind live outside namespaces.
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Self::Namespace | Self::GatewayClass)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Namespace and name. The namespace is empty for cluster-scoped kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// A name in a namespace.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The identity under which an object is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: ObjectName,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Seconds since the Unix epoch, as `metadata.creationTimestamp` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// Where an object was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    /// The file; `None` for an object that came from an API server.
    pub file: Option<Arc<Path>>,
    /// The place of its document in the file.
    pub spot: Spot,
}

/// What every object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Kind, namespace and name.
    pub id: ObjectId,
    /// `metadata.uid`, else `namespace/name` (design: a missing UID is namespace/name).
    pub uid: Arc<str>,
    /// `metadata.creationTimestamp`; decides between routes that match equally well.
    pub created: Option<Timestamp>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Where it was written.
    pub origin: Origin,
}

impl Meta {
    /// Namespace and name.
    pub fn name(&self) -> &ObjectName {
        &self.id.name
    }
}

/// One requirement of a label selector (`matchLabels` become [`Self::In`] with one value).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelRequirement {
    /// The label has one of these values; never empty.
    In(Arc<str>, Vec<Arc<str>>),
    /// The label is absent or has none of these values; never empty.
    NotIn(Arc<str>, Vec<Arc<str>>),
    /// The label is there.
    Exists(Arc<str>),
    /// The label is not there.
    DoesNotExist(Arc<str>),
}

/// A label selector: all requirements must hold; none matches everything (as in `metav1.LabelSelector`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector(pub Vec<LabelRequirement>);

impl LabelSelector {
    /// Whether all requirements hold for these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| match requirement {
            LabelRequirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            LabelRequirement::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
            LabelRequirement::Exists(key) => labels.contains_key(key),
            LabelRequirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}
