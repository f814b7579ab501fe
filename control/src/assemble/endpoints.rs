//! Warnings about Services that resolve to nothing: which label, port name or slice is to blame.
//!
//! "No healthy upstream" is the most asked question about every proxy. The answer is nearly always in the manifests: a label that
//! differs by a letter, a port name that the pods do not have, another namespace. So the survey below looks for exactly that, in
//! one pass over the pods and only if some Service has no ready endpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use watershed_config::Spot;
use watershed_config::model::{Labels, ObjectName, Pod, Service, ServicePort, TargetPort};
use watershed_config::snapshot::EndpointState;

use super::report::{Report, warning};
use super::suggest::{Suggest, listed};
use crate::catalog::Catalog;
use crate::resolve::{Resolution, Resolver};

/// Most pods of other namespaces that are looked at to find a misplaced one, for each label.
const ELSEWHERE_MAX: usize = 64;

/// Reports what is wrong with the endpoints of every Service port that has been resolved. Ports in `quiet` are only named with
/// weight 0: that nobody answers there is a canary's normal state before it starts.
pub(super) fn report_endpoints<'a>(
    catalog: &'a Catalog,
    resolver: &Resolver<'a>,
    quiet: &HashSet<(&ObjectName, u16)>,
    report: &mut Report,
) {
    let mut empty: Vec<(&Service, Cause)> = Vec::new();
    for service in catalog.services() {
        let first = empty.len();
        for port in &service.ports {
            let Some(resolution) = resolver.resolved(service.meta.name(), port.port) else { continue };
            report_shared_addresses(service, resolution, report);
            let cause = Cause::find(service, port, resolution);
            match cause {
                Some(cause) if !quiet.contains(&(service.meta.name(), port.port.get())) => {
                    if !empty[first..].iter().any(|(_, known)| *known == cause) {
                        empty.push((service, cause));
                    }
                }
                Some(_) => {}
                None => report_partly_named_ports(service, port, resolution, report),
            }
        }
    }
    if empty.is_empty() {
        return;
    }
    let survey = Survey::new(catalog, empty.iter().map(|(service, _)| *service));
    for (service, cause) in empty {
        let (why, help) = cause.explain(service, &survey, &report.suggest);
        let name = service.meta.name();
        let what = format!("Service {name} has no ready endpoint, so its share is answered with 503: {why}");
        let (field, spot) = cause.place(service);
        report.push(warning(&service.meta, spot, what).with_field(field).with_help(help));
    }
}

/// Two live pods on one address and port: a copied manifest. Both count, so whoever listens there gets a double share.
fn report_shared_addresses(service: &Service, resolution: &Resolution, report: &mut Report) {
    let live = |state| state != EndpointState::Terminating;
    for pair in resolution.backend.endpoints.windows(2) {
        let [a, b] = pair else { continue };
        if a.id.address == b.id.address && live(a.state) && live(b.state) {
            let (name, address) = (service.meta.name(), a.id.address);
            let what = format!(
                "Pods {} and {} of Service {name} have the same address {address}, which therefore gets twice its share",
                a.pod, b.pod
            );
            let help = "give each Pod its own status.podIP, or its own port by naming the targetPort";
            report.push(
                warning(&service.meta, service.selector_spot, what)
                    .with_field("spec.selector")
                    .with_help(help),
            );
        }
    }
}

/// Some pods have the named port and some do not.
fn report_partly_named_ports(
    service: &Service,
    port: &ServicePort,
    resolution: &Resolution,
    report: &mut Report,
) {
    let (TargetPort::Name(target), [first, ..]) = (&port.target, &resolution.without_port[..]) else {
        return;
    };
    let what = format!(
        "{} of the {} Pods of Service {} get no traffic on port {}: they have no container port named {target:?}, e.g. Pod {}",
        resolution.without_port.len(),
        resolution.selected,
        service.meta.name(),
        port.port,
        first.meta.name(),
    );
    let help = format!("add a container port named {target:?} to them, or select them by another label");
    report.push(warning(&service.meta, port.spot, what).with_field("spec.ports").with_help(help));
}

/// Why a Service's port has no ready endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause<'a> {
    /// The selector matches no pod.
    NoPod,
    /// Pods match, but none has the container port that this port's target names; these are the names they have.
    NoPortName(&'a ServicePort, BTreeSet<&'a str>),
    /// There are endpoints, but none is ready.
    NoneReady { unready: usize, terminating: usize },
    /// Neither a selector nor a slice.
    NoSlice,
    /// Slices, but none has a port of this one's name; these are the names they have.
    NoSlicePort(&'a ServicePort, BTreeSet<&'a str>),
    /// Slices without endpoints.
    EmptySlices,
}

impl<'a> Cause<'a> {
    fn find(service: &Service, port: &'a ServicePort, resolution: &Resolution<'a>) -> Option<Self> {
        let endpoints = &resolution.backend.endpoints;
        let count = |state| endpoints.iter().filter(|endpoint| endpoint.state == state).count();
        if endpoints.iter().any(|endpoint| endpoint.state == EndpointState::Ready) {
            return None;
        }
        if !endpoints.is_empty() {
            let (unready, terminating) = (count(EndpointState::Unready), count(EndpointState::Terminating));
            return Some(Self::NoneReady { unready, terminating });
        }
        if service.selector.is_some() {
            if resolution.selected == 0 {
                return Some(Self::NoPod);
            }
            let ports = resolution.without_port.iter().flat_map(|pod| &pod.ports);
            return Some(Self::NoPortName(
                port,
                ports.map(|port| &*port.name).filter(|n| !n.is_empty()).collect(),
            ));
        }
        let mut ports = resolution.slices.iter().flat_map(|slice| &slice.ports).map(|port| &*port.name);
        Some(if resolution.slices.is_empty() {
            Self::NoSlice
        } else if ports.clone().any(|name| name == &*port.name) {
            Self::EmptySlices
        } else {
            Self::NoSlicePort(port, ports.by_ref().collect())
        })
    }

    /// The field to look at, and where it is.
    fn place(&self, service: &Service) -> (&'static str, Spot) {
        match self {
            Self::NoPortName(port, _) | Self::NoSlicePort(port, _) => ("spec.ports", port.spot),
            Self::NoPod | Self::NoneReady { .. } => ("spec.selector", service.selector_spot),
            Self::NoSlice | Self::EmptySlices => ("spec.selector", service.meta.origin.spot),
        }
    }

    /// What is wrong and how to mend it.
    fn explain(&self, service: &Service, survey: &Survey, suggest: &Suggest) -> (String, String) {
        let name = service.meta.name();
        match self {
            Self::NoPod => {
                let selector = service.selector.iter().flatten().map(|(key, value)| format!("{key}={value}"));
                let selector: Vec<String> = selector.collect();
                let what = format!("no Pod in namespace {} has {}", name.namespace, selector.join(", "));
                (what, survey.help(service, suggest))
            }
            Self::NoPortName(port, have) => {
                let target = match &port.target {
                    TargetPort::Name(name) => name.to_string(),
                    TargetPort::Number(number) => number.to_string(),
                };
                let what = format!("none of its Pods has a container port named {target:?}");
                (what, help_for_port(&target, have, "give the Pods' container port this name", suggest))
            }
            Self::NoneReady { unready, terminating } => {
                let what = match (*unready, *terminating) {
                    (1, 0) => "its only endpoint is not ready".to_owned(),
                    (0, 1) => "its only endpoint is terminating".to_owned(),
                    (unready, 0) => format!("none of its {unready} endpoints is ready"),
                    (0, terminating) => format!("all of its {terminating} endpoints are terminating"),
                    (unready, terminating) => {
                        format!("of its endpoints {unready} are not ready and {terminating} are terminating")
                    }
                };
                let help = "look at the Pods' Ready condition and at what their readinessProbe is answered";
                (what, help.to_owned())
            }
            Self::NoSlice => {
                let help = format!(
                    "write a selector, or an EndpointSlice with the label kubernetes.io/service-name: {}",
                    name.name
                );
                ("it has neither a selector nor an EndpointSlice".to_owned(), help)
            }
            Self::NoSlicePort(port, have) => {
                let what = format!("none of its EndpointSlices has a port named {:?}", port.name);
                (what, help_for_port(&port.name, have, "give the slice's port this name", suggest))
            }
            Self::EmptySlices => {
                let help = "add endpoints to one of its slices".to_owned();
                ("its EndpointSlices list no endpoint".to_owned(), help)
            }
        }
    }
}

fn help_for_port(wanted: &str, have: &BTreeSet<&str>, otherwise: &str, suggest: &Suggest) -> String {
    if let Some(near) = suggest.nearest(wanted, have.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    if have.is_empty() {
        return otherwise.to_owned();
    }
    let names: Vec<String> = have.iter().map(|name| format!("{name:?}")).collect();
    format!("{otherwise}; the names there are {}", listed(names))
}

/// What labels the pods have, as far as selectors that match nothing are concerned.
#[derive(Debug, Default)]
struct Survey<'a> {
    /// Values by namespace and key, for the keys that are selected by.
    values: HashMap<(&'a str, &'a str), BTreeSet<&'a str>>,
    /// Keys by namespace.
    keys: HashMap<&'a str, BTreeSet<&'a str>>,
    /// Some of the carriers of a selector's first label, in whatever namespace.
    carriers: BTreeMap<(&'a str, &'a str), Vec<&'a Pod>>,
}

impl<'a> Survey<'a> {
    fn new(catalog: &'a Catalog, services: impl Iterator<Item = &'a Service>) -> Self {
        let mut survey = Self::default();
        for service in services {
            let namespace = &*service.meta.name().namespace;
            survey.keys.entry(namespace).or_default();
            for (index, (key, value)) in service.selector.iter().flatten().enumerate() {
                survey.values.entry((namespace, key)).or_default();
                if index == 0 {
                    survey.carriers.entry((key, value)).or_default();
                }
            }
        }
        for pod in catalog.pods() {
            survey.see(pod);
        }
        survey
    }

    fn see(&mut self, pod: &'a Pod) {
        let namespace = &*pod.meta.name().namespace;
        for (key, value) in &pod.meta.labels {
            if let Some(values) = self.values.get_mut(&(namespace, &**key)) {
                values.insert(value);
            }
            if let Some(keys) = self.keys.get_mut(namespace) {
                keys.insert(key);
            }
            match self.carriers.get_mut(&(&**key, &**value)) {
                Some(pods) if pods.len() < ELSEWHERE_MAX => pods.push(pod),
                _ => {}
            }
        }
    }

    /// What a selector that matches nothing was probably meant to be.
    fn help(&self, service: &Service, suggest: &Suggest) -> String {
        let namespace = &*service.meta.name().namespace;
        let selector = service.selector.as_ref();
        if let Some(elsewhere) = selector.and_then(|selector| self.elsewhere(selector)) {
            return format!(
                "Pods with these labels are in namespace {elsewhere}; a Service selects Pods of its own namespace only"
            );
        }
        let no_keys = BTreeSet::new();
        let keys = self.keys.get(namespace).unwrap_or(&no_keys);
        if keys.is_empty() {
            return format!("write the Pods; namespace {namespace} has none with labels yet");
        }
        let no_values = BTreeSet::new();
        for (key, value) in selector.into_iter().flatten() {
            let values = self.values.get(&(namespace, &**key)).unwrap_or(&no_values);
            if values.is_empty() {
                return match suggest.nearest(key, keys.iter().copied()) {
                    Some(near) => format!("no Pod has a label {key:?}; did you mean `{near}`?"),
                    None => format!("no Pod has a label {key:?}; the labels there are {}", listed(keys)),
                };
            }
            if !values.contains(&**value) {
                return match suggest.nearest(value, values.iter().copied()) {
                    Some(near) => format!("no Pod has {key}={value}; did you mean `{key}={near}`?"),
                    None => format!("no Pod has {key}={value}; the values there are {}", listed(values)),
                };
            }
        }
        "each of these labels is on some Pod, but no Pod has all of them".to_owned()
    }

    /// Another namespace that has a pod with all these labels.
    fn elsewhere(&self, selector: &Labels) -> Option<&'a str> {
        let (key, value) = selector.iter().next()?;
        let pods = self.carriers.get(&(&**key, &**value))?;
        let has_all =
            |pod: &&&Pod| selector.iter().all(|(key, value)| pod.meta.labels.get(key) == Some(value));
        pods.iter().find(has_all).map(|pod| &*pod.meta.name().namespace)
    }
}
