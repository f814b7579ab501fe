//! Memory and facts as people are shown them. Pure.

use std::collections::BTreeSet;

use watershed_config::model::{Rollout, Share};
use watershed_config::snapshot::EndpointState;

use super::engine::Tick;
use super::facts::{Facts, PodFacts, RevisionFacts};
use super::plan::Plan;
use super::state::{Run, State};
use super::steps::{Work, paused_at, text, works};
use super::view::{
    HistoryView, JudgeView, PauseView, PodView, RevisionView, RolloutView, StepState, StepView,
};

/// The view of a rollout. `plan` is what is published.
pub fn describe(state: &State, facts: &Facts, plan: Option<&Plan>) -> RolloutView {
    let spec = &*facts.spec;
    let run = state.run.as_ref();
    let tick = Tick::new(state, facts, state.ticked_at);
    RolloutView {
        namespace: spec.meta.name().namespace.to_string(),
        name: spec.meta.name().name.to_string(),
        service: spec.service.name.to_string(),
        strategy: spec.strategy.name().to_owned(),
        revision_label: spec.revision_label.to_string(),
        phase: state.phase,
        phase_since: Some(state.phase_since),
        message: state.message.clone(),
        journal_version: state.version,
        stable: state.stable.clone(),
        target: tick.wanted(),
        overridden: overridden(state, spec),
        step: run.map(|run| step_of(run, spec)),
        steps: steps(run, spec),
        step_started_at: run.map(|run| run.step_started_at),
        started_at: run.map(|run| run.started_at),
        pauses: pauses(state, spec),
        revisions: revisions(state, facts, plan),
        acknowledged: tick.is_applied(),
        judge: judge(&tick),
        analyses: run.map_or_else(Vec::new, |run| {
            run.analyses.iter().map(|analysis| analysis.run.view(&analysis.role)).collect()
        }),
        history: history(state),
        events: state.events.clone(),
        wished_replicas: state.wished.clone(),
        aborts: state.aborts.clone(),
        problem: None,
    }
}

fn overridden(state: &State, spec: &Rollout) -> Option<String> {
    state.overridden.as_ref()?;
    let wants = spec.target_revision.as_deref().unwrap_or("the newest revision");
    Some(format!("Overridden: the file wants {wants}"))
}

fn step_of(run: &Run, spec: &Rollout) -> usize {
    if run.full { works(spec).len() } else { run.step }
}

fn steps(run: Option<&Run>, spec: &Rollout) -> Vec<StepView> {
    let step = |(index, work): (usize, &Work<'_>)| {
        let state = match run {
            Some(run) if run.aborted.is_some() => StepState::Pending,
            Some(run) if index < step_of(run, spec) => StepState::Done,
            Some(run) if index == step_of(run, spec) => StepState::Current,
            // The stable revision has gone through all of them.
            None => StepState::Done,
            Some(_) => StepState::Pending,
        };
        StepView { text: text(work), state }
    };
    works(spec).iter().enumerate().map(step).collect()
}

fn pauses(state: &State, spec: &Rollout) -> Vec<PauseView> {
    let mut pauses = Vec::new();
    if let Some(place) = paused_at(spec) {
        let reason = format!("spec.paused ({place})");
        let since = state.file_paused_since.unwrap_or(state.ticked_at);
        pauses.push(PauseView { reason, since, until: None });
    }
    if let Some(paused) = &state.paused {
        let why = if paused.reason.is_empty() { String::new() } else { format!(": {}", paused.reason) };
        let reason = format!("paused by {}{why}", paused.by);
        pauses.push(PauseView { reason, since: paused.since, until: None });
    }
    let Some(run) = state.active() else { return pauses };
    if let Some(stopped) = &run.stopped {
        let reason = format!("paused by itself: {}", stopped.why);
        pauses.push(PauseView { reason, since: stopped.since, until: None });
    }
    if let Some(held) = run.held {
        let reason = format!("paused by set-weight: held at {} %", Share::from_millionths(held));
        pauses.push(PauseView { reason, since: run.held_since, until: None });
    }
    if let (Some(Work::Pause(duration)), false) = (works(spec).get(run.step), run.full) {
        let until = duration.map(|duration| run.step_started_at + duration.as_millis() as u64);
        pauses.push(PauseView { reason: "pause step".to_owned(), since: run.step_started_at, until });
    }
    pauses
}

fn revisions(state: &State, facts: &Facts, plan: Option<&Plan>) -> Vec<RevisionView> {
    let stable = state.stable.as_deref();
    let active = state.active().map(|run| run.revision.as_str());
    let mut names: Vec<&str> = Vec::new();
    let known = [state.run.as_ref().map(|run| run.revision.as_str()), stable];
    let of_pods = facts.revisions.iter().map(|revision| &*revision.revision);
    let mut seen = BTreeSet::new();
    names.extend(known.into_iter().flatten().chain(of_pods).filter(|name| seen.insert(*name)));
    names.into_iter().map(|name| revision(name, state, facts, plan, active == Some(name))).collect()
}

fn revision(name: &str, state: &State, facts: &Facts, plan: Option<&Plan>, active: bool) -> RevisionView {
    let of_pods = facts.revision(name);
    let counts = facts.observed.revisions.get(name).cloned().unwrap_or_default();
    let (desired, applied) = shares(name, facts, plan);
    RevisionView {
        revision: name.to_owned(),
        number: number(name, state),
        role: role(name, state, facts, active).to_owned(),
        desired,
        applied,
        measured: measured(name, facts),
        clamped: applied < desired,
        requests: counts.requests,
        failed: counts.failed,
        in_flight: counts.in_flight,
        pods: of_pods.map_or_else(Vec::new, |revision| pods(revision, plan)),
    }
}

fn number(name: &str, state: &State) -> Option<u64> {
    let current = state.run.as_ref().filter(|run| run.revision == name).map(|run| run.number);
    current.or_else(|| state.history.iter().rev().find(|past| past.revision == name).map(|past| past.number))
}

fn role(name: &str, state: &State, facts: &Facts, active: bool) -> &'static str {
    use watershed_config::model::Strategy;
    let blue_green = matches!(facts.spec.strategy, Strategy::BlueGreen(_));
    let switched = state.active().is_some_and(|run| run.weight == Share::WHOLE.millionths());
    let aborted = state.run.as_ref().is_some_and(|run| run.aborted.is_some() && run.revision == name);
    match (active, state.stable.as_deref() == Some(name)) {
        (true, _) if blue_green && !switched => "preview",
        (true, _) if blue_green => "active",
        (true, _) => "canary",
        (false, true) if blue_green && !switched => "stable,active",
        (false, true) => "stable",
        (false, false) if aborted => "aborted",
        (false, false) if number(name, state).is_none() => "new",
        (false, false) => "old",
    }
}

/// The share in percent that a revision should have, and the one that it has with its ready pods.
fn shares(name: &str, facts: &Facts, plan: Option<&Plan>) -> (f64, f64) {
    let Some(plan) = plan else { return (0.0, 0.0) };
    let of_splits = facts.observed.splits.first().filter(|_| plan.rotation.is_some());
    let whole = Share::WHOLE.millionths();
    let canary = plan.canary.as_ref().filter(|(canary, _)| *canary != plan.stable);
    let (wanted, given) = match canary {
        None => (0, 0),
        Some((canary, weight)) => {
            let decided = of_splits.and_then(|split| {
                split.decisions.iter().find(|(revision, ..)| revision == canary).map(|(_, share, _)| *share)
            });
            let wanted = decided.unwrap_or(if plan.rotation.is_some() { 0 } else { *weight });
            (wanted, if facts.ready(canary) == 0 { 0 } else { wanted })
        }
    };
    let percent = |millionths: u32| Share::from_millionths(millionths).percent();
    if *plan.stable == *name {
        (percent(whole - wanted), percent(whole - given))
    } else if canary.is_some_and(|(canary, _)| **canary == *name) {
        (percent(wanted), percent(given))
    } else {
        (0.0, 0.0)
    }
}

/// The share in percent of the weighted decisions since the present shares are in force.
fn measured(name: &str, facts: &Facts) -> Option<f64> {
    let decisions = || facts.observed.splits.iter().flat_map(|split| &split.decisions);
    let all: u64 = decisions().map(|(_, _, count)| count).sum();
    let ours: u64 = decisions().filter(|(revision, ..)| **revision == *name).map(|(_, _, count)| count).sum();
    (all > 0).then(|| 100.0 * ours as f64 / all as f64)
}

fn pods(revision: &RevisionFacts, plan: Option<&Plan>) -> Vec<PodView> {
    let rotation = plan.and_then(|plan| Some((plan.rotation.as_ref()?, plan.canary.as_ref()?)));
    let is_out = |pod: &PodFacts| {
        rotation.is_some_and(|(rotation, (canary, _))| {
            if *canary == revision.revision {
                !rotation.admitted.contains(&*pod.uid)
            } else {
                rotation.withdrawn.contains(&*pod.uid)
            }
        })
    };
    let view = |pod: &PodFacts| {
        let state = match pod {
            PodFacts { terminating: true, .. } => EndpointState::Terminating,
            PodFacts { ready_since: None, .. } => EndpointState::Unready,
            pod if is_out(pod) => EndpointState::Withdrawn,
            _ => EndpointState::Ready,
        };
        PodView {
            name: pod.name.to_string(),
            state: state.as_str().to_owned(),
            address: pod.address.to_string(),
        }
    };
    revision.pods.iter().map(view).collect()
}

fn judge(tick: &Tick<'_>) -> JudgeView {
    let spec = &tick.spec.judge;
    let state = tick.comparison();
    let Some(run) = tick.state.run.as_ref() else {
        return JudgeView {
            enabled: spec.enabled,
            state: state.err().unwrap_or_default().to_owned(),
            limit: 1.0 / spec.false_alarm_rate,
            max_failed_requests: spec.max_failed_requests,
            ..JudgeView::default()
        };
    };
    let sentence = match (state, &run.aborted) {
        // What it was aborted for, or would not have been.
        (_, Some(_)) | (Ok(()), None) => run.judge.why(spec, &run.revision, &run.from),
        (Err(why), None) => why.to_owned(),
    };
    run.judge.view(spec, sentence)
}

fn history(state: &State) -> Vec<HistoryView> {
    let mut history: Vec<HistoryView> = state
        .history
        .iter()
        .map(|past| HistoryView {
            number: past.number,
            revision: past.revision.clone(),
            outcome: past.outcome.clone(),
            cause: past.cause.clone(),
            started_at: past.started_at,
            ended_at: Some(past.ended_at),
        })
        .collect();
    if let Some(run) = state.active() {
        history.push(HistoryView {
            number: run.number,
            revision: run.revision.clone(),
            outcome: "progressing".to_owned(),
            cause: run.cause.clone(),
            started_at: run.started_at,
            ended_at: None,
        });
    }
    history
}
