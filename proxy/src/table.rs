//! The routing table: a snapshot compiled for lookups.
//!
//! A table is immutable and complete. One `ArcSwap` holds the current one; a request loads it once, takes its rule out of it
//! and lets go of it. Finding the rule takes no lock, allocates nothing, reads no clock and draws no random number.
//!
//! A request's host selects one listener of the address it came in on, then the hosts of that listener from the most specific
//! on; inside a host the candidates are looked up by path ([`paths`]) in the order of precedence of the Gateway API.

mod backend;
mod compile;
pub mod explain;
mod hosts;
mod paths;
mod revisions;

use std::sync::Arc;

use http::{HeaderMap, Method};
use watershed_config::model::{Filter, Redirect, Timeouts};
use watershed_config::snapshot::{self, BindAddress, Generation, InvalidTarget, RuleId};

use crate::reason::Reason;
use crate::split::{Picks, SplitState, Thresholds};
use crate::telemetry::cells::Series;
pub use backend::{Backend, Goal, Revision};
pub use compile::Compiler;
use hosts::HostMap;
use paths::PathMap;
pub(crate) use revisions::Decision;
pub use revisions::{RevisionSplit, RevisionSplitId};

/// What of a request decides where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as sent.
    pub path: &'a str,
    /// The query as sent, without `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The host in lower case, without port.
    pub host: &'a str,
    /// The port that the client named with the host.
    pub port: Option<u16>,
}

/// A compiled snapshot.
#[derive(Debug)]
pub struct RoutingTable {
    /// Of the snapshot.
    pub generation: Generation,
    /// By the slot that the compiler gave their address for good.
    pub(crate) binds: Vec<Option<BindTable>>,
    /// Of all rules, some of them several times; for who asks how rollouts go.
    pub(crate) rollouts: Vec<Arc<RevisionSplit>>,
}

impl RoutingTable {
    /// A table before the first snapshot: nothing is reachable.
    pub fn empty() -> Self {
        Self { generation: Generation(0), binds: Vec::new(), rollouts: Vec::new() }
    }

    /// The rule for a request that came in on this bind.
    pub fn route(&self, bind: usize, head: &Head<'_>) -> Routed<'_> {
        let Some(bind) = self.binds.get(bind).and_then(Option::as_ref) else {
            return Routed::Gone;
        };
        // Listener isolation: the first listener whose hostname matches is the only one.
        let Some(listener) = bind.listeners.find(head.host, Some) else {
            return Routed::NoRoute(&bind.unmatched);
        };
        match listener.hosts.find(head.host, |host| host.find(head)) {
            Some(rule) => Routed::Rule(rule),
            None => Routed::NoRoute(&listener.unmatched),
        }
    }

    /// All rules, each once for every place where it is looked up.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let listeners = self.binds.iter().flatten().flat_map(|bind| bind.listeners.values());
        let hosts = listeners.flat_map(|listener| listener.hosts.values());
        hosts.flat_map(|host| &host.ports).flat_map(|(_, paths)| paths.rules())
    }

    /// The addresses it is served on, with their slots.
    pub fn addresses(&self) -> impl Iterator<Item = (usize, BindAddress)> {
        self.binds.iter().enumerate().filter_map(|(slot, bind)| Some((slot, bind.as_ref()?.address)))
    }
}

/// Where a request belongs.
#[derive(Debug)]
pub enum Routed<'a> {
    /// To this rule.
    Rule(&'a Arc<Rule>),
    /// To no rule; counted here.
    NoRoute(&'a Arc<Series>),
    /// To an address that is no longer served.
    Gone,
}

/// All that is reachable on one address.
#[derive(Debug)]
pub(crate) struct BindTable {
    pub(crate) address: BindAddress,
    pub(crate) listeners: HostMap<ListenerTable>,
    /// Counts requests that no listener matched.
    pub(crate) unmatched: Arc<Series>,
    /// What it was compiled from, for people; no request looks here.
    pub(crate) written: Arc<snapshot::Bind>,
}

/// One listener.
#[derive(Debug)]
pub(crate) struct ListenerTable {
    pub(crate) hosts: HostMap<HostTable>,
    /// Counts requests that no route matched.
    pub(crate) unmatched: Arc<Series>,
}

/// One host: by port, the named ones first.
#[derive(Debug)]
pub(crate) struct HostTable {
    pub(crate) ports: Vec<(Option<u16>, PathMap)>,
}

impl HostTable {
    fn find(&self, head: &Head<'_>) -> Option<&Arc<Rule>> {
        self.ports
            .iter()
            .filter(|(port, _)| port.is_none() || *port == head.port)
            .find_map(|(_, paths)| paths.find(head))
    }
}

/// What happens to a request. Held by each request that it applies to, for as long as that lasts, and by every table until
/// something about it changes.
#[derive(Debug)]
pub struct Rule {
    /// Which one.
    pub id: RuleId,
    /// The listener it was attached to.
    pub listener: Arc<str>,
    /// The port of that listener, for redirects.
    pub listener_port: u16,
    /// Applied in this order.
    pub filters: Box<[Filter]>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Length of the prefix of each match, where `ReplacePrefixMatch` needs it: the rule's only match.
    pub prefix_length: usize,
    /// What is done.
    pub action: Action,
    /// Counts requests for which no backend was chosen.
    pub series: Arc<Series>,
}

/// What a rule does.
#[derive(Debug)]
pub enum Action {
    /// Forwards to one of several backends.
    Split(Split),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Always answers with an error.
    Reject(Reason),
}

/// Weighted backends.
#[derive(Debug)]
pub struct Split {
    /// The sequence, which outlives the table.
    pub state: Arc<SplitState>,
    /// What was picked since the current weights came into force; survives swaps that do not touch them.
    pub picks: Arc<Picks>,
    /// Ranges of tickets.
    pub thresholds: Thresholds,
    /// The backends, in the order of the thresholds.
    pub arms: Box<[Arm]>,
}

impl Split {
    /// The arm for this ticket. Pure: whether anybody is ready there is not asked.
    pub fn pick(&self, ticket: u64) -> usize {
        self.thresholds.pick(ticket)
    }
}

/// One share.
#[derive(Debug)]
pub struct Arm {
    /// Its weight, for people.
    pub weight: u32,
    /// Who answers.
    pub target: ArmTarget,
    /// Filters for this share alone.
    pub filters: Box<[Filter]>,
    /// Counts requests for which no endpoint was chosen.
    pub series: Arc<Series>,
}

impl Rule {
    /// One of its shares, if it has any.
    pub(crate) fn arm(&self, arm: usize) -> Option<&Arm> {
        match &self.action {
            Action::Split(split) => split.arms.get(arm),
            Action::Redirect(_) | Action::Reject(_) => None,
        }
    }
}

impl Arm {
    /// Who may answer this share, if it is pods.
    pub(crate) fn backend(&self) -> Option<&Backend> {
        match &self.target {
            ArmTarget::Backend { backend, .. } => Some(backend),
            ArmTarget::Invalid { .. } | ArmTarget::Redirect(_) | ArmTarget::Reject(_) => None,
        }
    }

    /// Counts requests for a revision, or for none.
    pub(crate) fn series_of(&self, revision: Option<u16>) -> &Series {
        match (&self.target, revision) {
            // Asked by a record that is being dropped, where a panic would end the process.
            (ArmTarget::Backend { series, .. }, Some(revision)) => {
                series.get(usize::from(revision)).unwrap_or(&self.series)
            }
            _ => &self.series,
        }
    }

    /// How a Rollout divides this share, if one does.
    pub fn rollout(&self) -> Option<&Arc<RevisionSplit>> {
        match &self.target {
            ArmTarget::Backend { rollout, .. } => rollout.as_ref(),
            ArmTarget::Invalid { .. } | ArmTarget::Redirect(_) | ArmTarget::Reject(_) => None,
        }
    }
}

/// Who answers a share.
#[derive(Debug)]
pub enum ArmTarget {
    /// Endpoints.
    Backend {
        /// Shared with all arms that name the same Service port.
        backend: Arc<Backend>,
        /// By revision, in the order of [`Backend::revisions`].
        series: Box<[Arc<Series>]>,
        /// How a Rollout divides the share between them; without it every ready endpoint is as good as any.
        rollout: Option<Arc<RevisionSplit>>,
    },
    /// Nobody: 500.
    Invalid {
        /// The reference as written.
        reference: Arc<str>,
        /// Why.
        why: InvalidTarget,
    },
    /// This proxy, with a redirect among the filters of this share.
    Redirect(Redirect),
    /// This proxy, because a filter of this share is not supported.
    Reject(Reason),
}
