//! A strategy as a list of works: what the engine does one after the other. One engine runs all three strategies, because
//! blue-green and a rolling update are lists too.

use std::fmt::Write as _;
use std::time::Duration;

use watershed_config::model::{
    Analyses, CanaryScale, HeaderRoute, Preview, Rollout, Share, StepAction, Strategy,
};
use xxhash_rust::xxh3::xxh3_64;

/// One work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work<'a> {
    /// Waits until the revision has enough ready pods to take everything.
    Ready,
    /// Gives it this share and waits until every worker does.
    Weight(Share),
    /// Waits; without a duration for somebody.
    Pause(Option<Duration>),
    /// Waits for an analysis. The text says what it is for.
    Analysis(&'static str, &'a Analyses),
    /// Has a header route from here on.
    Route(&'a HeaderRoute),
    /// Wishes for pods.
    Scale(CanaryScale),
    /// Exchanges the pods in rotation.
    Roll,
}

/// The works of a Rollout. After the last, the revision gets everything and becomes the stable one.
pub fn works(spec: &Rollout) -> Vec<Work<'_>> {
    match &spec.strategy {
        Strategy::Canary(canary) => canary.steps.iter().map(|step| work(&step.action)).collect(),
        Strategy::BlueGreen(blue_green) => {
            let mut works = vec![Work::Ready];
            works.extend(blue_green.pre_promotion.as_ref().map(|pre| Work::Analysis("prePromotion", pre)));
            if !blue_green.auto_promotion {
                works.push(Work::Pause(None));
            } else if let Some(after) = blue_green.auto_promotion_after {
                works.push(Work::Pause(Some(after)));
            }
            works.push(Work::Weight(Share::WHOLE));
            works
                .extend(blue_green.post_promotion.as_ref().map(|post| Work::Analysis("postPromotion", post)));
            works
        }
        Strategy::RollingUpdate(_) => vec![Work::Roll],
    }
}

fn work(action: &StepAction) -> Work<'_> {
    match action {
        StepAction::SetWeight(share) => Work::Weight(*share),
        StepAction::Pause(duration) => Work::Pause(*duration),
        StepAction::Analysis(analyses) => Work::Analysis("step", analyses),
        StepAction::SetHeaderRoute(route) => Work::Route(route),
        StepAction::SetCanaryScale(scale) => Work::Scale(*scale),
    }
}

/// As `get` shows it.
pub fn text(work: &Work<'_>) -> String {
    match work {
        Work::Ready => "ready".to_owned(),
        Work::Weight(share) => format!("setWeight: {share}"),
        Work::Pause(None) => "pause: until promoted".to_owned(),
        Work::Pause(Some(duration)) => format!("pause: {}", humantime::format_duration(*duration)),
        Work::Analysis(what, analyses) => {
            let names: Vec<&str> = analyses.templates.iter().map(|template| &*template.name).collect();
            let what = if *what == "step" { "analysis".to_owned() } else { format!("{what}Analysis") };
            format!("{what}: {}", names.join(", "))
        }
        Work::Route(route) if route.headers.is_empty() => format!("setHeaderRoute: {} (removed)", route.name),
        Work::Route(route) => {
            let headers: Vec<String> =
                route.headers.iter().map(|header| format!("{} {}", header.name, header.value)).collect();
            format!("setHeaderRoute: {} ({})", route.name, headers.join(", "))
        }
        Work::Scale(CanaryScale::Weight(share)) => format!("setCanaryScale: {share} %"),
        Work::Scale(CanaryScale::Replicas(replicas)) => format!("setCanaryScale: {replicas} replicas"),
        Work::Scale(CanaryScale::MatchTrafficWeight) => "setCanaryScale: as the weight".to_owned(),
        Work::Roll => "rollingUpdate".to_owned(),
    }
}

/// A fingerprint of the steps: another one means that they were edited. Lines and comments do not count.
pub fn steps_fingerprint(spec: &Rollout) -> u64 {
    xxh3_64(steps_text(spec).as_bytes())
}

/// A fingerprint of everything that a revision was given up under: another one is a reason to try it again.
pub fn spec_fingerprint(spec: &Rollout) -> u64 {
    let mut text = steps_text(spec);
    let judge = &spec.judge;
    let _ = write!(
        text,
        "|{:?}|{:?}|{}|{}|{}|{:?}|{:?}",
        spec.target_revision,
        spec.on_deadline,
        judge.enabled,
        judge.false_alarm_rate,
        judge.minimum_effect,
        judge.max_failed_requests,
        spec.sticky,
    );
    xxh3_64(text.as_bytes())
}

fn steps_text(spec: &Rollout) -> String {
    let mut all = spec.strategy.name().to_owned();
    for work in works(spec) {
        let _ = write!(all, "|{}", text(&work));
        if let Work::Analysis(_, analyses) = work {
            let _ = write!(all, "{:?}", analyses.args);
        }
    }
    match &spec.strategy {
        Strategy::Canary(canary) => {
            if let Some(background) = &canary.analysis {
                let names: Vec<&str> =
                    background.analyses.templates.iter().map(|template| &*template.name).collect();
                let _ = write!(all, "|{names:?}{:?}{}", background.analyses.args, background.starting_step);
            }
        }
        Strategy::BlueGreen(blue_green) => {
            let _ = write!(all, "|{:?}", blue_green.preview);
        }
        Strategy::RollingUpdate(rolling) => {
            let _ = write!(all, "|{rolling:?}");
        }
    }
    all
}

/// Which works have an analysis beside them: the canary's background analysis and the first step that it is for.
pub fn background(spec: &Rollout) -> Option<(&Analyses, usize)> {
    match &spec.strategy {
        Strategy::Canary(canary) => {
            canary.analysis.as_ref().map(|background| (&background.analyses, background.starting_step))
        }
        _ => None,
    }
}

/// The preview of a blue-green strategy.
pub fn preview(spec: &Rollout) -> Option<&Preview> {
    match &spec.strategy {
        Strategy::BlueGreen(blue_green) => blue_green.preview.as_ref(),
        _ => None,
    }
}

/// Whether the judge has something to compare at this share: randomised weighted traffic only.
pub fn compares(spec: &Rollout, weight: u32) -> Result<(), &'static str> {
    if !spec.judge.enabled {
        return Err("the judge is switched off");
    }
    if matches!(spec.strategy, Strategy::BlueGreen(_)) {
        return Err("no comparison: blue-green moves all requests at once");
    }
    if spec.sticky.is_some() {
        return Err("no comparison: traffic is sticky, so users and not requests are divided at random");
    }
    match weight {
        0 => Err("no comparison: the revision has no share yet"),
        weight if weight >= Share::WHOLE.millionths() => Err("no comparison: the revision has everything"),
        _ => Ok(()),
    }
}

/// How long a revision that lost the traffic stays warm, in milliseconds; where nothing is said, Argo's default.
pub fn scale_down_delay(spec: &Rollout) -> u64 {
    match &spec.strategy {
        Strategy::BlueGreen(blue_green) => blue_green.scale_down_delay.as_millis() as u64,
        Strategy::Canary(_) | Strategy::RollingUpdate(_) => 30_000,
    }
}

/// Where the file says `paused: true`, as `file:line:column`.
pub fn paused_at(spec: &Rollout) -> Option<String> {
    let spot = spec.paused?;
    let file =
        spec.meta.origin.file.as_ref().map_or_else(|| "the manifest".into(), |file| file.to_string_lossy());
    Some(format!("{file}:{}:{}", spot.line, spot.column))
}
