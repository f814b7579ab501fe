//! One positioned document to one model object: defaults, limits and cross-field rules as an API server applies them.
//!
//! Each kind has its file. What they share: every problem is reported, an error anywhere refuses the whole object, a warning
//! leaves it served as the Gateway API says. The rules are those of the Gateway API v1.6 resource definitions (patterns,
//! maxima and validation expressions), of the Kubernetes 1.36 API validation, and of Argo Rollouts where a Rollout has its fields.
//!
//! Deliberately absent: anything that needs a second object. Whether a Service exists is for the control component.

mod analysis_template;
mod conditions;
mod durations;
mod endpoint_slice;
mod gateway;
mod gateway_class;
mod http_route;
mod kinds;
mod labels;
mod meta;
mod names;
mod patterns;
mod placeholders;
mod pod;
mod probe;
mod rollout;
mod service;
mod shares;
mod time;
mod workload;

use crate::fields::{At, Sink, Source};
use crate::model::{Kind, Object, ObjectId, ObjectName};
use crate::problem::{Problem, Severity};
use crate::yaml::{Node, Value};

/// What became of a document.
pub(crate) struct Lowered {
    pub(crate) id: Option<ObjectId>,
    pub(crate) object: Option<Object>,
    pub(crate) problems: Vec<Problem>,
}

/// Lowers one document, whatever it is.
pub(crate) fn lower(node: &Node, source: &Source<'_>) -> Lowered {
    let id = identify(node);
    let sink = Sink::new(source, id.clone());
    let root = At::root(node, &sink);
    let object = match kinds::classify(&root) {
        Some(kind) => {
            root.report_flaws();
            lower_kind(&root, kind)
        }
        None => None,
    };
    if id.is_some() && object.is_none() && !sink.failed() {
        sink.report(Severity::Error, node.spot, "", "the object cannot be read", "please report this");
    }
    let object = object.filter(|_| !sink.failed());
    // The same, but its strings are the object's.
    let id = object.as_ref().map(|object| object.id().clone()).or(id);
    Lowered { id, object, problems: sink.into_problems() }
}

fn lower_kind(root: &At<'_>, kind: Kind) -> Option<Object> {
    let fields = root.fields()?;
    fields.ignore(&["apiVersion", "kind", "status"]);
    let metadata = meta::lower(&fields, kind);
    match kind {
        Kind::Namespace => {
            fields.ignore(&["spec"]);
            fields.finish();
            Some(Object::Namespace(metadata?.meta))
        }
        Kind::Service => service::lower(&fields, metadata).map(Object::Service),
        Kind::Pod => pod::lower(&fields, metadata).map(Object::Pod),
        Kind::EndpointSlice => endpoint_slice::lower(&fields, metadata).map(Object::EndpointSlice),
        Kind::GatewayClass => gateway_class::lower(&fields, metadata).map(Object::GatewayClass),
        Kind::Gateway => gateway::lower(&fields, metadata).map(Object::Gateway),
        Kind::HttpRoute => http_route::lower(&fields, metadata).map(Object::HttpRoute),
        Kind::Rollout => rollout::lower(&fields, metadata).map(|rollout| Object::Rollout(Box::new(rollout))),
        Kind::AnalysisTemplate => analysis_template::lower(&fields, metadata).map(Object::AnalysisTemplate),
        Kind::Deployment | Kind::ReplicaSet => workload::lower(&fields, metadata).map(Object::Workload),
    }
}

/// The identity as far as it can be made out, also of an object in error.
fn identify(node: &Node) -> Option<ObjectId> {
    let text = |node: &Node, key| node.get(key).and_then(Node::as_str).map(str::to_owned);
    let kind = kinds::recognise(&text(node, "apiVersion").unwrap_or_default(), &text(node, "kind")?)?;
    let metadata = node.get("metadata")?;
    // A name that was written without quotes (`name: 1`) still says whose last good version is meant.
    let name = metadata.get("name").and_then(|name| match &name.value {
        Value::String(text) | Value::Integer(_, text) => Some(text.as_str()),
        _ => None,
    })?;
    let namespace = if kind.is_cluster_scoped() {
        String::new()
    } else {
        text(metadata, "namespace").unwrap_or_else(|| meta::NAMESPACE_DEFAULT.to_owned())
    };
    Some(ObjectId { kind, name: ObjectName::new(namespace, name) })
}
