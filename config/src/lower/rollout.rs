//! `watershed.dev/v1alpha1` Rollout. Field names and rules are those of Argo Rollouts and of the Deployment where they have them.

pub(super) mod analyses;
mod judge;
mod steps;
mod strategy;

use std::sync::Arc;
use std::time::Duration;

use super::meta::Metadata;
use super::{durations, labels, names};
use crate::fields::{At, Choice, Fields, quoted};
use crate::lower::http_route::headers;
use crate::model::{Meta, ObjectName, Rollout, Sticky, Strategy};
use crate::problem::Spot;
use crate::yaml::Value;

const REVISION_LABEL_DEFAULT: &str = "pod-template-hash";
const PROGRESS_DEADLINE_DEFAULT: Duration = Duration::from_mins(10);
const HISTORY_LIMIT_DEFAULT: u32 = 10;
/// Most ended rollouts that may be remembered: each keeps its steps and verdicts in the journal.
const HISTORY_LIMIT_MAX: i64 = 1_000;

pub(super) fn lower(root: &Fields<'_>, metadata: Option<Metadata>) -> Option<Rollout> {
    let spec = root.require("spec", "write `spec:` with a `serviceRef` and a `strategy`");
    let spec = spec.and_then(|at| at.fields());
    root.finish();
    let spec = spec?;
    let service = service(&spec);
    let revisions = Revisions::lower(&spec);
    let paused = spec.get("paused").filter(|at| at.bool() == Some(true));
    let history_limit = spec.get("revisionHistoryLimit").and_then(|at| at.integer(0, HISTORY_LIMIT_MAX));
    let sticky = spec.get("sticky").and_then(|at| sticky(&at));
    let help = "write `strategy:` with canary, blueGreen or rollingUpdate";
    let strategy_at = spec.require("strategy", help);
    let strategy = strategy_at.as_ref().and_then(strategy::lower);
    let progress_deadline = progress_deadline(&spec, strategy.as_ref());
    let on_deadline = judge::reaction(&spec, "onDeadline");
    let judge = spec.get("judge").and_then(|at| judge::lower(&at));
    spec.finish();
    let Metadata { meta, .. } = metadata?;
    let (service, service_spot) = service?;
    Some(Rollout {
        service: ObjectName::new(Arc::clone(&meta.name().namespace), service),
        service_spot,
        revision_label_spot: revisions.label_spot(&meta),
        revision_label: revisions.label.map_or_else(|| REVISION_LABEL_DEFAULT.into(), |(label, _)| label),
        stable_revision: revisions.stable,
        target_spot: revisions.target.as_ref().map_or(meta.origin.spot, |(_, spot)| *spot),
        target_revision: revisions.target.map(|(revision, _)| revision),
        paused: paused.map(|at| at.spot),
        progress_deadline,
        history_limit: history_limit.map_or(HISTORY_LIMIT_DEFAULT, |limit| limit as u32),
        sticky,
        strategy: strategy?,
        strategy_spot: strategy_at?.spot,
        on_deadline,
        judge: judge.unwrap_or_else(judge::default),
        meta,
    })
}

fn service<'a>(spec: &Fields<'a>) -> Option<(&'a str, Spot)> {
    let help = "name the Service whose traffic is moved: `serviceRef: {name: my-service}`";
    let fields = spec.require("serviceRef", help)?.fields()?;
    let name_at = fields.require("name", "write the name of the Service");
    fields.finish();
    let at = name_at?;
    Some((names::object_name(&at)?, at.spot))
}

/// The label whose values are the revisions, and what is said of them.
struct Revisions {
    label: Option<(Arc<str>, Spot)>,
    stable: Option<Arc<str>>,
    target: Option<(Arc<str>, Spot)>,
}

impl Revisions {
    fn lower(spec: &Fields<'_>) -> Self {
        let label_at = spec.get("revisionLabel");
        let label = label_at.as_ref().and_then(labels::key);
        Self {
            label: label.zip(label_at).map(|(label, at)| (label.into(), at.spot)),
            stable: revision(spec, "stableRevision").map(|(revision, _)| revision),
            target: revision(spec, "targetRevision"),
        }
    }

    fn label_spot(&self, meta: &Meta) -> Spot {
        self.label.as_ref().map_or(meta.origin.spot, |(_, spot)| *spot)
    }
}

/// A revision is the value of a label, and YAML reads `2.0` as a number as it does there.
fn revision(spec: &Fields<'_>, name: &'static str) -> Option<(Arc<str>, Spot)> {
    let at = spec.get(name)?;
    let text = labels::value(name, &at, "revisions are strings")?;
    if text.is_empty() {
        at.error("a revision is not empty", "write the value of the pods' label, or remove the field");
        return None;
    }
    Some((text.into(), at.spot))
}

/// As for a Deployment, pods must be able to become available within the deadline.
fn progress_deadline(spec: &Fields<'_>, strategy: Option<&Strategy>) -> Duration {
    let written = durations::seconds(spec, "progressDeadlineSeconds", 1);
    let deadline = written.unwrap_or(PROGRESS_DEADLINE_DEFAULT);
    if let Some(Strategy::RollingUpdate(update)) = strategy
        && update.min_ready >= deadline
    {
        let at = spec.get("progressDeadlineSeconds").unwrap_or_else(|| spec.at.clone());
        let (deadline, min_ready) = (deadline.as_secs(), update.min_ready.as_secs());
        at.error(
            format!(
                "no pod can make it within the deadline: progressDeadlineSeconds is {deadline}, \
                 minReadySeconds is {min_ready}"
            ),
            format!("write progressDeadlineSeconds: {} or more", min_ready.saturating_mul(2)),
        );
    }
    deadline
}

fn sticky(at: &At<'_>) -> Option<Sticky> {
    const CHOICE: Choice<'_> = Choice {
        rule: "users are told apart by one thing",
        none: "nothing says what tells users apart",
        help: "write {header: x-user-id}, {cookie: name} or {clientIP: {}}",
    };
    let fields = at.fields()?;
    let found = fields.exactly_one(&["header", "cookie", "clientIP"], &CHOICE);
    let lowered: Vec<Option<Sticky>> = found
        .iter()
        .map(|(name, at)| match *name {
            "header" => headers::name(at).map(Sticky::Header),
            "cookie" => cookie(at).map(Sticky::Cookie),
            _ => client_address(at),
        })
        .collect();
    fields.finish();
    lowered.into_iter().next()?
}

/// `{}`: there is nothing to set yet.
fn client_address(at: &At<'_>) -> Option<Sticky> {
    if !matches!(at.node.value, Value::Mapping(_)) {
        at.error(format!("expected a mapping, found {}", at.found()), "write `clientIP: {}`");
        return None;
    }
    at.fields()?.finish();
    Some(Sticky::ClientAddress)
}

/// A cookie's name is a token (RFC 6265 section 4.1.1), as a header's name is.
fn cookie(at: &At<'_>) -> Option<Arc<str>> {
    let text = at.text(256)?;
    if http::HeaderName::try_from(text).is_ok() {
        return Some(text.into());
    }
    let help = "use letters, digits, `-` and `_`";
    at.error(format!("{} is not a valid name of a cookie", quoted(text)), help);
    None
}
