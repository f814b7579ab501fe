//! Analyses that cannot run: a template that is not there, an argument without a value, a measurement without an end.

use watershed_config::model::{
    Analyses, AnalysisMetric, AnalysisTemplate, ObjectName, Rollout, StepAction, Strategy, TemplateRef,
};

use super::super::names::Names;
use super::super::report::{Report, warning};
use crate::catalog::Catalog;

/// Whether something waits for an analysis to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Yes,
    /// It runs in the background, until the steps are over.
    No,
}

pub(super) fn report(rollout: &Rollout, catalog: &Catalog, templates: &Names, report: &mut Report) {
    for (analyses, awaited) in analyses(&rollout.strategy) {
        for reference in &analyses.templates {
            match find(rollout, reference, catalog) {
                Some(template) => {
                    report_arguments(rollout, analyses, reference, template, report);
                    if awaited == Awaited::Yes {
                        report_endless(rollout, reference, template, report);
                    }
                }
                None => report_missing(rollout, reference, templates, report),
            }
        }
    }
}

/// The template of the Rollout's namespace.
pub(super) fn find<'c>(
    rollout: &Rollout,
    reference: &TemplateRef,
    catalog: &'c Catalog,
) -> Option<&'c AnalysisTemplate> {
    let namespace = &rollout.meta.name().namespace;
    catalog.analysis_template(&ObjectName::new(namespace.clone(), reference.name.clone()))
}

fn analyses(strategy: &Strategy) -> Vec<(&Analyses, Awaited)> {
    match strategy {
        Strategy::Canary(canary) => {
            let background = canary.analysis.iter().map(|background| (&background.analyses, Awaited::No));
            let steps = canary.steps.iter().filter_map(|step| match &step.action {
                StepAction::Analysis(analyses) => Some((analyses, Awaited::Yes)),
                _ => None,
            });
            background.chain(steps).collect()
        }
        Strategy::BlueGreen(blue_green) => {
            let both = [&blue_green.pre_promotion, &blue_green.post_promotion];
            both.into_iter().flatten().map(|analyses| (analyses, Awaited::Yes)).collect()
        }
        Strategy::RollingUpdate(_) => Vec::new(),
    }
}

fn report_missing(rollout: &Rollout, reference: &TemplateRef, templates: &Names, report: &mut Report) {
    let wanted = ObjectName::new(rollout.meta.name().namespace.clone(), reference.name.clone());
    let what = format!("the analysis cannot run: there is no AnalysisTemplate {wanted}");
    let elsewhere = "a Rollout uses templates of its own namespace";
    let help = templates.help(&wanted, elsewhere, &report.suggest);
    push(rollout, reference, what, help, report);
}

fn report_arguments(
    rollout: &Rollout,
    analyses: &Analyses,
    reference: &TemplateRef,
    template: &AnalysisTemplate,
    report: &mut Report,
) {
    let without = template.args.iter().filter(|(name, value)| {
        value.is_none() && !analyses.args.contains_key(name) && !Analyses::GIVEN.contains(&&**name)
    });
    for (name, _) in without {
        let what = format!(
            "the analysis cannot run: AnalysisTemplate {} needs a value for its argument {name}",
            template.meta.name()
        );
        let declared = |given: &str| template.args.iter().any(|(name, _)| **name == *given);
        let given = analyses.args.keys().map(|given| &**given).filter(|given| !declared(given));
        let help = match report.suggest.nearest(name, given) {
            Some(near) => format!("`{near}` is given, which the template does not have; write `{name}`"),
            None => format!("write `args: [{{name: {name}, value: ...}}]` beside `templates`"),
        };
        push(rollout, reference, what, help, report);
    }
}

/// A metric with an interval and without a count goes on until it is stopped, and nobody stops what is waited for.
fn report_endless(
    rollout: &Rollout,
    reference: &TemplateRef,
    template: &AnalysisTemplate,
    report: &mut Report,
) {
    let endless = |metric: &&AnalysisMetric| metric.count.is_none() && !metric.dry_run;
    if let Some(metric) = template.metrics.iter().find(endless) {
        let what = format!(
            "the analysis would be waited for without an end: metric {:?} of AnalysisTemplate {} has an interval and no count",
            metric.name,
            template.meta.name()
        );
        let help = "give the metric a count, or run the template in the background: strategy.canary.analysis";
        push(rollout, reference, what, help.to_owned(), report);
    }
}

fn push(rollout: &Rollout, reference: &TemplateRef, what: String, help: String, report: &mut Report) {
    let problem = warning(&rollout.meta, reference.spot, what);
    report.push(problem.with_field("spec.strategy").with_help(help));
}
