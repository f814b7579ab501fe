//! The shortest way through.

use crate::support::{Manifests, Pod, PodFile, Watershed, get, service};

#[test]
fn a_request_to_a_service_by_name_is_answered_by_its_pod() {
    let pod = Pod::start("hello-a");
    let manifests = Manifests::new();
    manifests.write("service.yaml", service("hello", "app: hello"));
    manifests.write("pod.yaml", PodFile::of(&pod, "app: hello").text());
    let watershed = Watershed::run(manifests.path());
    let answer = get(watershed.services(), "hello", "/x?y=z");
    assert_eq!((answer.status, answer.pod()), (200, "hello-a"), "{answer:?}");
    assert_eq!(answer.json()["target"], "/x?y=z");
    assert_eq!(watershed.terminate().code, Some(0));
}
