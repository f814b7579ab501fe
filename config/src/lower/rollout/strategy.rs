//! `strategy`: exactly one of canary, blueGreen and rollingUpdate.

use std::time::Duration;

use super::{analyses, steps};
use crate::fields::{At, Choice, Fields};
use crate::lower::http_route::headers;
use crate::lower::names::{self, Wildcard};
use crate::lower::{durations, shares};
use crate::model::{Amount, Analyses, BlueGreen, Hostname, Preview, RollingUpdate, Strategy};

const SCALE_DOWN_DELAY_DEFAULT: Duration = Duration::from_secs(30);
const PODS_DEFAULT: Amount = Amount::Percent(25);

pub(super) fn lower(at: &At<'_>) -> Option<Strategy> {
    const CHOICE: Choice<'_> = Choice {
        rule: "a Rollout has one strategy",
        none: "the Rollout has no strategy",
        help: "write `canary:` with steps, `blueGreen: {}` or `rollingUpdate: {}`",
    };
    let fields = at.fields()?;
    let found = fields.exactly_one(&["canary", "blueGreen", "rollingUpdate"], &CHOICE);
    let lowered: Vec<Option<Strategy>> = found
        .iter()
        .map(|(name, at)| match *name {
            "canary" => steps::canary(at).map(Strategy::Canary),
            "blueGreen" => blue_green(at).map(Strategy::BlueGreen),
            _ => rolling_update(at).map(Strategy::RollingUpdate),
        })
        .collect();
    fields.finish();
    lowered.into_iter().next()?
}

fn blue_green(at: &At<'_>) -> Option<BlueGreen> {
    let fields = at.fields()?;
    let preview = fields.get("preview").and_then(|at| preview(&at));
    let auto_promotion = fields.bool("autoPromotionEnabled").unwrap_or(true);
    let after = durations::seconds(&fields, "autoPromotionSeconds", 0);
    if let (Some(at), false) = (fields.get("autoPromotionSeconds"), auto_promotion) {
        at.warning(
            "autoPromotionSeconds is ignored: autoPromotionEnabled is false, so somebody has to promote",
            "remove one of the two",
        );
    }
    let scale_down_delay = durations::seconds(&fields, "scaleDownDelaySeconds", 0);
    let pre_promotion = analysis(&fields, "prePromotionAnalysis");
    let post_promotion = analysis(&fields, "postPromotionAnalysis");
    fields.finish();
    Some(BlueGreen {
        preview,
        auto_promotion,
        // 0 is not to wait, as in Argo.
        auto_promotion_after: after.filter(|after| auto_promotion && !after.is_zero()),
        scale_down_delay: scale_down_delay.unwrap_or(SCALE_DOWN_DELAY_DEFAULT),
        pre_promotion,
        post_promotion,
    })
}

fn analysis(fields: &Fields<'_>, name: &'static str) -> Option<Analyses> {
    let fields = fields.get(name)?.fields()?;
    let analyses = analyses::lower(&fields);
    fields.finish();
    analyses
}

fn preview(at: &At<'_>) -> Option<Preview> {
    const CHOICE: Choice<'_> = Choice {
        rule: "the preview is reached in one way",
        none: "nothing says which requests see the preview",
        help: "write {header: {name: x-preview, value: \"1\"}} or {hostname: preview.example.com}",
    };
    let fields = at.fields()?;
    let found = fields.exactly_one(&["header", "hostname"], &CHOICE);
    let lowered: Vec<Option<Preview>> = found
        .iter()
        .map(|(name, at)| match *name {
            "header" => headers::pair(at).map(|(name, value)| Preview::Header { name, value }),
            _ => names::hostname(at, Wildcard::Allowed).map(|name| Preview::Hostname(Hostname::parse(name))),
        })
        .collect();
    fields.finish();
    lowered.into_iter().next()?
}

fn rolling_update(at: &At<'_>) -> Option<RollingUpdate> {
    let fields = at.fields()?;
    let amount = |name| fields.get(name).and_then(|at| shares::amount(&at)).unwrap_or(PODS_DEFAULT);
    let max_surge = amount("maxSurge");
    let max_unavailable = amount("maxUnavailable");
    let min_ready = durations::seconds(&fields, "minReadySeconds", 0).unwrap_or_default();
    fields.finish();
    if is_none(max_surge) && is_none(max_unavailable) {
        fields.get("maxUnavailable").unwrap_or_else(|| at.clone()).error(
            "maxSurge and maxUnavailable are both 0, so no pod could ever be replaced",
            "make one of them at least 1",
        );
    }
    Some(RollingUpdate { max_surge, max_unavailable, min_ready })
}

fn is_none(amount: Amount) -> bool {
    matches!(amount, Amount::Count(0) | Amount::Percent(0))
}
