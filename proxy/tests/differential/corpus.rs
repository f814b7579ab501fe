//! The cases that matter, written by hand.

use std::fmt;

/// What the client asks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Get,
    Head,
    /// With a small body, which the pod reads first.
    Post,
    /// With a large body, of which the pod reads nothing before it answers.
    PostAnsweredEarly,
}

impl Asked {
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post | Self::PostAnsweredEarly => "POST",
        }
    }

    pub(crate) fn body(self) -> &'static [u8] {
        match self {
            Self::Get | Self::Head => b"",
            Self::Post => b"abc",
            Self::PostAnsweredEarly => &LARGE,
        }
    }
}

/// Does not go out together with its head.
static LARGE: [u8; 40_000] = [b'x'; 40_000];

/// What a pod answers, and to what.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) asked: Asked,
    pub(crate) bytes: Vec<u8>,
    /// Where the bytes are cut into pieces that are written one by one.
    pub(crate) cuts: Vec<usize>,
    /// Whether the pod keeps the connection open after them.
    pub(crate) stays: bool,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, bytes, cuts, stays } = self;
        let text = bytes[..bytes.len().min(2_000)].escape_ascii();
        let cuts = &cuts[..cuts.len().min(10)];
        write!(
            f,
            "{asked:?} {} bytes \"{text}\" cut at {cuts:?}{}",
            bytes.len(),
            if *stays { ", stays" } else { "" }
        )
    }
}

impl Case {
    fn new(asked: Asked, bytes: impl AsRef<[u8]>) -> Self {
        Self { asked, bytes: bytes.as_ref().to_vec(), cuts: Vec::new(), stays: false }
    }

    fn staying(self) -> Self {
        Self { stays: true, ..self }
    }

    pub(crate) fn cut_at(&self, cuts: impl Into<Vec<usize>>) -> Self {
        Self { cuts: cuts.into(), ..self.clone() }
    }

    pub(crate) fn cut_everywhere(&self) -> Self {
        self.cut_at((1..self.bytes.len()).collect::<Vec<_>>())
    }

    /// One that breaks off.
    pub(crate) fn ended_at(&self, end: usize) -> Self {
        Self { bytes: self.bytes[..end].to_vec(), stays: false, ..self.clone() }
    }

    /// Whether ending it at every byte is worth the time.
    pub(crate) fn is_short(&self) -> bool {
        self.bytes.len() < 120 && matches!(self.asked, Asked::Get)
    }

    /// The pieces in which it is written.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.cuts.iter().copied().chain([self.bytes.len()]);
        ends.scan(0, |start, end| {
            let piece = &self.bytes[*start..end];
            *start = end;
            Some(piece)
        })
    }
}

/// Heads and bodies with a length, each after `HTTP/1.1 200 OK`.
const LENGTHS: [&str; 25] = [
    "connection: x-\u{e9}, x-hop\r\nx-hop: 1\r\nx-end: 2\r\ncontent-length: 5\r\n\r\nhello",
    "content-length: 5\r\n\r\nhello",
    "Content-Length:5\r\nX-A: 1\r\nx-a: 2\r\nx-empty:\r\n\r\nhello",
    "content-length: 0\r\n\r\n",
    "content-length: 5\r\n\r\nhello, and more",
    "content-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
    "content-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
    "content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "content-length: 5, 5\r\n\r\nhello",
    "content-length: 5,05\r\n\r\nhello",
    "content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "content-length: 5, 6\r\n\r\nhello!",
    "content-length: 5,\r\n\r\nhello",
    "content-length: +5\r\n\r\nhello",
    "content-length: -5\r\n\r\nhello",
    "content-length: 0x5\r\n\r\nhello",
    "content-length: 5 5\r\n\r\nhello",
    "content-length:\r\n\r\nhello",
    "content-length : 5\r\n\r\nhello",
    "content-length: 0000000000000000000000000000000000000005\r\n\r\nhello",
    "content-length: 18446744073709551613\r\n\r\nhello",
    "content-length: 18446744073709551615\r\n\r\nhello",
    "content-length: 18446744073709551616\r\n\r\nhello",
    "connection: close, content-length, x-hop\r\nx-hop: 1\r\nx-end: 2\r\ncontent-length: 5\r\n\r\nhello",
    "keep-alive: timeout=9\r\nconnection: keep-alive\r\nupgrade: h2c\r\nte: x\r\ncontent-length: 5\r\n\r\nhello",
];

/// Chunked bodies.
const CHUNKS: [&str; 31] = [
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "00000005\r\nhello\r\n000\r\n\r\n",
    "A\r\n0123456789\r\n0a\r\n0123456789\r\n0\r\n\r\n",
    "5;name=value;other=\"a;b\"\r\nhello\r\n0;last\r\n\r\n",
    "5 \t;x\r\nhello\r\n0 \r\n\r\n",
    "5;x\ny\r\nhello\r\n0\r\n\r\n",
    "5;x\ry\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nx-sum: 1\r\nX-Sum: 2\r\n\r\n",
    "5\r\nhello\r\n0\r\ncontent-length: 9\r\ntransfer-encoding: x\r\n\r\n",
    "5\r\nhello\r\n0\r\nx sum: 1\r\n\r\n",
    "5\r\nhello\r\n0\r\nx: 1\r\n folded\r\n\r\n",
    "5\r\nhello\r\n0\r\nx: 1\n\nHTTP/1.1 200 OK\r\n\r\n",
    "5\r\nhello\r\n0\r\nx: 1\ny: 2\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
    "5\r\nhello\r\n0\r\n\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n",
    "5\r\nhello\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello!\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\n\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "0000000000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
];

/// Whole responses to GET.
const RESPONSES: [&str; 43] = [
    "",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nto the end",
    "HTTP/1.0 200 OK\r\n\r\nto the end",
    "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\nhello",
    "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 All is w\u{e9}ll\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 299 Whatever\tthis is\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 404 Not Found\r\nserver: pod\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 099 Low\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 999 High\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 1000 Higher\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/2.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "http/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "ICY 200 OK\r\n\r\nhello",
    "\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
    "HTTP/1.1 200 OK\r\rcontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nx: a\r\n folded\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\n: none\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nx: \u{e9} \t \r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 15\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: \x0bchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n\r\nhello",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\ncontent-length: 3\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello",
    "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nconnection: close\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
];

/// Responses that have no body, whatever their heads say; sent to HEAD and to GET.
const BODILESS: [&str; 8] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: nonsense\r\n\r\n",
];

/// Those whose end can be seen while the connection stays open; sent again on one that does.
const ENDING: [&str; 8] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
    "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
];

fn chunked(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}")
}

/// Those that are too long to be written out.
fn long() -> Vec<Case> {
    let informational = |count| "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count);
    let sized = |size: usize, more: &str| {
        let body = "x".repeat(size);
        format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n{body}{more}")
    };
    let fields = |count| "x: y\r\n".repeat(count);
    let texts = [
        informational(32) + LATE,
        informational(33) + LATE,
        // Around the sizes of what is read at once.
        sized(16 * 1024, ""),
        sized(16 * 1024, "HTTP/1.1 200 OK\r\n\r\n"),
        sized(100_000, "more"),
        chunked(&format!("{:x}\r\n{}\r\n0\r\n\r\n", 70_000, "x".repeat(70_000))),
        chunked(&("1\r\nx\r\n".repeat(3_000) + "0\r\n\r\n")),
        chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(16_000))),
        chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(17_000))),
        chunked(&format!("5\r\nhello\r\n0\r\nx: {}\r\n\r\n", "y".repeat(16_000))),
        chunked(&format!("5\r\nhello\r\n0\r\nx: {}\r\n\r\n", "y".repeat(17_000))),
        chunked(&format!("5\r\nhello\r\n0\r\n{}\r\n", fields(100))),
        chunked(&format!("5\r\nhello\r\n0\r\n{}\r\n", fields(101))),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", fields(100)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", fields(101)),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 5\r\n\r\nhello", "y".repeat(60_000)),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 5\r\n\r\nhello", "y".repeat(90_000)),
    ];
    texts.iter().map(|text| Case::new(Asked::Get, text)).collect()
}

/// What follows informational responses.
const LATE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate";

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let lengths = LENGTHS.iter().map(|text| format!("HTTP/1.1 200 OK\r\n{text}"));
    let chunks = CHUNKS.iter().map(|text| chunked(text));
    let texts: Vec<String> = lengths.chain(chunks).chain(RESPONSES.map(str::to_owned)).collect();
    let of = |asked, texts: &[String]| texts.iter().map(|text| Case::new(asked, text)).collect::<Vec<_>>();
    let bodiless = BODILESS.map(str::to_owned);
    let ending = ENDING.map(str::to_owned);
    let mut all = of(Asked::Get, &texts);
    all.extend(of(Asked::Head, &bodiless));
    all.extend(of(Asked::Get, &bodiless));
    all.extend(of(Asked::Post, &ending));
    all.extend(of(Asked::PostAnsweredEarly, &ending));
    all.extend(of(Asked::PostAnsweredEarly, &["HTTP/1.1 413 Too Large\r\n\r\nto the end".to_owned()]));
    for asked in [Asked::Get, Asked::Post, Asked::PostAnsweredEarly] {
        all.extend(of(asked, &ending).into_iter().map(Case::staying));
    }
    all.extend(of(Asked::Head, &bodiless[..2]).into_iter().map(Case::staying));
    all.extend(long());
    all
}
