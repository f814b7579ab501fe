//! Lookup by path inside one host.
//!
//! The order of precedence (exact, regular expression, longest prefix; see `HttpMatch::rank`) becomes the order of three
//! lookups: a hash map of exact paths, the list of expressions, and a hash map of prefixes that is asked for each prefix of
//! the request's path that ends at an element, longest first. What shares a path is a short list in order of precedence.

use std::sync::Arc;

use hashbrown::HashMap;
use http::Method;
use watershed_config::model::{HeaderMatch, HttpMatch, PathMatch, Pattern, QueryMatch, ValueMatch};
use watershed_config::snapshot::Candidate;

use super::{Head, Rule};

type Map<T> = HashMap<Box<str>, T, foldhash::fast::RandomState>;

/// Rules by path.
#[derive(Debug, Default)]
pub(crate) struct PathMap {
    exact: Map<Vec<Entry>>,
    regex: Vec<(Pattern, Entry)>,
    /// Without trailing slash; the empty one matches every path.
    prefix: Map<Vec<Entry>>,
    /// Length of the longest prefix: longer ones need not be asked for.
    prefix_length_max: usize,
}

/// A rule and what else it demands.
#[derive(Debug)]
struct Entry {
    conditions: Option<Box<Conditions>>,
    rule: Arc<Rule>,
}

#[derive(Debug)]
struct Conditions {
    method: Option<Method>,
    headers: Box<[HeaderMatch]>,
    query: Box<[QueryMatch]>,
}

impl PathMap {
    /// Adds a candidate behind those that were added before.
    pub(crate) fn push(&mut self, candidate: &Candidate, rule: Arc<Rule>) {
        let entry = Entry { conditions: Conditions::of(&candidate.matcher), rule };
        match &candidate.matcher.path {
            PathMatch::Exact(path) => at(&mut self.exact, path).push(entry),
            PathMatch::Regex(pattern) => self.regex.push((pattern.clone(), entry)),
            PathMatch::Prefix(prefix) => {
                self.prefix_length_max = self.prefix_length_max.max(prefix.len());
                at(&mut self.prefix, prefix).push(entry);
            }
        }
    }

    pub(crate) fn find(&self, head: &Head<'_>) -> Option<&Arc<Rule>> {
        if !self.exact.is_empty()
            && let Some(entries) = self.exact.get(head.path)
            && let Some(rule) = first(entries, head)
        {
            return Some(rule);
        }
        let by_regex = self.regex.iter().filter(|(pattern, _)| pattern.matches(head.path.as_bytes()));
        if let Some((_, entry)) = { by_regex }.find(|(_, entry)| entry.accepts(head)) {
            return Some(&entry.rule);
        }
        self.find_by_prefix(head)
    }

    fn find_by_prefix(&self, head: &Head<'_>) -> Option<&Arc<Rule>> {
        let path = head.path;
        let mut end = element_end(path, self.prefix_length_max);
        loop {
            if let Some(entries) = self.prefix.get(&path[..end])
                && let Some(rule) = first(entries, head)
            {
                return Some(rule);
            }
            if end == 0 {
                return None;
            }
            end = memchr::memrchr(b'/', &path.as_bytes()[..end]).unwrap_or(0);
        }
    }

    /// All rules, some of them several times.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let lists = self.exact.values().chain(self.prefix.values()).flatten();
        lists.chain(self.regex.iter().map(|(_, entry)| entry)).map(|entry| &entry.rule)
    }
}

/// The rules of a path. Nearly always there is one.
fn at<'a>(map: &'a mut Map<Vec<Entry>>, path: &str) -> &'a mut Vec<Entry> {
    map.entry_ref(path).or_insert_with(|| Vec::with_capacity(1))
}

/// The longest part of the path, no longer than `max`, that ends where an element ends.
fn element_end(path: &str, max: usize) -> usize {
    if path.len() <= max {
        return path.len();
    }
    let bytes = path.as_bytes();
    if bytes[max] == b'/' { max } else { memchr::memrchr(b'/', &bytes[..max]).unwrap_or(0) }
}

fn first<'a>(entries: &'a [Entry], head: &Head<'_>) -> Option<&'a Arc<Rule>> {
    entries.iter().find(|entry| entry.accepts(head)).map(|entry| &entry.rule)
}

impl Entry {
    fn accepts(&self, head: &Head<'_>) -> bool {
        self.conditions.as_ref().is_none_or(|conditions| conditions.hold(head))
    }
}

impl Conditions {
    fn of(matcher: &HttpMatch) -> Option<Box<Self>> {
        let HttpMatch { method, headers, query, .. } = matcher;
        (method.is_some() || !headers.is_empty() || !query.is_empty()).then(|| {
            Box::new(Self {
                method: method.clone(),
                headers: headers.as_slice().into(),
                query: query.as_slice().into(),
            })
        })
    }

    fn hold(&self, head: &Head<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == head.method)
            && self.headers.iter().all(|wanted| header_matches(wanted, head))
            && self.query.iter().all(|wanted| query_matches(wanted, head.query.unwrap_or_default()))
    }
}

pub(super) fn header_matches(wanted: &HeaderMatch, head: &Head<'_>) -> bool {
    let mut values = head.headers.get_all(&wanted.name).iter();
    let Some(first) = values.next() else { return false };
    let Some(second) = values.next() else { return wanted.value.matches(first.as_bytes()) };
    // Several lines are one value (RFC 9110 section 5.3). Rare, so it may allocate.
    let mut joined = first.as_bytes().to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.push(b',');
        joined.extend_from_slice(value.as_bytes());
    }
    wanted.value.matches(&joined)
}

pub(super) fn query_matches(wanted: &QueryMatch, query: &str) -> bool {
    let mut parameters =
        query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    let named = |name: &str| is_decoded(name, wanted.name.as_bytes());
    let Some((_, value)) = parameters.find(|(name, _)| named(name)) else { return false };
    match &wanted.value {
        ValueMatch::Exact(wanted) => is_decoded(value, wanted.as_bytes()),
        ValueMatch::Regex(pattern) if is_plain(value) => pattern.matches(value.as_bytes()),
        ValueMatch::Regex(pattern) => pattern.matches(&decoded(value).collect::<Vec<u8>>()),
    }
}

/// Whether `text` is `wanted` once percent-encoding and `+` are undone. Allocates nothing: clients choose the text.
fn is_decoded(text: &str, wanted: &[u8]) -> bool {
    if is_plain(text) { text.as_bytes() == wanted } else { decoded(text).eq(wanted.iter().copied()) }
}

/// Whether there is nothing to undo.
fn is_plain(text: &str) -> bool {
    memchr::memchr2(b'%', b'+', text.as_bytes()).is_none()
}

/// Undoes percent-encoding and `+`, which stands for a blank.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    text.split('+').enumerate().flat_map(|(index, part)| {
        let blank = (index > 0).then_some(b' ');
        blank.into_iter().chain(percent_encoding::percent_decode_str(part))
    })
}
