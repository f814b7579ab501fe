//! The facts that a catalog holds for each rollout: specification, pods by revision, workloads, templates.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use watershed_config::model::{
    AnalysisTemplate, Object, ObjectName, Pod, Rollout, Service, Timestamp, Workload,
};

use super::Entry;
use crate::catalog::Catalog;
use crate::readiness::Readiness;
use crate::resolve::PodIndex;
use crate::rollout::facts::{PodFacts, RevisionFacts};

/// What the catalog says of one rollout.
#[derive(Debug, Clone)]
pub(super) struct Gathered {
    pub(super) name: ObjectName,
    pub(super) service: ObjectName,
    pub(super) revision_label: Arc<str>,
    /// `None` once the Rollout is gone.
    pub(super) spec: Option<Arc<Rollout>>,
    pub(super) revisions: Vec<RevisionFacts>,
    pub(super) templates: BTreeMap<Arc<str>, Arc<AnalysisTemplate>>,
}

impl Gathered {
    /// What the journal knows, before the catalog was asked.
    pub(super) fn of_entry(entry: &Entry) -> Self {
        Self {
            name: entry.rollout(),
            service: ObjectName::new(entry.namespace.as_str(), entry.service.as_str()),
            revision_label: entry.revision_label.as_str().into(),
            spec: None,
            revisions: Vec::new(),
            templates: BTreeMap::new(),
        }
    }
}

/// Gathers, and remembers since when each pod has been ready.
#[derive(Debug, Default)]
pub(super) struct Gatherer {
    ready_since: HashMap<Arc<str>, u64>,
}

impl Gatherer {
    /// Everything that the catalog says of its rollouts, and of those that are `known` besides, by Service and label.
    pub(super) fn gather(
        &mut self,
        catalog: &Catalog,
        readiness: &Readiness,
        now: u64,
        mut known: BTreeMap<ObjectName, (ObjectName, Arc<str>)>,
    ) -> BTreeMap<ObjectName, Gathered> {
        self.note_readiness(catalog, readiness, now);
        known.extend(catalog.rollouts().map(|rollout| {
            let label = Arc::clone(&rollout.revision_label);
            (rollout.meta.name().clone(), (rollout.service.clone(), label))
        }));
        let pods = PodIndex::new(catalog);
        let gather = |(name, (service, label)): (&ObjectName, &(ObjectName, Arc<str>))| {
            let revisions = catalog
                .service(service)
                .map_or_else(Vec::new, |service| self.revisions(catalog, &pods, service, label));
            let gathered = Gathered {
                name: name.clone(),
                service: service.clone(),
                revision_label: Arc::clone(label),
                spec: catalog.rollout(name).cloned().map(Arc::new),
                revisions,
                templates: templates(catalog, &name.namespace),
            };
            (name.clone(), gathered)
        };
        known.iter().map(gather).collect()
    }

    fn note_readiness(&mut self, catalog: &Catalog, readiness: &Readiness, now: u64) {
        let mut ready = HashMap::new();
        for pod in catalog.pods().filter(|pod| !pod.terminating && readiness.is_ready(pod)) {
            let since = self.ready_since.get(&pod.meta.uid).copied().unwrap_or(now);
            ready.insert(Arc::clone(&pod.meta.uid), since);
        }
        self.ready_since = ready;
    }

    fn revisions(
        &self,
        catalog: &Catalog,
        pods: &PodIndex<'_>,
        service: &Service,
        label: &Arc<str>,
    ) -> Vec<RevisionFacts> {
        let Some(selector) = &service.selector else { return Vec::new() };
        let mut revisions: BTreeMap<Arc<str>, RevisionFacts> = BTreeMap::new();
        for pod in pods.select(&service.meta.name().namespace, selector) {
            let Some(revision) = pod.meta.labels.get(label) else { continue };
            let facts = revisions.entry(Arc::clone(revision)).or_insert_with(|| RevisionFacts {
                revision: Arc::clone(revision),
                ..RevisionFacts::default()
            });
            facts.created = earliest(facts.created, pod.meta.created);
            facts.pods.push(self.pod(pod));
        }
        let selected = |workload: &&Workload| {
            workload.meta.name().namespace == service.meta.name().namespace
                && selector.iter().all(|(key, value)| workload.pod_labels.get(key) == Some(value))
        };
        for workload in catalog.workloads().filter(selected) {
            let revision = workload.pod_labels.get(label).and_then(|revision| revisions.get_mut(revision));
            if let Some(facts) = revision {
                facts.number = facts.number.max(workload.revision_number);
                facts.replicas = Some(facts.replicas.unwrap_or(0).max(workload.replicas));
                facts.created = earliest(facts.created, workload.meta.created);
                facts.change_cause = workload.change_cause.clone().or_else(|| facts.change_cause.take());
            }
        }
        revisions.into_values().collect()
    }

    fn pod(&self, pod: &Pod) -> PodFacts {
        PodFacts {
            name: Arc::clone(&pod.meta.name().name),
            uid: Arc::clone(&pod.meta.uid),
            address: pod.ip.to_string().into(),
            ready_since: self.ready_since.get(&pod.meta.uid).copied(),
            terminating: pod.terminating,
        }
    }
}

fn earliest(known: Option<u64>, created: Option<Timestamp>) -> Option<u64> {
    let created = created.map(|created| created.0.saturating_mul(1000));
    match (known, created) {
        (Some(known), Some(created)) => Some(known.min(created)),
        (known, created) => known.or(created),
    }
}

fn templates(catalog: &Catalog, namespace: &str) -> BTreeMap<Arc<str>, Arc<AnalysisTemplate>> {
    let of_object = |object: &Arc<Object>| match &**object {
        Object::AnalysisTemplate(template) if *template.meta.name().namespace == *namespace => {
            Some((Arc::clone(&template.meta.name().name), Arc::new(template.clone())))
        }
        _ => None,
    };
    catalog.iter().filter_map(of_object).collect()
}
