//! Snapshots in a few words.

use std::net::SocketAddr;
use std::sync::Arc;

use watershed_config::model::{AppProtocol, Hostname, HttpMatch, ObjectName, Origin, PathMatch, Timeouts};
use watershed_config::snapshot::{
    Arm, Backend, Bind, BindAddress, Candidate, Endpoint, EndpointId, EndpointState, Generation,
    InvalidTarget, Listener, ListenerName, Rule, RuleId, Snapshot, SplitKey, Target, VirtualHost,
};

/// Where test proxies listen: a port that the system chooses.
pub(crate) const ANY_PORT: BindAddress =
    BindAddress { ip: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)), port: 0 };

/// A ready HTTP/1.1 endpoint; its uid is `uid`, its revision too.
pub(crate) fn endpoint(uid: &str, address: SocketAddr) -> Endpoint {
    Endpoint {
        id: EndpointId { uid: uid.into(), address, protocol: AppProtocol::Http1 },
        pod: ObjectName::new("default", uid),
        revision: uid.into(),
        state: EndpointState::Ready,
    }
}

/// The same endpoint in another state.
pub(crate) fn with_state(endpoint: &Endpoint, state: EndpointState) -> Endpoint {
    Endpoint { state, ..endpoint.clone() }
}

/// A Service's endpoints.
pub(crate) fn backend(service: &str, endpoints: &[Endpoint]) -> Arc<Backend> {
    let service = ObjectName::new("default", service);
    Arc::new(Backend { service, port: 80, endpoints: endpoints.to_vec(), rollout: None })
}

/// A share for a backend.
pub(crate) fn arm(weight: u32, backend: &Arc<Backend>) -> Arm {
    Arm { weight, target: Target::Backend(Arc::clone(backend)), filters: Vec::new() }
}

/// A share whose reference cannot be followed.
pub(crate) fn invalid_arm(weight: u32) -> Arm {
    let target = Target::Invalid { reference: "default/gone:80".into(), why: InvalidTarget::BackendNotFound };
    Arm { weight, target, filters: Vec::new() }
}

/// A rule without filters and deadlines, called `0`.
pub(crate) fn rule(arms: Vec<Arm>) -> Rule {
    rule_named("0", arms)
}

/// A rule with a name of its own, hence a split of its own.
pub(crate) fn rule_named(name: &str, arms: Vec<Arm>) -> Rule {
    let route = ObjectName::new("default", "route");
    Rule {
        id: RuleId { kind: "HTTPRoute", route: route.clone(), rule: name.into() },
        key: SplitKey { kind: "HTTPRoute", route, rule: name.into() },
        origin: Origin::default(),
        filters: Vec::new(),
        timeouts: Timeouts::default(),
        arms,
    }
}

/// A rule for everything below a prefix (`/` is everything).
pub(crate) fn candidate(prefix: &str, rule: &Arc<Rule>) -> Candidate {
    let path = PathMatch::Prefix(prefix.trim_end_matches('/').into());
    let matcher = HttpMatch { path, method: None, headers: Vec::new(), query: Vec::new() };
    Candidate { matcher: Arc::new(matcher), rule: Arc::clone(rule) }
}

/// A host (empty: all) with its candidates.
pub(crate) fn host(name: &str, candidates: Vec<Candidate>) -> VirtualHost {
    VirtualHost { host: Hostname::parse(name), port: None, candidates }
}

/// A snapshot with one address and one listener for all hosts.
pub(crate) fn snapshot(generation: u64, address: BindAddress, hosts: Vec<VirtualHost>) -> Snapshot {
    let gateway = ObjectName::new("default", "gateway");
    let listener = Listener {
        name: ListenerName::Gateway { gateway, section: "http".into() },
        hostname: Hostname::Any,
        hosts,
    };
    let bind = Bind { address, listeners: vec![listener] };
    Snapshot { generation: Generation(generation), binds: vec![Arc::new(bind)] }
}
