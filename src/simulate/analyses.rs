//! External analyses, of which nothing is asked here: each measurement comes when it is due, and says what it is told to say.

use std::collections::BTreeMap;

use watershed_config::model::{Analyses, Rollout};
use watershed_control::analysis::{Measured, Phase};
use watershed_control::rollout::facts::Facts;
use watershed_control::rollout::state::Run;
use watershed_control::rollout::steps::{Work, background, works};

use super::profile::Answer;

/// What a measurement is said to have been.
const VALUE: &str = "simulated";

/// When what is measured next.
#[derive(Debug, Default)]
pub(super) struct Measurer {
    /// By number of the analysis: its metrics.
    begun: BTreeMap<u64, Vec<Due>>,
}

/// A metric: when it is measured next, in milliseconds, and how often.
#[derive(Debug)]
struct Due {
    next: Option<u64>,
    interval: Option<u64>,
}

impl Measurer {
    /// Measures what is due now: number of the run, of its analysis and of the metric.
    pub(super) fn measure(
        &mut self,
        run: &Run,
        facts: &Facts,
        answer: Answer,
        now: u64,
    ) -> Vec<(u64, u64, usize, Measured)> {
        let mut measured = Vec::new();
        for analysis in run.analyses.iter().filter(|analysis| analysis.run.phase() == Phase::Running) {
            let metrics =
                self.begun.entry(analysis.id).or_insert_with(|| metrics(facts, &analysis.role, now));
            for (metric, due) in metrics.iter_mut().enumerate() {
                if due.next.is_some_and(|next| next <= now) {
                    due.next = due.interval.map(|interval| now + interval);
                    measured.push((run.number, analysis.id, metric, say(answer)));
                }
            }
        }
        measured
    }
}

fn say(answer: Answer) -> Measured {
    match answer {
        Answer::Pass => Measured::Success(VALUE.to_owned()),
        Answer::Fail => Measured::Failure(VALUE.to_owned()),
        Answer::Inconclusive => Measured::Inconclusive(VALUE.to_owned()),
    }
}

/// The metrics of an analysis that begins now, numbered as the analysis numbers them: through all of its templates.
fn metrics(facts: &Facts, role: &str, now: u64) -> Vec<Due> {
    let Some(analyses) = analyses_of(&facts.spec, role) else { return Vec::new() };
    let templates = analyses.templates.iter().filter_map(|template| facts.templates.get(&template.name));
    let metrics = templates.flat_map(|template| &template.metrics);
    let due = metrics.map(|metric| Due {
        next: Some(now + metric.initial_delay.as_millis() as u64),
        interval: metric.interval.map(|interval| interval.as_millis() as u64),
    });
    due.collect()
}

/// What is run in this role: `background`, `step 3`, `prePromotion`, `postPromotion`.
fn analyses_of<'a>(spec: &'a Rollout, role: &str) -> Option<&'a Analyses> {
    let of_step = |(index, work): (usize, Work<'a>)| match work {
        Work::Analysis("step", analyses) if role == format!("step {}", index + 1) => Some(analyses),
        Work::Analysis(what, analyses) if role == what => Some(analyses),
        _ => None,
    };
    let beside = background(spec).map(|(analyses, _)| analyses).filter(|_| role == "background");
    beside.or_else(|| works(spec).into_iter().enumerate().find_map(of_step))
}
