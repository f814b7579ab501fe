//! What became of simulated rollouts, for somebody who plans one.

use std::fmt::Write;
use std::time::Duration;

use crate::cli::rollout::table::table as columns;
use crate::screen::{thousands, wrap};
use crate::simulate::profile::{Answer, Behaviour, Conditions, Profile};
use crate::simulate::report::{Detection, FalseAlarms, Outcomes, Quantiles, Report};
use crate::simulate::subject::Subject;

/// The whole of it.
pub(super) fn table(report: &Report, subject: &Subject, profile: &Profile, width: usize) -> String {
    let mut text = String::new();
    let mut say = |sentence: String| {
        text.push_str(&wrap(&sentence, width.saturating_sub(1)));
        text.push('\n');
    };
    say(heading(report));
    if let Some(remark) = &subject.remark {
        say(format!("Note: {remark}."));
    }
    say(process(profile));
    text.push('\n');
    text.push_str(&traffic(report, profile, width));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\nThe first of {}, seed {}:\n", count(report.rollouts, "rollout"), profile.seed);
    text.push_str(&timeline(report, width));
    text.push('\n');
    text.push_str(&outcomes(report, width));
    text.push('\n');
    text.push_str(&quantiles(report, width));
    text.push('\n');
    for sentence in closing(report) {
        text.push_str(&wrap(&sentence, width.saturating_sub(1)));
        text.push('\n');
    }
    text
}

fn heading(report: &Report) -> String {
    let Report { namespace, name, service, strategy, stable, canary, .. } = report;
    format!(
        "Rollout {namespace}/{name} moves the traffic of Service {service} from {stable} to {canary} ({strategy})."
    )
}

/// Who is there, and what holds from when on.
fn traffic(report: &Report, profile: &Profile, width: usize) -> String {
    let behaves = |Behaviour { errors, latency, .. }: Behaviour| {
        format!("{} % fail, {}", percent(errors), humantime::format_duration(latency))
    };
    let row = |now: &Conditions| {
        vec![span(now.from), format!("{}/s", now.rps), behaves(now.stable), behaves(now.canary)]
    };
    let heading = ["FROM", "REQUESTS", &*report.stable, &*report.canary];
    let rows: Vec<Vec<String>> = profile.conditions.iter().map(row).collect();
    columns(&heading, &rows, width)
}

fn process(profile: &Profile) -> String {
    let [workers, pods] = [profile.workers, profile.pods].map(u64::from);
    let answers = match profile.analysis {
        Answer::Pass => String::new(),
        Answer::Fail => format!("; analyses fail from {} on", span(profile.onset)),
        Answer::Inconclusive => format!("; analyses are inconclusive from {} on", span(profile.onset)),
    };
    format!("{}, {} of each revision{answers}.", count(workers, "worker"), count(pods, "pod"))
}

/// A part as a percentage, with no more digits than it has.
fn percent(part: f64) -> f64 {
    (part * 100.0 * 1e6).round() / 1e6
}

fn timeline(report: &Report, width: usize) -> String {
    let row = |moment: &crate::simulate::report::Moment| {
        let step = moment.step.clone().unwrap_or_else(|| "-".to_owned());
        let message = if moment.kind == "Warning" {
            format!("{}: {}", moment.reason, moment.message)
        } else {
            moment.message.clone()
        };
        vec![clock(moment.at_ms), step, format!("{} %", moment.weight), message]
    };
    let rows: Vec<Vec<String>> = report.timeline.iter().map(row).collect();
    columns(&["TIME", "STEP", "WEIGHT", "WHAT HAPPENED"], &rows, width)
}

fn outcomes(report: &Report, width: usize) -> String {
    let Outcomes { completed, aborted, paused, not_over, waiting_for } = &report.outcomes;
    let why = waiting_for.clone().unwrap_or_default();
    let mut rows = vec![vec!["completed".to_owned(), completed.to_string(), String::new()]];
    rows.extend(
        aborted.iter().map(|(reason, count)| vec!["aborted".to_owned(), count.to_string(), reason.clone()]),
    );
    for (what, count) in [("paused", paused), ("not over", not_over)] {
        if *count > 0 {
            rows.push(vec![what.to_owned(), count.to_string(), why.clone()]);
        }
    }
    columns(&["OUTCOME", "ROLLOUTS", "WHY"], &rows, width)
}

fn quantiles(report: &Report, width: usize) -> String {
    let canary = &report.canary;
    let mut rows = vec![
        row("duration, of those that completed", report.duration_ms, span),
        row(&format!("requests that {canary} got"), report.requests, thousands),
        row("failed ones among them", report.failed, thousands),
    ];
    if let Some(Detection { time_ms, failed_of_canary, failed_of_both, .. }) = report.detection {
        rows.push(row("time from onset to abort or pause", time_ms, span));
        rows.push(row(&format!("failed requests of {canary} meanwhile"), failed_of_canary, thousands));
        rows.push(row("failed requests of both meanwhile", failed_of_both, thousands));
    }
    columns(&["", "MEDIAN", "P90", "MAX"], &rows, width)
}

fn row(what: &str, quantiles: Option<Quantiles>, show: fn(u64) -> String) -> Vec<String> {
    let [median, p90, max] = match quantiles {
        Some(Quantiles { median, p90, max }) => [median, p90, max].map(show),
        None => ["-"; 3].map(str::to_owned),
    };
    vec![what.to_owned(), median, p90, max]
}

/// What the numbers say.
fn closing(report: &Report) -> Vec<String> {
    let Report { stable, canary, .. } = report;
    let mut sentences = Vec::new();
    if let Some(Detection { exposed, stopped, .. }) = report.detection {
        sentences.push(match exposed {
            0 => format!("{canary} never had traffic while it was different from {stable}."),
            _ => format!(
                "{canary} was different from {stable} with traffic in {exposed} of {}; {stopped} of these were aborted or paused. \
                 The onset is its first request as such.",
                count(report.rollouts, "rollout")
            ),
        });
    }
    let FalseAlarms { rollouts, alarms, rate_at_most, false_alarm_rate, over_budget, no_comparison } =
        &report.false_alarms;
    sentences.push(match no_comparison {
        Some(why) => format!("The judge raises no alarm in this rollout: {why}."),
        None => format!(
            "False alarms: with {canary} exactly as good as {stable}, the judge found it worse in {alarms} of {} \
             (with 95 % confidence at most {:.2} % are; falseAlarmRate allows {} %).",
            count(*rollouts, "rollout"),
            rate_at_most * 100.0,
            percent(*false_alarm_rate),
        ),
    });
    if *over_budget > 0 {
        sentences.push(format!(
            "maxFailedRequests knows no chance: with {canary} exactly as good, {over_budget} of {} met it.",
            count(*rollouts, "rollout")
        ));
    }
    sentences
}

/// `1 pod`, `3 pods`.
fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// A time of the timeline: hours, minutes, seconds and tenths.
fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    format!("{}:{:02}:{:02}.{}", seconds / 3600, seconds / 60 % 60, seconds % 60, ms / 100 % 10)
}

/// A length of time, in two units at most.
fn span(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        1..10_000 => format!("{:.1}s", ms as f64 / 1000.0),
        10_000..3_600_000 => humantime::format_duration(Duration::from_secs(ms / 1000)).to_string(),
        _ => humantime::format_duration(Duration::from_secs(ms / 60_000 * 60)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{clock, span};

    #[test]
    fn times_are_as_exact_as_somebody_who_plans_needs_them() {
        assert_eq!([0, 400, 59_999, 125_000, 7_325_000].map(span), ["0s", "0.4s", "59s", "2m 5s", "2h 2m"]);
        assert_eq!([0, 3_725_400].map(clock), ["0:00:00.0", "1:02:05.4"]);
    }
}
