//! Hostnames of listeners and routes, ports, sections, and listener isolation.

use super::{Row, check};

#[test]
fn hosts_belong_to_the_most_specific_listener_and_route() {
    check(HOSTS);
}

/// Hosts of listeners and routes.
const HOSTS: &[Row] = &[
    Row {
        name: "HTTPRouteListenerHostnameMatching",
        listeners: r#"  - {name: listener-1, port: PORT, protocol: HTTP, hostname: bar.com}
  - {name: listener-2, port: PORT, protocol: HTTP, hostname: foo.bar.com}
  - {name: listener-3, port: PORT, protocol: HTTP, hostname: "*.bar.com"}
  - {name: listener-4, port: PORT, protocol: HTTP, hostname: "*.foo.com"}
"#,
        routes: r#"
metadata: {name: backend-v1}
spec:
  parentRefs: [{name: web, sectionName: listener-1}]
  rules: [{backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: backend-v2}
spec:
  parentRefs: [{name: web, sectionName: listener-2}]
  rules: [{backendRefs: [{name: red, port: 80}]}]
---
metadata: {name: backend-v3}
spec:
  parentRefs: [{name: web, sectionName: listener-3}, {name: web, sectionName: listener-4}]
  rules: [{backendRefs: [{name: green, port: 80}]}]
"#,
        asks: &[
            ("/", &[("host", "bar.com")], "blue"),
            ("/", &[("host", "BAR.com")], "blue"),
            ("/", &[("host", "bar.com:8080")], "blue"),
            ("/", &[("host", "foo.bar.com")], "red"),
            ("/", &[("host", "baz.bar.com")], "green"),
            ("/", &[("host", "boo.bar.com")], "green"),
            ("/", &[("host", "multiple.prefixes.bar.com")], "green"),
            ("/", &[("host", "multiple.prefixes.foo.com")], "green"),
            ("/", &[("host", "foo.com")], "404 no_route"),
            ("/", &[("host", "no.matching.host")], "404 no_route"),
        ],
    },
    Row {
        name: "HTTPRouteHostnameIntersection",
        listeners: r#"  - {name: exact, port: PORT, protocol: HTTP, hostname: very.specific.com}
  - {name: wildcard, port: PORT, protocol: HTTP, hostname: "*.wildcard.io"}
  - {name: another, port: PORT, protocol: HTTP, hostname: "*.anotherwildcard.io"}
"#,
        routes: r#"
metadata: {name: specific-host-matches-listener-specific-host}
spec:
  hostnames: [non.matching.com, "*.nonmatchingwildcard.io", very.specific.com]
  rules: [{matches: [{path: {value: /s1}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: specific-host-matches-listener-wildcard-host}
spec:
  hostnames: [non.matching.com, wildcard.io, foo.wildcard.io, bar.wildcard.io, foo.bar.wildcard.io]
  rules: [{matches: [{path: {value: /s2}}], backendRefs: [{name: red, port: 80}]}]
---
metadata: {name: wildcard-host-matches-listener-specific-host}
spec:
  hostnames: [non.matching.com, "*.specific.com"]
  rules: [{matches: [{path: {value: /s3}}], backendRefs: [{name: green, port: 80}]}]
---
metadata: {name: wildcard-host-matches-listener-wildcard-host}
spec:
  hostnames: ["*.anotherwildcard.io"]
  rules: [{matches: [{path: {value: /s4}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: no-intersecting-hosts}
spec:
  hostnames: [specific.but.wrong.com, wildcard.io]
  rules: [{matches: [{path: {value: /s5}}], backendRefs: [{name: blue, port: 80}]}]
"#,
        asks: &[
            ("/s1", &[("host", "very.specific.com")], "blue"),
            ("/s1", &[("host", "very.specific.com:1234")], "blue"),
            ("/s1", &[("host", "non.matching.com")], "404 no_route"),
            ("/s1", &[("host", "foo.nonmatchingwildcard.io")], "404 no_route"),
            ("/s1", &[("host", "foo.wildcard.io")], "404 no_route"),
            ("/s2", &[("host", "foo.wildcard.io")], "red"),
            ("/s2", &[("host", "bar.wildcard.io:80")], "red"),
            ("/s2", &[("host", "foo.bar.wildcard.io")], "red"),
            ("/s2", &[("host", "wildcard.io")], "404 no_route"),
            ("/s2", &[("host", "very.specific.com")], "404 no_route"),
            ("/s3", &[("host", "very.specific.com")], "green"),
            ("/s3", &[("host", "other.specific.com")], "404 no_route"),
            ("/s3", &[("host", "specific.com")], "404 no_route"),
            ("/s4", &[("host", "one.anotherwildcard.io")], "blue"),
            ("/s4", &[("host", "one.two.anotherwildcard.io")], "blue"),
            ("/s4", &[("host", "anotherwildcard.io")], "404 no_route"),
            ("/s5", &[("host", "specific.but.wrong.com")], "404 no_route"),
            ("/s5", &[("host", "wildcard.io")], "404 no_route"),
        ],
    },
    Row {
        name: "GatewayHTTPListenerIsolation",
        listeners: r#"  - {name: empty, port: PORT, protocol: HTTP}
  - {name: wildcard, port: PORT, protocol: HTTP, hostname: "*.example.com"}
  - {name: deeper, port: PORT, protocol: HTTP, hostname: "*.foo.example.com"}
  - {name: exact, port: PORT, protocol: HTTP, hostname: abc.foo.example.com}
"#,
        routes: r#"
metadata: {name: to-empty}
spec:
  parentRefs: [{name: web, sectionName: empty}]
  rules: [{matches: [{path: {value: /empty}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: to-wildcard}
spec:
  parentRefs: [{name: web, sectionName: wildcard}]
  rules: [{matches: [{path: {value: /wildcard}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: to-deeper}
spec:
  parentRefs: [{name: web, sectionName: deeper}]
  rules: [{matches: [{path: {value: /deeper}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: to-exact}
spec:
  parentRefs: [{name: web, sectionName: exact}]
  rules: [{matches: [{path: {value: /exact}}], backendRefs: [{name: blue, port: 80}]}]
"#,
        asks: &[
            ("/empty", &[("host", "bar.com")], "blue"),
            ("/wildcard", &[("host", "bar.com")], "404 no_route"),
            ("/wildcard", &[("host", "bar.example.com")], "blue"),
            ("/empty", &[("host", "bar.example.com")], "404 no_route"),
            ("/deeper", &[("host", "bar.foo.example.com")], "blue"),
            ("/wildcard", &[("host", "bar.foo.example.com")], "404 no_route"),
            ("/exact", &[("host", "abc.foo.example.com")], "blue"),
            ("/deeper", &[("host", "abc.foo.example.com")], "404 no_route"),
            ("/empty", &[("host", "abc.foo.example.com")], "404 no_route"),
        ],
    },
    Row {
        name: "hosts of routes on one listener: exact, then the longest wildcard, and only its own rules",
        listeners: "",
        routes: r#"
metadata: {name: exact}
spec:
  hostnames: [a.b.example]
  rules: [{matches: [{path: {value: /exact}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: longer}
spec:
  hostnames: ["*.b.example"]
  rules: [{backendRefs: [{name: red, port: 80}]}]
---
metadata: {name: shorter}
spec:
  hostnames: ["*.example"]
  rules: [{backendRefs: [{name: green, port: 80}]}]
"#,
        asks: &[
            ("/exact", &[("host", "a.b.example")], "blue"),
            // No rule of the exact host matches: then those of the next best.
            ("/other", &[("host", "a.b.example")], "red"),
            ("/", &[("host", "x.b.example")], "red"),
            ("/", &[("host", "b.example")], "green"),
            ("/", &[("host", "x.example")], "green"),
            ("/", &[("host", "example")], "404 no_route"),
        ],
    },
];

#[test]
fn parents_are_named_by_section_and_port() {
    check(&[
        Row {
            name: "HTTPRouteListenerPortMatching",
            listeners: r#"  - {name: here, port: PORT, protocol: HTTP, hostname: here.example}
  - {name: there, port: PORT, protocol: HTTP, hostname: there.example}
"#,
            routes: r#"
metadata: {name: by-port}
spec:
  parentRefs: [{name: web, port: PORT}]
  rules: [{matches: [{path: {value: /port}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: by-section}
spec:
  parentRefs: [{name: web, sectionName: here}]
  rules: [{matches: [{path: {value: /section}}], backendRefs: [{name: red, port: 80}]}]
---
metadata: {name: by-both}
spec:
  parentRefs: [{name: web, sectionName: there, port: PORT}]
  rules: [{matches: [{path: {value: /both}}], backendRefs: [{name: green, port: 80}]}]
---
metadata: {name: wrong-port}
spec:
  parentRefs: [{name: web, port: 81}]
  rules: [{matches: [{path: {value: /wrong-port}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: wrong-section}
spec:
  parentRefs: [{name: web, sectionName: nowhere}]
  rules: [{matches: [{path: {value: /wrong-section}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: section-on-another-port}
spec:
  parentRefs: [{name: web, sectionName: here, port: 81}]
  rules: [{matches: [{path: {value: /disagree}}], backendRefs: [{name: blue, port: 80}]}]
"#,
            asks: &[
                ("/port", &[("host", "here.example")], "blue"),
                ("/port", &[("host", "there.example")], "blue"),
                ("/section", &[("host", "here.example")], "red"),
                ("/section", &[("host", "there.example")], "404 no_route"),
                ("/both", &[("host", "there.example")], "green"),
                ("/both", &[("host", "here.example")], "404 no_route"),
                ("/wrong-port", &[("host", "here.example")], "404 no_route"),
                ("/wrong-section", &[("host", "here.example")], "404 no_route"),
                ("/disagree", &[("host", "here.example")], "404 no_route"),
            ],
        },
        Row {
            name: "HTTPRouteDisallowedKind and allowedRoutes.kinds",
            listeners: r#"  - {name: http, port: PORT, protocol: HTTP, hostname: http.example, allowedRoutes: {kinds: [{kind: HTTPRoute}]}}
  - {name: grpc, port: PORT, protocol: HTTP, hostname: grpc.example, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}
"#,
            routes: r#"
metadata: {name: plain}
spec:
  rules: [{backendRefs: [{name: blue, port: 80}]}]
"#,
            asks: &[
                ("/", &[("host", "http.example")], "blue"),
                ("/", &[("host", "grpc.example")], "404 no_route"),
            ],
        },
    ]);
}
