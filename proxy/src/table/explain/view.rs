//! An explanation as a value: what `-o json` prints and the admin API sends. Its fields are an interface.

use serde::{Deserialize, Serialize};
use watershed_config::model::{HttpMatch, Origin};
use watershed_config::snapshot::{self, EndpointState, Listener};

use crate::endpoint::Endpoint;
use crate::reason::Reason;
use crate::table::BindTable;
use crate::table::explain::RolloutView;

/// What a request would get, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Of the table that was asked.
    pub generation: u64,
    /// What was asked.
    pub request: RequestView,
    /// The address that it arrives at; `None` if nothing listens there.
    pub address: Option<String>,
    /// All addresses, if it arrives at none.
    pub addresses: Vec<AddressView>,
    /// The one listener whose routes are looked at.
    pub listener: Option<ListenerView>,
    /// The rule that it gets; `None` if none matches.
    pub rule: Option<RuleView>,
    /// Rules that match as well, in the order in which they would be next.
    pub won_over: Vec<Other>,
    /// Rules that would have come first, and whose path fits, but for another condition.
    pub passed_over: Vec<Miss>,
    /// If no rule matches, those that come nearest.
    pub nearest: Vec<Miss>,
    /// What happens to it.
    pub answer: Answer,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// The request, as it is routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// The method.
    pub method: String,
    /// The URL that was asked for.
    pub url: String,
    /// The host that decides: of the `Host` header if there is one, else of the URL.
    pub host: String,
    /// The port that was named with the host.
    pub port: Option<u16>,
    /// The path.
    pub path: String,
    /// The query, without `?`.
    pub query: Option<String>,
}

/// An address that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// Address and port.
    pub address: String,
    /// What is reachable there.
    pub listeners: Vec<ListenerView>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerView {
    /// As in the metric label `listener`.
    pub name: String,
    /// The hosts that belong to it; `*` is every one.
    pub hostname: String,
}

/// A candidate: one match of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// `HTTPRoute`, or `Service` for a Service without routes.
    pub kind: String,
    /// Namespace of the route.
    pub namespace: String,
    /// Name of the route.
    pub route: String,
    /// The rule's name or its index.
    pub rule: String,
    /// `file:line:column`, where it came from a file.
    pub place: Option<String>,
    /// The host under which it was found.
    pub host: String,
    /// The conditions.
    pub matched: String,
}

/// A rule that matches too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// Which.
    #[serde(flatten)]
    pub rule: RuleView,
    /// Why it lost.
    pub why: String,
}

/// A rule that does not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miss {
    /// Which.
    #[serde(flatten)]
    pub rule: RuleView,
    /// The conditions that do not hold, and what the request has instead.
    pub failed: Vec<String>,
}

/// What happens to the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "does", rename_all = "snake_case")]
pub enum Answer {
    /// It goes to one of these.
    Split {
        /// Filters of the rule, by type.
        filters: Vec<String>,
        /// `timeouts.request` in milliseconds.
        request_timeout_ms: Option<u64>,
        /// `timeouts.backendRequest` in milliseconds.
        backend_timeout_ms: Option<u64>,
        /// In the order written.
        shares: Vec<ShareView>,
    },
    /// It is answered with a redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where to; `None` if that cannot be written as a header, which is answered with 400.
        location: Option<String>,
    },
    /// It is answered with an error.
    Error {
        /// The status.
        status: u16,
        /// The word in `watershed-reason`, the metric and the log.
        reason: String,
    },
    /// Nothing listens there: the connection is refused.
    Unreachable,
}

/// One backend's share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareView {
    /// `namespace/name:port`.
    pub backend: String,
    /// As written.
    pub weight: u32,
    /// From 0 to 1.
    pub target: f64,
    /// From 0 to 1, since the weights came into force; `None` before the first request.
    pub observed: Option<f64>,
    /// Requests that it got since then.
    pub picked: u64,
    /// Requests of the whole rule since then.
    pub requests: u64,
    /// Filters for this share alone, by type.
    pub filters: Vec<String>,
    /// What its requests are answered with, if no endpoint gets them: an error with its reason, or a redirect.
    pub answer: Option<String>,
    /// How a Rollout divides them between revisions, if one does.
    #[serde(default)]
    pub rollout: Option<RolloutView>,
    /// All endpoints, also those that get no requests.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointView {
    /// The pod, `namespace/name`.
    pub pod: String,
    /// Where it listens.
    pub address: String,
    /// The pod's revision; may be empty.
    pub revision: String,
    /// `ready`, `withdrawn`, `unready`, `terminating`, or `refused`: ready, but it refused the last connection.
    pub state: String,
    /// Requests from all workers.
    pub in_flight: u32,
}

impl Explanation {
    pub(super) fn new(generation: u64, request: RequestView) -> Self {
        Self {
            generation,
            request,
            address: None,
            addresses: Vec::new(),
            listener: None,
            rule: None,
            won_over: Vec::new(),
            passed_over: Vec::new(),
            nearest: Vec::new(),
            answer: Answer::Unreachable,
            notes: Vec::new(),
        }
    }
}

impl AddressView {
    pub(super) fn of(bind: &BindTable) -> Self {
        let listeners = bind.written.listeners.iter().map(ListenerView::of).collect();
        Self { address: bind.address.to_string(), listeners }
    }
}

impl ListenerView {
    pub(super) fn of(listener: &Listener) -> Self {
        Self { name: listener.name.to_string(), hostname: listener.hostname.to_string() }
    }
}

impl RuleView {
    pub(super) fn of(rule: &snapshot::Rule, host: String, matcher: &HttpMatch) -> Self {
        Self {
            kind: rule.id.kind.to_owned(),
            namespace: rule.id.route.namespace.to_string(),
            route: rule.id.route.name.to_string(),
            rule: rule.id.rule.to_string(),
            place: place(&rule.origin),
            host,
            matched: matcher.to_string(),
        }
    }
}

fn place(origin: &Origin) -> Option<String> {
    let file = origin.file.as_ref()?.display();
    Some(match origin.spot.line {
        0 => file.to_string(),
        line => format!("{file}:{line}:{}", origin.spot.column),
    })
}

impl Answer {
    pub(super) fn error(reason: Reason) -> Self {
        Self::Error { status: reason.status().as_u16(), reason: reason.as_str().to_owned() }
    }
}

impl EndpointView {
    pub(super) fn of(written: &snapshot::Endpoint, known: &Endpoint) -> Self {
        let refused = written.state == EndpointState::Ready && known.is_refused();
        Self {
            pod: written.pod.to_string(),
            address: written.id.address.to_string(),
            revision: written.revision.to_string(),
            state: if refused { "refused" } else { written.state.as_str() }.to_owned(),
            in_flight: known.in_flight_total(),
        }
    }
}
