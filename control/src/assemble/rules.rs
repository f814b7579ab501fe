//! A route's rules as the data plane takes them: shared rules, resolved arms, stable identities.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::sync::Arc;

use watershed_config::Problem;
use watershed_config::model::{
    BackendRef, HttpMatch, HttpRoute, HttpRouteRule, ObjectName, Origin, PathMatch, Rank, Service,
    ServicePort, TargetPort, Timeouts,
};
use watershed_config::snapshot::{Arm, Candidate, InvalidTarget, Rule, RuleId, SplitKey, Target};
use xxhash_rust::xxh3::xxh3_64;

use super::names::Names;
use super::report::{Report, warning};
use super::suggest::listed;
use crate::catalog::Catalog;
use crate::resolve::Resolver;

/// [`RuleId::kind`] of a route's rules.
const KIND_HTTP_ROUTE: &str = "HTTPRoute";
/// [`RuleId::kind`] of the rule that a Service without routes has.
const KIND_SERVICE: &str = "Service";

/// A candidate and its precedence among the candidates of its host.
#[derive(Debug, Clone)]
pub(super) struct Ranked {
    pub(super) rank: Rank,
    pub(super) candidate: Candidate,
}

/// Makes rules, resolving what they refer to.
pub(super) struct Rules<'a, 'r> {
    pub(super) catalog: &'a Catalog,
    pub(super) services: &'r Names<'a>,
    pub(super) resolver: Resolver<'a>,
    pub(super) named: Named<'a>,
}

/// Which Service ports rules refer to, and how.
#[derive(Debug, Default)]
pub(super) struct Named<'a> {
    /// With a weight above 0, or as a Service's own way in.
    loud: HashSet<(&'a ObjectName, u16)>,
    /// With weight 0.
    idle: HashSet<(&'a ObjectName, u16)>,
}

impl<'a> Named<'a> {
    /// Ports that are referred to with weight 0 only.
    pub(super) fn quiet(&self) -> HashSet<(&'a ObjectName, u16)> {
        self.idle.difference(&self.loud).copied().collect()
    }
}

impl<'a> Rules<'a, '_> {
    /// Every match of every rule of a route, in the order written.
    pub(super) fn of_route(&mut self, route: &'a HttpRoute, report: &mut Report) -> Vec<Ranked> {
        let mut all = Vec::new();
        for (index, rule) in route.rules.iter().enumerate() {
            let arms = self.arms(route, index, rule, report);
            let compiled = Arc::new(Rule {
                id: RuleId {
                    kind: KIND_HTTP_ROUTE,
                    route: route.meta.name().clone(),
                    rule: rule.name.clone().unwrap_or_else(|| index.to_string().into()),
                },
                key: split_key(route, rule),
                origin: Origin { file: route.meta.origin.file.clone(), spot: rule.spot },
                filters: rule.filters.clone(),
                timeouts: rule.timeouts,
                arms,
            });
            all.extend(rule.matches.iter().map(|matcher| Ranked {
                rank: matcher.rank(),
                candidate: Candidate { matcher: Arc::clone(matcher), rule: Arc::clone(&compiled) },
            }));
        }
        all
    }

    /// The one rule of a Service's port to which no route is attached: everything to its endpoints.
    pub(super) fn of_service(&mut self, service: &'a Service, port: &'a ServicePort) -> Vec<Candidate> {
        let name = service.meta.name();
        let number = port.port.get();
        if !self.named.idle.contains(&(name, number)) {
            self.named.loud.insert((name, number));
        }
        let backend = Arc::clone(&self.resolver.resolve(service, port).backend);
        let rule: Arc<str> = number.to_string().into();
        let matcher =
            HttpMatch { path: PathMatch::Prefix("".into()), method: None, headers: vec![], query: vec![] };
        let rule = Rule {
            id: RuleId { kind: KIND_SERVICE, route: name.clone(), rule: Arc::clone(&rule) },
            key: SplitKey { kind: KIND_SERVICE, route: name.clone(), rule },
            origin: service.meta.origin.clone(),
            filters: vec![],
            timeouts: Timeouts::default(),
            arms: vec![Arm { weight: 1, target: Target::Backend(backend), filters: vec![] }],
        };
        vec![Candidate { matcher: Arc::new(matcher), rule: Arc::new(rule) }]
    }

    fn arms(
        &mut self,
        route: &HttpRoute,
        index: usize,
        rule: &HttpRouteRule,
        report: &mut Report,
    ) -> Vec<Arm> {
        let mut arms = Vec::with_capacity(rule.backends.len());
        for (position, reference) in rule.backends.iter().enumerate() {
            let target = self.target(route, reference).unwrap_or_else(|broken| {
                let field = format!("spec.rules[{index}].backendRefs[{position}]");
                report.push(self.explain(route, reference, &broken, report).with_field(field));
                Target::Invalid { reference: written(reference).into(), why: broken.why() }
            });
            arms.push(Arm { weight: reference.weight, target, filters: reference.filters.clone() });
        }
        arms
    }

    fn target(&mut self, route: &HttpRoute, reference: &BackendRef) -> Result<Target, Broken<'a>> {
        if !reference.group.is_empty() || &*reference.kind != "Service" {
            return Err(Broken::Kind);
        }
        if reference.name.namespace != route.meta.name().namespace {
            return Err(Broken::Namespace);
        }
        let service = self.catalog.service(&reference.name).ok_or(Broken::NoService)?;
        let port = service.ports.iter().find(|port| Some(port.port) == reference.port);
        let port = port.ok_or(Broken::NoPort(service))?;
        let names = if reference.weight == 0 { &mut self.named.idle } else { &mut self.named.loud };
        names.insert((service.meta.name(), port.port.get()));
        Ok(Target::Backend(Arc::clone(&self.resolver.resolve(service, port).backend)))
    }

    fn explain(
        &self,
        route: &HttpRoute,
        reference: &BackendRef,
        broken: &Broken,
        report: &Report,
    ) -> Problem {
        let name = &reference.name;
        let (why, help) = match broken {
            Broken::Kind => {
                let kind = if reference.group.is_empty() {
                    format!("the kind {}", reference.kind)
                } else {
                    format!("the kind {} of the group {}", reference.kind, reference.group)
                };
                let help = "refer to a Service: leave out group and kind".to_owned();
                (format!("{kind} cannot be a backend here, only a Service can"), help)
            }
            Broken::Namespace => (
                format!(
                    "Service {name} is in another namespace, which needs a ReferenceGrant, and that is not supported yet"
                ),
                "move the route or the Service, so that both are in one namespace".to_owned(),
            ),
            Broken::NoService => {
                let elsewhere = "another namespace needs a ReferenceGrant, which is not supported yet";
                (format!("there is no Service {name}"), self.services.help(name, elsewhere, &report.suggest))
            }
            Broken::NoPort(service) => no_port(service, reference.port),
        };
        let what = if reference.weight == 0 {
            format!("this backend is broken (its weight is 0, so no request meets it yet): {why}")
        } else {
            format!("this backend's share is answered with 500: {why}")
        };
        let spot = match broken {
            Broken::NoPort(_) => reference.port_spot,
            _ => reference.spot,
        };
        warning(&route.meta, spot, what).with_help(help)
    }
}

/// Why a reference cannot be followed.
enum Broken<'a> {
    Kind,
    Namespace,
    NoService,
    NoPort(&'a Service),
}

impl Broken<'_> {
    fn why(&self) -> InvalidTarget {
        match self {
            Self::Kind => InvalidTarget::InvalidKind,
            Self::Namespace => InvalidTarget::RefNotPermitted,
            Self::NoService | Self::NoPort(_) => InvalidTarget::BackendNotFound,
        }
    }
}

/// A backendRef names the Service's port; naming the pods' port is the usual mistake.
fn no_port(service: &Service, port: Option<NonZeroU16>) -> (String, String) {
    let name = service.meta.name();
    let have = listed(service.ports.iter().map(|port| port.port));
    let Some(port) = port else {
        return (format!("it names no port of Service {name}"), format!("add port:, one of {have}"));
    };
    let what = format!("Service {name} has no port {port}");
    let meant = service.ports.iter().find(|own| own.target == TargetPort::Number(port));
    let help = match meant {
        Some(own) => format!("{port} is the Pods' port (targetPort); the Service's own port is {}", own.port),
        None if service.ports.is_empty() => "it has no ports: add one to the Service".to_owned(),
        None if service.ports.len() == 1 => format!("its port is {have}"),
        None => format!("its ports are {have}"),
    };
    (what, help)
}

/// A reference as people write it.
fn written(reference: &BackendRef) -> String {
    let mut text = String::new();
    if !reference.group.is_empty() || &*reference.kind != "Service" {
        let _ = write!(text, "{} ", reference.kind);
    }
    let _ = write!(text, "{}", reference.name);
    if let Some(port) = reference.port {
        let _ = write!(text, ":{port}");
    }
    text
}

/// The identity of a rule's split: its name, or else `#` and the hash of its matches (xxh3, 16 hexadecimal digits, over their
/// `Display`, sorted and joined by line feeds). So it survives edits of weights, filters and timeouts, and changes of the order
/// of rules and matches; an edited match begins a new sequence. Give the rule a name to keep it.
fn split_key(route: &HttpRoute, rule: &HttpRouteRule) -> SplitKey {
    let rule = rule.name.clone().unwrap_or_else(|| {
        let mut matches: Vec<String> = rule.matches.iter().map(ToString::to_string).collect();
        matches.sort_unstable();
        format!("#{:016x}", xxh3_64(matches.join("\n").as_bytes())).into()
    });
    SplitKey { kind: KIND_HTTP_ROUTE, route: route.meta.name().clone(), rule }
}
