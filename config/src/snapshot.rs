//! All that the data plane may know, complete and consistent at one generation.
//!
//! A snapshot is assembled by the control component and compiled by the data plane into its routing table. It holds no
//! references that could dangle: what a manifest named and did not find is already a [`Target::Invalid`] with its reason, and
//! every Service is already its endpoints. Candidates of a host are already in order of precedence, best first.
//!
//! Rules and backends are shared (`Arc`), so that a rule attached to several listeners is one rule, and so that what did not
//! change between two generations can stay the very same allocation.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::model::{
    AppProtocol, Filter, HeaderMatch, Hostname, HttpMatch, ObjectName, Origin, Sticky, Timeouts,
};
use crate::observation::SLOW_BOUNDS;

/// Counts published snapshots from 1. It never goes backwards within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The wanted state of the data plane.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Which one this is.
    pub generation: Generation,
    /// Where to listen, and what is reachable there; addresses are distinct. Shared with the table compiled from it.
    pub binds: Vec<Arc<Bind>>,
}

/// One address and port to listen on, with the listeners that share it.
#[derive(Debug, Clone)]
pub struct Bind {
    /// Where to listen.
    pub address: BindAddress,
    /// Exactly one of them is chosen for a request: the one whose hostname matches most specifically (listener isolation,
    /// GEP-3567). Their hostnames are distinct.
    pub listeners: Vec<Listener>,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindAddress {
    /// `None` listens on all addresses, IPv6 and IPv4.
    pub ip: Option<IpAddr>,
    /// The port; 0 (tests only) lets the system choose.
    pub port: u16,
}

impl From<SocketAddr> for BindAddress {
    fn from(address: SocketAddr) -> Self {
        Self { ip: Some(address.ip()), port: address.port() }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
            None => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), self.port).fmt(f),
        }
    }
}

/// A Gateway's listener, or a way in to Services.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Which one, for people and metrics.
    pub name: ListenerName,
    /// Which hosts belong to it; a request for another host is answered by another listener or with 404.
    pub hostname: Hostname,
    /// What it serves, by host; a request belongs to the most specific host that matches it and has a matching candidate.
    /// Pairs of host and port are distinct.
    pub hosts: Vec<VirtualHost>,
}

/// What a listener stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerName {
    /// A Gateway's listener.
    Gateway {
        /// The Gateway.
        gateway: ObjectName,
        /// The listener's name, to which `sectionName` refers.
        section: Arc<str>,
    },
    /// A `LoadBalancer` or `NodePort` Service's port.
    Service {
        /// The Service.
        service: ObjectName,
        /// Its own port (not the `nodePort`).
        port: u16,
    },
    /// `--service-listener`, where every Service answers by its name.
    ServiceListener,
}

/// As it stands in the metric label `listener`, the access log and `explain`.
impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway { gateway, section } => write!(f, "{gateway}/{section}"),
            Self::Service { service, port } => write!(f, "{service}:{port}"),
            Self::ServiceListener => f.write_str("service-listener"),
        }
    }
}

/// One host of a listener.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    /// The names it answers to.
    pub host: Hostname,
    /// Only when the request's `Host` names this port. `None` is any port or none. On `--service-listener` a Service's other
    /// ports are reached this way; a host with the port named comes before the same host without.
    pub port: Option<u16>,
    /// What may match, in order of precedence: the first whose conditions hold wins.
    pub candidates: Vec<Candidate>,
}

/// One match of one rule.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its conditions.
    pub matcher: Arc<HttpMatch>,
    /// What happens if they hold.
    pub rule: Arc<Rule>,
}

/// What happens to a request that was matched.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Which rule, for people and metrics.
    pub id: RuleId,
    /// Under which its split's sequence is kept over swaps and edits.
    pub key: SplitKey,
    /// Where it is written.
    pub origin: Origin,
    /// Applied in this order. A redirect answers; an unsupported filter answers 500.
    pub filters: Vec<Filter>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// The shares. Empty (and no redirect) answers 500 `no_backend`; a sum of 0 answers 500 `zero_weights`.
    pub arms: Vec<Arm>,
}

/// Which rule a request was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// `HTTPRoute`, or `Service` for the plain way to a Service without a route.
    pub kind: &'static str,
    /// The route (or Service).
    pub route: ObjectName,
    /// The rule's name, else its index as written, from 0.
    pub rule: Arc<str>,
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} rule {}", self.kind, self.route, self.rule)
    }
}

/// Identity of a split's state: it survives table swaps, weight changes and changes of the rule's place in the list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitKey {
    /// Kind of the route.
    pub kind: &'static str,
    /// Which route.
    pub route: ObjectName,
    /// The rule's name, else `#` and a hash of its matches.
    pub rule: Arc<str>,
}

/// One share of a rule's traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Its share is `weight` of the sum of the rule's weights.
    pub weight: u32,
    /// Who answers.
    pub target: Target,
    /// Filters applied only if this arm is chosen, after the rule's own.
    pub filters: Vec<Filter>,
}

/// Who answers an arm's share.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// The endpoints of a Service's port; without a ready one the share is answered with 503.
    Backend(Arc<Backend>),
    /// A reference that cannot be followed: its share is answered with 500, as Gateway API says.
    Invalid {
        /// The reference as written, e.g. `default/hello:8080`.
        reference: Arc<str>,
        /// Why it cannot be followed.
        why: InvalidTarget,
    },
}

/// Why a backend reference cannot be followed; the words are Gateway API's condition reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvalidTarget {
    /// No such Service here, or the Service has no such port.
    BackendNotFound,
    /// Not a Service.
    InvalidKind,
    /// In another namespace, without a `ReferenceGrant`.
    RefNotPermitted,
}

impl InvalidTarget {
    /// As Gateway API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackendNotFound => "BackendNotFound",
            Self::InvalidKind => "InvalidKind",
            Self::RefNotPermitted => "RefNotPermitted",
        }
    }
}

/// One port of a Service, resolved to its endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// The Service.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
    /// All its endpoints, ready or not, in a stable order; identities are distinct.
    pub endpoints: Vec<Endpoint>,
    /// How a Rollout divides the Service's traffic between revisions; without it every ready endpoint is as good as any.
    pub rollout: Option<Arc<RevisionSplit>>,
}

/// How a Rollout divides a Service's traffic between the revisions of its endpoints, in every rule that leads there. Each
/// such rule has a sequence of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionSplit {
    /// The Rollout.
    pub rollout: ObjectName,
    /// Which of its runs this is: evidence of different runs is not mixed.
    pub run: u64,
    /// Changes whenever the shares or the slow bounds do: a block of requests that sees two epochs is no evidence.
    pub epoch: u64,
    /// What the judge compares; `None` while there is nothing to compare.
    pub compared: Option<Compared>,
    /// Shares in millionths, which are 1,000,000 in sum; revisions are distinct, and the stable one is the last. Only that one
    /// may have a share and no ready endpoint: its share is answered with 503 `stable_unavailable`.
    pub shares: Vec<RevisionShare>,
    /// What keeps a user on one revision.
    pub sticky: Option<Sticky>,
    /// Mixed into sticky keys: differs between rollouts, equal on every proxy.
    pub salt: u64,
    /// Requests that go to a revision whatever its share is; the first that matches counts. Without a ready endpoint there
    /// they are answered with 503 `revision_unavailable`.
    pub routes: Vec<RevisionRoute>,
}

impl RevisionSplit {
    /// All revisions that are named, some of them several times.
    pub fn revisions(&self) -> impl Iterator<Item = &Arc<str>> {
        let routes = self.routes.iter().map(|route| &route.revision);
        self.shares.iter().map(|share| &share.revision).chain(routes)
    }
}

/// What the judge compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The one that is asked about.
    pub canary: Arc<str>,
    /// The one that is known.
    pub stable: Arc<str>,
    /// Indexes into [`DURATION_BOUNDS_US`](crate::observation::DURATION_BOUNDS_US): a request is slow if it takes longer.
    pub slow: [Option<u8>; SLOW_BOUNDS],
}

/// One revision's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionShare {
    /// Which revision.
    pub revision: Arc<str>,
    /// Millionths that it gets.
    pub millionths: u32,
    /// Millionths that it should get: more than it gets where it has no ready endpoint.
    pub wanted: u32,
}

/// Requests that go to a revision whatever its share is.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionRoute {
    /// For people.
    pub name: Arc<str>,
    /// Which requests.
    pub condition: RevisionCondition,
    /// Where they go.
    pub revision: Arc<str>,
}

/// Which requests a [`RevisionRoute`] is for.
#[derive(Debug, Clone, PartialEq)]
pub enum RevisionCondition {
    /// Those with all of these headers.
    Headers(Vec<HeaderMatch>),
    /// Those for this host.
    Host(Hostname),
}

/// One address that serves a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What its pools, load and health belong to.
    pub id: EndpointId,
    /// The pod, for people; the slice's name where no pod is known.
    pub pod: ObjectName,
    /// The revision of the pod, for metrics and `explain`: the value of its label `pod-template-hash`, else `version`, else
    /// `app.kubernetes.io/version`; empty without any of them.
    pub revision: Arc<str>,
    /// Whether it gets requests.
    pub state: EndpointState,
}

/// Identity of an endpoint: an address that is given to another pod is another endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId {
    /// UID of the pod.
    pub uid: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: AppProtocol,
}

/// Whether an endpoint gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointState {
    /// Gets requests.
    Ready,
    /// Gets none: a rolling update has not admitted it yet, or has withdrawn it. It stays warm.
    Withdrawn,
    /// Gets none: its Ready condition or a probe says no.
    Unready,
    /// Gets none: it is going away; what is in flight finishes.
    Terminating,
}

impl EndpointState {
    /// As it stands in the metric label `state` and in `/debug/config`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Withdrawn => "withdrawn",
            Self::Unready => "unready",
            Self::Terminating => "terminating",
        }
    }
}
