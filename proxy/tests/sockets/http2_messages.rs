//! Messages on their way from one version of HTTP to another: what must stay, what must change.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use crate::support::h2_client::{get, post};
use crate::support::{Client, H2Client, H2Pod, Pod, TestProxy, arm, backend, block_on, rule};

fn before_h1(pod: &Pod) -> TestProxy {
    TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]))
}

fn before_h2(pod: &H2Pod) -> TestProxy {
    TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]))
}

/// Asks over HTTP/2.
fn ask(proxy: &TestProxy, head: Request<()>) -> crate::support::h2_client::H2Answer {
    block_on(async { H2Client::connect(proxy.address()).await.ask(head).await.unwrap() })
}

fn send(proxy: &TestProxy, head: Request<()>, body: &'static str) -> crate::support::h2_client::H2Answer {
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        client.send(head, Bytes::from_static(body.as_bytes())).await.unwrap()
    })
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, value.parse().unwrap());
    }
    map
}

#[test]
fn a_request_keeps_its_method_path_query_and_host_from_http2_to_http1() {
    let pod = Pod::named("v1");
    let proxy = before_h1(&pod);
    let head = Request::builder()
        .method("DELETE")
        .uri("http://shop.example:81/a%20b//c;d?x=1&y=%2F")
        .header("x-thing", "1")
        .header("te", "trailers")
        .body(())
        .unwrap();
    assert_eq!(ask(&proxy, head).status, 200);
    let received = &pod.received()[0];
    assert_eq!(received.line(), "DELETE /a%20b//c;d?x=1&y=%2F HTTP/1.1");
    assert_eq!(received.header("host"), Some("shop.example:81"));
    assert_eq!(received.header("x-thing"), Some("1"));
    assert_eq!(received.header("te"), Some("trailers"));
    assert_eq!(received.header("connection"), Some("te"), "TE is for one connection only");
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(!received.head.contains("\r\n:"), "no pseudo-headers: {}", received.head);
}

#[test]
fn a_request_keeps_its_method_path_query_and_host_from_http1_to_http2() {
    let pod = H2Pod::named("v1");
    let proxy = before_h2(&pod);
    let answer = proxy.connect().ask(
        "PUT /a%20b?x=1 HTTP/1.1\r\nHost: shop.example:81\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers, gzip\r\nUpgrade: foo\r\nX-Thing: 1\r\n\
         Content-Length: 3\r\n\r\nabc",
    );
    assert_eq!((answer.status, answer.text()), (200, "v1"));
    let received = &pod.received()[0];
    assert_eq!(received.head.method(), Method::PUT);
    assert_eq!(received.head.uri().to_string(), "http://shop.example:81/a%20b?x=1");
    let headers = received.head.headers();
    for name in
        ["connection", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding", "x-mine", "host"]
    {
        assert_eq!(headers.get(name), None, "{name}");
    }
    assert_eq!(headers["te"], "trailers", "nothing else is allowed there");
    assert_eq!(headers["x-thing"], "1");
    assert_eq!(headers["content-length"], "3");
    assert_eq!(received.body, b"abc");
}

#[test]
fn http2_on_both_sides_changes_nothing_but_what_proxies_add() {
    let pod = H2Pod::named("v1");
    let proxy = before_h2(&pod);
    let head = Request::post("http://hello/x?y").header("content-type", "a/b").header("te", "trailers");
    let answer = send(&proxy, head.body(()).unwrap(), "body");
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "v1"));
    let received = &pod.received()[0];
    assert_eq!(received.head.uri().to_string(), "http://hello/x?y");
    let mut names: Vec<_> = received.head.headers().keys().map(ToString::to_string).collect();
    names.sort();
    let added = ["traceparent", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"];
    assert_eq!(names, [&["content-type", "te"][..], &added].concat());
    assert_eq!(received.body, b"body");
}

#[test]
fn cookies_in_several_lines_are_joined() {
    let pod = Pod::named("v1");
    let proxy = before_h1(&pod);
    let head = Request::get("http://hello/").header("cookie", "a=1").header("cookie", "b=2; c=3");
    ask(&proxy, head.body(()).unwrap());
    assert_eq!(pod.received()[0].header("cookie"), Some("a=1; b=2; c=3"));
}

#[test]
fn the_authority_decides_over_a_host_header() {
    let pod = Pod::named("v1");
    let proxy = before_h1(&pod);
    let head = Request::get("http://hello/").header("host", "other").body(()).unwrap();
    ask(&proxy, head);
    assert_eq!(pod.received()[0].header("host"), Some("hello"));
}

#[test]
fn a_host_header_alone_is_enough() {
    use crate::support::frames::{HEADERS, Wire};
    let pod = Pod::named("v1");
    let proxy = before_h1(&pod);
    let mut wire = Wire::connect(proxy.address());
    wire.headers(1, &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "shop")], true);
    wire.expect(HEADERS);
    assert_eq!(pod.received()[0].header("host"), Some("shop"));
    wire.headers(3, &[(":method", "GET"), (":scheme", "http"), (":path", "/")], true);
    wire.expect(HEADERS);
    proxy.wait_for("requests_total", &[("reason", "bad_request")], 1.0);
}

#[test]
fn a_body_without_a_length_is_chunked_and_one_with_a_length_keeps_it() {
    let pod = Pod::named("v1");
    let proxy = before_h1(&pod);
    send(&proxy, post("/"), "some");
    let head = Request::post("http://hello/").header("content-length", "4").body(()).unwrap();
    send(&proxy, head, "some");
    ask(&proxy, post("/"));
    let framing: Vec<_> = pod
        .received()
        .iter()
        .map(|message| {
            let owned = |name| message.header(name).map(str::to_owned);
            (owned("transfer-encoding"), owned("content-length"), message.text().to_owned())
        })
        .collect();
    let (chunked, four, zero) = (Some("chunked".into()), Some("4".into()), Some("0".into()));
    let wanted = [(chunked, None, "some".into()), (None, four, "some".into()), (None, zero, String::new())];
    assert_eq!(framing, wanted);
}

#[test]
fn responses_without_a_body_have_none_in_every_direction() {
    let h1 = Pod::start(|conn| {
        while let Some(request) = conn.request() {
            conn.send(match request.line() {
                line if line.starts_with("HEAD") => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                line if line.contains("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                _ => "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
            });
        }
    });
    let h2 = H2Pod::start(|mut exchange| async move {
        exchange.read().await;
        let (status, length) = match (exchange.head.method().as_str(), exchange.head.uri().path()) {
            ("HEAD", _) => (200, Some("5")),
            (_, "/204") => (204, None),
            _ => (304, Some("5")),
        };
        let mut head = Response::builder().status(status);
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        exchange.respond.send_response(head.body(()).unwrap(), true).unwrap();
    });
    let (to_h1, to_h2) = (before_h1(&h1), before_h2(&h2));
    for proxy in [&to_h1, &to_h2] {
        let answers = block_on(async {
            let mut client = H2Client::connect(proxy.address()).await;
            let head = client.ask(Request::head("http://hello/").body(()).unwrap()).await.unwrap();
            [head, client.get("/204").await, client.get("/304").await]
        });
        let seen = answers
            .map(|answer| (answer.status.as_u16(), answer.header("content-length").to_owned(), answer.body));
        assert_eq!(seen[0], (200, "5".into(), vec![]));
        assert_eq!(seen[1], (204, String::new(), vec![]));
        assert_eq!(seen[2].0, 304);
        let mut client = proxy.connect();
        client.send("HEAD / HTTP/1.1\r\nhost: hello\r\n\r\n");
        assert_eq!(client.head().header("content-length"), Some("5"));
        assert_eq!([client.get("/204").status, client.get("/304").status], [204, 304]);
    }
    to_h1.wait_for_reason("", 6.0);
    to_h2.wait_for_reason("", 6.0);
}

/// An HTTP/1.1 pod that answers with trailers, good ones and such as must not be there.
fn pod_with_trailers() -> Pod {
    Pod::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, connection\r\n\r\n\
         3\r\nabc\r\n0\r\nx-sum: 7\r\nconnection: x\r\ncontent-length: 9\r\n\r\n",
    )
}

#[test]
fn trailers_of_a_response_pass_from_http1_to_http2_without_what_is_about_one_connection() {
    let pod = pod_with_trailers();
    let answer = ask(&before_h1(&pod), get("/"));
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.trailers, Some(map(&[("x-sum", "7")])));
}

#[test]
fn trailers_of_a_response_pass_over_http1_to_a_client_that_takes_them() {
    let pod = pod_with_trailers();
    let proxy = before_h1(&pod);
    let mut client = proxy.connect();
    let answer = client.ask("GET / HTTP/1.1\r\nhost: hello\r\nte: trailers\r\nconnection: te\r\n\r\n");
    assert_eq!((answer.text(), answer.trailers.as_str()), ("abc", "x-sum: 7\n"));
    let answer = client.get("/");
    assert_eq!((answer.text(), answer.trailers.as_str()), ("abc", ""), "who does not say TE gets none");
}

#[test]
fn declared_trailers_of_a_response_pass_from_http2_to_http1_and_others_are_dropped() {
    let pod = H2Pod::start(|mut exchange| async move {
        exchange.read().await;
        let head = Response::builder().header("trailer", "x-sum").body(()).unwrap();
        exchange.answer_with(head, "abc", Some(map(&[("x-sum", "7"), ("x-more", "8")])));
    });
    let proxy = before_h2(&pod);
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.ask("GET / HTTP/1.1\r\nhost: hello\r\nte: trailers\r\nconnection: te\r\n\r\n");
        assert_eq!((answer.text(), answer.trailers.as_str()), ("abc", "x-sum: 7\n"));
    }
    let answer = client.get("/");
    assert_eq!((answer.text(), answer.trailers.as_str()), ("abc", ""));
}

#[test]
fn trailers_of_a_request_pass_from_http1_to_http2() {
    let pod = H2Pod::named("v1");
    let proxy = before_h2(&pod);
    let answer = proxy.connect().ask(
        "POST / HTTP/1.1\r\nhost: hello\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         3\r\nabc\r\n0\r\nx-sum: 7\r\nconnection: x\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    let received = &pod.received()[0];
    assert_eq!(received.body, b"abc");
    assert_eq!(received.trailers, Some(map(&[("x-sum", "7")])));
}

#[test]
fn trailers_of_a_request_pass_from_http2_to_http1_declared_or_not() {
    let pod = Pod::named("v1");
    let proxy = before_h1(&pod);
    block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        let head = Request::post("http://hello/").header("trailer", "x-sum").body(()).unwrap();
        let (response, mut stream) = client.begin(head).await;
        stream.send_data(Bytes::from_static(b"abc"), false).unwrap();
        stream.send_trailers(map(&[("x-sum", "7"), ("x-more", "8")])).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    let received = &pod.received()[0];
    assert_eq!((received.text(), received.trailers.as_str()), ("abc", "x-sum: 7\nx-more: 8\n"));
}

#[test]
fn grpc_status_arrives_in_trailers_and_in_an_answer_that_is_only_trailers() {
    let pod = H2Pod::start(|mut exchange| async move {
        exchange.read().await;
        assert_eq!(exchange.head.headers()["te"], "trailers");
        let head = Response::builder().header("content-type", "application/grpc");
        if exchange.head.uri().path() == "/only" {
            let head = head.header("grpc-status", "5").header("grpc-message", "not%20found");
            exchange.respond.send_response(head.body(()).unwrap(), true).unwrap();
        } else {
            let trailers = map(&[("grpc-status", "0"), ("grpc-message", "")]);
            exchange.answer_with(head.body(()).unwrap(), "\0\0\0\0\x02hi", Some(trailers));
        }
    });
    let proxy = before_h2(&pod);
    let call = |path: &str| {
        let head = Request::post(format!("http://hello{path}"));
        head.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
    };
    let answer = send(&proxy, call("/unary"), "\0\0\0\0\x02yo");
    assert_eq!(answer.body, b"\0\0\0\0\x02hi");
    assert_eq!(answer.trailers, Some(map(&[("grpc-status", "0"), ("grpc-message", "")])));
    let answer = send(&proxy, call("/only"), "\0\0\0\0\x02yo");
    assert_eq!((answer.header("grpc-status"), answer.header("grpc-message")), ("5", "not%20found"));
    assert_eq!((answer.body.len(), answer.trailers), (0, None));
    proxy.wait_for_reason("", 2.0);
}

#[test]
fn an_expectation_to_continue_is_met_when_either_side_speaks_http2() {
    let h2 = H2Pod::named("v1");
    let proxy = before_h2(&h2);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nhost: hello\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    assert_eq!(client.head().status, 100);
    assert_eq!(client.ask("abc").text(), "v1");

    let h1 = Pod::start(|conn| {
        let mut head = conn.head().unwrap();
        assert_eq!(head.header("expect"), Some("100-continue"));
        conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        conn.reader.body(&mut head).unwrap();
        conn.note(&head);
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    let proxy = before_h1(&h1);
    let head = Request::post("http://hello/").header("expect", "100-continue").body(()).unwrap();
    assert_eq!(send(&proxy, head, "abc").status, 200);
    assert_eq!(h1.received()[0].text(), "abc");
}

#[test]
fn a_103_is_dropped_and_counted_where_hyper_shows_it() {
    let pod = Pod::answering(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    let proxy = before_h1(&pod);
    assert_eq!(ask(&proxy, get("/")).text(), "ok");
    assert_eq!(proxy.connect().get("/").text(), "ok");
    proxy.wait_for("upstream_informational_dropped_total", &[], 2.0);

    let pod = H2Pod::start(|mut exchange| async move {
        exchange.read().await;
        let hints = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
        exchange.respond.send_informational(hints).unwrap();
        exchange.answer("ok");
    });
    let proxy = before_h2(&pod);
    assert_eq!(ask(&proxy, get("/")).text(), "ok");
    assert_eq!(proxy.connect().get("/").text(), "ok");
}

/// Headers that a copy could lose: several of one name, an empty one, bytes that are no text, one that no table may hold.
fn hard_to_copy(path: &str) -> Request<()> {
    let mut head = get(path);
    for value in [&b"1"[..], b"", b"\xe4\tb"] {
        head.headers_mut().append("x-several", HeaderValue::from_bytes(value).unwrap());
    }
    let mut secret = HeaderValue::from_static("Basic x");
    secret.set_sensitive(true);
    head.headers_mut().insert("authorization", secret);
    head
}

#[test]
fn a_refused_request_is_sent_again_as_it_was() {
    let heads = Arc::<Mutex<Vec<Request<()>>>>::default();
    let all = Arc::clone(&heads);
    let pod = H2Pod::start(move |mut exchange| {
        let attempts = {
            let mut all = all.lock().unwrap();
            all.push(exchange.head.clone());
            all.len()
        };
        async move {
            if attempts < 3 {
                exchange.respond.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                exchange.answer("v1");
            }
        }
    });
    let proxy = before_h2(&pod);
    assert_eq!(ask(&proxy, hard_to_copy("/a?b")).status, 200);
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 3);
    for head in &*heads {
        assert_eq!((head.uri(), head.headers()), (heads[0].uri(), heads[0].headers()));
        assert_eq!(head.uri(), "http://hello/a?b");
        let several: Vec<_> = head.headers().get_all("x-several").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(several, [&b"1"[..], b"", b"\xe4\tb"]);
        assert_eq!(head.headers()["x-forwarded-host"], "hello");
        assert!(head.headers().contains_key("x-request-id") && !head.headers().contains_key("host"));
    }
}

/// Two `EndpointSlice`s of one Service may name different protocols for its port.
#[test]
fn a_refused_request_goes_on_complete_to_an_endpoint_that_speaks_http1() {
    let refusing = H2Pod::start(|mut exchange| async move {
        exchange.respond.send_reset(h2::Reason::REFUSED_STREAM);
    });
    let pod = Pod::named("v1");
    let endpoints = [refusing.endpoint("1"), pod.endpoint("2")];
    let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &endpoints))]));
    let answered = (0..20).filter(|_| ask(&proxy, hard_to_copy("/a?b")).status == 200).count();
    let received = pod.received();
    assert!(proxy.metric("upstream_retries_total", &[("cause", "unsent")]) > 0.0);
    assert!(answered > 0 && received.len() == answered);
    for message in received {
        assert_eq!(message.line(), "GET /a?b HTTP/1.1");
        assert_eq!((message.header("host"), message.all("x-several").len()), (Some("hello"), 3));
        assert_eq!(message.header("authorization"), Some("Basic x"));
    }
}

#[test]
fn our_own_answers_carry_their_reason_on_http2_too() {
    let proxy = TestProxy::serving(rule(vec![]));
    let answer = ask(&proxy, get("/"));
    assert_eq!(answer.status, 500);
    assert_eq!(answer.header("watershed-reason"), "no_backend");
    assert!(answer.text().contains("no_backend"));
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
}

#[test]
fn connect_is_refused() {
    let pod = Pod::named("v1");
    let proxy = before_h1(&pod);
    let head = Request::builder().method("CONNECT").uri("hello:80").body(()).unwrap();
    let answer = block_on(async {
        let mut client = H2Client::connect(proxy.address()).await;
        let (response, _stream) = client.begin(head).await;
        response.await.unwrap().status()
    });
    assert_eq!(answer, 400);
    assert_eq!(pod.accepted(), 0);
    let _ = Client::connect(proxy.address());
}
