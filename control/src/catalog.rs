//! The objects that count right now, by identity. Pure: no files, no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use watershed_config::model::{
    AnalysisTemplate, EndpointSlice, Gateway, GatewayClass, HttpRoute, Kind, Meta, Object, ObjectId,
    ObjectName, Pod, Rollout, Service, Workload,
};

use crate::full_tree::fill;

/// The current objects. Cloning is cheap enough for a test, not for every change.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    objects: BTreeMap<ObjectId, Arc<Object>>,
}

impl Catalog {
    /// Stores an object under its identity; false if the very same object was there already.
    pub fn apply(&mut self, object: impl Into<Arc<Object>>) -> bool {
        let object = object.into();
        if self.objects.get(object.id()).is_some_and(|current| *current == object) {
            return false;
        }
        self.objects.insert(object.id().clone(), object);
        true
    }

    /// Removes an object; false if there was none.
    pub fn remove(&mut self, id: &ObjectId) -> bool {
        self.objects.remove(id).is_some()
    }

    /// To be called after the first objects: see [`fill`].
    pub(crate) fn fill(&mut self) {
        fill(&mut self.objects);
    }

    /// The object of this identity.
    pub fn get(&self, id: &ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(id)
    }

    /// All objects, in order of kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The Service of this name.
    pub fn service(&self, name: &ObjectName) -> Option<&Service> {
        match &**self.get(&ObjectId { kind: Kind::Service, name: name.clone() })? {
            Object::Service(service) => Some(service),
            _ => None,
        }
    }

    /// The Gateway of this name.
    pub fn gateway(&self, name: &ObjectName) -> Option<&Gateway> {
        match &**self.get(&ObjectId { kind: Kind::Gateway, name: name.clone() })? {
            Object::Gateway(gateway) => Some(gateway),
            _ => None,
        }
    }

    /// All Services.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.iter()
            .filter_map(|object| if let Object::Service(service) = &**object { Some(service) } else { None })
    }

    /// All Pods.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.iter().filter_map(|object| if let Object::Pod(pod) = &**object { Some(pod) } else { None })
    }

    /// All endpoint slices.
    pub fn endpoint_slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.iter().filter_map(
            |object| if let Object::EndpointSlice(slice) = &**object { Some(slice) } else { None },
        )
    }

    /// All Gateway classes.
    pub fn gateway_classes(&self) -> impl Iterator<Item = &GatewayClass> {
        self.iter()
            .filter_map(|object| if let Object::GatewayClass(class) = &**object { Some(class) } else { None })
    }

    /// All Gateways.
    pub fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.iter()
            .filter_map(|object| if let Object::Gateway(gateway) = &**object { Some(gateway) } else { None })
    }

    /// All HTTP routes.
    pub fn http_routes(&self) -> impl Iterator<Item = &HttpRoute> {
        self.iter()
            .filter_map(|object| if let Object::HttpRoute(route) = &**object { Some(route) } else { None })
    }

    /// The Rollout of this name.
    pub fn rollout(&self, name: &ObjectName) -> Option<&Rollout> {
        match &**self.get(&ObjectId { kind: Kind::Rollout, name: name.clone() })? {
            Object::Rollout(rollout) => Some(rollout),
            _ => None,
        }
    }

    /// The analysis template of this name.
    pub fn analysis_template(&self, name: &ObjectName) -> Option<&AnalysisTemplate> {
        match &**self.get(&ObjectId { kind: Kind::AnalysisTemplate, name: name.clone() })? {
            Object::AnalysisTemplate(template) => Some(template),
            _ => None,
        }
    }

    /// All Rollouts.
    pub fn rollouts(&self) -> impl Iterator<Item = &Rollout> {
        self.iter().filter_map(
            |object| if let Object::Rollout(rollout) = &**object { Some(&**rollout) } else { None },
        )
    }

    /// All analysis templates.
    pub fn analysis_templates(&self) -> impl Iterator<Item = &AnalysisTemplate> {
        self.iter().filter_map(|object| {
            if let Object::AnalysisTemplate(template) = &**object { Some(template) } else { None }
        })
    }

    /// All Deployments and `ReplicaSet`s.
    pub fn workloads(&self) -> impl Iterator<Item = &Workload> {
        self.iter().filter_map(
            |object| if let Object::Workload(workload) = &**object { Some(workload) } else { None },
        )
    }

    /// All namespaces that are written.
    pub fn namespaces(&self) -> impl Iterator<Item = &Meta> {
        self.iter()
            .filter_map(|object| if let Object::Namespace(meta) = &**object { Some(meta) } else { None })
    }
}
