//! What backends are: weights, references that lead nowhere, and Services of every type.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Row, check, who};
use crate::support::{Manifests, Pod, PodFile, Speaks, Start, free_port, gateway, get, route, service};

#[test]
fn references_that_lead_nowhere_answer_for_their_rule_only() {
    check(&[Row {
        name: "HTTPRouteInvalid*BackendRef, HTTPRouteNoBackendRefs, HTTPRoutePartiallyInvalid",
        listeners: "",
        routes: r#"
metadata: {name: good}
spec:
  rules:
  - matches: [{path: {value: /good}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /gone}}]
    backendRefs: [{name: no-such-service, port: 80}]
  - matches: [{path: {value: /port}}]
    backendRefs: [{name: blue, port: 81}]
  - matches: [{path: {value: /kind}}]
    backendRefs: [{group: unknown.example, kind: NonExistent, name: blue, port: 80}]
  - matches: [{path: {value: /namespace}}]
    backendRefs: [{name: blue, namespace: elsewhere, port: 80}]
  - matches: [{path: {value: /none}}]
  - matches: [{path: {value: /empty-list}}]
    backendRefs: []
  - matches: [{path: {value: /no-pods}}]
    backendRefs: [{name: empty, port: 80}]
  - matches: [{path: {value: /zero}}]
    backendRefs: [{name: blue, port: 80, weight: 0}, {name: red, port: 80, weight: 0}]
  - matches: [{path: {value: /one-zero}}]
    backendRefs: [{name: blue, port: 80, weight: 0}, {name: red, port: 80}]
"#,
        asks: &[
            ("/good", &[], "blue"),
            ("/gone", &[], "500 invalid_backend"),
            ("/port", &[], "500 invalid_backend"),
            ("/kind", &[], "500 invalid_backend"),
            ("/namespace", &[], "500 invalid_backend"),
            ("/none", &[], "500 no_backend"),
            ("/empty-list", &[], "500 no_backend"),
            ("/no-pods", &[], "503 no_ready_endpoint"),
            ("/zero", &[], "500 zero_weights"),
            ("/one-zero", &[], "red"),
            ("/good", &[], "blue"),
        ],
    }]);
}

/// Weights by Service.
type Weights = &'static [(&'static str, u32)];
/// Shares by who answers.
type Shares = &'static [(&'static str, f64)];

/// Counts of who answered.
fn shares(address: SocketAddr, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(who(&get(address, "x", "/"))).or_default() += 1;
    }
    shares
}

#[test]
fn shares_are_exact_and_a_share_that_leads_nowhere_keeps_its_size() {
    let pods: Vec<Pod> = ["blue", "red", "green"].map(Pod::start).into();
    let manifests = Manifests::new();
    for pod in &pods {
        let labels = format!("app: {}", pod.name());
        manifests.write(
            &format!("{}.yaml", pod.name()),
            service(pod.name(), &labels) + &PodFile::of(pod, &labels).text(),
        );
    }
    manifests.write("down.yaml", service("down", "app: nobody"));
    let cases: [(Weights, Shares); 4] = [
        // HTTPRouteWeight.
        (&[("blue", 70), ("red", 30), ("green", 0)], &[("blue", 0.7), ("red", 0.3)]),
        (
            &[("blue", 1), ("red", 1), ("green", 1)],
            &[("blue", 1.0 / 3.0), ("red", 1.0 / 3.0), ("green", 1.0 / 3.0)],
        ),
        // Availability never changes a split.
        (&[("blue", 75), ("down", 25)], &[("blue", 0.75), ("503 no_ready_endpoint", 0.25)]),
        (&[("blue", 99), ("gone", 1)], &[("blue", 0.99), ("500 invalid_backend", 0.01)]),
    ];
    let mut ports = Vec::new();
    for (number, (weights, _)) in cases.iter().enumerate() {
        let port = free_port();
        ports.push(port);
        let name = format!("case-{number}");
        manifests.write(
            &format!("{name}.yaml"),
            gateway(&name, port) + &route(&name, &format!("name: {name}"), weights),
        );
    }
    // One worker, one sequence: any prefix of it is within 7 of the target.
    let _watershed = Start::over(manifests.path()).args(&["--workers", "1"]).ready();
    for ((weights, wanted), port) in cases.iter().zip(ports) {
        let found = shares(SocketAddr::from(([127, 0, 0, 1], port)), 500);
        assert_eq!(found.len(), wanted.len(), "{weights:?}: {found:?}");
        for (who, share) in *wanted {
            let off = (found.get(*who).copied().unwrap_or(0) as f64 - share * 500.0).abs();
            assert!(off <= 7.0, "{weights:?}: {found:?}");
        }
    }
}

#[test]
fn services_of_every_type_are_backends() {
    let (plain, h2c) = (Pod::start("plain"), Pod::speaking("h2c", Speaks::H2c));
    let port = free_port();
    let manifests = Manifests::new();
    manifests.write("plain.yaml", PodFile::of(&plain, "app: plain").text());
    manifests.write("h2c.yaml", PodFile::of(&h2c, "app: h2c").text());
    let of = |name: &str, spec: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n")
    };
    let by_number =
        format!("selector: {{app: plain}}, ports: [{{port: 80, targetPort: {}}}]", plain.address().port());
    let services = of("by-number", &by_number)
        + &of("by-name", "selector: {app: plain}, ports: [{port: 80, targetPort: http}]")
        + &of("headless", "clusterIP: None, selector: {app: plain}, ports: [{port: 80, targetPort: http}]")
        + &of("manual", "ports: [{name: http, port: 80}]")
        + &of("manual-headless", "clusterIP: None, ports: [{name: http, port: 80}]")
        // HTTPRouteBackendProtocolH2C.
        + &of("h2c", "selector: {app: h2c}, ports: [{port: 80, targetPort: http, appProtocol: kubernetes.io/h2c}]");
    manifests.write("services.yaml", services);
    for name in ["manual", "manual-headless"] {
        let slice = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, labels: \
             {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: http, port: {}}}]\nendpoints: \
             [{{addresses: [127.0.0.1]}}]\n",
            plain.address().port()
        );
        manifests.write(&format!("{name}.slice.yaml"), slice);
    }
    let all = ["by-number", "by-name", "headless", "manual", "manual-headless", "h2c"];
    let rules = all.map(|name| {
        format!("  - {{name: {name}, matches: [{{path: {{value: /{name}}}}}], backendRefs: [{{name: {name}, port: 80}}]}}\n")
    });
    let routes = route("all", "name: web", &[("by-name", 1)])
        .replace("  - name: main", &format!("{}  - name: main", rules.concat()));
    manifests.write("route.yaml", gateway("web", port) + &routes);
    let _watershed = Start::over(manifests.path()).ready();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    for name in all {
        let wanted = if name == "h2c" { "h2c" } else { "plain" };
        assert_eq!(who(&get(address, "x", &format!("/{name}/x?y"))), wanted, "{name}");
    }
    assert_eq!(h2c.seen()[0].line, "GET /h2c/x?y");
}
