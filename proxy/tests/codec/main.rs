//! Properties of the codec's pure parts.
//!
//! [`claims`] says what must hold for any bytes; the fuzz targets (`proxy/fuzz`) make the same claims. Here they are tried on
//! bytes that look like HTTP as far as chance allows, and heads that we write are read again by somebody else's parser.
#![cfg(test)] // Always so, and said so that clippy takes the helpers for tests, in which `unwrap` is fine.

mod claims;

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Uri};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use watershed_proxy::codec::{Framing, write_request_head};

/// What heads are made of.
const OF_HEADS: [&str; 30] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 404 Not Found\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 ",
    "content-length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "content-length: 3\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: gzip\r\n",
    "connection: close, x-hop\r\n",
    "keep-alive: timeout=5\r\n",
    "x-hop: 1\r\n",
    "X-A: \u{e9} \r\n",
    "x-a:\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    ":",
    " ",
    "\t",
    "\0",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nx: y\r\n\r\n",
    "200",
];

/// What chunks are made of.
const OF_CHUNKS: [&str; 24] = [
    "5\r\nhello\r\n",
    "3\r\nabc\r\n",
    "0a\r\n0123456789\r\n",
    "A;x=\"y\"\r\n0123456789\r\n",
    "0000000000000000000000000000003\r\nabc\r\n",
    "fffffffffffffffff\r\n",
    "0\r\n\r\n",
    "0\r\n\r\n",
    "0\r\n\r\n",
    "0;x\r\n",
    "x: y\r\n",
    "X-Sum: 1\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "0",
    "3",
    "abc",
    ";",
    " ",
    "\t",
    "x y\r\n",
    "\0",
];

fn made_of(parts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    vec(select(parts), 0..12).prop_map(|parts| parts.concat().into_bytes())
}

/// Usually as it should be, sometimes not.
fn response() -> impl Strategy<Value = Vec<u8>> {
    let head = (select(&OF_HEADS[..6]), vec(select(&OF_HEADS[7..17]), 0..4));
    let body = prop_oneof![made_of(&OF_CHUNKS), Just(b"hello, and more".to_vec()), made_of(&OF_HEADS)];
    let proper = (head, body).prop_map(|((line, fields), body)| {
        [line.as_bytes(), fields.concat().as_bytes(), b"\r\n", &body].concat()
    });
    prop_oneof![3 => proper, 1 => made_of(&OF_HEADS), 1 => vec(any::<u8>(), 0..80)]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), vec(1..20usize, 1..6)]
}

/// Any that [`HeaderMap`] takes.
fn headers() -> impl Strategy<Value = HeaderMap> {
    let names = select(&["host", "x-a", "X-A", "content-length", "transfer-encoding", "cookie", "te"][..]);
    let name = prop_oneof![
        names.prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap()),
        vec(select(&b"Az09!#$%&'*+-.^_`|~"[..]), 1..8)
            .prop_map(|name| HeaderName::from_bytes(&name).unwrap()),
    ];
    let value = prop_oneof![
        select(&["5", "chunked", "a, b", ""][..]).prop_map(HeaderValue::from_static),
        vec(prop_oneof![b' '..b'\x7f', Just(b'\t'), 0x80..=255u8], 0..6)
            .prop_map(|value| HeaderValue::from_bytes(&value).unwrap()),
    ];
    vec((name, value), 0..10).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        headers
    })
}

fn target() -> impl Strategy<Value = Uri> {
    let bytes =
        prop_oneof![vec(any::<u8>(), 0..6), vec(select(&b"/a?b=%20#;\r\n \t\x7f{\"\xc3\xa9"[..]), 0..12)];
    bytes.prop_filter_map("a target", |bytes| Uri::try_from([b"/", &bytes[..]].concat()).ok())
}

fn method() -> impl Strategy<Value = Method> {
    let any = vec(select(&b"AzP9!#$%&'*+-.^_`|~"[..]), 1..6);
    let any = any.prop_map(|bytes| Method::from_bytes(&bytes).unwrap());
    prop_oneof![select(&[Method::GET, Method::POST][..]), any]
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::None), any::<u64>().prop_map(Framing::Length), Just(Framing::Chunked)]
}

/// The fields that must have been written: those that are not about the body, and what is said of it now.
fn expected(headers: &HeaderMap, framing: Framing) -> Vec<(String, Vec<u8>)> {
    let is_of_body = |name: &HeaderName| *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING;
    let others = headers.iter().filter(|(name, _)| !is_of_body(name));
    // White space around a value is not part of it.
    let mut fields: Vec<_> =
        others.map(|(name, value)| (name.to_string(), value.as_bytes().trim_ascii().to_vec())).collect();
    match framing {
        Framing::Length(length) => fields.push(("content-length".into(), length.to_string().into_bytes())),
        Framing::Chunked => fields.push(("transfer-encoding".into(), b"chunked".to_vec())),
        Framing::None if headers.contains_key(CONTENT_LENGTH) => {
            fields.push(("content-length".into(), b"0".to_vec()));
        }
        Framing::None | Framing::UntilClose => {}
    }
    fields
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_head_that_is_there_does_not_change_when_more_arrives(bytes in response(), head in any::<bool>()) {
        claims::response_head(&bytes, if head { &Method::HEAD } else { &Method::GET });
    }

    #[test]
    fn chunks_are_the_same_however_they_arrive_and_as_the_rfc_says(bytes in made_of(&OF_CHUNKS), cuts in cuts()) {
        claims::chunks(&bytes, &cuts);
    }

    #[test]
    fn a_response_is_the_same_however_it_arrives(bytes in response(), cuts in cuts()) {
        claims::response(&bytes, &cuts, &Method::GET);
    }

    #[test]
    fn a_head_that_we_write_is_what_another_parser_reads(
        method in method(), target in target(), headers in headers(), framing in framing()
    ) {
        let mut out = Vec::new();
        write_request_head(&mut out, &method, &target, &headers, framing, |_| ());
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&out);
        prop_assert_eq!(parsed, Ok(httparse::Status::Complete(out.len())), "{}", out.escape_ascii());
        prop_assert_eq!(request.method, Some(method.as_str()));
        prop_assert_eq!(request.path, target.path_and_query().map(http::uri::PathAndQuery::as_str));
        let read: Vec<_> =
            request.headers.iter().map(|field| (field.name.to_owned(), field.value.trim_ascii().to_vec())).collect();
        prop_assert_eq!(read, expected(&headers, framing));
    }
}

#[test]
fn the_seeds_of_the_fuzz_targets_hold() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut count = 0;
    for target in ["response_head", "chunks", "response"] {
        for seed in std::fs::read_dir(corpus.join(target)).unwrap() {
            claims::from_fuzzer(target, &std::fs::read(seed.unwrap().path()).unwrap());
            count += 1;
        }
    }
    assert!(count >= 9, "{count} seeds");
}
