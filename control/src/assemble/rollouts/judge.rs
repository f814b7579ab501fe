//! Steps that leave the judge no time to see anything.

use std::time::Duration;

use watershed_config::model::{Analyses, AnalysisMetric, Rollout, Share, StepAction, Strategy};

use super::super::report::{Report, warning};
use super::analyses;
use crate::catalog::Catalog;

/// Least time that both revisions have to have traffic. At a hundred requests per second a canary of 1 % gets sixty requests in a
/// minute; fewer show nothing but the grossest failures.
const COMPARABLE_MIN: Duration = Duration::from_mins(1);

pub(super) fn report(rollout: &Rollout, catalog: &Catalog, report: &mut Report) {
    // Who is kept on one revision is not drawn at random, so there the judge compares nothing however long it is given.
    if !rollout.judge.enabled || rollout.sticky.is_some() {
        return;
    }
    let Some(comparable) = comparable(rollout, catalog).filter(|time| *time < COMPARABLE_MIN) else { return };
    let what = format!(
        "the steps leave the judge {} s with traffic on both revisions, too little to see a difference",
        comparable.as_secs()
    );
    let help = format!(
        "pause for {} s or more between the first setWeight and 100, for example `- pause: {{duration: 1m}}`, \
         or write `judge: {{enabled: false}}`",
        COMPARABLE_MIN.as_secs()
    );
    let problem = warning(&rollout.meta, rollout.strategy_spot, what);
    report.push(problem.with_field("spec.strategy.canary.steps").with_help(help));
}

/// How long the steps hold a weight between nothing and everything; `None` for as long as somebody likes, and for other
/// strategies.
fn comparable(rollout: &Rollout, catalog: &Catalog) -> Option<Duration> {
    let Strategy::Canary(canary) = &rollout.strategy else { return None };
    let mut weight = Share::NONE;
    let mut total = Duration::ZERO;
    for step in &canary.steps {
        let lasts = match &step.action {
            StepAction::SetWeight(share) => {
                weight = *share;
                Duration::ZERO
            }
            _ if weight == Share::NONE || weight == Share::WHOLE => Duration::ZERO,
            StepAction::Pause(duration) => (*duration)?,
            StepAction::Analysis(analyses) => length(rollout, analyses, catalog)?,
            StepAction::SetHeaderRoute(_) | StepAction::SetCanaryScale(_) => Duration::ZERO,
        };
        total = total.saturating_add(lasts);
    }
    Some(total)
}

/// How long an analysis takes that succeeds; `None` where it has no end or is not known.
fn length(rollout: &Rollout, analyses: &Analyses, catalog: &Catalog) -> Option<Duration> {
    let mut longest = Duration::ZERO;
    for reference in &analyses.templates {
        for metric in &analyses::find(rollout, reference, catalog)?.metrics {
            longest = longest.max(measured_for(metric)?);
        }
    }
    Some(longest)
}

fn measured_for(metric: &AnalysisMetric) -> Option<Duration> {
    let between = metric.interval.unwrap_or_default().saturating_mul(metric.count?.get() - 1);
    Some(metric.initial_delay.saturating_add(between))
}
