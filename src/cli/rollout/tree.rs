//! `get`: a rollout as a heading and a tree, as Argo draws it.
//!
//! ```text
//! Name:            hello
//! Status:          Paused
//!
//! NAME                 KIND       STATUS   AGE   INFO
//! hello                Rollout    Paused   4m
//! |--# revision:2
//! |  `--2.0.0          Revision   Healthy  4m    canary, 10%
//! |     `--hello-2-a   Pod        Ready          127.0.0.1:9003
//! ```
//!
//! Where the terminal is too narrow for all columns, kinds and ages go first; then what is in the last column moves below its row.

mod heading;
mod row;

use watershed_control::rollout::view::{AnalysisMetricView, AnalysisView, RevisionView, RolloutView};

use super::words::{State, count, measured, percent, since};
use crate::screen::Style;
use row::{Guide, Row};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// What is usually looked for.
    Usual,
    /// Steps and counters too.
    All,
}

/// The lines, none wider than the terminal.
pub(super) fn lines(view: &RolloutView, detail: Detail, now: u64, style: Style) -> Vec<String> {
    let mut lines = heading::lines(view, detail, now, style);
    lines.push(String::new());
    lines.extend(row::draw(&rows(view, detail, now, style), style));
    lines
}

fn rows(view: &RolloutView, detail: Detail, now: u64, style: Style) -> Vec<Row> {
    let began = view.phase_since.or(view.started_at);
    let root = Row {
        name: sign("⟳ ", style) + &view.name,
        kind: "Rollout",
        state: Some(State::of_phase(view.phase)),
        age: began.map_or_else(String::new, |began| since(began, now)),
        ..Row::new(Guide::root())
    };
    let mut rows = vec![root];
    let mut revisions: Vec<&RevisionView> = view.revisions.iter().collect();
    revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number.unwrap_or(u64::MAX)));
    for (index, revision) in revisions.iter().enumerate() {
        let guide = Guide::root().child(index + 1 == revisions.len());
        let number = revision.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        rows.push(Row { name: format!("# revision:{number}"), ..Row::new(guide.clone()) });
        let run = view.history.iter().rev().find(|run| Some(run.number) == revision.number);
        let age = run.map_or_else(String::new, |run| since(run.started_at, now));
        let is_target = view.target.as_ref() == Some(&revision.revision);
        let analyses: &[AnalysisView] = if is_target { &view.analyses } else { &[] };
        let own = Row { age, info: info(revision, detail), ..Row::new(guide.child(analyses.is_empty())) };
        rows.extend(revision_rows(revision, own, style));
        rows.extend(analyses.iter().enumerate().map(|(index, analysis)| Row {
            name: sign("Σ ", style) + &analysis.role,
            kind: "Analysis",
            state: Some(State::of_analysis(&analysis.phase)),
            info: measurements(analysis, style),
            ..Row::new(guide.child(index + 1 == analyses.len()))
        }));
    }
    rows
}

/// A revision and its pods.
fn revision_rows(revision: &RevisionView, own: Row, style: Style) -> Vec<Row> {
    let pods = revision.pods.iter().enumerate().map(|(index, pod)| Row {
        name: sign("□ ", style) + &pod.name,
        kind: "Pod",
        state: Some(State::of_pod(pod)),
        info: pod.address.clone(),
        ..Row::new(own.guide.child(index + 1 == revision.pods.len()))
    });
    let pods: Vec<Row> = pods.collect();
    let state = Some(State::of_revision(revision));
    let own = Row { name: sign("⧉ ", style) + &revision.revision, kind: "Revision", state, ..own };
    [vec![own], pods].concat()
}

/// What kind of thing it is, where the terminal can show it.
fn sign(sign: &str, style: Style) -> String {
    if style.unicode { sign.to_owned() } else { String::new() }
}

fn info(revision: &RevisionView, detail: Detail) -> String {
    let mut parts = vec![revision.role.clone(), format!("{}%", percent(revision.applied))];
    if revision.clamped {
        parts.push(format!("clamped from {}%", percent(revision.desired)));
    }
    if revision.measured.is_some() && revision.applied > 0.0 {
        parts.push(format!("measured {}%", measured(revision.measured)));
    }
    if detail == Detail::All {
        parts.push(format!("{} requests", count(revision.requests)));
        parts.push(format!("{} failed", count(revision.failed)));
        parts.push(format!("{} in flight", count(revision.in_flight)));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn measurements(analysis: &AnalysisView, style: Style) -> String {
    let of = |metric: &AnalysisMetricView| {
        let counts = [
            (metric.successful, "✔ ", "good"),
            (metric.failed, "✖ ", "bad"),
            (metric.inconclusive, "? ", "inconclusive"),
            (metric.errors, "⚠ ", "errors"),
        ];
        let told = counts.into_iter().filter(|(count, ..)| *count > 0).map(|(count, sign, word)| {
            if style.unicode { format!("{sign}{count}") } else { format!("{count} {word}") }
        });
        let told: Vec<String> = told.collect();
        let told = if told.is_empty() { "no measurement yet".to_owned() } else { told.join(", ") };
        let dry = if metric.dry_run { " (dry run)" } else { "" };
        format!("{}{dry}: {told}", metric.name)
    };
    analysis.metrics.iter().map(of).collect::<Vec<_>>().join("; ")
}
