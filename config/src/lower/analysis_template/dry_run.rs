//! `dryRun`: metrics that are measured without any effect.

use crate::fields::{At, Fields, quoted, suggest};
use crate::lower::patterns;
use crate::model::Pattern;

const RULES_MAX: usize = 32;
const PATTERN_MAX: usize = 1024;

/// Expressions of metrics' names. Each must find one, as in Argo: a slip would let a metric stop a rollout that was not to.
pub(super) fn lower(spec: &Fields<'_>, metrics: &[At<'_>]) -> Vec<Pattern> {
    let names: Vec<&str> = metrics.iter().filter_map(|metric| metric.node.get("name")?.as_str()).collect();
    spec.items_up_to("dryRun", RULES_MAX).iter().filter_map(|item| rule(item, &names)).collect()
}

fn rule(item: &At<'_>, names: &[&str]) -> Option<Pattern> {
    let fields = item.fields()?;
    let at = fields.require("metricName", "write the name of a metric, or an expression that matches it");
    fields.finish();
    let at = at?;
    let text = at.text(PATTERN_MAX)?;
    patterns::pattern(&at, text)?;
    // Argo looks for the expression anywhere in the name.
    let anywhere = patterns::pattern(&at, &format!("(?s:.*)(?:{text})(?s:.*)"))?;
    if !names.iter().any(|name| anywhere.matches(name.as_bytes())) {
        let what = format!("no metric has a name that {} matches", quoted(text));
        at.error(what, suggest::help(text, names.iter().copied()));
    }
    Some(anywhere)
}
