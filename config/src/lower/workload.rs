//! `apps/v1` Deployment and `ReplicaSet`: facts about revisions, and nothing else of them.

use std::sync::Arc;

use super::labels;
use super::meta::Metadata;
use crate::fields::{At, Fields, quoted};
use crate::model::Workload;

pub(super) fn lower(root: &Fields<'_>, metadata: Option<Metadata>) -> Option<Workload> {
    let spec = root.get("spec").and_then(|at| at.fields());
    let annotations = root.get("metadata").and_then(|at| at.fields()?.get("annotations")?.fields());
    root.finish();
    let replicas = spec.as_ref().and_then(|spec| spec.get("replicas")).map(|at| replicas(&at));
    let template = spec.as_ref().and_then(|spec| spec.get("template")?.fields()?.get("metadata")?.fields());
    let pod_labels =
        template.as_ref().map(|template| labels::optional_labels(template, "labels")).unwrap_or_default();
    let annotation = |name| annotations.as_ref().and_then(|annotations| annotations.get(name));
    let revision_number = annotation("deployment.kubernetes.io/revision").and_then(|at| revision(&at));
    let change_cause = annotation("kubernetes.io/change-cause").and_then(|at| change_cause(&at));
    let Metadata { meta, .. } = metadata?;
    Some(Workload { meta, replicas: replicas.unwrap_or(Some(1))?, pod_labels, revision_number, change_cause })
}

fn replicas(at: &At<'_>) -> Option<u32> {
    at.integer(0, i64::from(i32::MAX)).map(|count| count as u32)
}

/// The Deployment controller's count. That an annotation is no string was reported with the rest of the metadata.
fn revision(at: &At<'_>) -> Option<u64> {
    let text = at.node.as_str()?;
    let number = text.parse().ok();
    if number.is_none() {
        at.warning(
            format!("{} is not the number of a revision; it is left out", quoted(text)),
            "remove the annotation: the Deployment controller writes it",
        );
    }
    number
}

fn change_cause(at: &At<'_>) -> Option<Arc<str>> {
    at.node.as_str().filter(|text| !text.is_empty()).map(Into::into)
}
