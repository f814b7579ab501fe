//! What holds for every catalog.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use watershed_config::model::{
    AllowedNamespaces, Gateway, HttpMatch, HttpRoute, HttpRouteRule, Object, PathMatch, Pod, Service,
    ServiceType,
};
use watershed_config::snapshot::{Endpoint, Snapshot, Target};
use watershed_control::catalog::Catalog;

use crate::support::{
    IntoObject, aged, assembled_with_service_listener, container_port, gateway, matcher, on, pod, render,
    route, rule, service, slice,
};

const MATCHES: [&str; 9] = ["/", "/a", "/a/b", "=/a", "~/a.*", "/a GET", "/ POST", "=/a/b PUT", "/b"];

fn any_matches() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&MATCHES[..]), 1..4).prop_map(|matches| matches.join(","))
}

fn pick(options: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(options)
}

fn any_rule() -> impl Strategy<Value = HttpRouteRule> {
    let backends = ["", "a:80", "a:80*0", "a:81*3,b:80", "c:80", "other/a:80*2", "b:80*0,a:80*0"];
    (any_matches(), prop::sample::select(backends.to_vec()))
        .prop_map(|(matches, backends)| rule(&matches, backends))
}

fn any_route() -> impl Strategy<Value = HttpRoute> {
    let names = pick(&["a", "b", "c", "other/a", "other/b"]);
    let parents = pick(&["a", "b", "a,b", "a#x", "a:80,a#x", "other/a", "nobody", "svc/a", "svc/b:80", ""]);
    let hosts = pick(&["", "a.com", "*.a.com,b.a.com", "a.com,a.com", "*.com", "x.b.a.com"]);
    let rules = prop::collection::vec(any_rule(), 0..3);
    (names, parents, hosts, rules, prop::option::of(0..3_u64)).prop_map(
        |(name, parents, hosts, rules, age)| {
            let route = route(name, parents, hosts, &rules);
            match age {
                Some(age) => aged(age, route),
                None => route,
            }
        },
    )
}

fn any_gateway() -> impl Strategy<Value = Gateway> {
    let listeners =
        pick(&["x:80", "x:80,y:80@a.com", "x:80@*.a.com,y:81@b.a.com", "x:80,y:80", "x:8000", ""]);
    let addresses = pick(&["", "10.0.0.1", "10.0.0.1,10.0.0.2", "0.0.0.0,10.0.0.1", "::", "::1"]);
    (pick(&["a", "b", "other/a"]), listeners, addresses, any::<bool>()).prop_map(
        |(name, listeners, addresses, all)| {
            let mut gateway = on(addresses, gateway(name, listeners));
            for listener in gateway.listeners.iter_mut().filter(|_| all) {
                listener.namespaces = AllowedNamespaces::All;
            }
            gateway
        },
    )
}

fn any_service() -> impl Strategy<Value = Service> {
    let ports = pick(&["80", "80->http,web:81", "80,81,82", ""]);
    let types =
        prop::sample::select(vec![ServiceType::ClusterIp, ServiceType::LoadBalancer, ServiceType::NodePort]);
    (pick(&["a", "b", "other/a"]), pick(&["", "l=1", "l=1,m=1"]), ports, types).prop_map(
        |(name, selector, ports, service_type)| Service { service_type, ..service(name, selector, ports) },
    )
}

fn any_object() -> impl Strategy<Value = Object> {
    let pods =
        (pick(&["p", "q", "r", "other/p"]), pick(&["10.0.0.1", "10.0.0.2"]), pick(&["", "l=1", "l=1,m=1"]));
    let pods =
        (pods, any::<bool>(), any::<bool>()).prop_map(|((name, ip, own), ready_condition, terminating)| {
            Pod { ready_condition, terminating, ..pod(name, ip, own) }
        });
    let slices =
        (pick(&["s", "t"]), pick(&["a", "b", "gone"]), pick(&["10.0.0.1", "!10.0.0.3,10.0.0.1", ""]))
            .prop_map(|(name, of, endpoints)| slice(name, of, "80, web:81", endpoints));
    prop_oneof![
        4 => any_route().prop_map(IntoObject::into_object),
        2 => any_gateway().prop_map(IntoObject::into_object),
        2 => any_service().prop_map(IntoObject::into_object),
        2 => pods.prop_map(IntoObject::into_object),
        1 => slices.prop_map(IntoObject::into_object),
    ]
}

fn catalog_of(objects: &[Object]) -> Catalog {
    let mut catalog = Catalog::default();
    for object in objects {
        catalog.apply(object.clone());
    }
    catalog
}

/// What `snapshot.rs` promises the data plane.
fn check_promises(snapshot: &Snapshot) {
    let mut addresses = HashSet::new();
    for bind in &snapshot.binds {
        assert!(addresses.insert(bind.address), "{} twice", bind.address);
        let mut hostnames = HashSet::new();
        for listener in &bind.listeners {
            assert!(hostnames.insert(&listener.hostname), "{} twice", listener.hostname);
            let mut hosts = HashSet::new();
            for host in &listener.hosts {
                assert!(hosts.insert((&host.host, host.port)), "{} twice", host.host);
                assert_eq!(listener.hostname.intersect(&host.host).as_ref(), Some(&host.host));
                assert!(host.candidates.is_sorted_by_key(|candidate| candidate.matcher.rank()));
                let arms = host.candidates.iter().flat_map(|candidate| &candidate.rule.arms);
                for arm in arms {
                    if let Target::Backend(backend) = &arm.target {
                        check_endpoints(&backend.endpoints);
                    }
                }
            }
            let bare = |index: usize| (&listener.hosts[index].host, listener.hosts[index].port);
            for index in 1..listener.hosts.len() {
                let ((last, last_port), (host, _)) = (bare(index - 1), bare(index));
                assert!(last.specificity() >= host.specificity(), "{last} before {host}");
                assert!(last != host || last_port.is_some(), "{host} without a port is the last of its name");
            }
        }
    }
}

fn check_endpoints(endpoints: &[Endpoint]) {
    let ids: HashSet<_> = endpoints.iter().map(|endpoint| &endpoint.id).collect();
    assert_eq!(ids.len(), endpoints.len(), "identities are distinct");
    assert!(endpoints.is_sorted_by_key(|endpoint| (endpoint.id.address, &endpoint.id.uid)));
}

/// Gateway API's order of precedence, written down as it reads there.
fn naive_precedence(route: &HttpRoute, rule: usize, index: usize) -> impl Ord + use<> {
    let HttpMatch { path, method, headers, query } = &*route.rules[rule].matches[index];
    let path = match path {
        PathMatch::Exact(_) => (0, Reverse(0)),
        PathMatch::Regex(_) => (1, Reverse(0)),
        PathMatch::Prefix(prefix) => (2, Reverse(prefix.chars().count())),
    };
    let fields = (Reverse(method.iter().count()), Reverse(headers.len()), Reverse(query.len()));
    let age = route.meta.created.map_or(u64::MAX, |created| created.0);
    (path, fields, age, route.meta.name().clone(), rule, index)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_catalog_gives_a_snapshot_that_keeps_its_promises(objects in prop::collection::vec(any_object(), 0..24)) {
        let assembled = assembled_with_service_listener(&catalog_of(&objects));
        check_promises(&assembled.snapshot);
        prop_assert!(assembled.problems.is_sorted_by(|a, b| a.order(b).is_le()));
        prop_assert!(assembled.problems.iter().all(|problem| problem.file.is_some() && !problem.what.ends_with('.')));
    }

    #[test]
    fn the_same_objects_in_any_order_give_the_same_snapshot_and_problems(
        objects in prop::collection::vec(any_object(), 0..24).prop_shuffle(),
    ) {
        // Of two objects with one name the last one counts, so only the first of each name is kept.
        let mut seen = HashSet::new();
        let objects: Vec<Object> = objects.into_iter().filter(|object| seen.insert(object.id().clone())).collect();
        let reversed: Vec<Object> = objects.iter().rev().cloned().collect();
        let one = assembled_with_service_listener(&catalog_of(&objects));
        let two = assembled_with_service_listener(&catalog_of(&reversed));
        prop_assert_eq!(render(&one.snapshot), render(&two.snapshot));
        prop_assert_eq!(one.problems, two.problems);
    }

    #[test]
    fn precedence_is_the_specifications_and_total(routes in prop::collection::vec(any_route(), 1..6)) {
        let mut catalog = catalog_of(&[]);
        let mut gw = gateway("a", "x:80");
        gw.listeners[0].namespaces = AllowedNamespaces::All;
        catalog.apply(gw.into_object());
        for route in &routes {
            let parents = super::support::route("x", "default/a", "", &[]).parents;
            catalog.apply(HttpRoute { parents, hostnames: vec![], ..route.clone() }.into_object());
        }
        let mut expected = Vec::new();
        for route in catalog.http_routes() {
            for (rule, written) in route.rules.iter().enumerate() {
                for index in 0..written.matches.len() {
                    let described = format!("{} {rule} {}", route.meta.name(), written.matches[index]);
                    expected.push((naive_precedence(route, rule, index), described));
                }
            }
        }
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let snapshot = crate::support::assembled(&catalog).snapshot;
        let hosts = &snapshot.binds[0].listeners[0].hosts;
        let candidates = hosts.iter().flat_map(|host| &host.candidates);
        let actual: Vec<String> = candidates
            .map(|one| format!("{} {} {}", one.rule.id.route, one.rule.id.rule, one.matcher))
            .collect();
        prop_assert_eq!(actual, expected.into_iter().map(|(_, described)| described).collect::<Vec<_>>());
    }
}

#[test]
fn the_samples_of_matches_are_all_different() {
    let texts: HashSet<String> = MATCHES.iter().map(|text| matcher(text).to_string()).collect();
    assert_eq!(texts.len(), MATCHES.len());
}

/// A quadratic step anywhere would be hundreds of millions of comparisons here, which is minutes in a debug build.
#[test]
fn ten_thousand_routes_and_twenty_thousand_pods_are_assembled_without_a_quadratic_step() {
    let mut catalog = catalog_of(&[]);
    catalog.apply(gateway("gw", "http:80, admin:81").into_object());
    for index in 0..1_000 {
        catalog.apply(
            service(&format!("s{index}"), &format!("app=a{index},tier=web"), "80->http").into_object(),
        );
    }
    for index in 0..20_000 {
        let labels = format!("app=a{},tier=web,version=v{}", index % 1_000, index % 2);
        let address = format!("10.0.{}.{}", index / 256, index % 256);
        let ports = vec![container_port("http", 8080)];
        catalog.apply(Pod { ports, ..pod(&format!("p{index}"), &address, &labels) }.into_object());
    }
    for index in 0..10_000 {
        let backends = format!("s{}:80*90, s{}:80*10, missing{index}:80", index % 1_000, (index + 1) % 1_000);
        let rules = [rule(&format!("/{index}, =/{index}"), &backends)];
        catalog.apply(
            route(&format!("r{index}"), "gw, nobody", &format!("h{}.io", index % 100), &rules).into_object(),
        );
    }
    let started = Instant::now();
    let assembled = assembled_with_service_listener(&catalog);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    println!("assembled in {took:?}");
    assert_eq!(assembled.snapshot.binds[0].listeners[0].hosts.len(), 100);
    assert_eq!(assembled.problems.len(), 20_000, "each route has a missing parent and a missing backend");
}
