//! Snapshot to routing table. Runs on the control thread, never on a worker, and cannot fail.
//!
//! The compiler keeps what outlives tables, by identity: split sequences, endpoints, series and the slots of addresses. A table
//! holds shared pointers to them, so that a request needs no lookup to find its counter or its sequence. A rule about which
//! nothing has changed is kept whole: an edit of one route among thousands compiles one rule.

mod rollouts;

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashSet, HashTable};
use watershed_config::model::{Filter, ObjectName, PathMatch};
use watershed_config::snapshot::{
    self, BindAddress, Candidate, EndpointId, EndpointState, Listener, ListenerName, RuleId, Snapshot,
    SplitKey, Target,
};

use super::backend::Revision;
use super::hosts::HostMap;
use super::paths::PathMap;
use super::revisions::{RevisionSplit, RevisionSplitId};
use super::{
    Action, Arm, ArmTarget, Backend, BindTable, HostTable, ListenerTable, RoutingTable, Rule, Split,
};
use crate::endpoint::Endpoint;
use crate::reason::Reason;
use crate::split::{Picks, SplitState, Thresholds};
use crate::telemetry::cells::{Series, SeriesKey, SeriesSet};
use rollouts::{KeptRevisionSplit, KeptRollout};

type Map<K, V> = HashMap<K, V, RandomState>;

/// Compiles snapshots; owns what outlives tables.
#[derive(Debug)]
pub struct Compiler {
    workers: usize,
    series: Arc<SeriesSet>,
    hasher: RandomState,
    /// By their identity. Here and in `rules` it is that in the value: there are thousands, and it is most of each.
    endpoints: HashTable<Arc<Endpoint>>,
    splits: Map<SplitKey, KeptSplit>,
    revision_splits: Map<RevisionSplitId, KeptRevisionSplit>,
    rollouts: Map<ObjectName, KeptRollout>,
    /// By listener and identity.
    rules: HashTable<KeptRule>,
    slots: Map<BindAddress, usize>,
    last_key: u64,
    /// Counts compilations; what was not met in the last one is forgotten.
    pass: u64,
}

/// What is kept of a split from table to table.
#[derive(Debug)]
struct KeptSplit {
    state: Arc<SplitState>,
    picks: Arc<Picks>,
    /// Services and weights that `picks` counts under.
    shares: Vec<(Arc<str>, u32)>,
    met: u64,
}

/// A rule of the last table and what it was compiled from.
#[derive(Debug)]
struct KeptRule {
    written: Arc<snapshot::Rule>,
    rule: Arc<Rule>,
    met: u64,
}

impl KeptRule {
    /// Whether compiling this candidate would give the same rule again.
    fn is_of(&self, port: u16, candidate: &Candidate) -> bool {
        self.rule.listener_port == port
            && self.rule.prefix_length == prefix_length(candidate)
            && (Arc::ptr_eq(&self.written, &candidate.rule) || *self.written == *candidate.rule)
    }
}

/// What one compilation has seen so far.
struct Pass<'a> {
    compiler: &'a mut Compiler,
    backends: Map<*const snapshot::Backend, Arc<Backend>>,
    /// Keys of the endpoints.
    endpoints: HashSet<u64, RandomState>,
    rollouts: Vec<Arc<RevisionSplit>>,
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
            hasher: RandomState::default(),
            endpoints: HashTable::new(),
            splits: Map::default(),
            revision_splits: Map::default(),
            rollouts: Map::default(),
            rules: HashTable::new(),
            slots: Map::default(),
            last_key: 0,
            pass: 0,
        }
    }

    /// Compiles a snapshot. What no snapshot names any more is forgotten here and lives on only in requests that hold it.
    pub fn compile(&mut self, snapshot: &Snapshot) -> RoutingTable {
        self.pass += 1;
        let mut pass = Pass {
            backends: Map::default(),
            // As many as last time: growing step by step costs more than all the rest of an edit.
            endpoints: HashSet::with_capacity_and_hasher(self.endpoints.len(), RandomState::default()),
            rollouts: Vec::new(),
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
        let Pass { endpoints, rollouts, .. } = pass;
        self.endpoints.retain(|endpoint| {
            let stays = endpoints.contains(&endpoint.key);
            if !stays {
                endpoint.set_ready(false);
            }
            stays
        });
        self.splits.retain(|_, split| split.met == self.pass);
        self.forget_rollouts();
        self.rules.retain(|rule| rule.met == self.pass);
        RoutingTable { generation: snapshot.generation, binds, rollouts }
    }

    /// The slot of an address, the same for good.
    pub fn slot(&mut self, address: BindAddress) -> usize {
        let next = self.slots.len();
        *self.slots.entry(address).or_insert(next)
    }

    /// The endpoints of the last snapshot.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter()
    }
}

impl Pass<'_> {
    fn bind(&mut self, bind: &Arc<snapshot::Bind>) -> BindTable {
        let mut listeners = HostMap::default();
        for listener in &bind.listeners {
            let table = self.listener(bind.address.port, listener);
            listeners.entry(&listener.hostname, || table);
        }
        let unmatched = self.series(SeriesKey::default());
        BindTable { address: bind.address, listeners, unmatched, written: Arc::clone(bind) }
    }

    fn listener(&mut self, port: u16, listener: &Listener) -> ListenerTable {
        let label: Arc<str> = listener.name.to_string().into();
        let place = Place { label: Arc::clone(&label), port };
        let mut rules: Map<*const snapshot::Rule, Arc<Rule>> = Map::default();
        let mut hosts: HostMap<HostTable> = HostMap::default();
        for host in &listener.hosts {
            let mut paths = PathMap::default();
            for candidate in &host.candidates {
                let rule =
                    rules.entry(Arc::as_ptr(&candidate.rule)).or_insert_with(|| self.rule(&place, candidate));
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

    /// The rule of the last table if nothing about it has changed, else a new one.
    fn rule(&mut self, place: &Place, candidate: &Candidate) -> Arc<Rule> {
        let Compiler { rules, hasher, pass, .. } = &mut *self.compiler;
        let met = *pass;
        let hash = rule_hash(hasher, &place.label, &candidate.rule.id);
        let same = |kept: &KeptRule| kept.rule.listener == place.label && kept.rule.id == candidate.rule.id;
        if let Some(kept) = rules.find_mut(hash, same)
            && kept.is_of(place.port, candidate)
        {
            kept.met = met;
            // The newest text, so that older snapshots can go.
            kept.written = Arc::clone(&candidate.rule);
            let rule = Arc::clone(&kept.rule);
            self.keep_parts(&rule, &candidate.rule.key);
            return rule;
        }
        let rule = Arc::new(self.new_rule(place, candidate));
        let new = KeptRule { written: Arc::clone(&candidate.rule), rule: Arc::clone(&rule), met };
        let Compiler { rules, hasher, .. } = &mut *self.compiler;
        match rules.entry(hash, same, |kept| rule_hash(hasher, &kept.rule.listener, &kept.rule.id)) {
            Entry::Occupied(mut kept) => *kept.get_mut() = new,
            Entry::Vacant(place) => {
                place.insert(new);
            }
        }
        rule
    }

    /// Keeps what a kept rule points to.
    fn keep_parts(&mut self, rule: &Rule, key: &SplitKey) {
        let Action::Split(split) = &rule.action else { return };
        if let Some(kept) = self.compiler.splits.get_mut(key) {
            kept.met = self.compiler.pass;
        }
        for arm in &split.arms {
            if let ArmTarget::Backend { backend, rollout, .. } = &arm.target {
                self.endpoints.extend(backend.known.iter().map(|endpoint| endpoint.key));
                if let Some(split) = rollout {
                    self.keep_revision_split(split);
                }
            }
        }
    }

    fn new_rule(&mut self, place: &Place, candidate: &Candidate) -> Rule {
        let rule = &*candidate.rule;
        let key = SeriesKey {
            namespace: Arc::clone(&rule.id.route.namespace),
            listener: Arc::clone(&place.label),
            route: Arc::clone(&rule.id.route.name),
            rule: Arc::clone(&rule.id.rule),
            ..SeriesKey::default()
        };
        Rule {
            id: rule.id.clone(),
            listener: Arc::clone(&place.label),
            listener_port: place.port,
            filters: rule.filters.as_slice().into(),
            timeouts: rule.timeouts,
            prefix_length: prefix_length(candidate),
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
        let arms: Box<[Arm]> = rule.arms.iter().map(|arm| self.arm(arm, &rule.key, key)).collect();
        let shares = arms.iter().map(|arm| (Arc::clone(&arm.series.key.service), arm.weight)).collect();
        let (state, picks) = self.kept_split(&rule.key, shares);
        Action::Split(Split { state, picks, thresholds, arms })
    }

    fn arm(&mut self, arm: &snapshot::Arm, split: &SplitKey, rule: &SeriesKey) -> Arm {
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
        let target = answer.unwrap_or_else(|| self.target(&arm.target, split, &key));
        Arm { weight: arm.weight, target, filters: arm.filters.as_slice().into(), series: self.series(key) }
    }

    fn target(&mut self, target: &Target, split: &SplitKey, key: &SeriesKey) -> ArmTarget {
        match target {
            Target::Backend(backend) => {
                let backend = self.backend(backend);
                let rollout = self.revision_split(split, &backend);
                let of_revision = |revision: &Revision| {
                    self.series(SeriesKey { revision: Arc::clone(&revision.name), ..key.clone() })
                };
                let series = backend.revisions.iter().map(of_revision).collect();
                ArmTarget::Backend { backend, series, rollout }
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
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut index_of = |name: &Arc<str>| {
            let known = names.iter().position(|known| known == name);
            let index = known.unwrap_or_else(|| {
                names.push(Arc::clone(name));
                names.len() - 1
            });
            u16::try_from(index).unwrap_or(u16::MAX)
        };
        let (mut endpoints, mut known_all) = (Vec::new(), Vec::with_capacity(backend.endpoints.len()));
        for endpoint in &backend.endpoints {
            let known = self.endpoint(&endpoint.id);
            known_all.push(Arc::clone(&known));
            let ready = endpoint.state == EndpointState::Ready;
            // What a rolling update has withdrawn may come back at any time and is kept warm.
            known.set_ready(ready || endpoint.state == EndpointState::Withdrawn);
            let revision = index_of(&endpoint.revision);
            if ready {
                endpoints.push((known, revision));
            }
        }
        // Those that a Rollout names have an index too, for their counters and for what is answered in their place.
        backend.rollout.iter().flat_map(|rollout| rollout.revisions()).for_each(|name| {
            index_of(name);
        });
        endpoints.sort_by_key(|(_, revision)| *revision);
        let before = |index: usize| endpoints.partition_point(|(_, revision)| usize::from(*revision) < index);
        let revision = |(index, name): (usize, &Arc<str>)| Revision {
            name: Arc::clone(name),
            ready: before(index)..before(index + 1),
        };
        let compiled = Arc::new(Backend {
            name: format!("{}:{}", backend.service, backend.port).into(),
            revisions: names.iter().enumerate().map(revision).collect(),
            endpoints: endpoints.into(),
            written: Arc::clone(backend),
            known: known_all.into(),
        });
        self.backends.insert(Arc::as_ptr(backend), Arc::clone(&compiled));
        compiled
    }

    fn endpoint(&mut self, id: &EndpointId) -> Arc<Endpoint> {
        let Compiler { endpoints, hasher, last_key, workers, .. } = &mut *self.compiler;
        let entry =
            endpoints.entry(hasher.hash_one(id), |known| known.id == *id, |known| hasher.hash_one(&known.id));
        let known = entry.or_insert_with(|| {
            *last_key += 1;
            Arc::new(Endpoint::new(*last_key, id.clone(), *workers))
        });
        let known = known.get();
        self.endpoints.insert(known.key);
        Arc::clone(known)
    }

    fn kept_split(&mut self, key: &SplitKey, shares: Vec<(Arc<str>, u32)>) -> (Arc<SplitState>, Arc<Picks>) {
        let Compiler { splits, workers, pass: met, .. } = &mut *self.compiler;
        let (workers, met) = (*workers, *met);
        let Some(kept) = splits.get_mut(key) else {
            let state = Arc::new(SplitState::new(workers, || fastrand::u64(..)));
            let picks = Arc::new(Picks::new(workers, shares.len()));
            let kept = KeptSplit { state: Arc::clone(&state), picks: Arc::clone(&picks), shares, met };
            splits.insert(key.clone(), kept);
            return (state, picks);
        };
        let state = Arc::clone(&kept.state);
        if kept.shares != shares {
            let picks = Arc::new(Picks::new(workers, shares.len()));
            // Of two rules with one identity only the first can be reached. Picks are indexed by arm: each has its own.
            if kept.met == met {
                return (state, picks);
            }
            (kept.picks, kept.shares) = (picks, shares);
        }
        kept.met = met;
        (state, Arc::clone(&kept.picks))
    }

    fn series(&self, key: SeriesKey) -> Arc<Series> {
        self.compiler.series.get(key)
    }
}

fn rule_hash(hasher: &RandomState, listener: &str, id: &RuleId) -> u64 {
    hasher.hash_one((listener, id))
}

fn namespace_of(listener: &ListenerName) -> Arc<str> {
    match listener {
        ListenerName::Gateway { gateway, .. } => Arc::clone(&gateway.namespace),
        ListenerName::Service { service, .. } => Arc::clone(&service.namespace),
        ListenerName::ServiceListener => "".into(),
    }
}

/// Length of the prefix that a rule's only match matches; where a rule has several matches, nobody asks.
fn prefix_length(candidate: &Candidate) -> usize {
    match &candidate.matcher.path {
        PathMatch::Prefix(prefix) => prefix.len(),
        PathMatch::Exact(_) | PathMatch::Regex(_) => 0,
    }
}
