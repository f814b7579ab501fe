//! What keeps a Rollout from doing what it says: a Service that is not there, pods without the revisions it names, analyses that
//! cannot run, steps too short for the judge.
//!
//! All of these are found before anything is moved. A Rollout of which something is said here is still kept: pods and templates
//! come and go, and what is missing may be on its way.

mod analyses;
mod judge;

use std::collections::{BTreeSet, HashMap};

use watershed_config::model::{Kind, Meta, ObjectName, Pod, Rollout, Service};
use watershed_config::{Severity, Spot};

use super::names::Names;
use super::report::{Report, problem, warning};
use super::suggest::listed;
use crate::catalog::Catalog;
use crate::resolve::Resolver;

/// Reports what is wrong with every Rollout as far as other objects are concerned.
pub(super) fn report_rollouts(catalog: &Catalog, resolver: &Resolver, services: &Names, report: &mut Report) {
    let templates = catalog.analysis_templates().map(|template| template.meta.name());
    let templates = Names::new(Kind::AnalysisTemplate, templates);
    let drivers = drivers(catalog);
    for rollout in catalog.rollouts() {
        match drivers.get(&rollout.service) {
            Some(driver) if driver.meta.id != rollout.meta.id => report_second(rollout, driver, report),
            _ => report_service(rollout, catalog, resolver, services, report),
        }
        analyses::report(rollout, catalog, &templates, report);
        judge::report(rollout, catalog, report);
    }
}

/// Who moves each Service: of several Rollouts the first by name, so that the same one does after every restart.
fn drivers(catalog: &Catalog) -> HashMap<&ObjectName, &Rollout> {
    let mut drivers = HashMap::new();
    for rollout in catalog.rollouts() {
        drivers.entry(&rollout.service).or_insert(rollout);
    }
    drivers
}

fn report_second(rollout: &Rollout, driver: &Rollout, report: &mut Report) {
    let Meta { id, origin, .. } = &driver.meta;
    let place = match &origin.file {
        Some(file) => format!(" ({}:{})", file.display(), origin.spot.line),
        None => String::new(),
    };
    let what = format!(
        "Rollout {} is not driven: Service {} is moved by {id}{place} already",
        rollout.meta.name(),
        rollout.service
    );
    let help = "remove one of the two, or give each a Service of its own";
    report.push(
        problem(Severity::Error, &rollout.meta, rollout.service_spot, what)
            .with_field("spec.serviceRef")
            .with_help(help),
    );
}

fn report_service(
    rollout: &Rollout,
    catalog: &Catalog,
    resolver: &Resolver,
    services: &Names,
    report: &mut Report,
) {
    let (name, wanted) = (rollout.meta.name(), &rollout.service);
    let Some(service) = catalog.service(wanted) else {
        let what = format!("Rollout {name} is not driven: there is no Service {wanted}");
        let elsewhere = "a Rollout moves a Service of its own namespace";
        let help = services.help(wanted, elsewhere, &report.suggest);
        return report_at_service(rollout, what, help, report);
    };
    if service.selector.is_none() {
        let what = format!(
            "Rollout {name} is not driven: Service {wanted} has no selector, and only pods have revisions"
        );
        return report_at_service(rollout, what, "give the Service a selector".to_owned(), report);
    }
    let pods: Vec<&Pod> = resolver.pods_of(service).into_iter().filter(|pod| !pod.terminating).collect();
    if pods.is_empty() {
        let what = format!("Rollout {name} has nothing to move: Service {wanted} has no pods");
        let help = format!("write Pods with the labels {}", selector(service));
        return report_at_service(rollout, what, help, report);
    }
    report_revisions(rollout, &pods, report);
}

fn report_at_service(rollout: &Rollout, what: String, help: String, report: &mut Report) {
    let problem = warning(&rollout.meta, rollout.service_spot, what);
    report.push(problem.with_field("spec.serviceRef.name").with_help(help));
}

fn selector(service: &Service) -> String {
    listed(service.selector.iter().flatten().map(|(key, value)| format!("{key}={value}")))
}

/// Which revisions the pods have, and which the Rollout names.
fn report_revisions(rollout: &Rollout, pods: &[&Pod], report: &mut Report) {
    let label = &rollout.revision_label;
    let there: BTreeSet<&str> =
        pods.iter().filter_map(|pod| pod.meta.labels.get(label)).map(|revision| &**revision).collect();
    if there.is_empty() {
        return report_label(rollout, pods, report);
    }
    let target = rollout.target_revision.as_deref();
    if let Some(target) = target.filter(|target| !there.contains(target)) {
        let spot = rollout.target_spot;
        report_revision(rollout, ("targetRevision", target), spot, &there, report);
    }
    // When nothing but the target is left, a rollout has come to its end, and the stable revision is what it was before.
    let done = there.len() == 1 && target.is_none_or(|target| there.contains(target));
    let stable = rollout.stable_revision.as_deref();
    if let Some(stable) = stable.filter(|stable| !there.contains(stable) && !done) {
        let spot = rollout.meta.origin.spot;
        report_revision(rollout, ("stableRevision", stable), spot, &there, report);
    }
}

fn report_label(rollout: &Rollout, pods: &[&Pod], report: &mut Report) {
    let (name, label) = (rollout.meta.name(), &*rollout.revision_label);
    let keys: BTreeSet<&str> = pods.iter().flat_map(|pod| pod.meta.labels.keys()).map(|key| &**key).collect();
    let what = format!(
        "Rollout {name} has nothing to move: no pod of Service {} has the label {label}, whose values are the revisions",
        rollout.service
    );
    let help = match report.suggest.nearest(label, keys.iter().copied()) {
        Some(near) => format!("did you mean `revisionLabel: {near}`?"),
        None => format!("write one of the pods' labels as revisionLabel; they have {}", listed(keys)),
    };
    report.push(
        warning(&rollout.meta, rollout.revision_label_spot, what)
            .with_field("spec.revisionLabel")
            .with_help(help),
    );
}

fn report_revision(
    rollout: &Rollout,
    (field, revision): (&str, &str),
    spot: Spot,
    there: &BTreeSet<&str>,
    report: &mut Report,
) {
    let label = &rollout.revision_label;
    let what = format!("{field}: no pod of Service {} has {label}={revision}", rollout.service);
    let help = format!("the revisions there are {}; correct it, or start its pods", listed(there));
    let problem = warning(&rollout.meta, spot, what);
    report.push(problem.with_field(format!("spec.{field}")).with_help(help));
}
