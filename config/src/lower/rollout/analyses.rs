//! `analysis`: which templates are run, and the values of their arguments.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::fields::{At, Choice, Fields, quoted};
use crate::lower::{names, placeholders};
use crate::model::{Analyses, TemplateRef};

const TEMPLATES_MAX: usize = 16;
pub(in crate::lower) const ARGUMENTS_MAX: usize = 64;
pub(in crate::lower) const VALUE_MAX: usize = 4096;

const TEMPLATES_HELP: &str = "write `templates: [{templateName: NAME}]`";

/// The fields that every analysis has; the caller asks for the others and finishes.
pub(super) fn lower(fields: &Fields<'_>) -> Option<Analyses> {
    let list = fields.require("templates", TEMPLATES_HELP);
    let templates = list.as_ref().map(templates).unwrap_or_default();
    let args = arguments(&fields.items_up_to("args", ARGUMENTS_MAX));
    fields.not_supported(&["analysisRunMetadata", "dryRun", "measurementRetention"], "an analysis");
    list.is_some().then_some(Analyses { templates, args })
}

fn templates(list: &At<'_>) -> Vec<TemplateRef> {
    let items = list.items_up_to(TEMPLATES_MAX);
    if items.is_empty() && list.node.is_sequence() {
        list.error("the analysis has no template", TEMPLATES_HELP);
    }
    let mut seen = HashMap::new();
    items.iter().filter_map(|item| template(item, &mut seen)).collect()
}

fn template(item: &At<'_>, seen: &mut HashMap<String, u32>) -> Option<TemplateRef> {
    let fields = item.fields()?;
    let name_at = fields.require("templateName", "write the name of an AnalysisTemplate");
    if let Some(at) = fields.get("clusterScope")
        && at.bool() == Some(true)
    {
        at.not_supported("clusterScope of a template");
    }
    fields.finish();
    let at = name_at?;
    let name = names::object_name(&at)?;
    if let Some(line) = seen.insert(name.to_owned(), at.spot.line) {
        let what = format!("the template {} is named twice; first in line {line}", quoted(name));
        at.error(what, "remove one of the two");
    }
    Some(TemplateRef { name: name.into(), spot: at.spot })
}

fn arguments(items: &[At<'_>]) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut args = BTreeMap::new();
    let mut seen = HashMap::new();
    for item in items {
        let Some(fields) = item.fields() else { continue };
        let name = argument_name(&fields, &mut seen);
        let value = value(&fields);
        fields.finish();
        args.extend(name.zip(value).map(|(name, value)| (name.into(), value)));
    }
    args
}

/// `name` of an argument, distinct among those before it.
pub(in crate::lower) fn argument_name<'a>(
    fields: &Fields<'a>,
    seen: &mut HashMap<&'a str, u32>,
) -> Option<&'a str> {
    let at = fields.require("name", "write the name of the argument")?;
    let name = at.text(253)?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        let help = "use letters, digits, `-`, `_` and `.`";
        at.error(format!("{} is not a valid name of an argument", quoted(name)), help);
        return None;
    }
    if let Some(line) = seen.insert(name, at.spot.line) {
        let what = format!("the argument {} is given twice; first in line {line}", quoted(name));
        at.error(what, "remove one of the two");
    }
    Some(name)
}

fn value(fields: &Fields<'_>) -> Option<Arc<str>> {
    const CHOICE: Choice<'_> = Choice {
        rule: "an argument has one value",
        none: "the argument has no value",
        help: "write it under `value`",
    };
    let found = fields.exactly_one(&["value", "valueFrom"], &CHOICE);
    let lowered: Vec<Option<Arc<str>>> =
        found.iter().map(|(name, at)| if *name == "value" { written(at) } else { value_from(at) }).collect();
    lowered.into_iter().next()?
}

fn written(at: &At<'_>) -> Option<Arc<str>> {
    let text = at.string()?;
    if text.len() > VALUE_MAX {
        at.error(format!("the value is longer than {VALUE_MAX} characters"), "shorten it");
    }
    placeholders::check(at, text, None);
    Some(text.into())
}

/// Argo's way to pass a revision; here it is a placeholder like others.
fn value_from(at: &At<'_>) -> Option<Arc<str>> {
    const CHOICE: Choice<'_> = Choice {
        rule: "an argument has one value",
        none: "the argument has no value",
        help: "write `podTemplateHashValue: Latest` (or Stable)",
    };
    const WORDS: [(&str, &str); 2] = [("Latest", "{{canary-revision}}"), ("Stable", "{{stable-revision}}")];
    let fields = at.fields()?;
    let found = fields.exactly_one(&["podTemplateHashValue", "fieldRef"], &CHOICE);
    fields.finish();
    let (name, at) = found.first()?;
    if *name == "fieldRef" {
        at.not_supported("fieldRef of valueFrom");
        return None;
    }
    at.one_of(&WORDS).map(Into::into)
}
