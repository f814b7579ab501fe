//! The admin address: what it says is true, complete and well-formed.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::support::{
    Connection, Manifests, Pod, PodFile, Start, Watershed, ask, eventually, get, request, route, service,
};

/// Labels may only come from configuration objects (design, section 7), and from small fixed sets.
const LABELS: [&str; 20] = [
    "namespace",
    "rollout",
    "strategy",
    "stable",
    "target",
    "phase",
    "listener",
    "route",
    "rule",
    "service",
    "revision",
    "code_class",
    "reason",
    "state",
    "kind",
    "severity",
    "cause",
    "version",
    "le",
    "worker",
];

struct Scene {
    manifests: Manifests,
    watershed: Watershed,
    _pods: [Pod; 2],
}

/// `hello` is split 90 to 10 between two versions; `/gone` has a backend that is not there, `/down` one without pods.
fn scene() -> Scene {
    let pods = ["v1", "v2"].map(Pod::start);
    let manifests = Manifests::new();
    for pod in &pods {
        let name = pod.name();
        let text = service(&format!("hello-{name}"), &format!("version: {name}"))
            + &PodFile::of(pod, &format!("app: hello, version: {name}")).text();
        manifests.write(&format!("{name}.yaml"), text);
    }
    manifests.write("services.yaml", service("hello", "app: hello") + &service("down", "app: down"));
    let parent = r#"kind: Service, group: "", name: hello"#;
    let split = route("hello", parent, &[("hello-v1", 90), ("hello-v2", 10)]);
    let gone = "  - matches: [{path: {value: /gone}}]\n    backendRefs: [{name: gone, port: 80}]\n";
    let down = "  - matches: [{path: {value: /down}}]\n    backendRefs: [{name: down, port: 80}]\n";
    manifests.write("route.yaml", split.replace("  - name: main", &format!("{gone}{down}  - name: main")));
    // One worker: one sequence, so the shares are exact enough to be asserted.
    let watershed = Start::over(manifests.path()).args(&["--workers", "1"]).ready();
    Scene { manifests, watershed, _pods: pods }
}

#[test]
fn what_was_counted_is_exactly_what_was_sent() {
    let scene = scene();
    let here = scene.watershed.services();
    let mut total = 0;
    let mut send = |host: &str, target: &str, times: usize, status: u16, reason: &str| {
        for _ in 0..times {
            let answer = ask(here, &request(host, target, &[]));
            assert_eq!((answer.status, answer.reason()), (status, reason), "{target}");
            total += 1;
        }
    };
    send("hello", "/", 100, 200, "");
    send("hello", "/gone", 7, 500, "invalid_backend");
    send("hello", "/down", 5, 503, "no_ready_endpoint");
    send("nobody", "/", 3, 404, "no_route");
    send("down", "/", 2, 503, "no_ready_endpoint");
    let metrics = scene.watershed.metrics();
    let count = |labels: &[(&str, &str)]| metrics.count("requests_total", labels);
    assert_eq!(count(&[]), total);
    assert_eq!(metrics.count("request_duration_seconds", &[]), total);
    let split = [
        ("namespace", "default"),
        ("route", "hello"),
        ("rule", "main"),
        ("code_class", "2xx"),
        ("reason", ""),
    ];
    assert_eq!(count(&split), 100);
    let [v1, v2] = ["hello-v1", "hello-v2"].map(|service| {
        let revision = service.trim_start_matches("hello-");
        let labels = [("service", service), ("revision", revision), ("listener", "service-listener")];
        count(&[split.as_slice(), labels.as_slice()].concat())
    });
    assert_eq!(v1 + v2, 100, "every answer has a revision");
    assert!(v2.abs_diff(10) <= 7, "{v2} of 100 went to the 10 % version");
    assert_eq!(count(&[("reason", "invalid_backend"), ("code_class", "5xx"), ("rule", "0")]), 7);
    assert_eq!(count(&[("reason", "no_ready_endpoint")]), 7);
    assert_eq!(count(&[("reason", "no_route"), ("code_class", "4xx")]), 3);
    assert_eq!(metrics.values("requests_total", "code_class"), set(&["2xx", "4xx", "5xx"]));
    let shares = [("namespace", "default"), ("route", "hello"), ("rule", "main"), ("service", "hello-v2")];
    assert!((metrics.sum("split_target_ratio", &shares) - 0.1).abs() < 1e-9);
    assert!((metrics.sum("split_observed_ratio", &shares) - v2 as f64 / 100.0).abs() < 1e-9);
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn metrics_are_well_formed_and_named_as_promised() {
    let scene = scene();
    for path in ["/", "/gone", "/down"] {
        get(scene.watershed.services(), "hello", path);
    }
    let answer = scene.watershed.admin("/metrics");
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"), "{answer:?}");
    let metrics = scene.watershed.metrics();
    for name in [
        "requests_total",
        "request_duration_seconds",
        "split_target_ratio",
        "split_observed_ratio",
        "config_generation",
        "config_apply_seconds",
        "config_problems",
        "config_source_lost",
        "endpoints",
        "upstream_connections",
        "upstream_connects_total",
        "upstream_retries_total",
        "connections_open",
        "connections_parked",
        "workers",
        "build_info",
    ] {
        assert!(metrics.families.contains_key(&format!("watershed_{name}")), "{name} is missing");
    }
    for (name, family) in &metrics.families {
        assert!(name.starts_with("watershed_"), "{name} lacks the prefix");
        for label in family.samples.iter().flat_map(|sample| sample.labels.keys()) {
            assert!(LABELS.contains(&label.as_str()), "{name} has a label {label}");
        }
    }
    assert_eq!(metrics.values("endpoints", "state"), set(&["ready"]));
    promtool(answer.text());
}

/// Where Prometheus' own linter is installed, it has the last word.
fn promtool(text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let standard_input = std::fs::File::open(file.path()).unwrap();
    let Ok(output) = Command::new("promtool").args(["check", "metrics"]).stdin(standard_input).output()
    else {
        println!("promtool is not installed; only our own reader has looked");
        return;
    };
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_configuration_is_shown_as_it_is_served() {
    let scene = scene();
    for _ in 0..10 {
        get(scene.watershed.services(), "hello", "/");
    }
    let config = scene.watershed.config();
    let keys: BTreeSet<String> = config.as_object().unwrap().keys().cloned().collect();
    let wanted = [
        "generation",
        "generation_of_workers",
        "applied_at",
        "source_lost",
        "bind_errors",
        "objects",
        "last_good",
        "problems",
        "listeners",
        "splits",
        "backends",
    ];
    assert_eq!(keys, set(&wanted));
    assert_eq!(config["generation_of_workers"], Value::Array(vec![config["generation"].clone()]));
    assert_eq!(config["objects"]["Service"], 4);
    let listener = &config["listeners"][0];
    assert_eq!(listener["name"], "service-listener");
    let hosts = listener["hosts"].as_array().unwrap();
    let hello = hosts.iter().find(|host| host["host"] == "hello").expect("the host `hello`");
    let gone = hello["routes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|route| route["rule"].as_str().unwrap().contains("rule 0"));
    assert_eq!(gone.unwrap()["backends"][0]["invalid"], "BackendNotFound", "{gone:?}");
    let split =
        config["splits"].as_array().unwrap().iter().find(|split| split["service"] == "hello-v2").unwrap();
    assert_eq!((&split["of"], &split["route"]), (&10.into(), &"default/hello".into()), "{split}");
    assert!((split["target_ratio"].as_f64().unwrap() - 0.1).abs() < 1e-9, "{split}");
    let backends = config["backends"].as_array().unwrap();
    let v1 = backends.iter().find(|backend| backend["service"] == "default/hello-v1").unwrap();
    let endpoint = &v1["endpoints"][0];
    assert_eq!((&endpoint["pod"], &endpoint["state"]), (&"default/v1".into(), &"ready".into()), "{endpoint}");
    // A warning is a problem, with its place, and no reason not to be ready.
    let warned = |problem: &Value| {
        problem["severity"] == "warning" && problem["place"].as_str().unwrap().contains("route.yaml")
    };
    assert!(config["problems"].as_array().unwrap().iter().any(warned), "{}", config["problems"]);
    assert_eq!(scene.watershed.admin("/readyz").status, 200);
}

#[test]
fn pages_answer_get_and_head_and_nothing_else() {
    let scene = scene();
    let here = scene.watershed.admin_address();
    for path in ["/", "/metrics", "/livez", "/readyz", "/readyz?verbose", "/debug/config"] {
        let answer = ask(here, &request("admin", path, &[]));
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.is_empty() && !answer.header("content-type").is_empty(), "{path}");
        let mut connection = Connection::open(here).unwrap();
        let head = connection.ask(request("admin", &format!("HEAD {path}"), &[])).unwrap();
        assert_eq!(head.status, 200, "{path}");
        // No body came, or this would not parse.
        assert_eq!(connection.ask(request("admin", "/livez", &[])).unwrap().text(), "ok\n", "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer =
                ask(here, &request("admin", &format!("{method} {path}"), &[("content-length", "0")]));
            assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{method} {path}");
        }
    }
    assert_eq!(ask(here, &request("admin", "/nothing", &[])).status, 404);
}

#[test]
fn the_access_log_tells_every_request_and_by_default_those_that_went_wrong_are_logged() {
    let scene = scene();
    get(scene.watershed.services(), "hello", "/fine");
    get(scene.watershed.services(), "hello", "/gone");
    scene.watershed.wait_for_log(&["WARN", "invalid_backend", "/gone"]);
    assert!(!scene.watershed.log().contains("/fine"), "what went well is not logged by default");
    drop(scene.watershed);
    let watershed = Start::over(scene.manifests.path()).arg("--access-log").ready();
    get(watershed.services(), "hello", "/fine");
    get(watershed.services(), "hello", "/gone");
    eventually("two lines", || watershed.output().lines().count() == 2);
    let lines: Vec<Value> =
        watershed.output().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fine = lines.iter().find(|line| line["status"] == 200).expect("a line for the good one");
    assert_eq!((&fine["method"], &fine["route"]), (&"GET".into(), &"hello".into()), "{fine}");
    assert!(fine["revision"] == "v1" || fine["revision"] == "v2", "{fine}");
    let gone = lines.iter().find(|line| line["status"] == 500).expect("a line for the bad one");
    assert_eq!(gone["reason"], "invalid_backend", "{gone}");
}

#[test]
fn many_scrapes_at_once_are_all_answered() {
    let scene = scene();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(scene.watershed.admin("/metrics").status, 200));
        }
        for _ in 0..100 {
            assert_eq!(get(scene.watershed.services(), "hello", "/").status, 200);
        }
    });
    assert_eq!(scene.watershed.metrics().count("requests_total", &[("code_class", "2xx")]), 100);
}
