//! `why`: what a rollout is doing and why, in sentences, for somebody who was woken by it.

use watershed_control::rollout::view::{
    AnalysisView, JudgeMetricView, PauseKind, PauseView, Phase, RevisionView, RolloutView, StepView,
};

use super::words::{count, evidence, measured, number, percent, present, ready, since};

/// Events that are told.
const EVENTS_MAX: usize = 5;

/// All of it.
pub(super) fn text(view: &RolloutView, now: u64) -> String {
    let mut text = paragraph(&[state(view, now), run(view, now)]);
    text.push_str(&paragraph(&[problems(view)]));
    text.push_str(&list(
        "Its traffic:",
        &view.revisions.iter().map(|is| traffic(view, is)).collect::<Vec<_>>(),
    ));
    text.push_str(&list(
        "What stops it:",
        &view.pauses.iter().map(|is| pause(view, is, now)).collect::<Vec<_>>(),
    ));
    text.push_str(&list("What the judge says:", &judge(view)));
    text.push_str(&list("Analyses:", &view.analyses.iter().map(analysis).collect::<Vec<_>>()));
    let events = view.events.iter().rev().take(EVENTS_MAX);
    let events: Vec<String> = events
        .map(|event| format!("{} ago, {}: {}", since(event.at, now), event.reason, event.message))
        .collect();
    text.push_str(&list("What happened last:", &events));
    text.push_str(&list("What comes next:", &next(view)));
    text
}

fn paragraph(sentences: &[String]) -> String {
    let sentences: Vec<&str> =
        sentences.iter().map(String::as_str).filter(|sentence| !sentence.is_empty()).collect();
    if sentences.is_empty() { String::new() } else { sentences.join("\n") + "\n\n" }
}

fn list(title: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    format!("{title}\n  {}\n\n", items.join("\n  "))
}

fn state(view: &RolloutView, now: u64) -> String {
    let phase = view.phase.as_str().to_lowercase();
    let since = view.phase_since.map_or_else(String::new, |then| format!(", for {} now", since(then, now)));
    let why = if view.message.is_empty() { String::new() } else { format!(": {}", view.message) };
    format!("Rollout {}/{} is {phase}{since}{why}.", view.namespace, view.name).replace("..", ".")
}

fn run(view: &RolloutView, now: u64) -> String {
    let what =
        format!("of Service {} ({}, by the label {})", view.service, view.strategy, view.revision_label);
    let began =
        view.started_at.map_or_else(String::new, |then| format!("; the run began {} ago", since(then, now)));
    match (&view.stable, &view.target) {
        (Some(stable), Some(target)) if stable != target && view.phase == Phase::Aborted => {
            format!("It gave the traffic {what} back to {stable} instead of moving it to {target}{began}.")
        }
        (Some(stable), Some(target)) if stable != target => {
            format!("It is to move the traffic {what} from {stable} to {target}{began}.")
        }
        (Some(stable), _) => format!("{stable} has the traffic {what}."),
        (None, Some(target)) => format!("It wants {target} to have the traffic {what}."),
        (None, None) => format!("No revision {what} is known yet."),
    }
}

fn problems(view: &RolloutView) -> String {
    let mut sentences = Vec::new();
    if let Some(problem) = &view.problem {
        sentences.push(format!("It cannot be driven: {problem}."));
    }
    if let Some(overridden) = &view.overridden {
        sentences.push(format!("{overridden}. The override ends when `spec.targetRevision` changes."));
    }
    if !view.acknowledged {
        sentences.push("Not every worker uses the shares below yet.".to_owned());
    }
    sentences.join(" ")
}

fn traffic(view: &RolloutView, revision: &RevisionView) -> String {
    let name = &revision.revision;
    let (should, has) = (percent(revision.desired), percent(revision.applied));
    let share = if revision.clamped {
        let stable = view.stable.as_deref().unwrap_or("the stable revision");
        format!("should have {should}% and has {has}%: no endpoint is ready, so {stable} gets its share")
    } else if should == has {
        format!("has {has}%")
    } else {
        format!("should have {should}% and has {has}%")
    };
    let got = match revision.measured {
        Some(_) => format!(", measured {}%", measured(revision.measured)),
        None if revision.applied > 0.0 => {
            ", unmeasured: no request has been decided by weight since".to_owned()
        }
        None => String::new(),
    };
    let failed = if revision.requests == 0 {
        String::new()
    } else {
        format!(
            "; {} of {} requests failed ({}%)",
            count(revision.failed),
            count(revision.requests),
            ratio(revision.failed, revision.requests)
        )
    };
    let pods = match present(revision) {
        0 => "no pods".to_owned(),
        pods => format!("{} of {} ready", ready(revision), number(pods, "pod")),
    };
    format!("{name} ({}) {share}{got}; {pods}{failed}", revision.role)
}

fn ratio(part: u64, of: u64) -> String {
    match part as f64 * 100.0 / of.max(1) as f64 {
        tiny if part > 0 && tiny < 0.01 => "under 0.01".to_owned(),
        share => percent((share * 100.0).round() / 100.0),
    }
}

/// Who can end a pause, by what it is.
fn pause(view: &RolloutView, pause: &PauseView, now: u64) -> String {
    let end = match (pause.until, pause.kind()) {
        (Some(until), _) => {
            format!("ends by itself in {}, or now with {}", since(now, until), command(view, "promote"))
        }
        (None, PauseKind::Manifest) => "ends when the manifest says so".to_owned(),
        (None, PauseKind::Operator) => format!("ends with {}", command(view, "resume")),
        (None, PauseKind::Step) => format!("ends with {}", command(view, "promote")),
    };
    format!("{}, for {}; {end}", pause.reason, since(pause.since, now))
}

fn command(view: &RolloutView, verb: &str) -> String {
    let namespace =
        if view.namespace == "default" { String::new() } else { format!(" -n {}", view.namespace) };
    format!("`watershed rollout {verb} {}{namespace}`", view.name)
}

fn judge(view: &RolloutView) -> Vec<String> {
    let judge = &view.judge;
    if !judge.enabled {
        return Vec::new();
    }
    let mut said = vec![judge.state.clone()];
    said.retain(|sentence| !sentence.is_empty());
    if judge.metrics.is_empty() {
        return said;
    }
    said.extend(judge.metrics.iter().map(compared));
    said.push(format!(
        "in all the evidence against the new revision is {}; at {} it counts as worse",
        evidence(judge.evidence),
        evidence(judge.limit)
    ));
    if let Some(most) = judge.max_failed_requests {
        said.push(format!(
            "{} requests failed beyond the stable revision's rate; {} are allowed",
            evidence(judge.excess_failed),
            count(most)
        ));
    }
    said
}

fn compared(metric: &JudgeMetricView) -> String {
    format!(
        "{}: {} of {} ({}%) against {} of {} ({}%) of the stable revision: evidence {}",
        metric.name,
        count(metric.bad_canary),
        count(metric.canary),
        ratio(metric.bad_canary, metric.canary),
        count(metric.bad_stable),
        count(metric.stable),
        ratio(metric.bad_stable, metric.stable),
        evidence(metric.evidence)
    )
}

fn analysis(analysis: &AnalysisView) -> String {
    let metrics = analysis.metrics.iter().map(|metric| {
        let counts = [
            (metric.successful, "good"),
            (metric.failed, "bad"),
            (metric.inconclusive, "inconclusive"),
            (metric.errors, "failed to measure"),
        ];
        let told: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let told = if told.is_empty() { "not measured yet".to_owned() } else { told.join(", ") };
        let last = if metric.last.is_empty() { String::new() } else { format!(", last: {}", metric.last) };
        let dry = if metric.dry_run { ", without effect" } else { "" };
        format!("{} {told}{last}{dry}", metric.name)
    });
    let metrics: Vec<String> = metrics.collect();
    format!("{} is {}: {}", analysis.role, analysis.phase.to_lowercase(), metrics.join("; "))
}

fn next(view: &RolloutView) -> Vec<String> {
    let stable = view.stable.as_deref().unwrap_or("the stable revision");
    match view.phase {
        Phase::Healthy => {
            vec![format!("nothing, until another revision is wanted; {stable} keeps all traffic")]
        }
        Phase::Aborted => vec![format!(
            "nothing by itself: {stable} keeps all traffic until {} or until the specification changes",
            command(view, "retry")
        )],
        Phase::Degraded if view.started_at.is_some() => {
            vec![format!("{} gives everything back to {stable}", command(view, "abort"))]
        }
        Phase::Degraded => vec!["nothing by itself: what is said above has to be mended".to_owned()],
        Phase::Progressing | Phase::Paused => steps(view),
    }
}

fn steps(view: &RolloutView) -> Vec<String> {
    let all = view.steps.len();
    let mut told = Vec::new();
    let step = view.step.unwrap_or(all);
    if let Some(current) = view.steps.get(step) {
        let end = match &*view.pauses {
            [] => "is being done".to_owned(),
            pauses if pauses.iter().all(|pause| pause.until.is_some()) => "ends by itself".to_owned(),
            _ => "waits for somebody".to_owned(),
        };
        told.push(format!("step {} of {all}, {}, {end}", step + 1, current.text));
    }
    let to_come: Vec<&str> = view.steps.iter().skip(step + 1).map(|step: &StepView| &*step.text).collect();
    if !to_come.is_empty() {
        told.push(format!("then {}", to_come.join(", then ")));
    }
    let target = view.target.as_deref().unwrap_or("the new revision");
    let then =
        if told.is_empty() && !view.pauses.is_empty() { "when nothing stops it any more," } else { "then" };
    told.push(format!("{then} {target} gets all traffic and is the stable revision"));
    told
}
