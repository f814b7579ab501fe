//! Which rollout is simulated: a Rollout of the manifests, with a revision to come from and one to go to.

use std::collections::BTreeMap;
use std::sync::Arc;

use watershed_config::model::{AnalysisTemplate, Labels, Rollout};
use watershed_control::catalog::Catalog;

/// The Rollout and what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// As written, but for the two revisions.
    pub(crate) spec: Arc<Rollout>,
    /// Where the traffic is.
    pub(crate) stable: Arc<str>,
    /// Where it goes.
    pub(crate) canary: Arc<str>,
    /// The templates of its namespace.
    pub(crate) templates: BTreeMap<Arc<str>, Arc<AnalysisTemplate>>,
    /// Why the canary is not the one that the Rollout asks for.
    pub(crate) remark: Option<String>,
}

impl Subject {
    /// Takes the revisions from the Rollout, else from the pods. A Rollout that asks for its stable revision has nothing to do
    /// yet: then a rollout to the newest other revision is simulated, or to one that does not exist.
    pub(crate) fn new(catalog: &Catalog, rollout: &Rollout) -> Self {
        let known = revisions(catalog, rollout);
        let asked = rollout.target_revision.clone();
        let other = |than: Option<&Arc<str>>, revision: &Arc<str>| than != Some(revision);
        let oldest = || known.iter().find(|revision| other(asked.as_ref(), revision)).cloned();
        let stable = rollout.stable_revision.clone().or_else(oldest).unwrap_or_else(|| "stable".into());
        let newest = || known.iter().rfind(|revision| other(Some(&stable), revision)).cloned();
        let canary = asked.clone().filter(|asked| *asked != stable).or_else(newest);
        let canary =
            canary.unwrap_or_else(|| if *stable == *"canary" { "new".into() } else { "canary".into() });
        let remark = asked.filter(|asked| *asked != canary).map(|asked| {
            format!("it asks for {asked}, which is the stable revision: a rollout to {canary} is simulated")
        });
        let of_namespace =
            |template: &&AnalysisTemplate| template.meta.name().namespace == rollout.meta.name().namespace;
        let named = |template: &AnalysisTemplate| {
            (Arc::clone(&template.meta.name().name), Arc::new(template.clone()))
        };
        let spec = Rollout {
            stable_revision: Some(Arc::clone(&stable)),
            target_revision: Some(Arc::clone(&canary)),
            ..rollout.clone()
        };
        Self {
            spec: Arc::new(spec),
            stable,
            canary,
            templates: catalog.analysis_templates().filter(of_namespace).map(named).collect(),
            remark,
        }
    }
}

/// The revisions of the Service's pods, the oldest first: by the number of their Deployment's revision, then by creation.
fn revisions(catalog: &Catalog, rollout: &Rollout) -> Vec<Arc<str>> {
    let label = &rollout.revision_label;
    let selector = catalog.service(&rollout.service).and_then(|service| service.selector.as_ref());
    let Some(selector) = selector else { return Vec::new() };
    let namespace = &rollout.service.namespace;
    let selected = |labels: &Labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let mut ages: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
    for pod in catalog.pods().filter(|pod| pod.meta.name().namespace == *namespace) {
        if let Some(revision) = pod.meta.labels.get(label).filter(|_| selected(&pod.meta.labels)) {
            let created = pod.meta.created.map_or(u64::MAX, |created| created.0);
            let age = ages.entry(Arc::clone(revision)).or_insert((0, u64::MAX));
            age.1 = age.1.min(created);
        }
    }
    for workload in catalog.workloads().filter(|workload| workload.meta.name().namespace == *namespace) {
        if let Some(age) = workload.pod_labels.get(label).and_then(|revision| ages.get_mut(revision)) {
            age.0 = age.0.max(workload.revision_number.unwrap_or(0));
        }
    }
    let mut revisions: Vec<(Arc<str>, (u64, u64))> = ages.into_iter().collect();
    // Stable: those of one age stay in the order of their names.
    revisions.sort_by_key(|(_, age)| *age);
    revisions.into_iter().map(|(revision, _)| revision).collect()
}
