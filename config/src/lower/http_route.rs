//! `HTTPRoute`: parents, hostnames and rules.

mod backends;
mod filters;
pub(super) mod headers;
mod matches;
mod parents;
mod redirect;
mod rules;

use super::meta::Metadata;
use super::names::{self, Wildcard};
use crate::fields::{Fields, lower_each};
use crate::model::{Hostname, HttpRoute};

const HOSTNAMES_MAX: usize = 16;

pub(super) fn lower(root: &Fields<'_>, metadata: Option<Metadata>) -> Option<HttpRoute> {
    let spec = root.require("spec", "write `spec:` with `parentRefs` and `rules`").and_then(|at| at.fields());
    root.finish();
    let spec = spec?;
    let namespace = metadata.as_ref().map(|metadata| metadata.meta.name().namespace.clone());
    let namespace = namespace.unwrap_or_default();
    let parents = parents::lower(&spec, &namespace);
    let hostnames = hostnames(&spec);
    let hostnames_spot = spec.get("hostnames").map_or(root.at.node.spot, |at| at.spot);
    let rules = rules::lower(&spec, &namespace);
    if let Some(at) = spec.get("useDefaultGateways") {
        at.not_supported("useDefaultGateways");
    }
    spec.finish();
    Some(HttpRoute { meta: metadata?.meta, parents, hostnames, hostnames_spot, rules })
}

fn hostnames(spec: &Fields<'_>) -> Vec<Hostname> {
    let items = spec.items_up_to("hostnames", HOSTNAMES_MAX);
    lower_each(&items, |item| names::hostname(item, Wildcard::Allowed).map(Hostname::parse))
}
