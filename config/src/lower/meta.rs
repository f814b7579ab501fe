//! `metadata`.

use super::{labels, names, time};
use crate::fields::Fields;
use crate::model::{Kind, Labels, Meta, ObjectId, ObjectName};

/// The namespace of an object that names none.
pub(super) const NAMESPACE_DEFAULT: &str = "default";

/// `metadata`, with what only some kinds need.
pub(super) struct Metadata {
    pub(super) meta: Meta,
    /// `deletionTimestamp` is set.
    pub(super) terminating: bool,
}

/// Fields of `ObjectMeta` that do not concern traffic.
const IRRELEVANT: [&str; 9] = [
    "deletionGracePeriodSeconds",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "clusterName",
];

pub(super) fn lower(root: &Fields<'_>, kind: Kind) -> Option<Metadata> {
    let fields = root.require("metadata", "write `metadata:` with at least a `name`")?.fields()?;
    let name = fields.require("name", "give the object a name").and_then(|at| names::object_name(&at));
    let namespace_at = fields.get("namespace");
    let namespace = match (&namespace_at, kind.is_cluster_scoped()) {
        (Some(at), true) => {
            at.error(format!("a {kind} belongs to no namespace"), "remove the field");
            None
        }
        (None, true) => Some(""),
        (Some(at), false) => names::label(at),
        (None, false) => Some(NAMESPACE_DEFAULT),
    };
    let uid = fields.get("uid").and_then(|at| at.text(128));
    let created = fields.get("creationTimestamp").and_then(|at| time::timestamp(&at));
    let terminating = fields.get("deletionTimestamp").and_then(|at| time::timestamp(&at)).is_some();
    let labels: Labels = labels::optional_labels(&fields, "labels");
    if let Some(annotations) = fields.get("annotations") {
        labels::check_annotations(&annotations);
    }
    fields.ignore(&IRRELEVANT);
    fields.finish();
    let name = ObjectName::new(namespace?, name?);
    let uid = uid.map_or_else(|| name.to_string().into(), Into::into);
    let origin = root.at.sink.origin(root.at.node.spot);
    let meta = Meta { id: ObjectId { kind, name }, uid, created, labels, origin };
    Some(Metadata { meta, terminating })
}
