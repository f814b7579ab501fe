//! Rules: what is matched and what is done with it, and the conditions between the two.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::filters::{self, Filters};
use super::matches::MATCHES_MAX;
use super::{backends, matches};
use crate::fields::{At, Fields, lower_each, quoted};
use crate::lower::{durations, names};
use crate::model::{
    BackendRef, Filter, HttpMatch, HttpRouteRule, PathMatch, PathRewrite, Redirect, Rewrite, Timeouts,
};
use crate::yaml::Value;

const RULES_MAX: usize = 16;
/// Most matches of a whole route.
const ROUTE_MATCHES_MAX: usize = 128;

pub(super) fn lower(spec: &Fields<'_>, namespace: &Arc<str>) -> Vec<HttpRouteRule> {
    let Some(list) = spec.get("rules") else {
        spec.at.warning(
            "the route has no rules: every request that reaches it is answered with 500",
            "add a rule with backendRefs",
        );
        let matches = vec![Arc::new(matches::every_path())];
        let rule = HttpRouteRule {
            name: None,
            matches,
            filters: Vec::new(),
            backends: Vec::new(),
            timeouts: Timeouts::default(),
            spot: spec.at.spot,
        };
        return vec![rule];
    };
    let items = list.items_up_to(RULES_MAX);
    if items.is_empty() {
        list.error("the list of rules is empty", "add a rule with backendRefs, or remove the field");
    }
    let mut seen = HashMap::new();
    let rules = lower_each(&items, |item| rule(item, namespace, &mut seen));
    let total: usize = rules.iter().map(|rule| rule.matches.len()).sum();
    if total > ROUTE_MATCHES_MAX {
        list.error(
            format!("the route has {total} matches, at most {ROUTE_MATCHES_MAX} are allowed"),
            "spread the rules over several routes",
        );
    }
    rules
}

fn rule(item: &At<'_>, namespace: &Arc<str>, seen: &mut HashMap<String, u32>) -> Option<HttpRouteRule> {
    let fields = item.fields()?;
    let name = fields.get("name").and_then(|at| rule_name(&at, seen));
    let matches = match fields.items_up_to("matches", MATCHES_MAX) {
        items if items.is_empty() => vec![Arc::new(matches::every_path())],
        items => lower_each(&items, |item| matches::lower(item).map(Arc::new)),
    };
    let filters_at = fields.get("filters");
    let filters = filters_at.as_ref().map(filters::lower).unwrap_or_default();
    let (backends_at, backends) = backends::lower(&fields, namespace, &matches);
    let timeouts = fields.get("timeouts").and_then(|at| timeouts(&at)).unwrap_or_default();
    for name in ["retry", "sessionPersistence"] {
        if let Some(at) = fields.get(name) {
            at.not_supported(&format!("{name} of a rule"));
        }
    }
    fields.finish();
    check_prefix_rewrites(&filters, &matches);
    check_backends(item, &filters, backends_at.as_ref(), &backends);
    let filters = filters.into_iter().map(|(_, filter)| filter).collect();
    Some(HttpRouteRule { name: name.map(Into::into), matches, filters, backends, timeouts, spot: item.spot })
}

fn rule_name<'a>(at: &At<'a>, seen: &mut HashMap<String, u32>) -> Option<&'a str> {
    let name = names::object_name(at)?;
    if let Some(line) = seen.insert(name.to_owned(), at.spot.line) {
        at.error(
            format!("the rule name {} is used twice; first in line {line}", quoted(name)),
            "give each rule its own name",
        );
    }
    Some(name)
}

/// A redirect answers by itself; without one, somebody else must.
fn check_backends(item: &At<'_>, filters: &Filters<'_>, list: Option<&At<'_>>, backends: &[BackendRef]) {
    let redirect = filters.iter().find(|(_, filter)| matches!(filter, Filter::Redirect(_)));
    // A value that is no list was reported as such.
    let has_entries = list.is_some_and(|list| match &list.node.value {
        Value::Sequence(items) => !items.is_empty(),
        _ => true,
    });
    if let (Some((at, _)), true) = (redirect, has_entries) {
        at.error(
            "a rule either redirects or has backendRefs, not both",
            "remove the RequestRedirect filter, or the backendRefs",
        );
    }
    let answers = |filter: &Filter| matches!(filter, Filter::Redirect(_) | Filter::Unsupported(_));
    if !has_entries && !filters.iter().any(|(_, filter)| answers(filter)) {
        list.unwrap_or(item).warning(
            "the rule has no backendRefs: its requests are answered with 500",
            "name a Service under backendRefs, or add a RequestRedirect filter",
        );
    }
    if let Some(list) =
        list.filter(|_| !backends.is_empty() && backends.iter().all(|backend| backend.weight == 0))
    {
        list.warning(
            "all weights of the rule are 0: its requests are answered with 500",
            "give at least one backendRef a weight above 0",
        );
    }
}

/// `replacePrefixMatch` needs to know which prefix: exactly one match, by prefix.
pub(super) fn check_prefix_rewrites(filters: &Filters<'_>, matches: &[Arc<HttpMatch>]) {
    if matches!(matches, [only] if matches!(only.path, PathMatch::Prefix(_))) {
        return;
    }
    for (at, filter) in filters {
        let (Filter::Redirect(Redirect { path, .. }) | Filter::Rewrite(Rewrite { path, .. })) = filter else {
            continue;
        };
        if matches!(path, Some(PathRewrite::Prefix(_))) {
            at.error(
                "ReplacePrefixMatch needs a rule with exactly one match, by PathPrefix",
                "split the rule into one rule for each match, or use ReplaceFullPath",
            );
        }
    }
}

fn timeouts(at: &At<'_>) -> Option<Timeouts> {
    let fields = at.fields()?;
    let request = fields.get("request").and_then(|at| durations::duration(&at));
    let backend_at = fields.get("backendRequest");
    let backend = backend_at.as_ref().and_then(durations::duration);
    fields.finish();
    // "0s" disables a timeout.
    let set = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
    let timeouts = Timeouts { request: set(request), backend_request: set(backend) };
    if let (Some(at), Some(request), Some(backend)) = (backend_at, timeouts.request, timeouts.backend_request)
        && backend > request
    {
        at.error(
            "backendRequest is longer than request, within which it lies",
            "make it at most as long as request",
        );
    }
    Some(timeouts)
}
