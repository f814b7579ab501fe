//! `canary`: the steps, and the analysis in their background.

use super::analyses;
use crate::fields::{At, Choice, Fields, quoted, suggest};
use crate::lower::http_route::headers;
use crate::lower::{durations, patterns, shares};
use crate::model::{
    BackgroundAnalysis, Canary, CanaryScale, HeaderMatch, HeaderRoute, Step, StepAction, ValueMatch,
};
use crate::yaml::Value;

/// Most steps of a canary; a rollout of that many is a program, and no page shows it.
const STEPS_MAX: usize = 256;
const CONDITIONS_MAX: usize = 16;
const NAME_MAX: usize = 253;
const VALUE_MAX: usize = 4096;

const STEPS_HELP: &str = "write at least one step, for example `- setWeight: 10`";

/// What a step may do. The last three are Argo's, and not built yet.
const ACTIONS: [&str; 8] = [
    "setWeight",
    "pause",
    "analysis",
    "setHeaderRoute",
    "setCanaryScale",
    "setMirrorRoute",
    "experiment",
    "plugin",
];

pub(super) fn canary(at: &At<'_>) -> Option<Canary> {
    let fields = at.fields()?;
    let list = fields.require("steps", STEPS_HELP);
    let items = list.as_ref().map(|list| list.items_up_to(STEPS_MAX)).unwrap_or_default();
    if let Some(list) = list.as_ref().filter(|list| items.is_empty() && list.node.is_sequence()) {
        list.error("the canary has no steps", STEPS_HELP);
    }
    let mut routes: Vec<&str> = Vec::new();
    let steps = items.iter().filter_map(|item| step(item, &mut routes)).collect();
    let analysis = fields.get("analysis").and_then(|at| background(&at, items.len()));
    fields.finish();
    Some(Canary { steps, analysis })
}

/// `routes` are the names of the header routes that earlier steps have set.
fn step<'a>(item: &At<'a>, routes: &mut Vec<&'a str>) -> Option<Step> {
    const CHOICE: Choice<'_> = Choice {
        rule: "a step does one thing",
        none: "the step does nothing",
        help: "write one of setWeight, pause, analysis, setHeaderRoute and setCanaryScale, \
               for example `- setWeight: 10` or `- pause: {duration: 1m}`",
    };
    let fields = item.fields()?;
    let found = fields.exactly_one(&ACTIONS, &CHOICE);
    let lowered: Vec<Option<StepAction>> = found.iter().map(|(name, at)| action(name, at, routes)).collect();
    fields.finish();
    let action = lowered.into_iter().next()??;
    Some(Step { action, spot: item.spot })
}

fn action<'a>(name: &str, at: &At<'a>, routes: &mut Vec<&'a str>) -> Option<StepAction> {
    match name {
        "setWeight" => shares::share(at).map(StepAction::SetWeight),
        "pause" => pause(at),
        "analysis" => {
            let fields = at.fields()?;
            let analyses = analyses::lower(&fields);
            fields.finish();
            analyses.map(StepAction::Analysis)
        }
        "setHeaderRoute" => header_route(at, routes).map(StepAction::SetHeaderRoute),
        "setCanaryScale" => scale(at).map(StepAction::SetCanaryScale),
        _ => {
            at.not_supported(&format!("the step {name}"));
            None
        }
    }
}

fn pause(at: &At<'_>) -> Option<StepAction> {
    if let Value::String(text) | Value::Integer(_, text) = &at.node.value {
        at.error("a pause has its duration in a field", format!("write {{duration: {text}}}"));
        return None;
    }
    let fields = at.fields()?;
    let help = "or leave `duration` out to wait until somebody promotes";
    let duration = fields.get("duration").map(|at| durations::wait(&at, help));
    fields.finish();
    match duration {
        Some(duration) => duration.map(|duration| StepAction::Pause(Some(duration))),
        None => Some(StepAction::Pause(None)),
    }
}

fn header_route<'a>(at: &At<'a>, routes: &mut Vec<&'a str>) -> Option<HeaderRoute> {
    let fields = at.fields()?;
    let name_at = fields.require("name", "give the route a name; a later step of that name replaces it");
    let name = name_at.as_ref().and_then(|at| at.text(NAME_MAX));
    let items = fields.items_up_to("match", CONDITIONS_MAX);
    let headers: Vec<HeaderMatch> = items.iter().filter_map(condition).collect();
    fields.finish();
    let (at, name) = (name_at?, name?);
    if items.is_empty() && !routes.contains(&name) {
        let help = match suggest::nearest(name, routes.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write which requests it takes under `match`, or remove the step".to_owned(),
        };
        at.warning(
            format!("the step removes the route {}, which no step before it sets", quoted(name)),
            help,
        );
    }
    routes.push(name);
    Some(HeaderRoute { name: name.into(), headers })
}

fn condition(item: &At<'_>) -> Option<HeaderMatch> {
    const HELP: &str = "write `headerValue: {exact: \"yes\"}` (or prefix, or regex)";
    let fields = item.fields()?;
    let name = fields.require("headerName", "write the name of the header").and_then(|at| headers::name(&at));
    let value = fields.require("headerValue", HELP).and_then(|at| {
        let fields = at.fields()?;
        let value = header_value(&fields, HELP);
        fields.finish();
        value
    });
    fields.finish();
    Some(HeaderMatch { name: name?, value: value? })
}

fn header_value(fields: &Fields<'_>, help: &str) -> Option<ValueMatch> {
    let choice = Choice {
        rule: "a header's value is compared in one way",
        none: "nothing says which values are meant",
        help,
    };
    let found = fields.exactly_one(&["exact", "prefix", "regex"], &choice);
    let lowered: Vec<Option<ValueMatch>> = found
        .iter()
        .map(|(name, at)| {
            let text = at.text(VALUE_MAX)?;
            match *name {
                "exact" => Some(ValueMatch::Exact(text.into())),
                "prefix" => patterns::pattern(at, &patterns::beginning_with(text)).map(ValueMatch::Regex),
                _ => patterns::pattern(at, text).map(ValueMatch::Regex),
            }
        })
        .collect();
    lowered.into_iter().next()?
}

fn scale(at: &At<'_>) -> Option<CanaryScale> {
    const CHOICE: Choice<'_> = Choice {
        rule: "the canary's scale is given in one way",
        none: "nothing says how many pods are wished for",
        help: "write {weight: 25}, {replicas: 2} or {matchTrafficWeight: true}",
    };
    let fields = at.fields()?;
    let found = fields.exactly_one(&["weight", "replicas", "matchTrafficWeight"], &CHOICE);
    let lowered: Vec<Option<CanaryScale>> = found
        .iter()
        .map(|(name, at)| match *name {
            "weight" => shares::share(at).map(CanaryScale::Weight),
            "replicas" => at.integer(0, i64::from(i32::MAX)).map(|count| CanaryScale::Replicas(count as u32)),
            _ => match_traffic_weight(at),
        })
        .collect();
    fields.finish();
    lowered.into_iter().next()?
}

fn match_traffic_weight(at: &At<'_>) -> Option<CanaryScale> {
    if at.bool()? {
        return Some(CanaryScale::MatchTrafficWeight);
    }
    at.error("matchTrafficWeight: false says nothing", "write true, or give a weight or replicas");
    None
}

fn background(at: &At<'_>, steps: usize) -> Option<BackgroundAnalysis> {
    let fields = at.fields()?;
    let analyses = analyses::lower(&fields);
    let start_at = fields.get("startingStep");
    let start = start_at.as_ref().and_then(|at| at.integer(0, i64::from(i32::MAX)));
    fields.finish();
    let starting_step = start.map_or(0, |start| start as usize);
    // That there is no step at all is said elsewhere.
    let last = steps.checked_sub(1).filter(|last| starting_step > *last);
    if let (Some(at), Some(last)) = (start_at, last) {
        at.error(
            format!("the analysis never starts: there is no step {starting_step}"),
            format!("steps are counted from 0; the last one is {last}"),
        );
    }
    Some(BackgroundAnalysis { analyses: analyses?, starting_step })
}
