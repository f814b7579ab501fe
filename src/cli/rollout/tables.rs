//! `list` and `history`.

use watershed_control::rollout::view::{HistoryView, RevisionView, RolloutView};

use super::table::table;
use super::words::{State, cleaned, count, percent, present, ready, since, span, target};
use super::{Failure, HistoryArgs, ListArgs, Output, Structured, output};
use crate::screen::Style;

/// Rollouts, one in a line.
pub(super) fn list(
    views: &[RolloutView],
    namespace: &str,
    args: &ListArgs,
    now: u64,
    style: Style,
) -> Result<String, Failure> {
    match args.output {
        Some(Output::Json) => return output::many(views, Structured::Json),
        Some(Output::Yaml) => return output::many(views, Structured::Yaml),
        Some(Output::Name) => return Ok(views.iter().map(|view| output::name(view) + "\n").collect()),
        Some(Output::Wide) | None => {}
    }
    if views.is_empty() {
        return Ok(if args.all_namespaces {
            "No Rollouts found.\n".to_owned()
        } else {
            format!("No Rollouts found in namespace {namespace}.\n")
        });
    }
    let wide = args.output == Some(Output::Wide);
    let mut heading = vec![
        "NAME",
        "STRATEGY",
        "STATUS",
        "STEP",
        "SET-WEIGHT",
        "READY",
        "DESIRED",
        "UP-TO-DATE",
        "AVAILABLE",
    ];
    if args.all_namespaces {
        heading.insert(0, "NAMESPACE");
    }
    if wide {
        heading.extend(["SERVICE", "STABLE", "TARGET", "SINCE", "MESSAGE"]);
    }
    let row = |view: &RolloutView| {
        let view = cleaned(view);
        let mut cells = if args.all_namespaces { vec![view.namespace.clone()] } else { Vec::new() };
        cells.extend(summary(&view, style));
        if wide {
            cells.extend(more(&view, now));
        }
        cells
    };
    let rows: Vec<Vec<String>> = views.iter().map(row).collect();
    Ok(table(&heading, &rows, style.width))
}

fn summary(view: &RolloutView, style: Style) -> [String; 9] {
    let nothing = || "-".to_owned();
    let pods: usize = view.revisions.iter().map(present).sum();
    let wished =
        |revision: &RevisionView| view.wished_replicas.get(&revision.revision).map(|pods| *pods as usize);
    let desired: usize =
        view.revisions.iter().map(|revision| wished(revision).unwrap_or_else(|| present(revision))).sum();
    let all_ready: usize = view.revisions.iter().map(ready).sum();
    let in_rotation =
        view.revisions.iter().flat_map(|revision| &revision.pods).filter(|pod| pod.state == "ready").count();
    [
        view.name.clone(),
        view.strategy.clone(),
        State::of_phase(view.phase).text(style),
        view.step.map_or_else(nothing, |step| {
            format!("{}/{}", (step + 1).min(view.steps.len()), view.steps.len())
        }),
        target(view).map_or_else(nothing, |target| percent(target.desired)),
        format!("{all_ready}/{pods}"),
        desired.to_string(),
        target(view).map_or(0, present).to_string(),
        in_rotation.to_string(),
    ]
}

fn more(view: &RolloutView, now: u64) -> [String; 5] {
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        view.service.clone(),
        or_nothing(&view.stable),
        or_nothing(&view.target),
        view.phase_since.map_or_else(|| "-".to_owned(), |then| since(then, now)),
        view.problem.clone().unwrap_or_else(|| view.message.clone()),
    ]
}

/// What was rolled out; one of it in detail.
pub(super) fn history(
    view: &RolloutView,
    args: &HistoryArgs,
    now: u64,
    style: Style,
) -> Result<String, Failure> {
    let Some(wanted) = args.revision else {
        return match args.output {
            Some(how) => output::print(&view.history, how),
            None => Ok(runs(&cleaned(view), now, style)),
        };
    };
    // Tried again, a revision has several runs with one number: the last one counts.
    let Some(run) = view.history.iter().rev().find(|run| run.number == wanted) else {
        let known: Vec<String> = view.history.iter().map(|run| run.number.to_string()).collect();
        let known = if known.is_empty() {
            "it is empty".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        return Err(Failure::Failed(format!(
            "the history of rollout \"{}\" has no revision {wanted}; {known}",
            view.name
        )));
    };
    match args.output {
        Some(how) => output::print(run, how),
        None => Ok(details(&cleaned(view), run.number, now, style)),
    }
}

fn runs(view: &RolloutView, now: u64, style: Style) -> String {
    let row = |run: &HistoryView| {
        vec![
            run.number.to_string(),
            run.revision.clone(),
            run.outcome.clone(),
            since(run.started_at, now),
            cause(run),
        ]
    };
    let rows: Vec<Vec<String>> = view.history.iter().map(row).collect();
    let heading = ["REVISION", "VERSION", "OUTCOME", "AGE", "CHANGE-CAUSE"];
    format!("{}\n{}", output::name(view), table(&heading, &rows, style.width))
}

/// kubectl's word for it.
fn cause(run: &HistoryView) -> String {
    if run.cause.is_empty() { "<none>".to_owned() } else { run.cause.clone() }
}

fn details(view: &RolloutView, number: u64, now: u64, style: Style) -> String {
    let Some(run) = view.history.iter().rev().find(|run| run.number == number) else { return String::new() };
    let time = |ms: u64| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
        format!("{} ({} ago)", humantime::format_rfc3339_seconds(time), since(ms, now))
    };
    let mut lines = vec![
        format!("{} with revision #{number}", output::name(view)),
        format!("  Version:       {}={}", view.revision_label, run.revision),
        format!("  Outcome:       {}", run.outcome),
        format!("  Change-cause:  {}", cause(run)),
        format!("  Started:       {}", time(run.started_at)),
    ];
    if let Some(ended_at) = run.ended_at {
        lines.push(format!("  Ended:         {}", time(ended_at)));
        lines.push(format!("  Took:          {}", span(ended_at.saturating_sub(run.started_at))));
    }
    if let Some(now) = view.revisions.iter().find(|revision| revision.revision == run.revision) {
        lines.push(format!("  Role now:      {}, {} %", now.role, percent(now.applied)));
        lines.push(format!("  Requests:      {}, {} failed", count(now.requests), count(now.failed)));
        let pods = now
            .pods
            .iter()
            .map(|pod| format!("    {}  {}  {}", pod.name, pod.address, State::of_pod(pod).text(style)));
        lines.push("  Pods:".to_owned() + if now.pods.is_empty() { "          none" } else { "" });
        lines.extend(pods);
    }
    lines.join("\n") + "\n"
}
