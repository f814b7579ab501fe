//! Objects in one line each, and snapshots and problems as text.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use http::Method;
use watershed_config::model::{
    AllowedNamespaces, AppProtocol, BackendRef, ContainerPort, EndpointSlice, Gateway, GatewayAddress,
    GatewayClass, GatewayListener, Hostname, HttpMatch, HttpRoute, HttpRouteRule, Kind, Labels,
    ListenerProtocol, Meta, Object, ObjectId, ObjectName, Origin, ParentKind, ParentRef, PathMatch, Pod,
    RouteKind, Service, ServicePort, ServiceType, SliceEndpoint, SlicePort, TargetPort, Timeouts, Timestamp,
};
use watershed_config::snapshot::{Candidate, Generation, Snapshot, Target};
use watershed_config::{Problem, Spot};
use watershed_control::assemble::{AssembleOptions, Assembled, assemble};
use watershed_control::catalog::Catalog;
use watershed_control::readiness::Readiness;

/// `name` (in the namespace `default`) or `namespace/name`.
pub(crate) fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    ObjectName::new(namespace, name)
}

fn number(text: &str) -> NonZeroU16 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no port"))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// `a=b,c=d`.
pub(crate) fn labels(text: &str) -> Labels {
    list(text).map(|pair| pair.split_once('=').map(|(k, v)| (k.into(), v.into())).unwrap()).collect()
}

pub(crate) fn meta(kind: Kind, text: &str, own: &str) -> Meta {
    let name = if kind.is_cluster_scoped() { ObjectName::new("", text) } else { name(text) };
    let file: Arc<Path> = Arc::from(Path::new("all.yaml"));
    let spot = Spot { line: 1, column: 1, length: 1 };
    Meta {
        uid: name.to_string().into(),
        id: ObjectId { kind, name },
        created: None,
        labels: labels(own),
        origin: Origin { file: Some(file), spot },
    }
}

fn spot(line: usize) -> Spot {
    Spot { line: u32::try_from(line).unwrap(), column: 3, length: 4 }
}

pub(crate) fn pod(named: &str, ip: &str, own: &str) -> Pod {
    Pod {
        meta: meta(Kind::Pod, named, own),
        ip: ip.parse().unwrap(),
        ready_condition: true,
        terminating: false,
        node: "".into(),
        ports: vec![],
        probes: vec![],
    }
}

pub(crate) fn container_port(named: &str, port: u16) -> ContainerPort {
    ContainerPort { name: named.into(), port: NonZeroU16::new(port).unwrap() }
}

/// Ports are `80`, `80->8080`, `80->http` or, with a name, `web:80->8080`.
pub(crate) fn service(named: &str, selector: &str, ports: &str) -> Service {
    let port = |text: &str| {
        let (own, target) = text.split_once("->").unwrap_or((text, ""));
        let (port_name, port) = own.split_once(':').unwrap_or(("", own));
        let target = match target.parse() {
            Ok(target) => TargetPort::Number(target),
            Err(_) if target.is_empty() => TargetPort::Number(number(port)),
            Err(_) => TargetPort::Name(target.into()),
        };
        let (app_protocol, spot) = (AppProtocol::Http1, spot(4));
        ServicePort {
            name: port_name.into(),
            port: number(port),
            target,
            node_port: None,
            app_protocol,
            spot,
        }
    };
    Service {
        meta: meta(Kind::Service, named, ""),
        selector: Some(labels(selector)).filter(|selector| !selector.is_empty()),
        selector_spot: spot(2),
        service_type: ServiceType::ClusterIp,
        headless: false,
        ports: list(ports).map(port).collect(),
    }
}

/// Endpoints are `10.0.0.1`, or with `!` in front if not ready and `~` if terminating.
pub(crate) fn slice(named: &str, of: &str, ports: &str, endpoints: &str) -> EndpointSlice {
    let port = |text: &str| {
        let (port_name, port) = text.split_once(':').unwrap_or(("", text));
        SlicePort { name: port_name.into(), port: number(port), app_protocol: None }
    };
    let endpoint = |text: &str| SliceEndpoint {
        address: text.trim_start_matches(['!', '~']).parse().unwrap(),
        ready: !text.starts_with('!'),
        serving: !text.starts_with('!'),
        terminating: text.starts_with('~'),
        pod: None,
    };
    EndpointSlice {
        meta: meta(Kind::EndpointSlice, named, ""),
        service: Some(name(of)),
        service_spot: spot(2),
        ports: list(ports).map(port).collect(),
        endpoints: list(endpoints).map(endpoint).collect(),
    }
}

pub(crate) fn class(named: &str, controller: &str) -> GatewayClass {
    GatewayClass { meta: meta(Kind::GatewayClass, named, ""), controller: controller.into() }
}

/// Listeners are `name:80` or `name:80@*.example.com`; the first is on line 11, the next on 12.
pub(crate) fn gateway(named: &str, listeners: &str) -> Gateway {
    let listener = |(index, text): (usize, &str)| {
        let (own, host) = text.split_once('@').unwrap_or((text, ""));
        let (section, port) = own.split_once(':').unwrap();
        GatewayListener {
            name: section.into(),
            port: number(port),
            protocol: ListenerProtocol::Http,
            hostname: Hostname::parse(host),
            namespaces: AllowedNamespaces::Same,
            kinds: vec![RouteKind::Http],
            spot: spot(11 + index),
        }
    };
    Gateway {
        meta: meta(Kind::Gateway, named, ""),
        class: "watershed".into(),
        class_spot: spot(6),
        addresses: vec![],
        listeners: list(listeners).enumerate().map(listener).collect(),
    }
}

pub(crate) fn on(addresses: &str, gateway: Gateway) -> Gateway {
    let addresses =
        list(addresses).map(|ip| GatewayAddress { ip: ip.parse::<IpAddr>().unwrap(), spot: spot(8) });
    Gateway { addresses: addresses.collect(), ..gateway }
}

/// Parents are `gw`, `gw#section`, `gw:80` or `svc/NAME:80` (a Service), the first on line 21; hosts a list. Rules come from
/// [`rule`]; the first is on line 31.
pub(crate) fn route(named: &str, parents: &str, hosts: &str, rules: &[HttpRouteRule]) -> HttpRoute {
    let meta = meta(Kind::HttpRoute, named, "");
    let parent = |(index, text): (usize, &str)| {
        let (kind, text) =
            text.strip_prefix("svc/").map_or((ParentKind::Gateway, text), |text| (ParentKind::Service, text));
        let (text, port) =
            text.split_once(':').map_or((text, None), |(text, port)| (text, Some(number(port))));
        let (text, section) =
            text.split_once('#').map_or((text, None), |(text, section)| (text, Some(section.into())));
        let target = if text.contains('/') {
            name(text)
        } else {
            ObjectName::new(Arc::clone(&meta.name().namespace), text)
        };
        ParentRef {
            kind,
            name: target,
            section,
            port,
            section_spot: spot(21 + index),
            spot: spot(21 + index),
        }
    };
    let mut rules = rules.to_vec();
    for (index, rule) in rules.iter_mut().enumerate() {
        rule.spot = spot(31 + index);
        for reference in &mut rule.backends {
            if reference.name.namespace.is_empty() {
                reference.name.namespace = Arc::clone(&meta.name().namespace);
            }
        }
    }
    HttpRoute {
        parents: list(parents).enumerate().map(parent).collect(),
        hostnames: list(hosts).map(Hostname::parse).collect(),
        hostnames_spot: spot(29),
        meta,
        rules,
    }
}

pub(crate) fn aged(created: u64, route: HttpRoute) -> HttpRoute {
    HttpRoute { meta: Meta { created: Some(Timestamp(created)), ..route.meta }, ..route }
}

/// Matches are a list of `/prefix`, `=/exact` or `~regex`, each with ` POST` for a method; backends of `hello:80` or
/// `hello:80*90` with a weight, `ns/hello:80` for another namespace.
pub(crate) fn rule(matches: &str, backends: &str) -> HttpRouteRule {
    let backend = |text: &str| {
        let (text, weight) = text.split_once('*').map_or((text, 1), |(text, w)| (text, w.parse().unwrap()));
        let (text, port) =
            text.split_once(':').map_or((text, None), |(text, port)| (text, Some(number(port))));
        let (namespace, target) = text.split_once('/').unwrap_or(("", text));
        BackendRef {
            group: "".into(),
            kind: "Service".into(),
            name: ObjectName::new(namespace, target),
            port,
            weight,
            filters: vec![],
            port_spot: spot(42),
            spot: spot(41),
        }
    };
    HttpRouteRule {
        name: None,
        matches: list(matches).map(|text| Arc::new(matcher(text))).collect(),
        filters: vec![],
        backends: list(backends).map(backend).collect(),
        timeouts: Timeouts::default(),
        spot: spot(31),
    }
}

pub(crate) fn matcher(text: &str) -> HttpMatch {
    let (path, method) = text.split_once(' ').map_or((text, None), |(path, method)| (path, Some(method)));
    let path = match path.strip_prefix('=') {
        Some(exact) => PathMatch::Exact(exact.into()),
        None => match path.strip_prefix('~') {
            Some(regex) => PathMatch::Regex(watershed_config::model::Pattern::new(regex).unwrap()),
            None => PathMatch::Prefix(path.trim_end_matches('/').into()),
        },
    };
    let method = method.map(|method| Method::from_bytes(method.as_bytes()).unwrap());
    HttpMatch { path, method, headers: vec![], query: vec![] }
}

/// Anything that a catalog holds.
pub(crate) trait IntoObject {
    fn into_object(self) -> Object;
}

macro_rules! into_object {
    ($($kind:ident => $variant:ident),*) => {
        $(impl IntoObject for $kind {
            fn into_object(self) -> Object { Object::$variant(self) }
        })*
    };
}
into_object!(Meta => Namespace, Service => Service, Pod => Pod, EndpointSlice => EndpointSlice, GatewayClass => GatewayClass,
    Gateway => Gateway, HttpRoute => HttpRoute);

macro_rules! catalog {
    ($($object:expr),* $(,)?) => {{
        #[allow(unused_mut, reason = "an empty catalog")]
        let mut catalog = watershed_control::catalog::Catalog::default();
        $(catalog.apply($crate::support::IntoObject::into_object($object));)*
        catalog
    }};
}

/// Without a service listener.
pub(crate) fn assembled(catalog: &Catalog) -> Assembled {
    assemble(catalog, &Readiness::default(), &AssembleOptions::default(), Generation(1))
}

/// With the service listener on its default address.
pub(crate) fn assembled_with_service_listener(catalog: &Catalog) -> Assembled {
    let options = AssembleOptions {
        service_listener: Some("127.0.0.1:8000".parse().unwrap()),
        ..AssembleOptions::default()
    };
    assemble(catalog, &Readiness::default(), &options, Generation(1))
}

/// A snapshot as lines: binds, listeners, hosts, candidates with their arms.
pub(crate) fn render(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for bind in &snapshot.binds {
        writeln!(text, "{}", bind.address).unwrap();
        for listener in &bind.listeners {
            writeln!(text, "{} ({})", listener.name, listener.hostname).unwrap();
            for host in &listener.hosts {
                let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
                writeln!(text, "{}{port}", host.host).unwrap();
                for candidate in &host.candidates {
                    writeln!(text, "{}", render_candidate(candidate)).unwrap();
                }
            }
        }
    }
    text
}

fn render_candidate(candidate: &Candidate) -> String {
    let arms = candidate.rule.arms.iter().map(|arm| match &arm.target {
        Target::Backend(backend) => format!("{} {}:{}", arm.weight, backend.service.name, backend.port),
        Target::Invalid { reference, why } => format!("{} {}({reference})", arm.weight, why.as_str()),
    });
    let (rule, arms) = (&candidate.rule.id, arms.collect::<Vec<_>>().join(" + "));
    format!("- {} => {}#{} {arms}", candidate.matcher, rule.route.name, rule.rule).trim_end().to_owned()
}

/// Compares line by line; indentation and empty lines do not matter.
pub(crate) fn check_text(actual: &str, expected: &str) {
    let lines = |text: &str| {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(lines(actual), lines(expected), "\nactual:\n{actual}");
}

pub(crate) fn check_snapshot(assembled: &Assembled, expected: &str) {
    check_text(&render(&assembled.snapshot), expected);
}

/// All problems, as they are printed.
pub(crate) fn check_problems(assembled: &Assembled, expected: &str) {
    let problems: Vec<String> = assembled.problems.iter().map(Problem::to_string).collect();
    check_text(&problems.join("\n"), expected);
}
