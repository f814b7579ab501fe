//! The shortest way through.

use crate::support::{Client, Pod, TestProxy, arm, backend, rule};

#[test]
fn a_request_reaches_a_pod_and_its_answer_comes_back() {
    let pod = Pod::named("v1");
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]));
    let mut client = Client::connect(proxy.address());
    client.send("GET /a?b=c HTTP/1.1\r\nhost: hello\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (200, "v1"));
    let received = &pod.received()[0];
    assert_eq!(received.line(), "GET /a?b=c HTTP/1.1");
    proxy.wait_for("requests_total", &[("service", "hello"), ("code_class", "2xx"), ("reason", "")], 1.0);
}
