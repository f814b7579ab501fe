//! Which routes a listener serves, under which hosts, in which order; and what is said of the others.

use watershed_config::model::{
    AllowedNamespaces, Gateway, GatewayListener, Kind, LabelRequirement, LabelSelector,
};

use crate::support::{
    aged, assembled, check_problems, check_snapshot, check_text, class, gateway, meta, render, route, rule,
    service, slice,
};

/// A Service with an endpoint, so that nothing is said about it.
macro_rules! with_backend {
    ($($object:expr),* $(,)?) => {
        catalog![service("hello", "", "80"), slice("hello-1", "hello", "80", "10.0.0.1"), $($object),*]
    };
}

fn allowing(gateway: Gateway, namespaces: &AllowedNamespaces) -> Gateway {
    let allow = |listener| GatewayListener { namespaces: namespaces.clone(), ..listener };
    Gateway { listeners: gateway.listeners.into_iter().map(allow).collect(), ..gateway }
}

#[test]
fn a_route_serves_the_intersection_of_its_hostnames_with_each_listener() {
    let catalog = with_backend![
        gateway("gw", "exact:80@very.specific.com, wild:80@*.wild.io, any:8080"),
        route("r", "gw", "*.specific.com, a.wild.io, *.b.wild.io, wild.io", &[rule("/", "hello:80")]),
    ];
    let assembled = assembled(&catalog);
    check_snapshot(
        &assembled,
        "[::]:80
           default/gw/exact (very.specific.com)
             very.specific.com
               - path under / => r#0 1 hello:80
           default/gw/wild (*.wild.io)
             a.wild.io
               - path under / => r#0 1 hello:80
             *.b.wild.io
               - path under / => r#0 1 hello:80
         [::]:8080
           default/gw/any (*)
             a.wild.io
               - path under / => r#0 1 hello:80
             wild.io
               - path under / => r#0 1 hello:80
             *.specific.com
               - path under / => r#0 1 hello:80
             *.b.wild.io
               - path under / => r#0 1 hello:80",
    );
    check_problems(&assembled, "");
}

#[test]
fn a_listener_without_routes_is_there_so_that_its_hosts_are_isolated() {
    let assembled = assembled(&with_backend![
        gateway("gw", "a:80@a.com, any:80"),
        route("r", "gw#any", "", &[rule("/", "hello:80")]),
    ]);
    check_snapshot(
        &assembled,
        "[::]:80
           default/gw/a (a.com)
           default/gw/any (*)
             *
               - path under / => r#0 1 hello:80",
    );
}

#[test]
fn section_and_port_narrow_the_listeners_and_twice_the_same_listener_counts_once() {
    let assembled = assembled(&with_backend![
        gateway("gw", "a:80, b:8080, c:9090"),
        route("both", "gw#a, gw:80, gw:8080", "", &[rule("/", "hello:80")]),
    ]);
    check_snapshot(
        &assembled,
        "[::]:80
           default/gw/a (*)
             *
               - path under / => both#0 1 hello:80
         [::]:8080
           default/gw/b (*)
             *
               - path under / => both#0 1 hello:80
         [::]:9090
           default/gw/c (*)",
    );
    check_problems(&assembled, "");
}

#[test]
fn candidates_of_one_host_come_from_all_routes_in_gateway_apis_order_of_precedence() {
    let catalog = with_backend![
        gateway("gw", "a:80"),
        route("young", "gw", "", &[rule("/,/v2", "hello:80")]),
        aged(2, route("old", "gw", "", &[rule("/v2", "hello:80"), rule("/v2 GET,=/v2/x,~/v.*", "hello:80")])),
        aged(2, route("a-old", "gw", "", &[rule("/v2", "hello:80")])),
        aged(1, route("oldest", "gw", "", &[rule("/v2", "hello:80"), rule("/v2", "hello:80")])),
    ];
    check_snapshot(
        &assembled(&catalog),
        "[::]:80
           default/gw/a (*)
             *
               - path = /v2/x => old#1 1 hello:80
               - path ~ /v.* => old#1 1 hello:80
               - path under /v2, method = GET => old#1 1 hello:80
               - path under /v2 => oldest#0 1 hello:80
               - path under /v2 => oldest#1 1 hello:80
               - path under /v2 => a-old#0 1 hello:80
               - path under /v2 => old#0 1 hello:80
               - path under /v2 => young#0 1 hello:80
               - path under / => young#0 1 hello:80",
    );
}

#[test]
fn a_namespace_must_be_allowed_by_the_listener() {
    let selector = |key: &str, value: &str| {
        AllowedNamespaces::Selector(LabelSelector(vec![LabelRequirement::In(key.into(), vec![value.into()])]))
    };
    let check = |allowed: AllowedNamespaces, attached: bool| {
        let catalog = catalog![
            meta(Kind::Namespace, "team", "tier=front"),
            allowing(gateway("infra/gw", "http:80"), &allowed),
            route("team/r", "infra/gw", "", &[rule("/", "")]),
        ];
        let assembled = assembled(&catalog);
        let expected = if attached { "*\n- path under / => r#0" } else { "" };
        check_text(&render(&assembled.snapshot), &format!("[::]:80\ninfra/gw/http (*)\n{expected}"));
        assert_eq!(assembled.problems.len(), usize::from(!attached), "{allowed:?}");
    };
    check(AllowedNamespaces::Same, false);
    check(AllowedNamespaces::All, true);
    check(selector("tier", "front"), true);
    check(selector("tier", "back"), false);
    check(selector("kubernetes.io/metadata.name", "team"), true);
    check(selector("kubernetes.io/metadata.name", "other"), false);
}

#[test]
fn a_namespace_that_is_not_written_has_only_its_name_as_a_label() {
    let named = LabelRequirement::In("kubernetes.io/metadata.name".into(), vec!["team".into()]);
    let catalog = catalog![
        allowing(gateway("infra/gw", "http:80"), &AllowedNamespaces::Selector(LabelSelector(vec![named]))),
        route("team/r", "infra/gw", "", &[rule("/", "")]),
        route("other/r", "infra/gw", "", &[rule("/", "")]),
    ];
    check_problems(
        &assembled(&catalog),
        "all.yaml:21:3: warning: HTTPRoute other/r is not attached: namespace other has not the labels that listener \"http\" of Gateway infra/gw selects
           help: label the Namespace other, or widen the listener's allowedRoutes.namespaces.selector",
    );
}

#[test]
fn what_is_not_attached_says_why_and_what_would_mend_it() {
    let catalog = with_backend![
        gateway("gw", "http:80@*.example.com, admin:81@admin.io"),
        gateway("infra/shared", "http:8080"),
        route("a", "gatewy", "", &[rule("/", "hello:80")]),
        route("b", "gv", "", &[rule("/", "hello:80")]),
        route("c", "shared", "", &[rule("/", "hello:80")]),
        route("d", "gw#htp", "", &[rule("/", "hello:80")]),
        route("e", "gw#web", "", &[rule("/", "hello:80")]),
        route("f", "gw:443", "", &[rule("/", "hello:80")]),
        route("g", "gw#http:81", "", &[rule("/", "hello:80")]),
        route("h", "gw#http", "example.com", &[rule("/", "hello:80")]),
        route("i", "infra/shared", "", &[rule("/", "hello:80")]),
        // What is wrong with one object alone is said where it is read.
        route("j", "", "", &[rule("/", "hello:80")]),
    ];
    check_problems(
        &assembled(&catalog),
        "all.yaml:21:3: warning: HTTPRoute default/a is not attached: there is no Gateway default/gatewy
           help: write the Gateway or correct the name; namespace default has gw
         all.yaml:21:3: warning: HTTPRoute default/b is not attached: there is no Gateway default/gv
           help: did you mean `gw`?
         all.yaml:21:3: warning: HTTPRoute default/c is not attached: there is no Gateway default/shared
           help: a Gateway of this name is in namespace infra: say so with namespace: in this parentRef
         all.yaml:21:3: warning: HTTPRoute default/d is not attached: Gateway default/gw serves no listener named \"htp\"
           help: did you mean `http`?
         all.yaml:21:3: warning: HTTPRoute default/e is not attached: Gateway default/gw serves no listener named \"web\"
           help: its listeners are \"http\" (port 80), \"admin\" (port 81)
         all.yaml:21:3: warning: HTTPRoute default/f is not attached: Gateway default/gw has no listener on port 443
           help: its listeners are \"http\" (port 80), \"admin\" (port 81)
         all.yaml:21:3: warning: HTTPRoute default/g is not attached: listener \"http\" of Gateway default/gw is not on port 81
           help: its listeners are \"http\" (port 80), \"admin\" (port 81)
         all.yaml:21:3: warning: HTTPRoute default/i is not attached: listener \"http\" of Gateway infra/shared takes routes of its own namespace only, and the route is in default
           help: set the listener's allowedRoutes.namespaces.from to All (or Selector), or move the route
         all.yaml:29:3: warning: HTTPRoute default/h is not attached: its hostname example.com does not belong to listener \"http\" of Gateway default/gw (*.example.com)
           help: write hostnames within *.example.com, or a listener for the route's hostname",
    );
}

#[test]
fn a_hostname_that_no_listener_serves_is_a_note_if_another_one_is_attached() {
    let catalog = with_backend![
        gateway("gw", "http:80@*.example.com"),
        route("r", "gw", "a.example.com, b.exmple.com", &[rule("/", "hello:80")]),
    ];
    check_problems(
        &assembled(&catalog),
        "all.yaml:29:3: note: hostname b.exmple.com of HTTPRoute default/r is served by none of the listeners that it is attached to",
    );
}

#[test]
fn a_listener_that_takes_no_http_routes_refuses_them() {
    let mut gw = gateway("gw", "tcp:80");
    gw.listeners[0].kinds.clear();
    check_problems(
        &assembled(&with_backend![gw, route("r", "gw", "", &[rule("/", "hello:80")])]),
        "all.yaml:21:3: warning: HTTPRoute default/r is not attached: listener \"tcp\" of Gateway default/gw takes no HTTPRoutes
           help: add HTTPRoute to the listener's allowedRoutes.kinds, or name another listener",
    );
}

#[test]
fn a_gateway_is_ours_by_its_class() {
    let of = |class: &str, gateway| Gateway { class: class.into(), ..gateway };
    let catalog = with_backend![
        class("ours", "watershed.dev/gateway"),
        class("theirs", "example.com/other"),
        of("ours", gateway("a", "http:80")),
        of("theirs", gateway("b", "http:81")),
        of("watersed", gateway("c", "http:82")),
        of("nginx", gateway("d", "http:83")),
        // Nothing more is said of routes whose Gateway is not served, and nothing at all of another controller's.
        route("r", "b", "", &[rule("/", "missing:80")]),
        route("s", "c", "", &[rule("/", "hello:80")]),
    ];
    let assembled = assembled(&catalog);
    check_snapshot(&assembled, "[::]:80\ndefault/a/http (*)");
    check_problems(
        &assembled,
        "all.yaml:6:3: warning: Gateway default/c is not served: there is no GatewayClass \"watersed\"
           help: did you mean `watershed`?
         all.yaml:6:3: warning: Gateway default/d is not served: there is no GatewayClass \"nginx\"
           help: use the class \"watershed\", which needs not be written, or write the class; there are ours, theirs, watershed
         all.yaml:6:3: note: Gateway default/b is not served here: its class \"theirs\" belongs to the controller \"example.com/other\"",
    );
}

#[test]
fn a_written_class_replaces_the_built_in_one_of_its_name() {
    let assembled = assembled(&catalog![class("watershed", "example.com/other"), gateway("gw", "http:80")]);
    assert!(assembled.snapshot.binds.is_empty());
}
