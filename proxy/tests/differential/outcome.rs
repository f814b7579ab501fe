//! What came of a pod's bytes, and whether two such outcomes may differ.

use std::fmt;

use crate::corpus::Case;

/// Names, in lower case, and values.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// What came of a pod's bytes.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// An error of hyper's, or an answer of the proxy's own that says so.
    Refused,
    /// A response.
    Answer(Answer),
}

/// A response.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it was HTTP/1.0.
    pub(crate) is_old: bool,
    pub(crate) phrase: Vec<u8>,
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// Whether it ended where it said it would.
    pub(crate) complete: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
        let lines = |fields: &Fields| {
            let lines = fields.iter().take(10).map(|(name, value)| format!("{name}: {}", text(value)));
            lines.collect::<Vec<_>>()
        };
        let Self { status, phrase, headers, body, trailers, complete, .. } = self;
        let end = if *complete { "complete" } else { "broken off" };
        let (headers, trailers) = (lines(headers), lines(trailers));
        write!(f, "{status} {:?} {headers:?} {:?} {trailers:?} {end}", text(phrase), text(body))
    }
}

impl Answer {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| &value[..])
    }

    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The parts of all lines of a header that is a list.
    fn list(&self, name: &str) -> Vec<String> {
        let parts = self.all(name).flat_map(|line| line.split(|byte| *byte == b','));
        parts.map(|part| String::from_utf8_lossy(part.trim_ascii()).to_ascii_lowercase()).collect()
    }

    /// The headers that are not about one connection, in the order of their names.
    fn end_to_end(&self) -> Fields {
        const HOP: [&str; 8] = [
            "connection",
            "content-length", // Compared by itself.
            "http2-settings",
            "keep-alive",
            "proxy-connection",
            "te",
            "transfer-encoding",
            "upgrade",
        ];
        let named = self.list("connection");
        let is_hop = |name: &String| HOP.contains(&name.as_str()) || named.contains(name);
        let mut fields: Fields = self.headers.iter().filter(|(name, _)| !is_hop(name)).cloned().collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        fields
    }
}

/// Why the proxy may refuse what hyper accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stricter {
    /// `Transfer-Encoding` beside `Content-Length`: others may follow the latter. hyper follows the former.
    TwoFramings,
    /// A coding other than `chunked` once: it cannot be passed on. hyper reads to the connection's end, or takes the coding off
    /// that is the last.
    Codings,
    /// Chunks in HTTP/1.0, which does not have them. hyper does not mind where there is no body.
    OldChunks,
    /// A length that is none. hyper does not look at it where there is no body.
    NoLength,
    /// A switch of protocols that nobody asked for. hyper leaves that to its user.
    Switch,
    /// More than 32 informational responses. hyper has no limit.
    Informational,
    /// More than 32 digits of a chunk's size, which can only be zeros. hyper has no limit.
    Zeros,
    /// Trailers in which a line ends with a line feed alone: for others they may end there. hyper lets that pass now and then.
    LineFeed,
    /// More than 64 KiB of head. hyper's buffer is larger.
    LargeHead,
}

/// How two outcomes relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Both complete, and the same.
    Complete,
    /// Both broken off, with the same as far as it goes.
    BrokenOff,
    /// Both refused.
    Refused,
    /// The proxy refused or broke off what hyper took, as it should.
    Stricter(Stricter),
    /// A length so large that hyper keeps it for itself: hyper refuses, and the proxy breaks off at the connection's end.
    Endless,
}

/// Compares what hyper and the proxy made of the same bytes.
pub(crate) fn judge(case: &Case, hypers: &Outcome, ours: &Outcome) -> Result<Verdict, String> {
    let (hypers, ours) = match (hypers, ours) {
        (Outcome::Refused, Outcome::Refused) => return Ok(Verdict::Refused),
        (Outcome::Refused, Outcome::Answer(ours)) => {
            let is_endless =
                ours.all("content-length").any(|value| value.starts_with(b"1844674407370955161"));
            let verdict = (is_endless && !ours.complete).then_some(Verdict::Endless);
            return verdict.ok_or_else(|| "hyper refuses it".to_owned());
        }
        (Outcome::Answer(hypers), Outcome::Refused) => {
            let why = stricter_head(case, hypers).map(Verdict::Stricter);
            return why.ok_or_else(|| "the proxy refuses it".to_owned());
        }
        (Outcome::Answer(hypers), Outcome::Answer(ours)) => (hypers, ours),
    };
    same_head(case, hypers, ours)?;
    match (hypers.complete, ours.complete) {
        (true, true) if hypers.body != ours.body => Err("complete, with different bodies".to_owned()),
        (true, true) => same_trailers(hypers, ours).map(|()| Verdict::Complete),
        (false, true) => Err("complete, where hyper misses something".to_owned()),
        (false, false) if is_prefix(&hypers.body, &ours.body) => Ok(Verdict::BrokenOff),
        (false, false) => Err("broken off, with different bodies".to_owned()),
        (true, false) if has_line_feed(&case.bytes) => Ok(Verdict::Stricter(Stricter::LineFeed)),
        (true, false) if has_many_digits(&case.bytes) => Ok(Verdict::Stricter(Stricter::Zeros)),
        (true, false) => Err("broken off, where hyper misses nothing".to_owned()),
    }
}

/// Why the proxy refuses a head that hyper takes.
fn stricter_head(case: &Case, hypers: &Answer) -> Option<Stricter> {
    let is_chunked = hypers.has("transfer-encoding");
    let lengths = hypers.list("content-length");
    let is_length =
        |text: &String| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok();
    let agree = |one: &String, other: &String| one.parse::<u64>().ok() == other.parse::<u64>().ok();
    let (informational, head) = heads(&case.bytes);
    [
        (hypers.status == 101, Stricter::Switch),
        (informational > 32, Stricter::Informational),
        (head > 64 * 1024, Stricter::LargeHead),
        (is_chunked && !lengths.is_empty(), Stricter::TwoFramings),
        (is_chunked && hypers.list("transfer-encoding") != ["chunked"], Stricter::Codings),
        (is_chunked && hypers.is_old, Stricter::OldChunks),
        (!lengths.iter().all(|one| is_length(one) && agree(one, &lengths[0])), Stricter::NoLength),
    ]
    .into_iter()
    .find_map(|(applies, why)| applies.then_some(why))
}

/// How many informational responses there are, and the length of the head that follows them.
fn heads(mut bytes: &[u8]) -> (usize, usize) {
    let mut count = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut response = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = response.parse(bytes) else { return (count, 0) };
        if !response.code.is_some_and(|code| (100..200).contains(&code)) {
            return (count, length);
        }
        count += 1;
        bytes = &bytes[length..];
    }
}

fn has_line_feed(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two[0] != b'\r' && two[1] == b'\n')
}

fn has_many_digits(bytes: &[u8]) -> bool {
    bytes.windows(33).any(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Status, phrase and the headers that are passed on are the same, and the length fits.
fn same_head(case: &Case, hypers: &Answer, ours: &Answer) -> Result<(), String> {
    if (hypers.status, &hypers.phrase) != (ours.status, &ours.phrase) {
        return Err("different status".to_owned());
    }
    let (mut theirs, mut own) = (hypers.end_to_end(), ours.end_to_end());
    if !hypers.has("date") {
        own.retain(|(name, _)| name != "date");
    }
    // Trailers are announced only where they can be sent.
    if !ours.has("transfer-encoding") {
        theirs.retain(|(name, _)| name != "trailer");
        own.retain(|(name, _)| name != "trailer");
    }
    if theirs != own {
        return Err(format!("different headers: {theirs:?} and {own:?}"));
    }
    let length = ours.list("content-length");
    let bodiless = case.asked.method() == "HEAD" || matches!(ours.status, 204 | 304);
    let fits = match (&length[..], hypers.list("content-length").first()) {
        ([], _) => true,
        ([length], Some(theirs)) if bodiless => length.parse::<u64>().ok() == theirs.parse().ok(),
        ([length], _) if hypers.complete => length.parse() == Ok(hypers.body.len()),
        ([length], Some(theirs)) => length.parse::<u64>().ok() == theirs.parse().ok(),
        _ => false,
    };
    fits.then_some(()).ok_or_else(|| format!("the length is {length:?}"))
}

/// Those that the proxy passes on are there; others it may leave out, since the client has to expect them.
fn same_trailers(hypers: &Answer, ours: &Answer) -> Result<(), String> {
    let mut expected = hypers.trailers.clone();
    expected.retain(|(name, _)| hypers.list("trailer").contains(name));
    let all_there = expected.iter().all(|field| ours.trailers.contains(field));
    let none_made = ours.trailers.iter().all(|field| hypers.trailers.contains(field));
    (all_there && none_made).then_some(()).ok_or_else(|| "different trailers".to_owned())
}

/// Whether one is the beginning of the other.
fn is_prefix(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
