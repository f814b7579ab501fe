//! What is done to requests and responses on their way: header modifiers, redirects, rewrites, timeouts.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Answer, Manifests, Pod, PodFile, Watershed, ask, free_port, gateway, request, service};

/// A Gateway with one pod behind it, and this route.
struct Scene {
    address: SocketAddr,
    port: u16,
    _watershed: Watershed,
    _pods: [Pod; 2],
    _manifests: Manifests,
}

impl Scene {
    /// `rules` are rules of an HTTPRoute, indented by two.
    fn new(rules: &str) -> Self {
        let pods = ["blue", "red"].map(Pod::start);
        let manifests = Manifests::new();
        for pod in &pods {
            let labels = format!("app: {}", pod.name());
            manifests.write(
                &format!("{}.yaml", pod.name()),
                service(pod.name(), &labels) + &PodFile::of(pod, &labels).text(),
            );
        }
        let port = free_port();
        let head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: route}\nspec:\n  parentRefs: \
                    [{name: web}]\n  rules:\n";
        manifests.write("route.yaml", gateway("web", port) + head + rules);
        let watershed = Watershed::run(manifests.path());
        let problems = &watershed.config()["problems"];
        assert_eq!(*problems, Value::Array(vec![]), "{problems}");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { address, port, _watershed: watershed, _pods: pods, _manifests: manifests }
    }

    #[track_caller]
    fn ask(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.address, &request("example.com", target, headers))
    }
}

/// All values of a header as the pod saw it.
fn seen(answer: &Answer, name: &str) -> Vec<String> {
    let echo = answer.json();
    let values = echo["headers"][name].as_array().cloned().unwrap_or_default();
    values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[test]
fn filters_see_what_a_request_is_told_on_its_way_here() {
    let scene = Scene::new(
        r#"  - matches: [{path: {value: /rule}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Forwarded-Proto, value: https}]
        add: [{name: X-Forwarded-For, value: 10.0.0.1}]
        remove: [Traceparent]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /backend}}]
    backendRefs:
    - name: blue
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Request-Id, value: ours}]}}]
  - matches: [{path: {value: /host}}]
    filters: [{type: URLRewrite, urlRewrite: {hostname: inside.example}}]
    backendRefs: [{name: blue, port: 80}]
"#,
    );
    let told = |path: &str| {
        let answer = scene.ask(path, &[]);
        ["x-forwarded-proto", "x-forwarded-for", "x-forwarded-host", "x-request-id", "traceparent", "host"]
            .map(|name| seen(&answer, name))
    };
    let [protocol, address, _, id, trace, _] = told("/rule");
    assert_eq!((protocol, address), (vec!["https".to_owned()], vec!["127.0.0.1".into(), "10.0.0.1".into()]));
    assert_eq!((id.len(), trace.len()), (1, 0));
    let [protocol, address, _, id, trace, _] = told("/backend");
    assert_eq!((protocol, address), (vec!["http".to_owned()], vec!["127.0.0.1".to_owned()]));
    assert_eq!((id, trace.len()), (vec!["ours".to_owned()], 1));
    let [.., named, id, trace, host] = told("/host");
    assert_eq!((named, host), (vec!["example.com".to_owned()], vec!["inside.example".to_owned()]));
    assert_eq!((id.len(), trace.len()), (1, 1));
    assert_eq!(trace[0][3..35], id[0]);
}

#[test]
fn request_headers_are_set_added_and_removed() {
    let scene = Scene::new(
        r#"  - matches: [{path: {value: /set}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set, value: set-overwrites}]}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /add}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-Header-Add, value: add-appends}]}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /remove}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [X-Header-Remove]}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /multiple}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Set-1, value: s1}, {name: x-set-2, value: s2}]
        add: [{name: X-Add-1, value: a1}, {name: x-add-2, value: a2}]
        remove: [X-Remove-1, x-remove-2]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /backend}}]
    backendRefs:
    - name: blue
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Backend, value: blue}]}}]
    - name: red
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Backend, value: red}]}}]
"#,
    );
    assert_eq!(seen(&scene.ask("/set", &[]), "x-header-set"), ["set-overwrites"]);
    let twice = [("x-header-set", "one"), ("X-HEADER-SET", "two")];
    assert_eq!(seen(&scene.ask("/set", &twice), "x-header-set"), ["set-overwrites"]);
    assert_eq!(seen(&scene.ask("/add", &[]), "x-header-add"), ["add-appends"]);
    let added = seen(&scene.ask("/add", &[("x-header-add", "there")]), "x-header-add").join(",");
    assert_eq!(added, "there,add-appends");
    let removed = scene.ask("/remove", &[("X-Header-Remove", "x"), ("x-header-remove", "y"), ("kept", "z")]);
    assert_eq!((seen(&removed, "x-header-remove").len(), seen(&removed, "kept").len()), (0, 1));
    let all = scene.ask(
        "/multiple",
        &[("X-Set-1", "old"), ("x-add-2", "old"), ("x-remove-1", "old"), ("x-remove-2", "old")],
    );
    assert_eq!((seen(&all, "x-set-1"), seen(&all, "x-set-2")), (vec!["s1".into()], vec!["s2".into()]));
    assert_eq!(
        (seen(&all, "x-add-1").join(","), seen(&all, "x-add-2").join(",")),
        ("a1".into(), "old,a2".into())
    );
    assert!(seen(&all, "x-remove-1").is_empty() && seen(&all, "x-remove-2").is_empty());
    // HTTPRouteRequestHeaderModifierBackendWeights: the header always says which backend was chosen.
    let mut answered = Vec::new();
    for _ in 0..40 {
        let answer = scene.ask("/backend", &[]);
        assert_eq!(seen(&answer, "backend"), [answer.pod()]);
        answered.push(answer.pod().to_owned());
    }
    let blue = answered.iter().filter(|pod| *pod == "blue").count();
    assert!((13..=27).contains(&blue), "filters of a backend do not disturb the shares: {blue} of 40");
}

#[test]
fn response_headers_are_set_added_and_removed() {
    let scene = Scene::new(
        r#"  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier:
        set: [{name: X-From-Pod, value: overwritten}, {name: new, value: set}]
        add: [{name: X-From-Pod-Too, value: added}, {name: another, value: added}]
        remove: [X-Pod]
    backendRefs: [{name: blue, port: 80}]
"#,
    );
    let answer = scene.ask("/", &[]);
    assert_eq!(answer.status, 200);
    assert_eq!((answer.all("x-from-pod"), answer.all("new")), (vec!["overwritten"], vec!["set"]));
    assert_eq!(
        (answer.all("x-from-pod-too").join(","), answer.all("another")),
        ("two,added".into(), vec!["added"])
    );
    assert!(answer.all("x-pod").is_empty(), "{answer:?}");
}

/// Path, fields of the redirect, status and location; `PORT` is the listener's port.
const REDIRECTS: [(&str, &str, u16, &str); 20] = [
    ("/hostname", "hostname: example.org", 302, "http://example.org:PORT/hostname"),
    ("/301", "hostname: example.org, statusCode: 301", 301, "http://example.org:PORT/301"),
    ("/303", "hostname: example.org, statusCode: 303", 303, "http://example.org:PORT/303"),
    ("/307", "hostname: example.org, statusCode: 307", 307, "http://example.org:PORT/307"),
    ("/308", "hostname: example.org, statusCode: 308", 308, "http://example.org:PORT/308"),
    ("/scheme", "scheme: https", 302, "https://example.com/scheme"),
    ("/scheme-port", "scheme: https, port: 8443", 302, "https://example.com:8443/scheme-port"),
    ("/scheme-443", "scheme: https, port: 443", 302, "https://example.com/scheme-443"),
    ("/http", "scheme: http", 302, "http://example.com/http"),
    ("/port", "port: 8083", 302, "http://example.com:8083/port"),
    ("/port-80", "port: 80", 302, "http://example.com/port-80"),
    ("/full", "path: {type: ReplaceFullPath, replaceFullPath: /new}", 302, "http://example.com:PORT/new"),
    (
        "/full-host",
        "hostname: example.org, path: {type: ReplaceFullPath, replaceFullPath: /new}",
        302,
        "http://example.org:PORT/new",
    ),
    (
        "/old",
        "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}",
        302,
        "http://example.com:PORT/new",
    ),
    (
        "/old-slash",
        "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}",
        302,
        "http://example.com:PORT/new",
    ),
    ("/strip", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}", 302, "http://example.com:PORT/"),
    (
        "/deep/er",
        "path: {type: ReplacePrefixMatch, replacePrefixMatch: /flat}",
        302,
        "http://example.com:PORT/flat",
    ),
    (
        "/all",
        "scheme: https, hostname: example.org, port: 1234, statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /x}",
        301,
        "https://example.org:1234/x",
    ),
    ("/80-https", "scheme: https, port: 80", 302, "https://example.com:80/80-https"),
    ("/443-http", "scheme: http, port: 443", 302, "http://example.com:443/443-http"),
];

#[test]
fn redirects_say_where_to_go() {
    let mut rules = String::new();
    for (path, fields, _, _) in REDIRECTS {
        let _ = writeln!(
            rules,
            "  - matches: [{{path: {{value: {path}}}}}]\n    filters: [{{type: RequestRedirect, requestRedirect: {{{fields}}}}}]"
        );
    }
    // More than 16 rules are more than one route may have.
    let half = rules.match_indices("  - matches").nth(10).unwrap().0;
    let second = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: more}\nspec:\n  parentRefs: \
                  [{name: web}]\n  rules:\n";
    rules.insert_str(half, second);
    let scene = Scene::new(&rules);
    for (path, fields, status, location) in REDIRECTS {
        let answer = scene.ask(path, &[]);
        let wanted = location.replace("PORT", &scene.port.to_string());
        assert_eq!((answer.status, answer.header("location")), (status, &*wanted), "{fields}");
        assert_eq!(answer.reason(), "", "a redirect is what was asked for, not a failure");
    }
    // The rest of the path, and the query, are kept.
    let at = |path: &str| scene.ask(path, &[]).header("location").to_owned();
    let base = format!("http://example.com:{}", scene.port);
    assert_eq!(at("/old/one/two?x=1&y=%20"), format!("{base}/new/one/two?x=1&y=%20"));
    assert_eq!(at("/old-slash/one"), format!("{base}/new/one"));
    assert_eq!(at("/strip/one/two"), format!("{base}/one/two"));
    assert_eq!(at("/full/one?x=1"), format!("{base}/new?x=1"));
    // The listener's port, whatever Host says.
    let answer = ask(scene.address, &request("example.com:99", "/hostname", &[]));
    assert_eq!(answer.header("location"), format!("http://example.org:{}/hostname", scene.port));
}

#[test]
fn hosts_and_paths_are_rewritten() {
    let scene = Scene::new(
        r#"  - matches: [{path: {value: /host}}]
    filters: [{type: URLRewrite, urlRewrite: {hostname: one.example.org}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /prefix/one}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /strip-prefix}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /full/one}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /full/rewrite-path-and-modify-headers}}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /test}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-header, value: set}]}}
    backendRefs: [{name: blue, port: 80}]
  - backendRefs: [{name: blue, port: 80}]
"#,
    );
    let target = |path: &str| scene.ask(path, &[]).json()["target"].as_str().unwrap().to_owned();
    let rewritten = scene.ask("/host/x", &[]).json();
    assert_eq!((&rewritten["host"], &rewritten["target"]), (&"one.example.org".into(), &"/host/x".into()));
    for (path, wanted) in [
        ("/prefix/one/two", "/one/two"),
        ("/prefix/one", "/one"),
        ("/prefix/one/", "/one/"),
        ("/strip-prefix/three", "/three"),
        ("/strip-prefix", "/"),
        ("/strip-prefix?a=b", "/?a=b"),
        ("/strip-prefix/", "/"),
        ("/full/one/two", "/one"),
        ("/full/one/two?a=b", "/one?a=b"),
        // What is not rewritten goes through letter by letter.
        ("/%41//b/../c?d=%20&e", "/%41//b/../c?d=%20&e"),
    ] {
        assert_eq!(target(path), wanted, "{path}");
    }
    let both = scene.ask("/full/rewrite-path-and-modify-headers/x", &[]);
    assert_eq!(
        (both.json()["target"].as_str(), seen(&both, "x-header")),
        (Some("/test"), vec!["set".to_owned()])
    );
    assert_eq!(scene.ask("/host", &[]).json()["headers"]["host"][0], "one.example.org");
}

#[test]
fn timeouts_answer_504_in_time() {
    let scene = Scene::new(
        r#"  - matches: [{path: {value: /request}}]
    timeouts: {request: 200ms}
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /backend}}]
    timeouts: {request: 20s, backendRequest: 200ms}
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /off}}]
    timeouts: {request: 0s, backendRequest: 0s}
    backendRefs: [{name: blue, port: 80}]
"#,
    );
    for (path, reason) in [("/request", "request_timeout"), ("/backend", "backend_timeout")] {
        let begun = Instant::now();
        let answer = scene.ask(&format!("{path}?delay=15000"), &[]);
        assert_eq!((answer.status, answer.reason()), (504, reason), "{path}");
        assert!(begun.elapsed() >= Duration::from_millis(200), "{path}: too early");
        assert!(begun.elapsed() < Duration::from_secs(10), "{path}: {:?}", begun.elapsed());
        assert_eq!(scene.ask(path, &[]).status, 200, "{path} in time");
    }
    assert_eq!(scene.ask("/off?delay=300", &[]).status, 200);
}

#[test]
fn a_filter_that_is_not_supported_fails_its_rule_instead_of_being_skipped() {
    let pod = Pod::start("blue");
    let port = free_port();
    let manifests = Manifests::new();
    manifests.write("blue.yaml", service("blue", "app: blue") + &PodFile::of(&pod, "app: blue").text());
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: route}\nspec:\n  parentRefs: \
                [{name: web}]\n  rules:\n  - matches: [{path: {value: /mirror}}]\n    filters: [{type: RequestMirror, \
                requestMirror: {backendRef: {name: blue, port: 80}}}]\n    backendRefs: [{name: blue, port: 80}]\n  - \
                backendRefs: [{name: blue, port: 80}]\n";
    manifests.write("route.yaml", gateway("web", port) + text);
    let watershed = Watershed::run(manifests.path());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let answer = ask(address, &request("x", "/mirror", &[]));
    assert_eq!((answer.status, answer.reason()), (500, "unsupported_filter"));
    assert_eq!(ask(address, &request("x", "/", &[])).pod(), "blue");
    assert_eq!(watershed.config()["problems"][0]["severity"], "warning");
}
