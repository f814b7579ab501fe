//! The messages that go through a proxy, made once and sent again and again.

use super::http2;

/// Routes of Watershed that requests are spread over where nothing else is said.
pub(crate) const ROUTES: usize = 100;
/// The host of all requests.
pub(crate) const HOST: &str = "bench.example";
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AGENT: &str = "watershed-bench/1";

/// Which protocol is spoken, on both sides of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

/// The shape of an exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) protocol: Protocol,
    /// Bytes of each request's body; 0 is a GET.
    pub(crate) upload: usize,
    /// Bytes of each response's body.
    pub(crate) answer: usize,
    /// Routes that the requests are spread over.
    pub(crate) routes: usize,
}

/// Everything that is ever sent.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) exchange: Exchange,
    /// One for each route. HTTP/2: the frames of one stream, to be numbered by [`http2::number`].
    requests: Vec<Vec<u8>>,
    response: Vec<u8>,
}

impl Messages {
    pub(crate) fn new(exchange: Exchange) -> Self {
        let request = match exchange.protocol {
            Protocol::Http1 => http1_request,
            Protocol::Http2 => http2_request,
        };
        let requests = (0..exchange.routes.max(1)).map(|route| request(route, exchange.upload)).collect();
        let response = match exchange.protocol {
            Protocol::Http1 => http1_response(exchange.answer),
            Protocol::Http2 => http2_response(exchange.answer),
        };
        Self { exchange, requests, response }
    }

    /// Appends the n-th request, on this HTTP/2 stream.
    pub(crate) fn put_request(&self, out: &mut Vec<u8>, n: usize, stream: u32) {
        self.put(out, &self.requests[n % self.requests.len()], stream);
    }

    /// Appends a response.
    pub(crate) fn put_response(&self, out: &mut Vec<u8>, stream: u32) {
        self.put(out, &self.response, stream);
    }

    fn put(&self, out: &mut Vec<u8>, message: &[u8], stream: u32) {
        let begin = out.len();
        out.extend_from_slice(message);
        if self.exchange.protocol == Protocol::Http2 {
            http2::number(&mut out[begin..], stream);
        }
    }
}

fn http1_request(route: usize, upload: usize) -> Vec<u8> {
    let (method, length) = match upload {
        0 => ("GET", String::new()),
        length => ("POST", format!("content-type: application/octet-stream\r\ncontent-length: {length}\r\n")),
    };
    let mut request = format!(
        "{method} /r{route}/items HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: {AGENT}\r\naccept: */*\r\n{length}\r\n"
    )
    .into_bytes();
    request.resize(request.len() + upload, b'u');
    request
}

fn http1_response(answer: usize) -> Vec<u8> {
    let mut response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {answer}\r\ndate: {DATE}\r\n\r\n"
    )
    .into_bytes();
    response.resize(response.len() + answer, b'a');
    response
}

fn http2_request(route: usize, upload: usize) -> Vec<u8> {
    let mut block =
        vec![if upload == 0 { http2::METHOD_GET } else { http2::METHOD_POST }, http2::SCHEME_HTTP];
    http2::put_header(&mut block, http2::NAME_PATH, &format!("/r{route}/items"));
    http2::put_header(&mut block, http2::NAME_AUTHORITY, HOST);
    http2::put_header(&mut block, http2::NAME_USER_AGENT, AGENT);
    http2::put_header(&mut block, http2::NAME_ACCEPT, "*/*");
    if upload > 0 {
        http2::put_header(&mut block, http2::NAME_CONTENT_LENGTH, &upload.to_string());
    }
    http2::message(&block, upload)
}

fn http2_response(answer: usize) -> Vec<u8> {
    let mut block = vec![http2::STATUS_200];
    http2::put_header(&mut block, http2::NAME_CONTENT_TYPE, "text/plain");
    http2::put_header(&mut block, http2::NAME_CONTENT_LENGTH, &answer.to_string());
    http2::put_header(&mut block, http2::NAME_DATE, DATE);
    http2::message(&block, answer)
}
