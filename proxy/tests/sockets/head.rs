//! Headers: those that end here, those that are added, and all others, which are nobody's business.

use watershed_proxy::Marks;

use crate::support::{Message, Pod, TestProxy, arm, backend, rule, settings};

fn serving(pod: &Pod) -> TestProxy {
    TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]))
}

/// What a pod receives of a request with these header lines, and what a client receives of an answer with those.
fn through(request_lines: &str, answer_lines: &str) -> (Message, Message) {
    let pod = Pod::answering(&format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{answer_lines}\r\n"));
    let proxy = serving(&pod);
    let answer = proxy.connect().ask(format!("GET / HTTP/1.1\r\nhost: a\r\n{request_lines}\r\n"));
    (pod.received().remove(0), answer)
}

#[test]
fn what_concerns_one_connection_ends_with_it_in_both_directions() {
    let lines = "connection: X-One, keep-alive\r\nx-one: 1\r\nkeep-alive: timeout=9\r\nproxy-connection: keep-alive\r\n\
                 connection: x-two\r\nx-two: 2\r\nupgrade: foo\r\nte: deflate\r\nx-three: 3\r\n";
    let (request, answer) = through(lines, lines);
    for (what, message) in [("request", &request), ("answer", &answer)] {
        for name in ["x-one", "x-two", "keep-alive", "proxy-connection", "upgrade", "te", "connection"] {
            assert_eq!(message.header(name), None, "{name} in the {what}");
        }
        assert_eq!(message.header("x-three"), Some("3"), "{what}");
    }
}

#[test]
fn connection_cannot_name_what_the_pod_relies_on() {
    let lines = "connection: close, host, authorization, cookie, x-forwarded-for, content-length\r\n\
                 authorization: a\r\ncookie: b=c\r\nx-forwarded-for: 9.9.9.9\r\n";
    let (request, _) = through(lines, "");
    assert_eq!(request.header("host"), Some("a"));
    assert_eq!(request.header("authorization"), Some("a"));
    assert_eq!(request.header("cookie"), Some("b=c"));
    assert_eq!(request.header("x-forwarded-for"), Some("9.9.9.9, 127.0.0.1"));
}

#[test]
fn the_client_is_named_to_the_pod() {
    let (request, _) = through("", "");
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-forwarded-host"), Some("a"));
    assert_eq!(request.header("forwarded"), None, "only where somebody began it");
    assert_eq!(request.header("via"), None, "only where it is asked for");
    let (request, _) = through("forwarded: for=1.2.3.4\r\nx-forwarded-proto: https\r\n", "");
    assert_eq!(request.all("forwarded"), ["for=1.2.3.4", "for=127.0.0.1;proto=http"]);
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
}

#[test]
fn an_id_and_a_trace_are_begun_or_kept() {
    let (request, _) = through("", "");
    let id = request.header("x-request-id").unwrap();
    let trace: Vec<&str> = request.header("traceparent").unwrap().split('-').collect();
    assert_eq!((trace[0], trace[1], trace[3]), ("00", id, "00"));
    let known = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (request, _) =
        through(&format!("traceparent: {known}\r\ntracestate: x=y\r\nx-request-id: mine\r\n"), "");
    assert_eq!(request.header("traceparent"), Some(known));
    assert_eq!((request.header("tracestate"), request.header("x-request-id")), (Some("x=y"), Some("mine")));
}

#[test]
fn date_and_server_are_the_pods_own() {
    let (_, answer) = through("", "date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: pod/1\r\n");
    assert_eq!(answer.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!(answer.header("server"), Some("pod/1"));
    let (_, answer) = through("", "");
    assert_eq!(answer.header("server"), None);
}

#[test]
fn header_lines_of_one_name_stay_apart_and_in_order() {
    let lines = "x-a: 1\r\nset-cookie: a=1\r\nx-a: 2, 3\r\nset-cookie: b=2\r\nx-a:\r\n";
    let (request, answer) = through(lines, lines);
    for message in [&request, &answer] {
        assert_eq!(message.all("x-a"), ["1", "2, 3", ""]);
        assert_eq!(message.all("set-cookie"), ["a=1", "b=2"]);
    }
}

#[test]
fn values_may_hold_any_byte_that_http_allows() {
    let pod = Pod::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-bytes: \xc3\xa4\xff\t!\"#$%&'()~\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert!(pod.received()[0].header("x-bytes").unwrap().starts_with('\u{e4}'));
}

#[test]
fn via_and_the_revision_are_added_where_they_are_asked_for() {
    let pod = Pod::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nvia: 1.1 pod\r\n\r\n");
    let mut settings = settings();
    settings.marks = Marks { via: true, revision: true };
    let proxy =
        TestProxy::serving_with(&settings, rule(vec![arm(1, &backend("hello", &[pod.endpoint("rev-7")]))]));
    let answer = proxy.connect().get("/");
    assert_eq!(answer.all("via"), ["1.1 pod", "1.1 watershed"]);
    assert_eq!(answer.header("watershed-revision"), Some("rev-7"));
    assert_eq!(pod.received()[0].all("via"), ["1.1 watershed"]);
}
