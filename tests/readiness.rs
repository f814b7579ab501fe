//! Who gets requests: probes, conditions, pods that go, nodes that vanish, connections that are refused.

use std::collections::BTreeSet;

use crate::support::{Connection, Manifests, Pod, PodFile, Watershed, eventually, get, request, service};

/// A Service `hello` for these pods, each in a file of its own, written by `manifest`.
fn scene(pods: &[&Pod], manifest: impl Fn(PodFile) -> PodFile) -> Manifests {
    let manifests = Manifests::new();
    manifests.write("service.yaml", service("hello", "app: hello"));
    for pod in pods {
        write(&manifests, pod, &manifest);
    }
    manifests
}

fn write(manifests: &Manifests, pod: &Pod, manifest: impl Fn(PodFile) -> PodFile) {
    let text = manifest(PodFile::of(pod, "app: hello")).text();
    manifests.write(&format!("{}.yaml", pod.name()), text);
}

/// Every request is answered by one of these pods, and each of them answers at least one.
///
/// Pods are picked at random, and twenty requests miss one of four pods 1.3 times in a hundred: so at least twenty are
/// sent, which is enough to notice a pod that should get none, and more, up to a bound, until every pod has answered.
#[track_caller]
fn assert_answering(watershed: &Watershed, pods: &[&str]) {
    let mut answered = BTreeSet::new();
    for sent in 0..1_000 {
        if sent >= 20 && answered.len() >= pods.len() {
            break;
        }
        let answer = get(watershed.services(), "hello", "/");
        assert_eq!(answer.status, 200, "{answer:?}");
        answered.insert(answer.pod().to_owned());
    }
    assert!(answered.iter().eq(pods), "answered: {answered:?}, to answer: {pods:?}");
}

const HTTP_PROBE: &str = "httpGet: {path: /healthz, port: http}";

#[test]
fn a_pod_whose_probe_fails_gets_no_requests_until_it_passes() {
    let (one, other) = (Pod::start("one"), Pod::start("other"));
    one.set_healthy(false);
    let manifests = scene(&[&one, &other], |pod| pod.probe(HTTP_PROBE));
    // It is ready only after every probe has answered, so the very first request cannot reach the failing pod.
    let watershed = Watershed::run(manifests.path());
    assert_answering(&watershed, &["other"]);
    one.set_healthy(true);
    watershed.wait_for_endpoints("hello", "ready", &["one", "other"]);
    assert_answering(&watershed, &["one", "other"]);
    other.set_healthy(false);
    watershed.wait_for_endpoints("hello", "unready", &["other"]);
    assert_answering(&watershed, &["one"]);
    one.set_healthy(false);
    watershed.wait_for_endpoints("hello", "ready", &[]);
    let answer = get(watershed.services(), "hello", "/");
    assert_eq!((answer.status, answer.reason()), (503, "no_ready_endpoint"), "{answer:?}");
    assert_eq!(answer.json()["reason"], "no_ready_endpoint");
}

#[test]
fn a_probe_may_be_a_tcp_connection() {
    let pod = Pod::start("hello-a");
    let manifests = scene(&[&pod], |pod| pod.probe("tcpSocket: {port: http}"));
    pod.refuse();
    let watershed = Watershed::run(manifests.path());
    watershed.wait_for_endpoints("hello", "unready", &["hello-a"]);
    assert_eq!(get(watershed.services(), "hello", "/").reason(), "no_ready_endpoint");
    pod.listen();
    watershed.wait_for_endpoints("hello", "ready", &["hello-a"]);
    assert_answering(&watershed, &["hello-a"]);
}

#[test]
fn a_new_pod_with_a_probe_is_unready_until_it_passes() {
    let (first, second) = (Pod::start("first"), Pod::start("second"));
    let manifests = scene(&[&first], |pod| pod);
    let watershed = Watershed::run(manifests.path());
    second.set_healthy(false);
    write(&manifests, &second, |pod| pod.probe(HTTP_PROBE));
    watershed.wait_for_endpoints("hello", "unready", &["second"]);
    assert_answering(&watershed, &["first"]);
    second.set_healthy(true);
    watershed.wait_for_endpoints("hello", "ready", &["first", "second"]);
    assert_answering(&watershed, &["first", "second"]);
}

/// Takes a pod out in some way while a request waits at it; that request finishes, and no other gets there.
#[track_caller]
fn assert_leaves_politely(state: &str, leave: impl Fn(PodFile) -> PodFile) {
    let (leaving, staying) = (Pod::start("leaving"), Pod::start("staying"));
    let manifests = scene(&[&leaving], |pod| pod);
    let watershed = Watershed::run(manifests.path());
    let mut held = Connection::open(watershed.services()).unwrap();
    held.send(request("hello", "/hold", &[])).unwrap();
    leaving.wait_for_held(1);
    write(&manifests, &staying, |pod| pod);
    write(&manifests, &leaving, leave);
    watershed.wait_for_endpoints("hello", state, &["leaving"]);
    watershed.wait_for_endpoints("hello", "ready", &["staying"]);
    assert_answering(&watershed, &["staying"]);
    leaving.release();
    let answer = held.answer(false).unwrap();
    assert_eq!((answer.status, answer.pod()), (200, "leaving"), "{answer:?}");
    assert_eq!(held.ask(request("hello", "/", &[])).unwrap().pod(), "staying");
    assert_eq!(leaving.count(), 1);
    // And it may come back.
    write(&manifests, &leaving, |pod| pod.ready(true));
    watershed.wait_for_endpoints("hello", "ready", &["leaving", "staying"]);
    assert_answering(&watershed, &["leaving", "staying"]);
}

#[test]
fn a_pod_whose_ready_condition_turns_false_finishes_and_gets_nothing_new() {
    assert_leaves_politely("unready", |pod| pod.ready(false));
}

#[test]
fn a_pod_with_a_deletion_timestamp_finishes_and_gets_nothing_new() {
    assert_leaves_politely("terminating", PodFile::deleted);
}

#[test]
fn all_pods_of_a_node_may_vanish_at_once() {
    let gone = [Pod::start("gone-a"), Pod::start("gone-b"), Pod::start("gone-c")];
    let stays = Pod::start("stays");
    let manifests = scene(&[&gone[0], &gone[1], &gone[2], &stays], |pod| pod);
    manifests.write("only.yaml", service("only-there", "node: gone"));
    for pod in &gone {
        let text = PodFile::of(pod, "app: hello, node: gone").text();
        manifests.write(&format!("{}.yaml", pod.name()), text);
    }
    let watershed = Watershed::run(manifests.path());
    assert_eq!(get(watershed.services(), "only-there", "/").status, 200);
    assert_answering(&watershed, &["gone-a", "gone-b", "gone-c", "stays"]);
    // The processes are gone as well, without a word.
    for pod in gone {
        manifests.remove(&format!("{}.yaml", pod.name()));
        drop(pod);
    }
    watershed.wait_for_endpoints("hello", "ready", &["stays"]);
    assert_answering(&watershed, &["stays"]);
    let answer = get(watershed.services(), "only-there", "/");
    assert_eq!((answer.status, answer.reason()), (503, "no_ready_endpoint"), "{answer:?}");
    assert_eq!(watershed.admin("/readyz").status, 200);
}

#[test]
fn a_pod_that_refuses_connections_leaves_at_once_and_comes_back() {
    let (one, other) = (Pod::start("one"), Pod::start("other"));
    let manifests = scene(&[&one, &other], |pod| pod);
    let watershed = Watershed::run(manifests.path());
    assert_answering(&watershed, &["one", "other"]);
    // No probe says so, and the manifests still call it ready.
    one.drain();
    assert_answering(&watershed, &["other"]);
    let refused = |config: &serde_json::Value, pod: &str| {
        let endpoints = config["backends"][0]["endpoints"].as_array().unwrap();
        let endpoint = endpoints.iter().find(|endpoint| endpoint["pod"] == format!("default/{pod}")).unwrap();
        endpoint["refused_connection"] == true
    };
    watershed
        .wait_for_config("it shows as refused", |config| refused(config, "one") && !refused(config, "other"));
    assert!(watershed.metrics().count("endpoints", &[("service", "hello"), ("state", "refused")]) > 0);
    one.listen();
    watershed.wait_for_config("it is back", |config| !refused(config, "one"));
    assert_answering(&watershed, &["one", "other"]);
}

#[test]
fn without_any_pod_that_accepts_a_request_is_answered_503_and_it_recovers() {
    let pod = Pod::start("hello-a");
    let manifests = scene(&[&pod], |pod| pod);
    let watershed = Watershed::run(manifests.path());
    pod.drain();
    eventually("it is known to refuse", || {
        let answer = get(watershed.services(), "hello", "/");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(["connect_failed", "no_ready_endpoint"].contains(&answer.reason()), "{answer:?}");
        answer.reason() == "no_ready_endpoint"
    });
    pod.listen();
    eventually("it answers again", || get(watershed.services(), "hello", "/").status == 200);
}

#[test]
fn an_endpoint_slice_serves_a_service_without_a_selector() {
    let (one, other) = (Pod::start("one"), Pod::start("other"));
    let manifests = Manifests::new();
    let spec = "spec: {ports: [{name: http, port: 80}]}";
    manifests
        .write("service.yaml", format!("apiVersion: v1\nkind: Service\nmetadata: {{name: hello}}\n{spec}\n"));
    let slice = |pod: &Pod, conditions: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {}, labels: \
             {{kubernetes.io/service-name: hello}}}}\naddressType: IPv4\nports: [{{name: http, port: {}}}]\nendpoints:\n- \
             {{addresses: [127.0.0.1], conditions: {{{conditions}}}}}\n",
            pod.name(),
            pod.address().port()
        )
    };
    manifests.write("one.yaml", slice(&one, "ready: true"));
    manifests.write("other.yaml", slice(&other, "ready: false, serving: false"));
    let watershed = Watershed::run(manifests.path());
    assert_answering(&watershed, &["one"]);
    manifests.write("other.yaml", slice(&other, ""));
    watershed.wait_for_endpoints("hello", "ready", &["one", "other"]);
    assert_answering(&watershed, &["one", "other"]);
    manifests.write("one.yaml", slice(&one, "ready: false, serving: true, terminating: true"));
    watershed.wait_for_endpoints("hello", "terminating", &["one"]);
    assert_answering(&watershed, &["other"]);
}
