//! HTTP routes: what a rule matches, what it does, and which of two matches wins.

use std::cmp::Reverse;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use regex_automata::meta;

use super::host::Hostname;
use super::name::{Meta, ObjectName};
use crate::problem::Spot;

/// A `gateway.networking.k8s.io` `HTTPRoute`.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRoute {
    /// Name, labels and origin.
    pub meta: Meta,
    /// Gateways and Services that it attaches to.
    pub parents: Vec<ParentRef>,
    /// Hosts it serves; empty means whatever its listeners serve.
    pub hostnames: Vec<Hostname>,
    /// Where the hostnames are written, else the route itself.
    pub hostnames_spot: Spot,
    /// Its rules, in the order written.
    pub rules: Vec<HttpRouteRule>,
}

/// What a route attaches to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRef {
    /// A Gateway or a Service.
    pub kind: ParentKind,
    /// Which one; its namespace is the route's own unless said.
    pub name: ObjectName,
    /// `sectionName`: one listener of the Gateway, or one port name of the Service.
    pub section: Option<Arc<str>>,
    /// `port`: only listeners (or the Service port) of this number.
    pub port: Option<NonZeroU16>,
    /// Where `sectionName` is written, else `port`, else the name.
    pub section_spot: Spot,
    /// Where it is written.
    pub spot: Spot,
}

/// What kind of thing a route attaches to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentKind {
    /// `gateway.networking.k8s.io/Gateway`, the default.
    Gateway,
    /// Core `Service` (GAMMA): the route then shapes that Service's own ways in.
    Service,
}

/// One rule of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRouteRule {
    /// `name`, if given.
    pub name: Option<Arc<str>>,
    /// Alternatives, any of which selects the rule; never empty (the default is every path). Shared with every snapshot.
    pub matches: Vec<Arc<HttpMatch>>,
    /// Filters in the order written.
    pub filters: Vec<Filter>,
    /// Where the traffic goes. Empty without a redirect answers 500, as Gateway API says.
    pub backends: Vec<BackendRef>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Where it is written.
    pub spot: Spot,
}

/// Deadlines of a rule. `None` means none, which is also what `0s` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// For the whole exchange, retries included; exceeded before the response begins it answers 504.
    pub request: Option<Duration>,
    /// For one attempt at a backend; never longer than `request`.
    pub backend_request: Option<Duration>,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpMatch {
    /// The path.
    pub path: PathMatch,
    /// The method; `None` is any.
    pub method: Option<Method>,
    /// Headers, all of which must match; names are distinct.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, all of which must match; names are distinct.
    pub query: Vec<QueryMatch>,
}

/// How a path is compared. Always the path as sent: nothing is decoded or normalised.
#[derive(Debug, Clone, PartialEq)]
pub enum PathMatch {
    /// The whole path, letter by letter.
    Exact(Arc<str>),
    /// The whole path as a regular expression.
    Regex(Pattern),
    /// By path elements: `/v2` matches `/v2` and `/v2/x`, not `/v2x`. Stored without its trailing slash, so `/` is empty.
    Prefix(Arc<str>),
}

/// A header that must be there with this value.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderMatch {
    /// Its name.
    pub name: HeaderName,
    /// Its value. Several header lines of one name are compared as one, joined by `,` (RFC 9110 section 5.3).
    pub value: ValueMatch,
}

/// A query parameter whose first occurrence must have this value.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryMatch {
    /// Its name, compared letter by letter after percent-decoding.
    pub name: Arc<str>,
    /// Its value, after percent-decoding.
    pub value: ValueMatch,
}

/// How a header's or query parameter's value is compared.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueMatch {
    /// Letter by letter.
    Exact(Arc<str>),
    /// The whole value as a regular expression.
    Regex(Pattern),
}

impl ValueMatch {
    /// Whether this value is accepted.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => wanted.as_bytes() == value,
            Self::Regex(pattern) => pattern.matches(value),
        }
    }
}

/// Most memory that one compiled regular expression may take, in bytes; `a{1000}{1000}` asks for gigabytes.
const PATTERN_SIZE_MAX: usize = 256 * 1024;
/// Most memory that a lazily built automaton may take while matching, in bytes per worker thread.
const PATTERN_CACHE_MAX: usize = 64 * 1024;

/// A regular expression that must match the whole text, in time linear in its length (no backtracking).
#[derive(Debug, Clone)]
pub struct Pattern {
    source: Arc<str>,
    regex: meta::Regex,
}

impl Pattern {
    /// Most memory that a compiled expression may take, in bytes.
    pub const SIZE_MAX: usize = PATTERN_SIZE_MAX;

    /// Compiles `source` within a memory limit; the error says what is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        // Parsed alone first, so that `a)(b` is refused rather than completed by our own group.
        regex_automata::util::syntax::parse(source).map_err(|error| error.to_string())?;
        let config = meta::Config::new()
            .nfa_size_limit(Some(PATTERN_SIZE_MAX))
            .hybrid_cache_capacity(PATTERN_CACHE_MAX)
            .onepass(false)
            .backtrack(false);
        let regex =
            meta::Builder::new().configure(config).build(&format!("^(?:{source})$")).map_err(|error| {
                match error.size_limit() {
                    Some(limit) => format!("it needs more than {limit} bytes when compiled"),
                    None => error.to_string(),
                }
            })?;
        Ok(Self { source: source.into(), regex })
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Memory of the compiled expression, in bytes.
    pub fn memory(&self) -> usize {
        self.regex.memory_usage()
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl HttpMatch {
    /// Which match wins among those of one host, by Gateway API's order of precedence: exact path, then (our choice, the
    /// specification leaves it open) regular expression, then the longest prefix; then a method, then the most headers,
    /// then the most query parameters. Smaller is better. Ties are decided by the route's age and name and the rule's place.
    pub fn rank(&self) -> Rank {
        let (class, length) = match &self.path {
            PathMatch::Exact(_) => (0, 0),
            PathMatch::Regex(_) => (1, 0),
            PathMatch::Prefix(prefix) => (2, prefix.len()),
        };
        Rank {
            class,
            length: Reverse(length),
            method: Reverse(self.method.is_some()),
            headers: Reverse(self.headers.len()),
            query: Reverse(self.query.len()),
        }
    }
}

/// See [`HttpMatch::rank`]. The order of the fields *is* the specification's order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    class: u8,
    length: Reverse<usize>,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
}

impl fmt::Display for HttpMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            PathMatch::Exact(path) => write!(f, "path = {path}")?,
            PathMatch::Regex(pattern) => write!(f, "path ~ {}", pattern.as_str())?,
            PathMatch::Prefix(prefix) if prefix.is_empty() => f.write_str("path under /")?,
            PathMatch::Prefix(prefix) => write!(f, "path under {prefix}")?,
        }
        if let Some(method) = &self.method {
            write!(f, ", method = {method}")?;
        }
        for header in &self.headers {
            write!(f, ", header {} {}", header.name, header.value)?;
        }
        for query in &self.query {
            write!(f, ", query {} {}", query.name, query.value)?;
        }
        Ok(())
    }
}

impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => write!(f, "= {value}"),
            Self::Regex(pattern) => write!(f, "~ {}", pattern.as_str()),
        }
    }
}

/// What is done to a request or response on its way.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// `RequestHeaderModifier`.
    RequestHeaders(HeaderEdits),
    /// `ResponseHeaderModifier`.
    ResponseHeaders(HeaderEdits),
    /// `RequestRedirect`: answers instead of forwarding.
    Redirect(Redirect),
    /// `URLRewrite`.
    Rewrite(Rewrite),
    /// A filter of this type that is not supported yet: the request is answered with 500, never sent on without it.
    Unsupported(Arc<str>),
}

/// Header changes: `set` replaces all lines of the name, `add` appends one, `remove` removes all. A name occurs once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// Replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Appended.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

/// `RequestRedirect`. What is `None` is taken from the request (Gateway API, `HTTPRequestRedirectFilter`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<RedirectScheme>,
    /// Host of the `Location`.
    pub hostname: Option<Arc<str>>,
    /// Path of the `Location`.
    pub path: Option<PathRewrite>,
    /// Port of the `Location`.
    pub port: Option<NonZeroU16>,
    /// 301, 302 (the default), 303, 307 or 308.
    pub status: StatusCode,
}

/// Scheme of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectScheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// `URLRewrite`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// New `Host`.
    pub hostname: Option<HeaderValue>,
    /// New path.
    pub path: Option<PathRewrite>,
}

/// How a path is rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// `ReplaceFullPath`.
    Full(Arc<str>),
    /// `ReplacePrefixMatch`: replaces the prefix that the rule's only match matched. Stored without a trailing slash.
    Prefix(Arc<str>),
}

/// One weighted backend of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendRef {
    /// `group`; empty is core.
    pub group: Arc<str>,
    /// `kind`; `Service` by default.
    pub kind: Arc<str>,
    /// Which one; its namespace is the route's own unless said.
    pub name: ObjectName,
    /// The Service's port; required for a Service.
    pub port: Option<NonZeroU16>,
    /// Where the port is written, else the name.
    pub port_spot: Spot,
    /// Its share is `weight` of the sum; 0 to 1,000,000, default 1.
    pub weight: u32,
    /// Filters applied only if this backend is chosen.
    pub filters: Vec<Filter>,
    /// Where it is written.
    pub spot: Spot,
}
