//! Looking at everything in order, and saying why.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use http::HeaderMap;
use watershed_config::model::{HttpMatch, PathMatch};
use watershed_config::snapshot::{Bind, Candidate, Listener, VirtualHost};

use super::{Explanation, ListenerView, Miss, Other, RuleView};
use crate::table::Head;
use crate::table::paths::{header_matches, query_matches};

/// As many rules of one kind are told.
const TOLD_MAX: usize = 3;

/// One request among all that is reachable at an address.
pub(super) struct Search<'a> {
    head: &'a Head<'a>,
    bind: &'a Bind,
    /// The listener that the request belongs to.
    listener: Option<&'a Listener>,
}

/// A candidate and where it stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    listener: &'a Listener,
    host: &'a VirtualHost,
    candidate: &'a Candidate,
}

impl<'a> Search<'a> {
    pub(super) fn new(bind: &'a Bind, head: &'a Head<'a>) -> Self {
        let matching = bind.listeners.iter().filter(|listener| listener.hostname.matches(head.host));
        let listener = matching.max_by_key(|listener| listener.hostname.specificity());
        Self { head, bind, listener }
    }

    /// The listener, and what the others there have to do with the request.
    pub(super) fn tell_listener(&self, told: &mut Explanation) {
        told.listener = self.listener.map(ListenerView::of);
        let Some(chosen) = self.listener else {
            told.notes.push(format!(
                "no listener there serves the host {}; they serve {}",
                shown_host(self.head),
                self.bind
                    .listeners
                    .iter()
                    .map(|listener| listener.hostname.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            ));
            return;
        };
        let others = self.bind.listeners.iter().filter(|other| !std::ptr::eq(*other, chosen));
        for other in others.filter(|other| other.hostname.matches(self.head.host)) {
            let mut candidates = self.places_of(other).into_iter();
            if let Some(place) = candidates.find(|place| self.holds(place.candidate)) {
                told.notes.push(format!(
                    "listener {} ({}) has a rule that matches, {}, but only the listener with the most specific hostname is asked, {} ({})",
                    other.name, other.hostname, place.candidate.rule.id, chosen.name, chosen.hostname
                ));
            }
        }
    }

    /// The winner, whom it won over and whom it would have lost to.
    pub(super) fn tell_winner(&self, told: &mut Explanation) {
        let Some(listener) = self.listener else { return };
        let places = self.places_of(listener);
        let Some(won) = places.iter().position(|place| self.holds(place.candidate)) else { return };
        let winner = places[won];
        told.rule = Some(winner.view());
        let mut told_rules = vec![Arc::as_ptr(&winner.candidate.rule)];
        let mut is_new = |place: &&Place<'_>| {
            let rule = Arc::as_ptr(&place.candidate.rule);
            let new = !told_rules.contains(&rule);
            if new {
                told_rules.push(rule);
            }
            new
        };
        let lost = places[won + 1..].iter().filter(|place| self.holds(place.candidate)).filter(&mut is_new);
        told.won_over = lost
            .take(TOLD_MAX)
            .map(|other| Other { rule: other.view(), why: why_before(&winner, other) })
            .collect();
        let path_fits = |place: &&Place<'_>| path_holds(&place.candidate.matcher.path, self.head.path);
        let passed = places[..won].iter().filter(path_fits).filter(&mut is_new);
        told.passed_over = passed.take(TOLD_MAX).map(|place| self.miss(place)).collect();
    }

    /// The rules that come nearest to matching, in the whole of the address.
    pub(super) fn tell_misses(&self, told: &mut Explanation) {
        let listeners: Vec<&Listener> = match self.listener {
            Some(listener) => vec![listener],
            None => self.bind.listeners.iter().collect(),
        };
        let all = listeners.iter().flat_map(|listener| {
            let hosts = listener.hosts.iter();
            hosts.flat_map(|host| host.candidates.iter().map(|candidate| Place { listener, host, candidate }))
        });
        let mut scored: Vec<_> = all.map(|place| (self.distance(&place), place)).collect();
        scored.sort_by_key(|(distance, _)| *distance);
        let mut told_rules = Vec::new();
        for (_, place) in scored {
            let rule = Arc::as_ptr(&place.candidate.rule);
            if told.nearest.len() < TOLD_MAX && !told_rules.contains(&rule) {
                told_rules.push(rule);
                told.nearest.push(self.miss(&place));
            }
        }
    }

    /// The candidates of the hosts that match, in the order in which they are asked.
    fn places_of(&self, listener: &'a Listener) -> Vec<Place<'a>> {
        let mut hosts: Vec<&VirtualHost> =
            listener.hosts.iter().filter(|host| self.host_holds(host)).collect();
        hosts.sort_by_key(|host| (Reverse(host.host.specificity()), host.port.is_none()));
        let place = |host| move |candidate| Place { listener, host, candidate };
        hosts.into_iter().flat_map(|host| host.candidates.iter().map(place(host))).collect()
    }

    fn host_holds(&self, host: &VirtualHost) -> bool {
        host.host.matches(self.head.host) && host.port.is_none_or(|port| Some(port) == self.head.port)
    }

    fn holds(&self, candidate: &Candidate) -> bool {
        path_holds(&candidate.matcher.path, self.head.path)
            && failed(&candidate.matcher, self.head).is_empty()
    }

    /// How far a candidate is from matching; smaller is nearer.
    fn distance(&self, place: &Place<'_>) -> (usize, bool, bool, Reverse<usize>) {
        let host = !(place.listener.hostname.matches(self.head.host) && self.host_holds(place.host));
        let path = !path_holds(&place.candidate.matcher.path, self.head.path);
        let others = failed(&place.candidate.matcher, self.head).len();
        let alike = common_prefix(path_text(&place.candidate.matcher.path), self.head.path);
        (usize::from(host) + usize::from(path) + others, host, path, Reverse(alike))
    }

    fn miss(&self, place: &Place<'_>) -> Miss {
        let mut all = Vec::new();
        if !(place.listener.hostname.matches(self.head.host) && self.host_holds(place.host)) {
            all.push(format!(
                "host {}, but the request's is {}",
                host_text(place.host),
                shown_host(self.head)
            ));
        }
        if !path_holds(&place.candidate.matcher.path, self.head.path) {
            let only_path = HttpMatch {
                method: None,
                headers: vec![],
                query: vec![],
                ..HttpMatch::clone(&place.candidate.matcher)
            };
            all.push(format!("{only_path}, but the request's is {}", self.head.path));
        }
        all.extend(failed(&place.candidate.matcher, self.head));
        Miss { rule: place.view(), failed: all }
    }
}

impl Place<'_> {
    fn view(&self) -> RuleView {
        RuleView::of(&self.candidate.rule, host_text(self.host), &self.candidate.matcher)
    }
}

fn host_text(host: &VirtualHost) -> String {
    match host.port {
        Some(port) => format!("{}:{port}", host.host),
        None => host.host.to_string(),
    }
}

fn shown_host(head: &Head<'_>) -> String {
    match (head.host, head.port) {
        ("", _) => "(none)".to_owned(),
        (host, None) => host.to_owned(),
        (host, Some(port)) => format!("{host}:{port}"),
    }
}

fn path_text(path: &PathMatch) -> &str {
    match path {
        PathMatch::Exact(text) | PathMatch::Prefix(text) => text,
        PathMatch::Regex(pattern) => pattern.as_str(),
    }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// As [`super::super::paths`] does it with maps.
fn path_holds(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(wanted) => **wanted == *path,
        PathMatch::Regex(pattern) => pattern.matches(path.as_bytes()),
        PathMatch::Prefix(prefix) if prefix.is_empty() => true,
        PathMatch::Prefix(prefix) => {
            path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}

/// The conditions besides the path that do not hold, and what the request has instead.
fn failed(matcher: &HttpMatch, head: &Head<'_>) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(method) = matcher.method.as_ref().filter(|method| *method != head.method) {
        all.push(format!("method = {method}, but the request's is {}", head.method));
    }
    for wanted in matcher.headers.iter().filter(|wanted| !header_matches(wanted, head)) {
        let has = header_text(head.headers, &wanted.name);
        all.push(format!("header {} {}, but the request {has}", wanted.name, wanted.value));
    }
    let query = head.query.unwrap_or_default();
    for wanted in matcher.query.iter().filter(|wanted| !query_matches(wanted, query)) {
        all.push(format!("query {} {}, but the request's query is \"{query}\"", wanted.name, wanted.value));
    }
    all
}

fn header_text(headers: &HeaderMap, name: &http::HeaderName) -> String {
    let lines: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()).escape_debug().to_string())
        .collect();
    if lines.is_empty() { "has none".to_owned() } else { format!("has \"{}\"", lines.join(",")) }
}

/// Why of two candidates that both match this one comes first, in the Gateway API's words.
fn why_before(winner: &Place<'_>, other: &Place<'_>) -> String {
    if !std::ptr::eq(winner.host, other.host) {
        return why_host(winner.host, other.host);
    }
    let (a, b) = (&*winner.candidate.matcher, &*other.candidate.matcher);
    match (&a.path, &b.path) {
        (PathMatch::Exact(_), PathMatch::Prefix(_)) => return "an exact path beats a prefix".to_owned(),
        (PathMatch::Exact(_), PathMatch::Regex(_)) => {
            return "an exact path beats a regular expression".to_owned();
        }
        (PathMatch::Regex(_), PathMatch::Prefix(_)) => {
            return "a regular expression beats a prefix".to_owned();
        }
        (PathMatch::Prefix(longer), PathMatch::Prefix(shorter)) if longer.len() > shorter.len() => {
            let shorter = if shorter.is_empty() { "/" } else { shorter };
            return format!("longer path prefix: {longer} beats {shorter}");
        }
        _ => {}
    }
    if a.method.is_some() != b.method.is_some() {
        return "it has a method condition".to_owned();
    }
    if a.headers.len() != b.headers.len() {
        return format!("more header conditions: {} beats {}", a.headers.len(), b.headers.len());
    }
    if a.query.len() != b.query.len() {
        return format!("more query conditions: {} beats {}", a.query.len(), b.query.len());
    }
    why_route(winner.candidate, other.candidate)
}

fn why_host(winner: &VirtualHost, other: &VirtualHost) -> String {
    if winner.host == other.host {
        return format!("it is for {} alone, which the request names", host_text(winner));
    }
    format!("more specific host: {} beats {}", winner.host, other.host)
}

/// Among equal conditions: the older route, then the first by name, then the first rule.
fn why_route(winner: &Candidate, other: &Candidate) -> String {
    let (a, b) = (&winner.rule.id, &other.rule.id);
    match a.route.cmp(&b.route) {
        Ordering::Equal => "equal conditions: it comes first in the route".to_owned(),
        Ordering::Less => {
            format!(
                "equal conditions: its route is older, or as old and first by name ({} before {})",
                a.route, b.route
            )
        }
        Ordering::Greater => "equal conditions: its route is older (metadata.creationTimestamp)".to_owned(),
    }
}
