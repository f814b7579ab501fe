//! Arms: what a backendRef becomes, what is said of it, and the identity of a rule's split.

use std::sync::Arc;

use watershed_config::model::{BackendRef, Filter, HttpRoute, HttpRouteRule, Object, Redirect};
use watershed_config::snapshot::{Rule, Target};

use crate::support::{
    IntoObject, assembled, check_problems, check_snapshot, check_text, gateway, pod, route, rule, service,
    slice,
};

fn only_rules(catalog: &watershed_control::catalog::Catalog) -> Vec<Arc<Rule>> {
    let snapshot = assembled(catalog).snapshot;
    let hosts = snapshot.binds.iter().flat_map(|bind| &bind.listeners).flat_map(|listener| &listener.hosts);
    hosts.flat_map(|host| &host.candidates).map(|candidate| Arc::clone(&candidate.rule)).collect()
}

#[test]
fn a_broken_reference_keeps_its_share_and_says_what_is_wrong() {
    let mut foreign = rule("/kind", "bucket:80");
    foreign.backends[0].kind = "Bucket".into();
    foreign.backends[0].group = "storage.io".into();
    let catalog = catalog![
        gateway("gw", "http:80"),
        service("hello", "", "80->8080, web:81"),
        slice("hello-1", "hello", "80, web:81", "10.0.0.1"),
        service("prod/db", "", "80"),
        slice("prod/db-1", "prod/db", "80", "10.0.0.1"),
        route(
            "r",
            "gw",
            "",
            &[
                rule("/a", "hello:80*90, helo:80*10"),
                rule("/b", "hello:8080"),
                rule("/c", "hello:82"),
                rule("/d", "prod/db:80"),
                rule("/e", "db:80*0"),
                foreign
            ]
        ),
    ];
    let assembled = assembled(&catalog);
    check_snapshot(
        &assembled,
        "[::]:80
           default/gw/http (*)
             *
               - path under /kind => r#5 1 InvalidKind(Bucket default/bucket:80)
               - path under /a => r#0 90 hello:80 + 10 BackendNotFound(default/helo:80)
               - path under /b => r#1 1 BackendNotFound(default/hello:8080)
               - path under /c => r#2 1 BackendNotFound(default/hello:82)
               - path under /d => r#3 1 RefNotPermitted(prod/db:80)
               - path under /e => r#4 0 BackendNotFound(default/db:80)",
    );
    check_problems(
        &assembled,
        "all.yaml:41:3: warning: this backend is broken (its weight is 0, so no request meets it yet): there is no Service default/db
           help: a Service of this name is in namespace prod: another namespace needs a ReferenceGrant, which is not supported yet
         all.yaml:41:3: warning: this backend's share is answered with 500: Service prod/db is in another namespace, which needs a ReferenceGrant, and that is not supported yet
           help: move the route or the Service, so that both are in one namespace
         all.yaml:41:3: warning: this backend's share is answered with 500: the kind Bucket of the group storage.io cannot be a backend here, only a Service can
           help: refer to a Service: leave out group and kind
         all.yaml:41:3: warning: this backend's share is answered with 500: there is no Service default/helo
           help: did you mean `hello`?
         all.yaml:42:3: warning: this backend's share is answered with 500: Service default/hello has no port 8080
           help: 8080 is the Pods' port (targetPort); the Service's own port is 80
         all.yaml:42:3: warning: this backend's share is answered with 500: Service default/hello has no port 82
           help: its ports are 80, 81",
    );
}

#[test]
fn a_redirect_needs_no_backends_and_a_rule_without_either_has_no_arms() {
    let redirect = Redirect {
        scheme: None,
        hostname: Some("example.com".into()),
        path: None,
        port: None,
        status: http::StatusCode::FOUND,
    };
    let redirects = HttpRouteRule { filters: vec![Filter::Redirect(redirect)], ..rule("/a", "") };
    let catalog = catalog![gateway("gw", "http:80"), route("r", "gw", "", &[redirects, rule("/b", "")])];
    let assembled = assembled(&catalog);
    check_problems(&assembled, "");
    let rules = only_rules(&catalog);
    assert!(rules.iter().all(|rule| rule.arms.is_empty()));
    assert_eq!(rules[0].filters.len(), 1);
}

#[test]
fn a_backend_is_one_allocation_for_all_rules_that_name_it() {
    let catalog = catalog![
        gateway("gw", "a:80, b:81"),
        service("hello", "", "80"),
        slice("hello-1", "hello", "80", "10.0.0.1"),
        route("r", "gw", "", &[rule("/a", "hello:80"), rule("/b", "hello:80*9, hello:80")]),
        route("s", "gw#a", "", &[rule("/c", "hello:80")]),
    ];
    let rules = only_rules(&catalog);
    let backends: Vec<_> = rules
        .iter()
        .flat_map(|rule| &rule.arms)
        .map(|arm| match &arm.target {
            Target::Backend(backend) => backend,
            Target::Invalid { reference, .. } => panic!("{reference}"),
        })
        .collect();
    assert_eq!(backends.len(), 7);
    assert!(backends.iter().all(|backend| Arc::ptr_eq(backend, backends[0])));
}

#[test]
fn a_rule_is_one_allocation_on_all_listeners() {
    let catalog =
        catalog![gateway("gw", "a:80, b:81"), route("r", "gw", "a.com, b.com", &[rule("/a, /b", "")]),];
    let rules = only_rules(&catalog);
    assert_eq!(rules.len(), 8);
    assert!(rules.iter().all(|rule| Arc::ptr_eq(rule, &rules[0])));
}

#[test]
fn a_splits_identity_survives_edits_of_weights_filters_and_order_but_not_of_matches() {
    let key = |rules: &[HttpRouteRule], index: usize| {
        let catalog = catalog![gateway("gw", "a:80"), route("r", "gw", "", rules)];
        let rules = only_rules(&catalog);
        let of_index = |rule: &&Arc<Rule>| *rule.id.rule == *index.to_string();
        rules.iter().find(of_index).map(|rule| rule.key.rule.to_string()).unwrap()
    };
    let before = key(&[rule("/a GET, /b", "hello:80")], 0);
    assert_eq!(before, key(&[rule("/", ""), rule("/b, /a GET", "hello:80*9, v2:80")], 1));
    assert_ne!(before, key(&[rule("/a, /b", "hello:80")], 0));
    // The number is part of what operators see in `/debug/config`, and of what survives a restart.
    assert_eq!(key(&[rule("/a", "")], 0), "#34422c0401643e10");
}

#[test]
fn a_named_rule_is_known_by_its_name_whatever_it_matches() {
    let named = HttpRouteRule { name: Some("canary".into()), ..rule("/a", "") };
    let rules = only_rules(&catalog![gateway("gw", "a:80"), route("r", "gw", "", &[named])]);
    assert_eq!((&*rules[0].id.rule, &*rules[0].key.rule), ("canary", "canary"));
    assert_eq!(rules[0].id.to_string(), "HTTPRoute default/r rule canary");
}

/// What is said of the Service `hello`, to which a route sends everything, besides that its share is answered with 503.
fn check_blame(objects: Vec<Object>, expected: &str) {
    let mut catalog = catalog![gateway("gw", "a:80"), route("r", "gw", "", &[rule("/", "hello:80")])];
    for object in objects {
        catalog.apply(object);
    }
    let [problem] = &assembled(&catalog).problems[..] else { panic!("one problem") };
    let consequence = "Service default/hello has no ready endpoint, so its share is answered with 503: ";
    let why = problem.what.strip_prefix(consequence).unwrap();
    check_text(&format!("{why}\nhelp: {}", problem.help.as_ref().unwrap()), expected);
}

macro_rules! objects {
    ($($object:expr),* $(,)?) => { vec![$(IntoObject::into_object($object)),*] };
}

#[test]
fn a_service_whose_selector_matches_nothing_names_the_label_to_blame() {
    check_blame(
        objects![service("hello", "app=hello", "80")],
        "no Pod in namespace default has app=hello
           help: write the Pods; namespace default has none with labels yet",
    );
    check_blame(
        objects![service("hello", "app=helo", "80"), pod("p", "10.0.0.1", "app=hello")],
        "no Pod in namespace default has app=helo
           help: no Pod has app=helo; did you mean `app=hello`?",
    );
    check_blame(
        objects![service("hello", "ap=hello", "80"), pod("p", "10.0.0.1", "app=hello")],
        "no Pod in namespace default has ap=hello
           help: no Pod has a label \"ap\"; did you mean `app`?",
    );
    check_blame(
        objects![
            service("hello", "app=x", "80"),
            pod("p", "10.0.0.1", "app=b"),
            pod("q", "10.0.0.2", "app=a")
        ],
        "no Pod in namespace default has app=x
           help: no Pod has app=x; the values there are a, b",
    );
    check_blame(
        objects![
            service("hello", "app=hello,tier=web", "80"),
            pod("p", "10.0.0.1", "app=hello"),
            pod("q", "10.0.0.2", "tier=web")
        ],
        "no Pod in namespace default has app=hello, tier=web
           help: each of these labels is on some Pod, but no Pod has all of them",
    );
    check_blame(
        objects![service("hello", "app=hello", "80"), pod("prod/p", "10.0.0.1", "app=hello")],
        "no Pod in namespace default has app=hello
           help: Pods with these labels are in namespace prod; a Service selects Pods of its own namespace only",
    );
}

#[test]
fn a_service_without_ready_endpoints_names_the_port_pod_or_slice_to_blame() {
    check_blame(
        objects![service("hello", "app=hello", "80->http"), {
            let mut pod = pod("p", "10.0.0.1", "app=hello");
            pod.ports.push(crate::support::container_port("htttp", 8080));
            pod
        }],
        "none of its Pods has a container port named \"http\"
           help: did you mean `htttp`?",
    );
    check_blame(
        objects![service("hello", "app=hello", "80"), {
            let mut pod = pod("p", "10.0.0.1", "app=hello");
            pod.ready_condition = false;
            pod
        }],
        "its only endpoint is not ready
           help: look at the Pods' Ready condition and at what their readinessProbe is answered",
    );
    check_blame(
        objects![service("hello", "", "80")],
        "it has neither a selector nor an EndpointSlice
           help: write a selector, or an EndpointSlice with the label kubernetes.io/service-name: hello",
    );
    check_blame(
        objects![service("hello", "", "80"), slice("s", "hello", "web:80", "10.0.0.1")],
        "none of its EndpointSlices has a port named \"\"
           help: give the slice's port this name; the names there are \"web\"",
    );
    check_blame(
        objects![service("hello", "", "80"), slice("s", "hello", "80", "")],
        "its EndpointSlices list no endpoint
           help: add endpoints to one of its slices",
    );
}

#[test]
fn an_arm_of_weight_0_may_be_empty_but_its_own_way_in_does_not_make_it_loud() {
    let catalog = catalog![
        gateway("gw", "a:80"),
        service("hello", "", "80"),
        slice("hello-1", "hello", "80", "10.0.0.1"),
        service("canary", "app=hello,version=v2", "80"),
        route("r", "gw", "", &[rule("/", "hello:80*100, canary:80*0")]),
    ];
    check_problems(&crate::support::assembled_with_service_listener(&catalog), "");
}

#[test]
fn a_service_is_complained_of_once_for_all_its_ports() {
    let catalog = catalog![service("hello", "app=hello", "80, web:81")];
    let problems = crate::support::assembled_with_service_listener(&catalog).problems;
    assert_eq!(problems.len(), 1, "{problems:#?}");
}

#[test]
fn a_slice_without_its_service_is_a_warning() {
    let catalog = catalog![service("hello", "app=a", "80"), slice("s", "helo", "80", "10.0.0.1")];
    check_problems(
        &assembled(&catalog),
        "all.yaml:2:3: warning: EndpointSlice default/s serves nobody: there is no Service default/helo
           help: did you mean `hello`?",
    );
}

#[test]
fn arms_keep_their_filters() {
    let mut with_filter = rule("/", "hello:80");
    with_filter.backends[0] =
        BackendRef { filters: vec![Filter::Unsupported("Mirror".into())], ..with_filter.backends[0].clone() };
    let rules = only_rules(&catalog![
        gateway("gw", "a:80"),
        service("hello", "", "80"),
        HttpRoute { ..route("r", "gw", "", &[with_filter]) }
    ]);
    assert_eq!(rules[0].arms[0].filters, [Filter::Unsupported("Mirror".into())]);
}
