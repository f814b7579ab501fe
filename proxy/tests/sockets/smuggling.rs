//! What is ambiguous must not reach a pod: one request in is one identical request out, or a refusal and the end of the
//! connection. Everything that two parsers could read in two ways is here.

use crate::support::{Message, Pod, TestProxy, arm, backend, rule};

/// What came of bytes that a client sent.
struct Seen {
    /// Requests that the pod read whole.
    received: Vec<Message>,
    /// The first answer.
    status: u16,
    /// Answers in all.
    answers: usize,
}

fn serving(pod: &Pod) -> TestProxy {
    TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]))
}

/// Sends bytes, expects an answer and the end of the connection.
#[track_caller]
fn send_and_be_closed(bytes: &str) -> Seen {
    let pod = Pod::named("v1");
    let proxy = serving(&pod);
    let mut client = proxy.connect();
    let _ = client.try_send(bytes);
    let first = client.answer();
    let (rest, closed) = client.rest();
    assert!(closed, "still open after {first:?} to {bytes:?}");
    let rest = String::from_utf8_lossy(&rest).into_owned();
    Seen { received: pod.received(), status: first.status, answers: 1 + rest.matches("HTTP/1.1 ").count() }
}

const NEXT: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused_and_the_connection_ends() {
    let post =
        |headers: &str, body: &str| format!("POST /first HTTP/1.1\r\nhost: a\r\n{headers}\r\n{body}{NEXT}");
    for (what, bytes) in [
        ("two lengths", post("content-length: 3\r\ncontent-length: 4\r\n", "abc")),
        ("two lengths in one line", post("content-length: 3, 4\r\n", "abc")),
        ("a length with a sign", post("content-length: +3\r\n", "abc")),
        ("a negative length", post("content-length: -3\r\n", "abc")),
        ("a length in hexadecimal", post("content-length: 0x3\r\n", "abc")),
        ("a length with a space inside", post("content-length: 1 2\r\n", "abc")),
        ("an empty length", post("content-length:\r\n", "abc")),
        ("a length beyond all numbers", post("content-length: 18446744073709551617\r\n", "abc")),
        ("a space before the colon", post("content-length : 3\r\n", "abc")),
        ("a space before the coding's colon", post("transfer-encoding : chunked\r\n", "0\r\n\r\n")),
        ("a line that continues the one before", post("x: y\r\n content-length: 3\r\n", "abc")),
        ("a coding that continues", post("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n")),
        ("a NUL", post("x: a\0b\r\ncontent-length: 3\r\n", "abc")),
        ("a bare CR", post("x: a\rcontent-length: 3\r\n", "abc")),
        ("an unknown coding", post("transfer-encoding: xchunked\r\n", "0\r\n\r\n")),
        ("chunked in quotes", post("transfer-encoding: \"chunked\"\r\n", "0\r\n\r\n")),
        ("chunked, then something", post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n")),
        ("identity", post("transfer-encoding: identity\r\ncontent-length: 3\r\n", "abc")),
        ("vertical tab before chunked", post("transfer-encoding: \x0bchunked\r\n", "0\r\n\r\n")),
        ("a header without a colon", post("content-length 3\r\n", "abc")),
        ("a header without a name", post(": 3\r\n", "abc")),
        (
            "HTTP/1.0 with a coding",
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned() + NEXT,
        ),
    ] {
        let seen = send_and_be_closed(&bytes);
        assert!((400..500).contains(&seen.status), "{what}: {}", seen.status);
        assert_eq!((seen.received.len(), seen.answers), (0, 1), "{what}");
    }
}

#[test]
fn a_length_beside_chunked_is_taken_away_and_the_connection_ends() {
    for order in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\nTransfer-Encoding: Chunked\r\ncontent-length: 4\r\n",
    ] {
        let seen = send_and_be_closed(&format!(
            "POST /first HTTP/1.1\r\nhost: a\r\n{order}\r\n3\r\nabc\r\n0\r\n\r\n{NEXT}"
        ));
        if (400..500).contains(&seen.status) {
            assert_eq!(seen.received.len(), 0);
            continue;
        }
        assert_eq!((seen.status, seen.answers, seen.received.len()), (200, 1, 1), "{order}");
        let request = &seen.received[0];
        assert_eq!((request.text(), request.all("content-length").len()), ("abc", 0));
        assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    }
}

#[test]
fn chunks_that_can_be_read_in_two_ways_are_refused() {
    for (what, body) in [
        ("no size", "\r\nabc\r\n0\r\n\r\n"),
        ("a size that is none", "xyz\r\nabc\r\n0\r\n\r\n"),
        ("a size with a sign", "+3\r\nabc\r\n0\r\n\r\n"),
        ("a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("a size beyond all numbers", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("a chunk longer than its size", "2\r\nabc\r\n0\r\n\r\n"),
        ("a size line that ends with LF alone", "3\nabc\r\n0\r\n\r\n"),
        ("a size line with a CR inside", "3\rx\r\nabc\r\n0\r\n\r\n"),
        ("an extension with LF alone", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        ("a last chunk followed by anything", "3\r\nabc\r\n0\r\nX"),
    ] {
        let bytes =
            format!("POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}{NEXT}");
        let seen = send_and_be_closed(&bytes);
        assert_eq!(
            (seen.status, seen.received.len(), seen.answers),
            (400, 0, 1),
            "{what}: {:?}",
            seen.received
        );
    }
}

#[test]
fn harmless_variants_become_the_one_form() {
    for (what, bytes) in [
        (
            "the same length twice",
            "POST /first HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            "an extension",
            "POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "zeroes",
            "POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0003\r\nabc\r\n000\r\n\r\n",
        ),
        ("an empty line ahead", "\r\nPOST /first HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"),
        ("lines that end with LF alone", "POST /first HTTP/1.1\nhost: a\ncontent-length: 3\n\nabc"),
        (
            "white space around a value",
            "POST /first HTTP/1.1\r\nhost: a\r\ncontent-length: \t 3 \t \r\n\r\nabc",
        ),
    ] {
        let pod = Pod::named("v1");
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        client.send(format!("{bytes}{NEXT}"));
        assert_eq!((client.answer().status, client.answer().status), (200, 200), "{what}");
        let received = pod.received();
        let first = &received[0];
        assert_eq!((first.line(), first.text()), ("POST /first HTTP/1.1", "abc"), "{what}");
        assert!(
            first.all("content-length").len() + first.all("transfer-encoding").len() == 1,
            "{what}: {}",
            first.head
        );
        assert_eq!(received[1].line(), "GET /smuggled HTTP/1.1");
    }
}

#[test]
fn extensions_and_trailers_without_end_are_refused() {
    let start = "POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = "x".repeat(200 * 1024);
    for (what, body) in [
        ("one long extension", format!("3;{long}\r\nabc\r\n0\r\n\r\n")),
        ("many extensions", "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n".repeat(2_000) + "0\r\n\r\n"),
        ("a long trailer", format!("3\r\nabc\r\n0\r\nx: {long}\r\n\r\n")),
        ("many trailers", format!("3\r\nabc\r\n0\r\n{}\r\n", "x: y\r\n".repeat(5_000))),
    ] {
        let pod = Pod::named("v1");
        let proxy = serving(&pod);
        let mut client = proxy.connect();
        let _ = client.try_send(format!("{start}{body}"));
        let status = client.answer().status;
        assert!((400..500).contains(&status), "{what}: {status}");
        assert_eq!(pod.count(), 0, "{what}");
    }
}

#[test]
fn an_upgrade_to_h2c_is_not_passed_on() {
    let head = "GET /first HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let pod = Pod::named("v1");
    assert_eq!(serving(&pod).connect().ask(head).status, 200);
    let request = &pod.received()[0];
    assert_eq!(
        (request.header("upgrade"), request.header("connection"), request.header("http2-settings")),
        (None, None, None)
    );
}
