//! Snapshot to routing table. Runs on the control thread, never on a worker, and cannot fail.
//!
//! The compiler keeps what outlives tables, by identity: split sequences, endpoints, series and the slots of addresses. A table
//! holds shared pointers to them, so that a request needs no lookup to find its counter or its sequence.

use std::collections::HashMap;
use std::sync::Arc;

use watershed_config::model::{Filter, PathMatch};
use watershed_config::snapshot::{
    self, BindAddress, Candidate, EndpointId, EndpointState, Listener, ListenerName, Snapshot, SplitKey,
    Target,
};

use super::hosts::HostMap;
use super::paths::PathMap;
use super::{
    Action, Arm, ArmTarget, Backend, BindTable, HostTable, ListenerTable, RoutingTable, Rule, Split,
};
use crate::endpoint::Endpoint;
use crate::reason::Reason;
use crate::split::{Picks, SplitState, Thresholds};
use crate::telemetry::cells::{Series, SeriesKey, SeriesSet};

/// Compiles snapshots; owns what outlives tables.
#[derive(Debug)]
pub struct Compiler {
    workers: usize,
    series: Arc<SeriesSet>,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    splits: HashMap<SplitKey, KeptSplit>,
    slots: HashMap<BindAddress, usize>,
    last_key: u64,
}

/// What is kept of a split from table to table.
#[derive(Debug, Clone)]
struct KeptSplit {
    state: Arc<SplitState>,
    picks: Arc<Picks>,
    /// Services and weights that `picks` counts under.
    shares: Vec<(Arc<str>, u32)>,
}

/// What one compilation has seen so far.
struct Pass<'a> {
    compiler: &'a mut Compiler,
    snapshot: &'a Snapshot,
    backends: HashMap<*const snapshot::Backend, Arc<Backend>>,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    splits: HashMap<SplitKey, KeptSplit>,
}

/// Where a rule is being attached.
struct Place {
    label: Arc<str>,
    port: u16,
}

impl Compiler {
    /// A compiler for this many workers, whose counters are found in `series`.
    pub fn new(workers: usize, series: Arc<SeriesSet>) -> Self {
        Self {
            workers,
            series,
            endpoints: HashMap::new(),
            splits: HashMap::new(),
            slots: HashMap::new(),
            last_key: 0,
        }
    }

    /// Compiles a snapshot. What no snapshot names any more is forgotten here and lives on only in requests that hold it.
    pub fn compile(&mut self, snapshot: &Snapshot) -> RoutingTable {
        let mut pass = Pass {
            snapshot,
            backends: HashMap::new(),
            endpoints: HashMap::with_capacity(self.endpoints.len()),
            splits: HashMap::with_capacity(self.splits.len()),
            compiler: self,
        };
        let mut binds = Vec::new();
        for bind in &snapshot.binds {
            let slot = pass.compiler.slot(bind.address);
            if binds.len() <= slot {
                binds.resize_with(slot + 1, || None);
            }
            binds[slot] = Some(pass.bind(bind));
        }
        let Pass { endpoints, splits, .. } = pass;
        for (id, gone) in &self.endpoints {
            if !endpoints.contains_key(id) {
                gone.set_ready(false);
            }
        }
        self.endpoints = endpoints;
        self.splits = splits;
        RoutingTable { generation: snapshot.generation, binds }
    }

    /// The slot of an address, the same for good.
    pub fn slot(&mut self, address: BindAddress) -> usize {
        let next = self.slots.len();
        *self.slots.entry(address).or_insert(next)
    }

    /// The endpoints of the last snapshot.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }
}

impl Pass<'_> {
    fn bind(&mut self, bind: &snapshot::Bind) -> BindTable {
        let mut listeners = HostMap::default();
        for listener in &bind.listeners {
            let table = self.listener(bind.address.port, listener);
            listeners.entry(&listener.hostname, || table);
        }
        let unmatched = self.series(SeriesKey::default());
        BindTable { address: bind.address, listeners, unmatched, written: bind.clone() }
    }

    fn listener(&mut self, port: u16, listener: &Listener) -> ListenerTable {
        let label: Arc<str> = listener.name.to_string().into();
        let place = Place { label: Arc::clone(&label), port };
        let mut rules: HashMap<*const snapshot::Rule, Arc<Rule>> = HashMap::new();
        let mut hosts: HostMap<HostTable> = HostMap::default();
        for host in &listener.hosts {
            let mut paths = PathMap::default();
            for candidate in &host.candidates {
                let rule = rules
                    .entry(Arc::as_ptr(&candidate.rule))
                    .or_insert_with(|| Arc::new(self.rule(&place, candidate)));
                paths.push(candidate, Arc::clone(rule));
            }
            let table = hosts.entry(&host.host, || HostTable { ports: Vec::new() });
            table.ports.push((host.port, paths));
            // Hosts with a named port come first; the sort is stable.
            table.ports.sort_by_key(|(port, _)| port.is_none());
        }
        let unmatched = self.series(SeriesKey {
            listener: label,
            namespace: namespace_of(&listener.name),
            ..SeriesKey::default()
        });
        ListenerTable { hosts, unmatched }
    }

    fn rule(&mut self, place: &Place, candidate: &Candidate) -> Rule {
        let rule = &*candidate.rule;
        let key = SeriesKey {
            namespace: Arc::clone(&rule.id.route.namespace),
            listener: Arc::clone(&place.label),
            route: Arc::clone(&rule.id.route.name),
            rule: Arc::clone(&rule.id.rule),
            ..SeriesKey::default()
        };
        let prefix_length = match &candidate.matcher.path {
            PathMatch::Prefix(prefix) => prefix.len(),
            PathMatch::Exact(_) | PathMatch::Regex(_) => 0,
        };
        Rule {
            id: rule.id.clone(),
            listener: Arc::clone(&place.label),
            listener_port: place.port,
            generation: self.snapshot.generation,
            filters: rule.filters.as_slice().into(),
            timeouts: rule.timeouts,
            prefix_length,
            action: self.action(rule, &key),
            series: self.series(key),
        }
    }

    fn action(&mut self, rule: &snapshot::Rule, key: &SeriesKey) -> Action {
        for filter in &rule.filters {
            match filter {
                Filter::Unsupported(_) => return Action::Reject(Reason::UnsupportedFilter),
                Filter::Redirect(redirect) => return Action::Redirect(redirect.clone()),
                Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::Rewrite(_) => {}
            }
        }
        if rule.arms.is_empty() {
            return Action::Reject(Reason::NoBackend);
        }
        let weights: Vec<u32> = rule.arms.iter().map(|arm| arm.weight).collect();
        let Some(thresholds) = Thresholds::new(&weights) else {
            return Action::Reject(Reason::ZeroWeights);
        };
        let arms: Box<[Arm]> = rule.arms.iter().map(|arm| self.arm(arm, key)).collect();
        let shares = arms.iter().map(|arm| (Arc::clone(&arm.series.key.service), arm.weight)).collect();
        let KeptSplit { state, picks, .. } = self.kept_split(&rule.key, shares);
        Action::Split(Split { state, picks, thresholds, arms })
    }

    fn arm(&mut self, arm: &snapshot::Arm, rule: &SeriesKey) -> Arm {
        let service = match &arm.target {
            Target::Backend(backend) => Arc::clone(&backend.service.name),
            Target::Invalid { reference, .. } => Arc::clone(reference),
        };
        let key = SeriesKey { service, ..rule.clone() };
        let answer = arm.filters.iter().find_map(|filter| match filter {
            Filter::Unsupported(_) => Some(ArmTarget::Reject(Reason::UnsupportedFilter)),
            Filter::Redirect(redirect) => Some(ArmTarget::Redirect(redirect.clone())),
            Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::Rewrite(_) => None,
        });
        let target = answer.unwrap_or_else(|| self.target(&arm.target, &key));
        Arm { weight: arm.weight, target, filters: arm.filters.as_slice().into(), series: self.series(key) }
    }

    fn target(&mut self, target: &Target, key: &SeriesKey) -> ArmTarget {
        match target {
            Target::Backend(backend) => {
                let backend = self.backend(backend);
                let of_revision = |revision: &Arc<str>| {
                    self.series(SeriesKey { revision: Arc::clone(revision), ..key.clone() })
                };
                ArmTarget::Backend { series: backend.revisions.iter().map(of_revision).collect(), backend }
            }
            Target::Invalid { reference, why } => {
                ArmTarget::Invalid { reference: Arc::clone(reference), why: *why }
            }
        }
    }

    fn backend(&mut self, backend: &Arc<snapshot::Backend>) -> Arc<Backend> {
        if let Some(compiled) = self.backends.get(&Arc::as_ptr(backend)) {
            return Arc::clone(compiled);
        }
        let mut revisions: Vec<Arc<str>> = Vec::new();
        let (mut endpoints, mut known_all) = (Vec::new(), Vec::with_capacity(backend.endpoints.len()));
        for endpoint in &backend.endpoints {
            let known = self.endpoint(&endpoint.id);
            known_all.push(Arc::clone(&known));
            let ready = endpoint.state == EndpointState::Ready;
            known.set_ready(ready);
            let revision = revisions.iter().position(|revision| *revision == endpoint.revision);
            let revision = revision.unwrap_or_else(|| {
                revisions.push(Arc::clone(&endpoint.revision));
                revisions.len() - 1
            });
            if ready {
                endpoints.push((known, u16::try_from(revision).unwrap_or(u16::MAX)));
            }
        }
        let compiled = Arc::new(Backend {
            name: format!("{}:{}", backend.service, backend.port).into(),
            endpoints: endpoints.into(),
            revisions: revisions.into(),
            written: Arc::clone(backend),
            known: known_all.into(),
        });
        self.backends.insert(Arc::as_ptr(backend), Arc::clone(&compiled));
        compiled
    }

    fn endpoint(&mut self, id: &EndpointId) -> Arc<Endpoint> {
        if let Some(known) = self.endpoints.get(id) {
            return Arc::clone(known);
        }
        let known = self.compiler.endpoints.get(id).cloned().unwrap_or_else(|| {
            self.compiler.last_key += 1;
            Arc::new(Endpoint::new(self.compiler.last_key, id.clone(), self.compiler.workers))
        });
        self.endpoints.insert(id.clone(), Arc::clone(&known));
        known
    }

    fn kept_split(&mut self, key: &SplitKey, shares: Vec<(Arc<str>, u32)>) -> KeptSplit {
        let workers = self.compiler.workers;
        if let Some(kept) = self.splits.get(key) {
            let mut kept = kept.clone();
            if kept.shares != shares {
                // Two rules of one identity, of which only the first can be reached. Picks are indexed by arm.
                kept.picks = Arc::new(Picks::new(workers, shares.len()));
            }
            return kept;
        }
        let known = self.compiler.splits.get(key);
        let state = known.map_or_else(
            || Arc::new(SplitState::new(workers, || fastrand::u64(..))),
            |known| Arc::clone(&known.state),
        );
        let picks = match known {
            Some(known) if known.shares == shares => Arc::clone(&known.picks),
            _ => Arc::new(Picks::new(workers, shares.len())),
        };
        let kept = KeptSplit { state, picks, shares };
        self.splits.insert(key.clone(), kept.clone());
        kept
    }

    fn series(&self, key: SeriesKey) -> Arc<Series> {
        self.compiler.series.get(key)
    }
}

fn namespace_of(listener: &ListenerName) -> Arc<str> {
    match listener {
        ListenerName::Gateway { gateway, .. } => Arc::clone(&gateway.namespace),
        ListenerName::Service { service, .. } => Arc::clone(&service.namespace),
        ListenerName::ServiceListener => "".into(),
    }
}
