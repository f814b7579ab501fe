//! `filters` of a rule or of a backendRef.

use std::collections::HashMap;

use super::{headers, redirect};
use crate::fields::{At, Fields, suggest};
use crate::model::Filter;

const FILTERS_MAX: usize = 16;

/// Filters with the places of their types, for the rules between them and the rest of the rule.
pub(super) type Filters<'a> = Vec<(At<'a>, Filter)>;

/// A type, the field that holds its settings, and whether it may be there several times.
const TYPES: [(&str, &str, bool); 8] = [
    ("RequestHeaderModifier", "requestHeaderModifier", false),
    ("ResponseHeaderModifier", "responseHeaderModifier", false),
    ("RequestRedirect", "requestRedirect", false),
    ("URLRewrite", "urlRewrite", false),
    ("RequestMirror", "requestMirror", true),
    ("CORS", "cors", false),
    ("ExternalAuth", "externalAuth", false),
    ("ExtensionRef", "extensionRef", true),
];

pub(super) fn lower<'a>(list: &At<'a>) -> Filters<'a> {
    let mut filters = Filters::new();
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for item in list.items_up_to(FILTERS_MAX) {
        let Some((at, name, repeatable, filter)) = filter(&item) else { continue };
        if let Some(line) = seen.insert(name, at.spot.line).filter(|_| !repeatable) {
            at.error(
                format!("the filter {name} is given twice; first in line {line}"),
                "merge the two into one",
            );
        }
        filters.extend(filter.map(|filter| (at, filter)));
    }
    if seen.contains_key("RequestRedirect") && seen.contains_key("URLRewrite") {
        list.error(
            "RequestRedirect and URLRewrite exclude each other",
            "a redirect has `hostname` and `path` of its own; remove the URLRewrite",
        );
    }
    filters
}

fn filter<'a>(item: &At<'a>) -> Option<(At<'a>, &'static str, bool, Option<Filter>)> {
    let fields = item.fields()?;
    let type_at = fields.require("type", "write the filter's type, for example RequestHeaderModifier");
    let chosen = type_at.as_ref().and_then(|at| at.one_of(&TYPES.map(|row| (row.0, row))));
    let settings = chosen.and_then(|(name, field, _)| settings(&fields, name, field));
    fields.finish();
    let (at, (name, _, repeatable)) = (type_at?, chosen?);
    let filter = settings.and_then(|settings| match name {
        "RequestHeaderModifier" => headers::edits(&settings).map(Filter::RequestHeaders),
        "ResponseHeaderModifier" => headers::edits(&settings).map(Filter::ResponseHeaders),
        "RequestRedirect" => redirect::redirect(&settings).map(Filter::Redirect),
        "URLRewrite" => redirect::rewrite(&settings).map(Filter::Rewrite),
        _ => {
            at.warning(
                format!("the filter {name} is not supported yet: requests for it are answered with 500"),
                "remove the filter until it is supported",
            );
            Some(Filter::Unsupported(name.into()))
        }
    });
    Some((at, name, repeatable, filter))
}

/// The settings of the type; settings of another type are an error.
fn settings<'a>(fields: &Fields<'a>, name: &str, field: &'static str) -> Option<At<'a>> {
    let found = fields.require(field, &format!("a filter of the type {name} has its settings there"));
    for (other, foreign, _) in TYPES.iter().filter(|(_, other, _)| *other != field) {
        if let Some(at) = fields.get(foreign) {
            let help = match suggest::nearest(name, [*other]) {
                Some(near) => format!("write `type: {near}`, or remove this field"),
                None => format!("make it a filter of its own with `type: {other}`"),
            };
            at.error(format!("`{foreign}` does not belong to a filter of the type {name}"), help);
        }
    }
    found
}
