//! Paths, methods, headers, query parameters, and which of two matches wins.

use super::{Row, check};

#[test]
fn paths_methods_headers_and_queries_match_as_gateway_api_says() {
    check(CONDITIONS);
}

/// What a match may ask for.
const CONDITIONS: &[Row] = &[
    Row {
        name: "HTTPRouteExactPathMatching",
        listeners: "",
        routes: r#"
metadata: {name: exact}
spec:
  rules:
  - matches: [{path: {type: Exact, value: /one}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {type: Exact, value: /two}}]
    backendRefs: [{name: red, port: 80}]
"#,
        asks: &[
            ("/one", &[], "blue"),
            ("/one?x=y", &[], "blue"),
            ("/two", &[], "red"),
            ("/", &[], "404 no_route"),
            ("/one/", &[], "404 no_route"),
            ("/one/example", &[], "404 no_route"),
            ("/Two", &[], "404 no_route"),
            ("/two/", &[], "404 no_route"),
            ("/%6fne", &[], "404 no_route"),
        ],
    },
    Row {
        name: "HTTPRouteMatching",
        listeners: "",
        routes: r#"
metadata: {name: matching}
spec:
  rules:
  - matches:
    - path: {type: PathPrefix, value: /}
    - headers: [{name: version, value: one}]
    backendRefs: [{name: blue, port: 80}]
  - matches:
    - path: {type: PathPrefix, value: /v2}
    - headers: [{name: version, value: two}]
    backendRefs: [{name: red, port: 80}]
"#,
        asks: &[
            ("/", &[], "blue"),
            ("/example", &[], "blue"),
            ("/", &[("Version", "one")], "blue"),
            ("/v2", &[], "red"),
            ("/v2/", &[], "red"),
            ("/v2/example", &[], "red"),
            ("/", &[("version", "two")], "red"),
            // Prefixes are compared by element.
            ("/v2example", &[], "blue"),
            ("/foo/v2/example", &[], "blue"),
            ("/V2", &[], "blue"),
        ],
    },
    Row {
        name: "a trailing slash in a prefix means nothing",
        listeners: "",
        routes: r#"
metadata: {name: slash}
spec:
  rules:
  - matches: [{path: {value: /match/}}]
    backendRefs: [{name: blue, port: 80}]
"#,
        asks: &[
            ("/match", &[], "blue"),
            ("/match/", &[], "blue"),
            ("/match/x", &[], "blue"),
            ("/matchx", &[], "404 no_route"),
        ],
    },
    Row {
        name: "HTTPRouteHeaderMatching",
        listeners: "",
        routes: r#"
metadata: {name: headers}
spec:
  rules:
  - matches: [{headers: [{name: version, value: one}]}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{headers: [{name: version, value: two}]}]
    backendRefs: [{name: red, port: 80}]
  - matches: [{headers: [{name: version, value: two}, {name: color, value: orange}]}]
    backendRefs: [{name: blue, port: 80}]
  - matches:
    - headers: [{name: color, value: blue}]
    - headers: [{name: color, value: green}]
    backendRefs: [{name: blue, port: 80}]
  - matches:
    - headers: [{name: color, value: red}]
    - headers: [{name: color, value: yellow}]
    backendRefs: [{name: red, port: 80}]
"#,
        asks: &[
            ("/", &[("version", "one")], "blue"),
            ("/", &[("VERSION", "two")], "red"),
            ("/", &[("version", "two"), ("color", "orange")], "blue"),
            ("/", &[("color", "blue")], "blue"),
            ("/", &[("color", "green")], "blue"),
            ("/", &[("color", "red")], "red"),
            ("/", &[("color", "yellow")], "red"),
            ("/", &[("color", "purple")], "404 no_route"),
            ("/", &[], "404 no_route"),
            ("/", &[("version", "One")], "404 no_route"),
            // On a tie the rule that comes first.
            ("/", &[("version", "one"), ("color", "red")], "blue"),
        ],
    },
    Row {
        name: "HTTPRouteMethodMatching",
        listeners: "",
        routes: r#"
metadata: {name: methods}
spec:
  rules:
  - matches: [{method: POST}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{method: GET}]
    backendRefs: [{name: red, port: 80}]
  - matches: [{path: {value: /path1}, method: GET}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /path2}, headers: [{name: version, value: one}], method: PUT}]
    backendRefs: [{name: red, port: 80}]
  - matches: [{path: {value: /path3}, method: PATCH}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /path4}, headers: [{name: version, value: two}]}]
    backendRefs: [{name: red, port: 80}]
  - matches: [{path: {value: /path4}, method: DELETE}]
    backendRefs: [{name: green, port: 80}]
"#,
        asks: &[
            ("POST /", &[("content-length", "0")], "blue"),
            ("GET /", &[], "red"),
            ("HEAD /", &[], "404 no_route"),
            ("GET /path1", &[], "blue"),
            ("PUT /path2", &[("version", "one"), ("content-length", "0")], "red"),
            ("PUT /path2", &[("content-length", "0")], "404 no_route"),
            ("PATCH /path3", &[("content-length", "0")], "blue"),
            ("GET /path4", &[("version", "two")], "red"),
            // A method counts for more than any number of headers.
            ("DELETE /path4", &[("version", "two")], "green"),
        ],
    },
    Row {
        name: "HTTPRouteQueryParamMatching",
        listeners: "",
        routes: r#"
metadata: {name: queries}
spec:
  rules:
  - matches: [{queryParams: [{name: animal, value: whale}]}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{queryParams: [{name: animal, value: dolphin}]}]
    backendRefs: [{name: red, port: 80}]
  - matches: [{queryParams: [{name: animal, value: dolphin}, {name: color, value: blue}]}]
    backendRefs: [{name: green, port: 80}]
  - matches: [{queryParams: [{name: ANIMAL, value: Whale}]}]
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {value: /headers}, headers: [{name: version, value: one}]}]
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {value: /headers}, queryParams: [{name: a, value: "1"}, {name: b, value: "2"}]}]
    backendRefs: [{name: blue, port: 80}]
"#,
        asks: &[
            ("/?animal=whale", &[], "blue"),
            ("/?animal=whale&otherparam=irrelevant", &[], "blue"),
            ("/?animal=dolphin", &[], "red"),
            ("/?animal=dolphin&color=yellow", &[], "red"),
            ("/?animal=dolphin&color=blue", &[], "green"),
            ("/?color=blue&animal=dolphin", &[], "green"),
            ("/?ANIMAL=Whale", &[], "green"),
            ("/?animal=Whale", &[], "404 no_route"),
            ("/?animal=shark", &[], "404 no_route"),
            ("/", &[], "404 no_route"),
            // Of a repeated parameter the first counts; values are compared decoded.
            ("/?animal=whale&animal=dolphin", &[], "blue"),
            ("/?animal=%77hale", &[], "blue"),
            // One header counts for more than any number of query parameters.
            ("/headers?a=1&b=2", &[("version", "one")], "green"),
        ],
    },
    Row {
        name: "regular expressions match the whole text",
        listeners: "",
        routes: r#"
metadata: {name: regular}
spec:
  rules:
  - matches: [{path: {type: RegularExpression, value: "/user/[0-9]+"}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{headers: [{type: RegularExpression, name: agent, value: "curl/.*|wget"}]}]
    backendRefs: [{name: red, port: 80}]
  - matches: [{queryParams: [{type: RegularExpression, name: page, value: "[0-9]{1,3}"}]}]
    backendRefs: [{name: green, port: 80}]
"#,
        asks: &[
            ("/user/42", &[], "blue"),
            ("/user/42/x", &[], "404 no_route"),
            ("/x/user/42", &[], "404 no_route"),
            ("/", &[("agent", "curl/8")], "red"),
            ("/", &[("agent", "wget")], "red"),
            ("/", &[("agent", "wgets")], "404 no_route"),
            ("/?page=123", &[], "green"),
            ("/?page=1234", &[], "404 no_route"),
        ],
    },
];

#[test]
fn of_two_matches_the_more_specific_wins_then_the_older_then_the_first_by_name() {
    check(PRECEDENCE);
}

/// Which of two matches wins.
const PRECEDENCE: &[Row] = &[
    Row {
        name: "HTTPRoutePathMatchOrder",
        listeners: "",
        routes: r#"
metadata: {name: order}
spec:
  rules:
  - matches: [{path: {value: /match}}]
    backendRefs: [{name: red, port: 80}]
  - matches: [{path: {type: Exact, value: /match/exact}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /match/prefix/one}}]
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {value: /match/prefix/}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /match/exact}}]
    backendRefs: [{name: green, port: 80}]
"#,
        asks: &[
            ("/match/exact", &[], "blue"),
            ("/match/exact/one", &[], "green"),
            ("/match/prefix", &[], "blue"),
            ("/match/prefix/one/any", &[], "green"),
            ("/match/prefix/any", &[], "blue"),
            ("/match/any", &[], "red"),
        ],
    },
    Row {
        name: "HTTPRouteMatchingAcrossRoutes",
        listeners: "",
        routes: r#"
metadata: {name: part1}
spec:
  hostnames: [example.com, example.net]
  rules:
  - matches: [{path: {value: /}}, {headers: [{name: version, value: one}]}]
    backendRefs: [{name: blue, port: 80}]
---
metadata: {name: part2}
spec:
  hostnames: [example.com]
  rules:
  - matches: [{path: {value: /v2}}, {headers: [{name: version, value: two}]}]
    backendRefs: [{name: red, port: 80}]
"#,
        asks: &[
            ("/", &[("host", "example.com")], "blue"),
            ("/v2", &[("host", "example.com")], "red"),
            ("/", &[("host", "example.com"), ("version", "two")], "red"),
            ("/v2/example", &[("host", "example.com")], "red"),
            ("/", &[("host", "example.net")], "blue"),
            ("/v2", &[("host", "example.net")], "blue"),
            ("/", &[("host", "example.net"), ("version", "two")], "blue"),
        ],
    },
    Row {
        name: "the older route wins a tie, then the alphabet",
        listeners: "",
        routes: r#"
metadata: {name: a-young, creationTimestamp: "2026-02-01T00:00:00Z"}
spec:
  rules: [{matches: [{path: {value: /age}}], backendRefs: [{name: red, port: 80}]}]
---
metadata: {name: b-old, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  rules: [{matches: [{path: {value: /age}}], backendRefs: [{name: blue, port: 80}]}]
---
metadata: {name: d-name}
spec:
  rules: [{matches: [{path: {value: /name}}], backendRefs: [{name: red, port: 80}]}]
---
metadata: {name: c-name}
spec:
  rules: [{matches: [{path: {value: /name}}], backendRefs: [{name: green, port: 80}]}]
"#,
        asks: &[("/age", &[], "blue"), ("/name", &[], "green")],
    },
    Row {
        name: "an exact path beats every prefix, however many conditions that has",
        listeners: "",
        routes: r#"
metadata: {name: weights}
spec:
  rules:
  - matches: [{path: {value: /x}, method: GET, headers: [{name: a, value: "1"}], queryParams: [{name: b, value: "2"}]}]
    backendRefs: [{name: red, port: 80}]
  - matches: [{path: {type: Exact, value: /x}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /x/longer}}]
    backendRefs: [{name: green, port: 80}]
"#,
        asks: &[
            ("/x?b=2", &[("a", "1")], "blue"),
            ("/x/longer?b=2", &[("a", "1")], "green"),
            ("/x/other?b=2", &[("a", "1")], "red"),
            ("/x/other", &[("a", "1")], "404 no_route"),
        ],
    },
];
