//! Services to endpoints.

use std::fmt::Write as _;
use std::time::Duration;

use watershed_config::model::{AppProtocol, Pod, Probe, ProbeAction, SliceEndpoint};
use watershed_control::catalog::Catalog;
use watershed_control::readiness::Readiness;
use watershed_control::resolve::Resolver;
use watershed_control::rollout::plan::Plans;

use crate::support::{
    assembled_with_service_listener, check_problems, check_text, container_port, labels, name, pod, service,
    slice,
};

/// Endpoints of the first port of the Service `hello`, one a line: address, state, pod, revision.
fn check(catalog: &Catalog, expected: &str) {
    check_with(catalog, &Readiness::default(), expected);
}

fn check_with(catalog: &Catalog, readiness: &Readiness, expected: &str) {
    let plans = Plans::default();
    let mut resolver = Resolver::new(catalog, readiness, &plans);
    let hello = catalog.service(&name("hello")).unwrap();
    let resolution = resolver.resolve(hello, &hello.ports[0]);
    let mut text = String::new();
    for endpoint in &resolution.backend.endpoints {
        let (address, state) = (endpoint.id.address, endpoint.state.as_str());
        writeln!(text, "{address} {state} {} {}", endpoint.pod.name, endpoint.revision).unwrap();
    }
    check_text(&text, expected);
}

#[test]
fn a_services_endpoints_are_the_pods_of_its_namespace_with_all_its_labels() {
    check(
        &catalog![
            service("hello", "app=hello,tier=web", "80->8080"),
            pod("b", "10.0.0.2", "app=hello,tier=web,version=v2"),
            pod("a", "10.0.0.1", "app=hello,tier=web,version=v1,pod-template-hash=abc"),
            pod("c", "10.0.0.3", "app=hello"),
            pod("d", "10.0.0.4", "app=hello,tier=api"),
            pod("prod/e", "10.0.0.5", "app=hello,tier=web"),
            pod("f", "10.0.0.6", "app=hello,tier=web,app.kubernetes.io/version=v3"),
            pod("g", "10.0.0.7", "app=hello,tier=web"),
        ],
        "10.0.0.1:8080 ready a abc
         10.0.0.2:8080 ready b v2
         10.0.0.6:8080 ready f v3
         10.0.0.7:8080 ready g",
    );
}

#[test]
fn a_named_target_port_is_each_pods_own() {
    let with_port =
        |pod: Pod, named: &str, port: u16| Pod { ports: vec![container_port(named, port)], ..pod };
    let catalog = catalog![
        service("hello", "app=hello", "80->http"),
        with_port(pod("a", "127.0.0.1", "app=hello"), "http", 8081),
        with_port(pod("b", "127.0.0.1", "app=hello"), "http", 8082),
        with_port(pod("c", "127.0.0.1", "app=hello"), "grpc", 8083),
    ];
    check(&catalog, "127.0.0.1:8081 ready a\n127.0.0.1:8082 ready b");
    check_problems(
        &assembled_with_service_listener(&catalog),
        "all.yaml:4:3: warning: 1 of the 3 Pods of Service default/hello get no traffic on port 80: they have no container port named \"http\", e.g. Pod default/c
           help: add a container port named \"http\" to them, or select them by another label",
    );
}

#[test]
fn unready_and_terminating_pods_are_endpoints_that_get_nothing() {
    let probe = Probe {
        action: ProbeAction::Tcp { host: None, port: 80.try_into().unwrap() },
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
    };
    let probed = |pod: Pod| Pod { probes: vec![probe.clone()], ..pod };
    let catalog = catalog![
        service("hello", "app=hello", "80"),
        pod("a", "10.0.0.1", "app=hello"),
        Pod { ready_condition: false, ..pod("b", "10.0.0.2", "app=hello") },
        Pod { terminating: true, ..pod("c", "10.0.0.3", "app=hello") },
        probed(pod("d", "10.0.0.4", "app=hello")),
        probed(pod("e", "10.0.0.5", "app=hello")),
    ];
    let mut readiness = Readiness::default();
    readiness.set(&"default/d".into(), true);
    check_with(
        &catalog,
        &readiness,
        "10.0.0.1:80 ready a
         10.0.0.2:80 unready b
         10.0.0.3:80 terminating c
         10.0.0.4:80 ready d
         10.0.0.5:80 unready e",
    );
}

#[test]
fn hand_written_slices_match_the_port_by_name_and_may_say_what_they_speak() {
    let mut h2c = slice("s-3", "hello", "http:9000", "10.0.1.1");
    h2c.ports[0].app_protocol = Some(AppProtocol::H2c);
    let catalog = catalog![
        service("hello", "", "http:80, other:81"),
        slice("s-1", "hello", "http:8080, other:8081", "10.0.0.2, !10.0.0.1, ~10.0.0.3"),
        slice("s-2", "hello", "wrong:8080", "10.0.0.9"),
        slice("s-4", "another", "http:8080", "10.0.0.8"),
        h2c,
    ];
    check(
        &catalog,
        "10.0.0.1:8080 unready s-1
         10.0.0.2:8080 ready s-1
         10.0.0.3:8080 terminating s-1
         10.0.1.1:9000 ready s-3",
    );
    let readiness = Readiness::default();
    let plans = Plans::default();
    let mut resolver = Resolver::new(&catalog, &readiness, &plans);
    let hello = catalog.service(&name("hello")).unwrap();
    let endpoints = &resolver.resolve(hello, &hello.ports[0]).backend.endpoints;
    assert_eq!(endpoints[3].id.protocol, AppProtocol::H2c);
    assert_eq!(&*endpoints[0].id.uid, "default/s-1/10.0.0.1");
}

#[test]
fn one_address_in_several_slices_is_one_endpoint_and_the_readiest_word_counts() {
    check(
        &catalog![
            service("hello", "", "80"),
            slice("s-1", "hello", "80", "!10.0.0.1"),
            slice("s-2", "hello", "80", "10.0.0.1"),
        ],
        "10.0.0.1:80 ready s-2",
    );
}

#[test]
fn slices_of_a_service_with_a_selector_are_added_to_its_pods() {
    check(
        &catalog![
            service("hello", "app=hello", "80"),
            pod("a", "10.0.0.1", "app=hello,version=v1"),
            slice("outside", "hello", "80", "10.0.0.1, 192.168.0.1"),
        ],
        "10.0.0.1:80 ready a v1\n192.168.0.1:80 ready outside",
    );
}

#[test]
fn a_slices_endpoint_takes_labels_uid_and_readiness_from_its_pod() {
    let refer = |mut endpoint: SliceEndpoint, to: &str| {
        endpoint.pod = Some(name(to));
        endpoint
    };
    let mut written = slice("s", "hello", "80", "10.0.0.1, 10.0.0.2, 10.0.0.3");
    written.endpoints = written
        .endpoints
        .into_iter()
        .zip(["a", "b", "gone"])
        .map(|(endpoint, pod)| refer(endpoint, pod))
        .collect();
    check(
        &catalog![
            service("hello", "", "80"),
            pod("a", "10.0.0.1", "version=v1"),
            Pod { terminating: true, ..pod("b", "10.0.0.2", "version=v2") },
            written,
        ],
        "10.0.0.1:80 ready a v1
         10.0.0.2:80 terminating b v2
         10.0.0.3:80 ready gone",
    );
}

#[test]
fn two_live_pods_on_one_address_and_port_are_told_apart_and_complained_of() {
    let catalog = catalog![
        service("hello", "app=hello", "80"),
        pod("a", "10.0.0.1", "app=hello"),
        pod("b", "10.0.0.1", "app=hello"),
        // An address that was given on while its last owner is still going is no mistake.
        Pod { terminating: true, ..pod("c", "10.0.0.1", "app=hello") },
    ];
    check(&catalog, "10.0.0.1:80 ready a\n10.0.0.1:80 ready b\n10.0.0.1:80 terminating c");
    check_problems(
        &assembled_with_service_listener(&catalog),
        "all.yaml:2:3: warning: Pods default/a and default/b of Service default/hello have the same address 10.0.0.1:80, which therefore gets twice its share
           help: give each Pod its own status.podIP, or its own port by naming the targetPort",
    );
}

#[test]
fn a_selector_is_never_every_pod() {
    let mut hello = service("hello", "app=hello", "80");
    hello.selector = Some(labels(""));
    check(&catalog![hello, pod("a", "10.0.0.1", "app=hello")], "");
}
