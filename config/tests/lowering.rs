//! What becomes of valid manifests (defaults included), and where the limits are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use watershed_config::model::{
    AllowedNamespaces, AppProtocol, Filter, Gateway, Hostname, HttpRoute, Object, ParentKind, PathMatch,
    PathRewrite, Pod, ProbeAction, Service, ServiceType, TargetPort, ValueMatch,
};
use watershed_config::{Document, Severity, Spot, read};

fn documents(text: &str) -> Vec<Document> {
    let reading = read(&Arc::from(Path::new("test.yaml")), text);
    assert!(!reading.broken, "{:?}", reading.problems);
    reading.documents
}

fn one(text: &str) -> Document {
    let mut documents = documents(text);
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

fn object(text: &str) -> Object {
    let document = one(text);
    document.object.unwrap_or_else(|| panic!("{text}\n{:#?}", document.problems))
}

/// The worst that is said about a text, `None` for nothing.
fn worst(text: &str) -> Option<Severity> {
    documents(text).iter().flat_map(|document| &document.problems).map(|problem| problem.severity).min()
}

fn service(spec: &str) -> Service {
    match object(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}\n")) {
        Object::Service(service) => service,
        other => panic!("{other:?}"),
    }
}

fn pod(rest: &str) -> Pod {
    match object(&format!("apiVersion: v1\nkind: Pod\n{rest}")) {
        Object::Pod(pod) => pod,
        other => panic!("{other:?}"),
    }
}

fn gateway_text(spec: &str) -> String {
    format!("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: a}}\nspec: {spec}\n")
}

fn gateway(spec: &str) -> Gateway {
    match object(&gateway_text(spec)) {
        Object::Gateway(gateway) => gateway,
        other => panic!("{other:?}"),
    }
}

fn route_text(spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: a}}\nspec: {spec}\n"
    )
}

fn route(spec: &str) -> HttpRoute {
    match object(&route_text(spec)) {
        Object::HttpRoute(route) => route,
        other => panic!("{other:?}"),
    }
}

/// A route with one rule, in flow style.
fn rule_text(rule: &str) -> String {
    route_text(&format!("{{parentRefs: [{{name: g}}], rules: [{{{rule}}}]}}"))
}

const BACKEND: &str = "backendRefs: [{name: a, port: 80}]";

#[test]
fn what_is_not_said_of_an_object_has_its_default() {
    let service = service("{ports: [{port: 80}]}");
    let meta = &service.meta;
    assert_eq!(meta.id.to_string(), "Service default/a");
    assert_eq!((&*meta.uid, meta.created), ("default/a", None));
    assert_eq!(meta.origin.spot, Spot { line: 1, column: 1, length: 10 });
    assert_eq!(
        (service.selector, service.service_type, service.headless),
        (None, ServiceType::ClusterIp, false)
    );
    let port = &service.ports[0];
    assert_eq!((&*port.name, port.port.get(), port.node_port), ("", 80, None));
    assert_eq!((&port.target, port.app_protocol), (&TargetPort::Number(port.port), AppProtocol::Http1));
}

#[test]
fn a_services_fields_are_taken_as_written() {
    let service = service(
        "{type: NodePort, clusterIP: None, selector: {app: x}, ports: [\
         {name: a, port: 1, targetPort: web, nodePort: 30001, appProtocol: kubernetes.io/h2c}, \
         {name: b, port: 2, targetPort: 3, appProtocol: grpc}, {name: dns, port: 53, protocol: UDP}]}",
    );
    assert!(service.headless && service.selector.is_some_and(|labels| labels.iter().count() == 1));
    let got: Vec<_> = service
        .ports
        .iter()
        .map(|port| (port.port.get(), port.target.clone(), port.node_port.map(u16::from), port.app_protocol))
        .collect();
    let three = TargetPort::Number(3.try_into().unwrap());
    let wanted = [
        (1, TargetPort::Name("web".into()), Some(30_001), AppProtocol::H2c),
        (2, three, None, AppProtocol::H2c),
    ];
    assert_eq!(got, wanted);
}

#[test]
fn an_empty_selector_never_means_every_pod() {
    assert_eq!(service("{selector: {}, ports: [{port: 80}]}").selector, None);
    assert_eq!(service("{selector: , ports: [{port: 80}]}").selector, None);
}

#[test]
fn a_port_that_must_be_encrypted_is_left_out_rather_than_spoken_to_in_clear_text() {
    assert_eq!(service("{ports: [{port: 443, appProtocol: https}]}").ports, []);
}

#[test]
fn readiness_follows_the_condition_and_the_phase() {
    let ready = |status: &str| {
        pod(&format!("metadata: {{name: a}}\nstatus: {{podIP: 10.0.0.1, {status}}}")).ready_condition
    };
    assert!(ready(""));
    assert!(ready("conditions: [{type: Ready, status: \"True\"}]"));
    assert!(ready("conditions: [{type: Ready, status: Unknown}]"));
    assert!(ready("conditions: [{type: Initialized, status: \"False\"}]"));
    assert!(!ready("conditions: [{type: Ready, status: \"False\"}]"));
    assert!(!ready("phase: Succeeded"));
    assert!(!pod("metadata: {name: a}\nstatus: {podIP: 10.0.0.1}").terminating);
    let dying = "metadata: {name: a, deletionTimestamp: \"2026-01-01T00:00:00Z\"}\nstatus: {podIP: 10.0.0.1}";
    assert!(pod(dying).terminating);
}

#[test]
fn a_pods_address_may_stand_in_pod_ips() {
    let pod = pod("metadata: {name: a}\nstatus: {podIPs: [{ip: \"fd00::1\"}, {ip: 10.0.0.1}]}");
    assert_eq!(pod.ip.to_string(), "fd00::1");
}

#[test]
fn probes_have_the_defaults_of_kubernetes_and_ports_by_name() {
    let pod = pod(
        "metadata: {name: a}\nspec:\n  containers:\n  - ports: [{name: web, containerPort: 8080}]\n    \
         readinessProbe: {httpGet: {port: web}}\n  - readinessProbe: {grpc: {port: 9}, periodSeconds: 3, timeoutSeconds: 0, failureThreshold: 1}\n  \
         initContainers:\n  - readinessProbe: {tcpSocket: {port: 1}}\n  - restartPolicy: Always\n    readinessProbe: {tcpSocket: {port: 2}}\n\
         status: {podIP: 10.0.0.1}\n",
    );
    let [http, grpc, tcp] = pod.probes.as_slice() else { panic!("{:?}", pod.probes) };
    assert_eq!(
        (http.initial_delay, http.period, http.timeout),
        (Duration::ZERO, Duration::from_secs(10), Duration::from_secs(1))
    );
    assert_eq!((http.success_threshold, http.failure_threshold), (1, 3));
    assert!(
        matches!(&http.action, ProbeAction::Http { host: None, port, path, .. } if port.get() == 8080 && &**path == "/")
    );
    assert_eq!(
        (grpc.period, grpc.timeout, grpc.failure_threshold),
        (Duration::from_secs(3), Duration::from_secs(1), 1)
    );
    assert!(matches!(&tcp.action, ProbeAction::Tcp { port, .. } if port.get() == 2), "only sidecars run on");
}

#[test]
fn a_gateways_listeners_have_defaults() {
    let gateway = gateway(
        "{gatewayClassName: c, listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 81, protocol: HTTP, hostname: \"\"}]}",
    );
    assert_eq!(gateway.addresses, []);
    for listener in &gateway.listeners {
        assert_eq!(listener.hostname, Hostname::Any);
        assert_eq!((&listener.namespaces, listener.kinds.len()), (&AllowedNamespaces::Same, 1));
    }
    assert_eq!(gateway.class_spot.line, 4);
}

#[test]
fn the_same_port_may_be_shared_by_different_hostnames() {
    let listeners = gateway(
        "{gatewayClassName: c, listeners: [{name: a, port: 80, protocol: HTTP, hostname: a.b}, \
         {name: b, port: 80, protocol: HTTP, hostname: \"*.b\"}, {name: c, port: 80, protocol: HTTP}]}",
    );
    assert_eq!(listeners.listeners.len(), 3);
}

#[test]
fn a_rule_without_matches_matches_every_path() {
    for text in
        ["", "matches: [], ", "matches: [{}], ", "matches: [{path: {}}], ", "matches: [{path: {value: /}}], "]
    {
        let route = route(&format!("{{parentRefs: [{{name: g}}], rules: [{{{text}{BACKEND}}}]}}"));
        let [only] = route.rules[0].matches.as_slice() else { panic!("{text}") };
        assert_eq!(only.path, PathMatch::Prefix("".into()), "{text}");
        assert!(only.method.is_none() && only.headers.is_empty() && only.query.is_empty());
    }
}

#[test]
fn references_of_a_route_have_defaults() {
    let route = route(&format!(
        "{{parentRefs: [{{name: g}}, {{group: \"\", kind: Service, name: s, namespace: n}}], rules: [{{{BACKEND}}}]}}"
    ));
    let [gateway, service] = route.parents.as_slice() else { panic!("{:?}", route.parents) };
    assert_eq!((gateway.kind, gateway.name.to_string()), (ParentKind::Gateway, "default/g".to_owned()));
    assert_eq!((service.kind, service.name.to_string()), (ParentKind::Service, "n/s".to_owned()));
    let backend = &route.rules[0].backends[0];
    assert_eq!((&*backend.group, &*backend.kind, backend.weight), ("", "Service", 1));
    assert_eq!((backend.name.to_string(), backend.port.map(u16::from)), ("default/a".to_owned(), Some(80)));
}

#[test]
fn matches_are_taken_as_written() {
    let route = route(&format!(
        "{{parentRefs: [{{name: g}}], rules: [{{matches: [{{path: {{value: /a/}}, method: POST, \
         headers: [{{name: X-A, value: v}}], queryParams: [{{name: Q, value: \"[0-9]+\", type: RegularExpression}}]}}, \
         {{path: {{type: Exact, value: /a/}}}}], {BACKEND}}}]}}"
    ));
    let [first, second] = route.rules[0].matches.as_slice() else { panic!("two matches") };
    assert_eq!(first.path, PathMatch::Prefix("/a".into()));
    assert_eq!(first.method, Some(Method::POST));
    assert_eq!(
        (first.headers[0].name.as_str(), &first.headers[0].value),
        ("x-a", &ValueMatch::Exact("v".into()))
    );
    assert_eq!(&*first.query[0].name, "Q", "the case of query parameters counts");
    assert!(first.query[0].value.matches(b"42") && !first.query[0].value.matches(b"42x"));
    assert_eq!(second.path, PathMatch::Exact("/a/".into()));
}

#[test]
fn filters_are_taken_in_order() {
    let route = route(&format!(
        "{{parentRefs: [{{name: g}}], rules: [{{filters: [\
         {{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /x/}}}}}}, \
         {{type: RequestHeaderModifier, requestHeaderModifier: {{remove: [X-A]}}}}], {BACKEND}}}, \
         {{filters: [{{type: RequestRedirect, requestRedirect: {{}}}}]}}]}}"
    ));
    let [Filter::Rewrite(rewrite), Filter::RequestHeaders(edits)] = route.rules[0].filters.as_slice() else {
        panic!("{:?}", route.rules[0].filters)
    };
    assert_eq!(rewrite.path, Some(PathRewrite::Prefix("/x".into())));
    assert_eq!(edits.remove[0].as_str(), "x-a");
    let [Filter::Redirect(redirect)] = route.rules[1].filters.as_slice() else { panic!("a redirect") };
    assert_eq!((redirect.status, redirect.port), (StatusCode::FOUND, None));
}

#[test]
fn a_timeout_of_zero_is_none() {
    let text = format!(
        "{{parentRefs: [{{name: g}}], rules: [{{timeouts: {{request: 0s, backendRequest: 1m}}, {BACKEND}}}]}}"
    );
    let timeouts = route(&text).rules[0].timeouts;
    assert_eq!((timeouts.request, timeouts.backend_request), (None, Some(Duration::from_mins(1))));
}

fn repeat(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_limits_of_the_gateway_api_hold_at_their_edges() {
    let matches =
        |count| format!("matches: [{}], {BACKEND}", repeat(count, |i| format!("{{path: {{value: /{i}}}}}")));
    let many_rules = |count| {
        route_text(&format!(
            "{{parentRefs: [{{name: g}}], rules: [{}]}}",
            repeat(count, |_| format!("{{{BACKEND}}}"))
        ))
    };
    let rules_of = |sizes: &[usize]| {
        let rules: Vec<String> = sizes.iter().map(|size| format!("{{{}}}", matches(*size))).collect();
        route_text(&format!("{{parentRefs: [{{name: g}}], rules: [{}]}}", rules.join(", ")))
    };
    let backends = |count| {
        rule_text(&format!("backendRefs: [{}]", repeat(count, |i| format!("{{name: s{i}, port: 80}}"))))
    };
    let parents = |count| {
        route_text(&format!(
            "{{parentRefs: [{}], rules: [{{{BACKEND}}}]}}",
            repeat(count, |i| format!("{{name: g{i}}}"))
        ))
    };
    let hosts = |count| {
        route_text(&format!(
            "{{parentRefs: [{{name: g}}], hostnames: [{}], rules: [{{{BACKEND}}}]}}",
            repeat(count, |i| format!("h{i}.example.com"))
        ))
    };
    let listeners = |count| {
        gateway_text(&format!(
            "{{gatewayClassName: c, listeners: [{}]}}",
            repeat(count, |i| format!("{{name: l{i}, port: {}, protocol: HTTP}}", i + 1))
        ))
    };
    let headers = |count| {
        rule_text(&format!(
            "matches: [{{headers: [{}]}}], {BACKEND}",
            repeat(count, |i| format!("{{name: x-{i}, value: v}}"))
        ))
    };
    let weight =
        |weight: usize| rule_text(&format!("backendRefs: [{{name: a, port: 80, weight: {weight}}}]"));
    let cases: [(&str, String, String); 9] = [
        ("rules", many_rules(16), many_rules(17)),
        ("matches of a rule", rules_of(&[64]), rules_of(&[65])),
        ("matches of a route", rules_of(&[64, 64]), rules_of(&[64, 64, 1])),
        ("backendRefs", backends(16), backends(17)),
        ("parentRefs", parents(32), parents(33)),
        ("hostnames", hosts(16), hosts(17)),
        ("listeners", listeners(64), listeners(65)),
        ("headers", headers(16), headers(17)),
        ("weight", weight(1_000_000), weight(1_000_001)),
    ];
    for (what, within, beyond) in cases {
        assert_eq!(worst(&within), None, "{what}: {:?}", one(&within).problems);
        assert_eq!(worst(&beyond), Some(Severity::Error), "{what} beyond the limit");
    }
}

#[test]
fn cross_field_rules_of_a_rule_are_checked() {
    let redirect = "{type: RequestRedirect, requestRedirect: {hostname: a.b}}";
    let rewrite = |path: &str| format!("{{type: URLRewrite, urlRewrite: {{path: {path}}}}}");
    let prefix = "{type: ReplacePrefixMatch, replacePrefixMatch: /x}";
    let full = "{type: ReplaceFullPath, replaceFullPath: /x}";
    let header = "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}";
    let mirror = "{type: RequestMirror, requestMirror: {}}";
    let (error, warning) = (Some(Severity::Error), Some(Severity::Warning));
    let cases = [
        (format!("filters: [{redirect}]"), None),
        (format!("filters: [{redirect}], {BACKEND}"), error),
        (format!("filters: [{redirect}, {}]", rewrite(full)), error),
        (format!("filters: [{}], {BACKEND}", rewrite(prefix)), None),
        (format!("matches: [{{path: {{value: /a}}}}], filters: [{}], {BACKEND}", rewrite(prefix)), None),
        (
            format!(
                "matches: [{{path: {{value: /a}}}}, {{path: {{value: /b}}}}], filters: [{}], {BACKEND}",
                rewrite(prefix)
            ),
            error,
        ),
        (
            format!(
                "matches: [{{path: {{value: /a}}}}, {{path: {{value: /b}}}}], filters: [{}], {BACKEND}",
                rewrite(full)
            ),
            None,
        ),
        (
            format!(
                "matches: [{{path: {{type: Exact, value: /a}}}}], filters: [{}], {BACKEND}",
                rewrite(prefix)
            ),
            error,
        ),
        (
            format!(
                "matches: [{{path: {{type: Exact, value: /a}}}}], backendRefs: [{{name: a, port: 80, filters: [{}]}}]",
                rewrite(prefix)
            ),
            error,
        ),
        (format!("filters: [{header}], {BACKEND}"), None),
        (format!("filters: [{header}, {header}], {BACKEND}"), error),
        (format!("filters: [{mirror}, {mirror}], {BACKEND}"), warning),
        (format!("timeouts: {{request: 1s, backendRequest: 1s}}, {BACKEND}"), None),
        (format!("timeouts: {{request: 1s, backendRequest: 1001ms}}, {BACKEND}"), error),
        ("backendRefs: []".to_owned(), warning),
        ("backendRefs: [{name: a, port: 80, weight: 0}]".to_owned(), warning),
        ("backendRefs: [{name: a, port: 80, weight: 0}, {name: b, port: 80}]".to_owned(), None),
        ("backendRefs: [{name: a}]".to_owned(), error),
        ("backendRefs: [{group: example.com, kind: Other, name: a}]".to_owned(), None),
        (format!("retry: {{attempts: 1}}, {BACKEND}"), error),
    ];
    for (rule, wanted) in cases {
        let text = rule_text(&rule);
        assert_eq!(worst(&text), wanted, "{rule}: {:?}", one(&text).problems);
    }
}

#[test]
fn several_references_to_one_parent_must_be_told_apart() {
    let (error, none) = (Some(Severity::Error), None);
    for (parents, wanted) in [
        ("{name: a}, {name: b}", none),
        ("{name: a}, {name: a, namespace: n}", none),
        ("{name: a}, {name: a}", error),
        ("{name: a}, {name: a, namespace: default}", error),
        ("{name: a, sectionName: x}, {name: a, sectionName: y}", none),
        ("{name: a, sectionName: x}, {name: a, sectionName: x}", error),
        ("{name: a, sectionName: x}, {name: a}", error),
        ("{name: a, port: 1}, {name: a, port: 2}", none),
        ("{name: a, port: 1}, {name: a, sectionName: x}", error),
        ("{name: a, sectionName: x, port: 1}, {name: a, sectionName: x, port: 2}", none),
        ("{name: a}, {name: a, group: \"\", kind: Service}", none),
    ] {
        let text = route_text(&format!("{{parentRefs: [{parents}], rules: [{{{BACKEND}}}]}}"));
        assert_eq!(worst(&text), wanted, "{parents}");
    }
}

#[test]
fn an_object_in_error_still_says_who_it_is() {
    for (text, id) in [
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: n}\nspec: {x: 1}",
            Some("Service n/a"),
        ),
        ("apiVersion: v9\nkind: Service\nmetadata: {name: a}\n", Some("Service default/a")),
        ("kind: HTTPRoute\nmetadata: {name: a}\n", Some("HTTPRoute default/a")),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: a, namespace: n}\n",
            Some("GatewayClass a"),
        ),
        ("apiVersion: v1\nkind: Service\nmetadata: {}\n", None),
        ("apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a}\n", None),
        ("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\n", None),
    ] {
        let document = one(text);
        assert!(document.object.is_none() && !document.problems.is_empty());
        assert_eq!(document.id.map(|id| id.to_string()).as_deref(), id, "{text}");
    }
}

#[test]
fn problems_know_their_object_and_field() {
    let document =
        one("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - {port: 80, nam: x}\n");
    let [problem] = document.problems.as_slice() else { panic!("{:?}", document.problems) };
    assert_eq!(problem.field, "spec.ports[0].nam");
    assert_eq!(problem.object, document.id);
    assert_eq!(problem.spot, Spot { line: 6, column: 16, length: 3 });
    assert_eq!(problem.excerpt.as_deref(), Some("  - {port: 80, nam: x}"));
}

#[test]
fn one_bad_document_does_not_spoil_its_neighbours() {
    let good = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: b, name: c}\nspec: {ports: [{port: 80}]}\n";
    let objects: Vec<bool> = documents(&format!("{good}---\n{bad}---\n# nothing\n---\n{good}"))
        .iter()
        .map(|document| document.object.is_some())
        .collect();
    assert_eq!(objects, [true, false, true]);
}

#[test]
fn the_last_good_text_means_the_same_whatever_is_in_it() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {version: \"1.0\"}\n  annotations:\n    \
        odd: \"quote \\\" tab \\t line \\n sep \\u2028 bell \\a face \\U0001F600 del \\x7f\"\nstatus: {podIP: 10.0.0.1}\n";
    let first = one(text);
    let again = one(&first.source);
    assert_eq!(first.source, again.source);
    let (Some(Object::Pod(one)), Some(Object::Pod(two))) = (first.object, again.object) else {
        panic!("two pods")
    };
    assert_eq!((one.meta.labels, one.ip, one.meta.id), (two.meta.labels, two.ip, two.meta.id));
}
