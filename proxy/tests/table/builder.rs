//! Small snapshots from short texts.

#![allow(dead_code, reason = "each of the binaries that share this file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "the texts are written in the tests")]

use std::sync::Arc;

use http::{HeaderMap, Method};
use watershed_config::model::{
    AppProtocol, HeaderMatch, Hostname, HttpMatch, ObjectName, Origin, PathMatch, Pattern, QueryMatch,
    Timeouts, ValueMatch,
};
use watershed_config::snapshot::{
    Arm, Backend, Bind, BindAddress, Candidate, Endpoint, EndpointId, EndpointState, Generation,
    InvalidTarget, Listener, ListenerName, RevisionShare, RevisionSplit, Rule, RuleId, Snapshot, SplitKey,
    Target, VirtualHost,
};
use watershed_proxy::table::{Compiler, Head};
use watershed_proxy::telemetry::cells::SeriesSet;

/// A compiler for this many workers.
pub(crate) fn compiler(workers: usize) -> Compiler {
    Compiler::new(workers, Arc::new(SeriesSet::new(workers)))
}

/// A snapshot with one bind, on port 80 of all addresses.
pub(crate) fn snapshot(generation: u64, listeners: Vec<Listener>) -> Snapshot {
    let bind = Bind { address: BindAddress { ip: None, port: 80 }, listeners };
    Snapshot { generation: Generation(generation), binds: vec![Arc::new(bind)] }
}

/// A snapshot with one listener for all hosts, which serves these candidates to all hosts.
pub(crate) fn plain(generation: u64, candidates: Vec<Candidate>) -> Snapshot {
    snapshot(generation, vec![listener("", vec![host("", None, candidates)])])
}

/// A listener of the Gateway `default/gw`, named for its hostname.
pub(crate) fn listener(hostname: &str, hosts: Vec<VirtualHost>) -> Listener {
    let section = if hostname.is_empty() { "any" } else { hostname };
    let name = ListenerName::Gateway { gateway: ObjectName::new("default", "gw"), section: section.into() };
    Listener { name, hostname: Hostname::parse(hostname), hosts }
}

/// A host with its candidates put in order of precedence, as a snapshot has them.
pub(crate) fn host(host: &str, port: Option<u16>, mut candidates: Vec<Candidate>) -> VirtualHost {
    candidates.sort_by_key(|candidate| candidate.matcher.rank());
    VirtualHost { host: Hostname::parse(host), port, candidates }
}

/// A candidate from the text of its match, see [`matcher`].
pub(crate) fn candidate(text: &str, rule: &Arc<Rule>) -> Candidate {
    Candidate { matcher: Arc::new(matcher(text)), rule: Arc::clone(rule) }
}

/// Conditions, separated by blanks: `/prefix`, `=/exact`, `~/regex`, `method=GET`, `header:value`, `header:~regex`,
/// `?query=value`, `?query=~regex`.
pub(crate) fn matcher(text: &str) -> HttpMatch {
    let value = |text: &str| match text.strip_prefix('~') {
        Some(regex) => ValueMatch::Regex(Pattern::new(regex).unwrap()),
        None => ValueMatch::Exact(text.into()),
    };
    let mut matcher =
        HttpMatch { path: PathMatch::Prefix("".into()), method: None, headers: vec![], query: vec![] };
    for word in text.split_whitespace() {
        if let Some(query) = word.strip_prefix('?') {
            let (name, wanted) = query.split_once('=').unwrap();
            matcher.query.push(QueryMatch { name: name.into(), value: value(wanted) });
        } else if let Some(path) = word.strip_prefix('=') {
            matcher.path = PathMatch::Exact(path.into());
        } else if let Some(path) = word.strip_prefix('~') {
            matcher.path = PathMatch::Regex(Pattern::new(path).unwrap());
        } else if word.starts_with('/') {
            matcher.path = PathMatch::Prefix(word.strip_suffix('/').unwrap_or(word).into());
        } else if let Some(method) = word.strip_prefix("method=") {
            matcher.method = Some(method.parse().unwrap());
        } else {
            let (name, wanted) = word.split_once(':').unwrap();
            matcher.headers.push(HeaderMatch { name: name.parse().unwrap(), value: value(wanted) });
        }
    }
    matcher
}

/// A rule of route `default/NAME` with one backend that is not there.
pub(crate) fn rule(name: &str) -> Arc<Rule> {
    let why = InvalidTarget::BackendNotFound;
    let target = Target::Invalid { reference: "default/nothing:80".into(), why };
    rule_of(name, vec![Arm { weight: 1, target, filters: vec![] }])
}

/// A rule of route `default/NAME` with these arms.
pub(crate) fn rule_of(name: &str, arms: Vec<Arm>) -> Arc<Rule> {
    let route = ObjectName::new("default", name);
    Arc::new(Rule {
        id: RuleId { kind: "HTTPRoute", route: route.clone(), rule: "0".into() },
        key: SplitKey { kind: "HTTPRoute", route, rule: "0".into() },
        origin: Origin::default(),
        filters: vec![],
        timeouts: Timeouts::default(),
        arms,
    })
}

/// An arm to Service `default/NAME` with these ready endpoints.
pub(crate) fn arm(weight: u32, service: &str, endpoints: Vec<Endpoint>) -> Arm {
    let backend =
        Backend { service: ObjectName::new("default", service), port: 80, endpoints, rollout: None };
    Arm { weight, target: Target::Backend(Arc::new(backend)), filters: vec![] }
}

/// The same arm with its traffic divided by a Rollout.
pub(crate) fn divided(mut arm: Arm, rollout: &Arc<RevisionSplit>) -> Arm {
    if let Target::Backend(backend) = &mut arm.target {
        Arc::make_mut(backend).rollout = Some(Arc::clone(rollout));
    }
    arm
}

/// A Rollout with these shares in millionths, the stable revision last; nothing is compared, sticky or routed.
pub(crate) fn rollout(epoch: u64, shares: &[(&str, u32)]) -> RevisionSplit {
    let share = |(revision, millionths): &(&str, u32)| RevisionShare {
        revision: (*revision).into(),
        millionths: *millionths,
        wanted: *millionths,
    };
    RevisionSplit {
        rollout: ObjectName::new("default", "hello"),
        run: 1,
        epoch,
        compared: None,
        shares: shares.iter().map(share).collect(),
        sticky: None,
        salt: 0x5EED,
        routes: Vec::new(),
    }
}

/// A ready endpoint on 10.0.0.1.
pub(crate) fn endpoint(uid: &str, port: u16) -> Endpoint {
    Endpoint {
        id: EndpointId {
            uid: uid.into(),
            address: ([10, 0, 0, 1], port).into(),
            protocol: AppProtocol::Http1,
        },
        pod: ObjectName::new("default", uid),
        revision: "1".into(),
        state: EndpointState::Ready,
    }
}

/// A request's head.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    /// Words separated by blanks: `host[:port]/path[?query]`, `method=GET`, `header:value`.
    pub(crate) fn new(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let url = words.next().unwrap();
        let (authority, rest) = url.split_at(url.find('/').unwrap_or(url.len()));
        let (host, port) =
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let mut asked = Self {
            method: Method::GET,
            host: host.to_owned(),
            port: port.map(|port| port.parse().unwrap()),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers: HeaderMap::new(),
        };
        for word in words {
            if let Some(method) = word.strip_prefix("method=") {
                asked.method = method.parse().unwrap();
            } else {
                let (name, value) = word.split_once(':').unwrap();
                let name: http::HeaderName = name.parse().unwrap();
                asked.headers.append(name, value.parse().unwrap());
            }
        }
        asked
    }

    pub(crate) fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            host: &self.host,
            port: self.port,
        }
    }
}
