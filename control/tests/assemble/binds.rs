//! Who gets which address and port.

use std::num::NonZeroU16;

use watershed_config::model::{Gateway, Service, ServiceType};

use crate::support::{
    assembled, assembled_with_service_listener, check_problems, check_snapshot, gateway, on, render, service,
    slice,
};

fn addresses(catalog: &watershed_control::catalog::Catalog) -> String {
    let binds = assembled(catalog).snapshot.binds;
    binds.iter().map(|bind| bind.address.to_string()).collect::<Vec<_>>().join(" ")
}

fn load_balancer(service: Service) -> Service {
    Service { service_type: ServiceType::LoadBalancer, ..service }
}

fn node_port(mut service: Service, port: Option<u16>) -> Service {
    service.service_type = ServiceType::NodePort;
    service.ports[0].node_port = port.and_then(NonZeroU16::new);
    service
}

#[test]
fn a_gateway_listens_on_each_of_its_addresses_or_on_all() {
    let check = |gateway: Gateway, expected: &str| assert_eq!(addresses(&catalog![gateway]), expected);
    check(gateway("gw", "a:80, b:81"), "[::]:80 [::]:81");
    check(on("10.0.0.2, 10.0.0.1", gateway("gw", "a:80")), "10.0.0.1:80 10.0.0.2:80");
    check(on("10.0.0.1, 10.0.0.1", gateway("gw", "a:80")), "10.0.0.1:80");
    check(on("::ffff:10.0.0.1", gateway("gw", "a:80")), "10.0.0.1:80");
    check(on("127.0.0.1, ::", gateway("gw", "a:80")), "[::]:80");
    check(on("127.0.0.1, 0.0.0.0, ::1", gateway("gw", "a:80")), "0.0.0.0:80 [::1]:80");
}

#[test]
fn gateways_with_different_addresses_share_a_port() {
    let catalog = catalog![on("10.0.0.1", gateway("a", "x:80")), on("10.0.0.2", gateway("b", "x:80"))];
    let assembled = assembled(&catalog);
    check_snapshot(&assembled, "10.0.0.1:80\ndefault/a/x (*)\n10.0.0.2:80\ndefault/b/x (*)");
    check_problems(&assembled, "");
}

#[test]
fn of_two_gateways_on_one_address_and_port_the_lowest_name_has_it_and_the_other_keeps_its_rest() {
    let catalog = catalog![gateway("b", "x:80@b.com, y:81"), gateway("a", "x:80@a.com")];
    let assembled = assembled(&catalog);
    check_snapshot(&assembled, "[::]:80\ndefault/a/x (a.com)\n[::]:81\ndefault/b/y (*)");
    check_problems(
        &assembled,
        "all.yaml:11:3: error: listener \"x\" of Gateway default/b is not opened: port 80 (on all addresses) is taken by Gateway default/a (all.yaml:1)
           help: give one of the two another port, or its own address in spec.addresses",
    );
}

#[test]
fn all_addresses_overlap_each_address() {
    let check = |a: Gateway, b: Gateway, expected: &str| assert_eq!(addresses(&catalog![a, b]), expected);
    check(gateway("a", "x:80"), on("10.0.0.1, ::1", gateway("b", "x:80")), "[::]:80");
    check(on("10.0.0.1", gateway("a", "x:80")), gateway("b", "x:80"), "10.0.0.1:80");
    check(
        on("0.0.0.0", gateway("a", "x:80")),
        on("10.0.0.1, ::1", gateway("b", "x:80")),
        "0.0.0.0:80 [::1]:80",
    );
    check(
        on("10.0.0.1", gateway("a", "x:80")),
        on("10.0.0.1, ::1", gateway("b", "x:80")),
        "10.0.0.1:80 [::1]:80",
    );
}

#[test]
fn listeners_of_one_gateway_with_the_same_port_and_hostname_are_conflicted_and_none_wins() {
    let assembled = assembled(&catalog![gateway("gw", "a:80@x.com, b:80@x.com, c:80")]);
    check_snapshot(&assembled, "[::]:80\ndefault/gw/c (*)");
    check_problems(
        &assembled,
        "all.yaml:11:3: error: listener \"a\" of Gateway default/gw is not opened: another one of its listeners has the same port 80 and hostname x.com
           help: give each listener of a port its own hostname
         all.yaml:12:3: error: listener \"b\" of Gateway default/gw is not opened: another one of its listeners has the same port 80 and hostname x.com
           help: give each listener of a port its own hostname",
    );
}

#[test]
fn a_load_balancer_is_listened_for_on_its_port_and_a_node_port_service_on_its_node_port() {
    let catalog = catalog![
        load_balancer(service("lb", "", "80, web:81")),
        node_port(service("np", "", "80"), Some(30080)),
        slice("lb-1", "lb", "80, web:81", "10.0.0.1"),
        slice("np-1", "np", "80", "10.0.0.1"),
    ];
    let assembled = assembled(&catalog);
    check_snapshot(
        &assembled,
        "[::]:80
           default/lb:80 (*)
             *
               - path under / => lb#80 1 lb:80
         [::]:81
           default/lb:81 (*)
             *
               - path under / => lb#81 1 lb:81
         [::]:30080
           default/np:80 (*)
             *
               - path under / => np#80 1 np:80",
    );
    check_problems(&assembled, "");
}

#[test]
fn a_node_port_service_without_a_node_port_has_no_way_in() {
    let catalog = catalog![node_port(service("np", "", "80"), None), slice("np-1", "np", "80", "10.0.0.1")];
    let assembled = assembled(&catalog);
    check_snapshot(&assembled, "");
    check_problems(
        &assembled,
        "all.yaml:4:3: warning: port 80 of NodePort Service default/np is not opened: it has no nodePort, and nobody allocates one here
           help: write nodePort: with a free port such as 30080",
    );
}

#[test]
fn a_gateway_wins_over_the_service_listener_and_that_over_services() {
    let ready = || slice("s-1", "a-service", "8000", "10.0.0.1");
    let lb = || load_balancer(service("a-service", "", "8000"));
    let assembled = assembled_with_service_listener(&catalog![lb(), ready()]);
    assert!(render(&assembled.snapshot).starts_with("127.0.0.1:8000\nservice-listener (*)"));
    check_problems(
        &assembled,
        "all.yaml:4:3: error: port 8000 of Service default/a-service is not opened: port 8000 (on all addresses) is taken by --service-listener, where every Service answers by its name
           help: choose another port, or another address with --service-listener; the Service is reachable there by its name",
    );

    let assembled = assembled_with_service_listener(&catalog![gateway("z", "x:8000"), lb(), ready()]);
    check_snapshot(&assembled, "[::]:8000\ndefault/z/x (*)");
    check_problems(
        &assembled,
        "all.yaml:1:1: note: the service listener is not opened: 127.0.0.1:8000 is taken by Gateway default/z (all.yaml:1)
           help: to reach Services by name as well, run with another --service-listener ADDRESS:PORT
         all.yaml:4:3: error: port 8000 of Service default/a-service is not opened: port 8000 (on all addresses) is taken by Gateway default/z (all.yaml:1)
           help: choose another port, or make the Service a ClusterIP and reach it through a Gateway",
    );
}

#[test]
fn of_two_services_on_one_port_the_lowest_name_has_it() {
    let catalog = catalog![
        load_balancer(service("b", "", "80")),
        load_balancer(service("a", "", "80")),
        slice("a-1", "a", "80", "10.0.0.1"),
        slice("b-1", "b", "80", "10.0.0.1"),
    ];
    let assembled = assembled(&catalog);
    check_snapshot(&assembled, "[::]:80\ndefault/a:80 (*)\n*\n- path under / => a#80 1 a:80");
    assert_eq!(assembled.problems.len(), 1);
    assert!(assembled.problems[0].what.starts_with("port 80 of Service default/b is not opened"));
}
