//! `backendRefs`: the shares.

use std::sync::Arc;

use super::{filters, rules};
use crate::fields::{At, Fields, lower_each};
use crate::lower::names;
use crate::model::{BackendRef, HttpMatch, ObjectName};

const BACKENDS_MAX: usize = 16;
/// Gateway API's limit for a weight.
const WEIGHT_MAX: i64 = 1_000_000;

/// The list's place and its entries.
pub(super) fn lower<'a>(
    rule: &Fields<'a>,
    namespace: &Arc<str>,
    matches: &[Arc<HttpMatch>],
) -> (Option<At<'a>>, Vec<BackendRef>) {
    let list = rule.get("backendRefs");
    let items = list.as_ref().map(|list| list.items_up_to(BACKENDS_MAX)).unwrap_or_default();
    let backends = lower_each(&items, |item| backend(item, namespace, matches));
    (list, backends)
}

fn backend(item: &At<'_>, namespace: &Arc<str>, matches: &[Arc<HttpMatch>]) -> Option<BackendRef> {
    let fields = item.fields()?;
    let group = fields.string("group").unwrap_or_default();
    let kind = fields.get("kind").map_or(Some("Service"), |at| at.text(63));
    let name_at = fields.require("name", "write the name of the Service");
    let name = name_at.as_ref().and_then(|at| at.text(253));
    let namespace = match fields.get("namespace") {
        Some(at) => names::label(&at).map(Into::into),
        None => Some(Arc::clone(namespace)),
    };
    let is_service = group.is_empty() && kind == Some("Service");
    let port_at = if is_service {
        fields.require("port", "write the Service's port (not the pod's)")
    } else {
        fields.get("port")
    };
    let port = port_at.as_ref().and_then(At::port);
    let weight = fields.get("weight").map_or(Some(1), |at| at.integer(0, WEIGHT_MAX));
    let filters = fields.get("filters").map(|at| filters::lower(&at)).unwrap_or_default();
    fields.finish();
    rules::check_prefix_rewrites(&filters, matches);
    Some(BackendRef {
        group: group.into(),
        kind: kind?.into(),
        name: ObjectName::new(namespace?, name?),
        port,
        port_spot: port_at.as_ref().or(name_at.as_ref())?.spot,
        weight: weight? as u32,
        filters: filters.into_iter().map(|(_, filter)| filter).collect(),
        spot: name_at?.spot,
    })
}
