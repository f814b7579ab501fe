//! `parentRefs`: what the route attaches to.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::fields::{At, Fields};
use crate::lower::kinds::GATEWAY_GROUP;
use crate::lower::names;
use crate::model::{ObjectName, ParentKind, ParentRef};
use crate::yaml::Value;

const PARENTS_MAX: usize = 32;

pub(super) fn lower(spec: &Fields<'_>, namespace: &Arc<str>) -> Vec<ParentRef> {
    let items = spec.items_up_to("parentRefs", PARENTS_MAX);
    // A value that is no list was reported as such.
    let list = spec.get("parentRefs");
    if items.is_empty() && list.is_none_or(|list| matches!(list.node.value, Value::Sequence(_))) {
        spec.at.warning(
            "the route attaches to nothing: it has no parentRefs",
            "name a Gateway: `parentRefs: [{name: my-gateway}]`",
        );
    }
    let mut parents: Vec<ParentRef> = Vec::with_capacity(items.len());
    for item in &items {
        let Some(parent) = parent(item, namespace) else { continue };
        let at = At { spot: parent.spot, ..item.clone() };
        check_distinct(&at, &parent, &parents);
        parents.push(parent);
    }
    parents
}

fn parent(item: &At<'_>, namespace: &Arc<str>) -> Option<ParentRef> {
    let fields = item.fields()?;
    let group = fields.string("group").unwrap_or(GATEWAY_GROUP);
    let kind_at = fields.get("kind");
    let kind = kind_at.as_ref().map_or(Some("Gateway"), At::string);
    let namespace = match fields.get("namespace") {
        Some(at) => names::label(&at).map(Into::into),
        None => Some(Arc::clone(namespace)),
    };
    let name_at = fields.require("name", "write the name of the Gateway");
    let name = name_at.as_ref().and_then(|at| at.text(253));
    let section_at = fields.get("sectionName").filter(|at| at.node.as_str() != Some(""));
    let section = section_at.as_ref().and_then(|at| at.text(253));
    let port_at = fields.get("port");
    let port = port_at.as_ref().and_then(At::port);
    fields.finish();
    let kind = match (group, kind?) {
        (GATEWAY_GROUP, "Gateway") => ParentKind::Gateway,
        ("", "Service") => ParentKind::Service,
        (GATEWAY_GROUP, "Service") => {
            let at = kind_at.as_ref().unwrap_or(item);
            at.error("a Service belongs to the core group", "write `group: \"\"` beside `kind: Service`");
            return None;
        }
        (_, other) => {
            let at = kind_at.as_ref().unwrap_or(item);
            at.warning(
                format!(
                    "the route cannot attach to a {other} of the group {group:?}; this parent is left out"
                ),
                "attach to a Gateway, or to a Service with `group: \"\"`",
            );
            return None;
        }
    };
    let name = ObjectName::new(namespace?, name?);
    let spot = name_at?.spot;
    let section_spot = section_at.or(port_at).map_or(spot, |at| at.spot);
    Some(ParentRef { kind, name, section: section.map(Into::into), port, section_spot, spot })
}

/// Several references to one parent must each name a different `sectionName` or `port`, and either all of them or none.
fn check_distinct(at: &At<'_>, parent: &ParentRef, others: &[ParentRef]) {
    let place = |parent: &ParentRef| -> (Option<String>, Option<NonZeroU16>) {
        (parent.section.as_deref().map(str::to_owned), parent.port)
    };
    for other in others.iter().filter(|other| other.kind == parent.kind && other.name == parent.name) {
        let line = other.spot.line;
        if place(other) == place(parent) {
            at.error(
                format!("this parent is named twice; first in line {line}"),
                "remove one of the two, or tell them apart by sectionName or port",
            );
            return;
        }
        let (mine, theirs) = (place(parent), place(other));
        if mine.0.is_some() != theirs.0.is_some() || mine.1.is_some() != theirs.1.is_some() {
            at.error(
                format!("this parent overlaps with that in line {line}"),
                "give both a sectionName (or both a port), or remove the narrower one",
            );
            return;
        }
    }
}
