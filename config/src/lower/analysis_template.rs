//! `watershed.dev/v1alpha1` `AnalysisTemplate`: metrics from outside, in Argo's shape.

mod dry_run;
mod json_path;
mod provider;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::meta::Metadata;
use super::rollout::analyses::{ARGUMENTS_MAX, VALUE_MAX, argument_name};
use super::{conditions, durations};
use crate::fields::{At, Fields, quoted};
use crate::model::{AnalysisMetric, AnalysisTemplate, Pattern, Provider};

const METRICS_MAX: usize = 32;
const NAME_MAX: usize = 253;
const CONSECUTIVE_ERROR_LIMIT_DEFAULT: u32 = 4;
/// Shortest interval between measurements: what is asked more often is asked for nothing.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

const METRICS_HELP: &str = "list at least one metric with a name, a condition and a provider";

pub(super) fn lower(root: &Fields<'_>, metadata: Option<Metadata>) -> Option<AnalysisTemplate> {
    let spec = root.require("spec", "write `spec:` with `metrics`").and_then(|at| at.fields());
    root.finish();
    let spec = spec?;
    let items = spec.items_up_to("args", ARGUMENTS_MAX);
    let mut seen = HashMap::new();
    let args: Vec<_> = items.iter().filter_map(|item| argument(item, &mut seen)).collect();
    let declared: Vec<&str> = args.iter().map(|(name, _)| *name).collect();
    let list = spec.require("metrics", METRICS_HELP);
    let items = list.as_ref().map(|list| list.items_up_to(METRICS_MAX)).unwrap_or_default();
    if let Some(list) = list.filter(|list| items.is_empty() && list.node.is_sequence()) {
        list.error("the template has no metric", METRICS_HELP);
    }
    let dry = dry_run::lower(&spec, &items);
    let mut seen = HashMap::new();
    let metrics: Vec<Option<AnalysisMetric>> =
        items.iter().map(|item| metric(item, &declared, &dry, &mut seen)).collect();
    spec.not_supported(&["measurementRetention", "templates"], "an AnalysisTemplate");
    spec.finish();
    let args = args.iter().map(|(name, value)| (Arc::from(*name), value.map(Arc::from))).collect();
    Some(AnalysisTemplate { meta: metadata?.meta, args, metrics: metrics.into_iter().flatten().collect() })
}

fn argument<'a>(item: &At<'a>, seen: &mut HashMap<&'a str, u32>) -> Option<(&'a str, Option<&'a str>)> {
    let fields = item.fields()?;
    let name = argument_name(&fields, seen);
    let value = fields.get("value").map(|at| {
        let text = at.string()?;
        if text.len() > VALUE_MAX {
            at.error(format!("the value is longer than {VALUE_MAX} characters"), "shorten it");
        }
        Some(text)
    });
    fields.not_supported(&["valueFrom"], "a template's argument");
    fields.finish();
    Some((name?, value.flatten()))
}

/// How often and how long something is measured.
struct Schedule {
    interval: Option<Duration>,
    initial_delay: Duration,
    count: Option<NonZeroU32>,
}

fn metric<'a>(
    item: &At<'a>,
    declared: &[&str],
    dry: &[Pattern],
    seen: &mut HashMap<&'a str, u32>,
) -> Option<AnalysisMetric> {
    let fields = item.fields()?;
    let name_at = fields.require("name", "give the metric a name");
    let name = name_at.as_ref().and_then(|at| metric_name(at, seen));
    let schedule = schedule(&fields);
    let failure_limit = limit(&fields, "failureLimit", schedule.count).unwrap_or(0);
    let inconclusive_limit = limit(&fields, "inconclusiveLimit", schedule.count).unwrap_or(0);
    let consecutive_error_limit = limit(&fields, "consecutiveErrorLimit", None);
    let provider = fields
        .require("provider", "write where the value comes from: prometheus or web")
        .map(|at| provider::lower(&at, declared));
    let measured = match provider {
        Some(Some(Provider::Prometheus { .. })) => conditions::Measured::Numbers,
        _ => conditions::Measured::Anything,
    };
    let condition = |name| fields.get(name).map(|at| (at.spot, conditions::lower(&at, declared, measured)));
    let (success, failure) = (condition("successCondition"), condition("failureCondition"));
    fields.not_supported(&["consecutiveSuccessLimit"], "a metric");
    fields.finish();
    let dry_run = name.is_some_and(|name| dry.iter().any(|pattern| pattern.matches(name.as_bytes())));
    if success.is_none() && failure.is_none() && !dry_run && name.is_some() {
        item.error(
            "a metric without a condition always succeeds",
            "write a successCondition such as \"result[0] >= 0.95\", or a failureCondition",
        );
    }
    Some(AnalysisMetric {
        name: name?.into(),
        spot: name_at?.spot,
        interval: schedule.interval,
        initial_delay: schedule.initial_delay,
        count: schedule.count,
        success_condition: success.and_then(|(_, text)| text).map(Into::into),
        failure_condition: failure.and_then(|(_, text)| text).map(Into::into),
        failure_limit,
        inconclusive_limit,
        consecutive_error_limit: consecutive_error_limit.unwrap_or(CONSECUTIVE_ERROR_LIMIT_DEFAULT),
        dry_run,
        provider: provider??,
    })
}

fn metric_name<'a>(at: &At<'a>, seen: &mut HashMap<&'a str, u32>) -> Option<&'a str> {
    let name = at.text(NAME_MAX)?;
    if let Some(line) = seen.insert(name, at.spot.line) {
        at.error(
            format!("the metric {} is there twice; first in line {line}", quoted(name)),
            "give each metric its own name",
        );
    }
    Some(name)
}

fn schedule(fields: &Fields<'_>) -> Schedule {
    let interval_at = fields.get("interval");
    let interval = interval_at.as_ref().and_then(|at| interval(at));
    let initial_delay = fields.get("initialDelay").and_then(|at| durations::wait(&at, "or leave it out"));
    let count_at = fields.get("count");
    let count = count_at.as_ref().and_then(|at| at.integer(1, i64::from(i32::MAX)));
    if let (Some(at), None) = (count_at.filter(|_| count > Some(1)), interval_at.as_ref()) {
        at.error("several measurements need an interval", "write for example `interval: 1m`");
    }
    let count = count.and_then(|count| NonZeroU32::new(count as u32));
    // Without an interval it is measured once.
    let count = if interval_at.is_none() { count.or(NonZeroU32::new(1)) } else { count };
    Schedule { interval, initial_delay: initial_delay.unwrap_or_default(), count }
}

fn interval(at: &At<'_>) -> Option<Duration> {
    let interval = durations::wait(at, "or leave it out to measure once")?;
    if interval < INTERVAL_MIN {
        at.error(
            "the interval is shorter than a second",
            "write 1s or more, or leave it out to measure once",
        );
        return None;
    }
    Some(interval)
}

/// A limit that `count` measurements can reach at all.
fn limit(fields: &Fields<'_>, name: &'static str, count: Option<NonZeroU32>) -> Option<u32> {
    let at = fields.get(name)?;
    let limit = at.integer(0, i64::from(i32::MAX))? as u32;
    if let Some(count) = count.filter(|count| limit > count.get()) {
        at.error(
            format!("{name} is {limit}, and there are only {count} measurements"),
            "make it at most `count`, or raise `count`",
        );
    }
    Some(limit)
}
