//! The table against a plain reading of the rules: for random snapshots and requests both must name the same rule.

use std::cmp::Reverse;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use watershed_config::model::{HttpMatch, PathMatch, ValueMatch};
use watershed_config::snapshot::{Listener, RuleId, Snapshot, VirtualHost};
use watershed_proxy::table::explain::Question;
use watershed_proxy::table::{Head, Routed};

use crate::builder::{Asked, candidate, compiler, host, listener, rule, snapshot};

/// Few names with many relations, so that random ones meet.
const HOSTS: [&str; 9] = ["", "c", "b.c", "a.b.c", "x.c", "*.c", "*.b.c", "*.a.b.c", "*.x.c"];
const REQUEST_HOSTS: [&str; 9] = ["c", "b.c", "a.b.c", "x.c", "y.a.b.c", ".c", "z.y.x.c", "other", ""];
const PATHS: [&str; 14] = [
    "/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/a/bb", "=/a", "=/a/", "=/a/b", "=/", "~/a.*", "~/[ab]/b",
    "~/a|/b",
];
const REQUEST_PATHS: [&str; 12] =
    ["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c/d", "/ab", "/a/bb", "/b", "/b/b", "//a", "/a//b"];
const METHODS: [&str; 3] = ["", " method=GET", " method=POST"];
const HEADERS: [&str; 5] = [" x:1", " x:1,2", " y:~[12]", " y:2", " z:3"];
const REQUEST_HEADERS: [&str; 5] = [" x:1", " x:2", " y:1", " y:2", " z:3"];
const QUERIES: [&str; 4] = [" ?q=1", " ?q=~[a-z/]+", " ?r=a/b", " ?s=+"];
const REQUEST_QUERIES: [&str; 7] = ["q=1", "q=a", "%71=x", "r=a%2Fb", "r=b", "s=%2b", "s=+"];

fn match_text() -> impl Strategy<Value = String> {
    let headers = prop_oneof![4 => Just(vec![]), 2 => subsequence(&HEADERS[..], 1..3)];
    let method = prop_oneof![3 => Just(""), 1 => select(&METHODS[..])];
    let query = prop_oneof![4 => Just(vec![]), 1 => subsequence(&QUERIES[..], 1..3)];
    (select(&PATHS[..]), method, headers, query).prop_map(|(path, method, headers, query)| {
        let mut text = format!("{path}{method}");
        // A name occurs once in a match.
        for word in headers.into_iter().chain(query) {
            let name = &word[..3];
            if !text.contains(name) {
                text.push_str(word);
            }
        }
        text
    })
}

/// Often one that many requests match.
fn some_host() -> impl Strategy<Value = &'static str> {
    prop_oneof![2 => Just(""), 1 => Just("*.c"), 2 => select(&HOSTS[..])]
}

fn virtual_host() -> impl Strategy<Value = (&'static str, Option<u16>, Vec<String>)> {
    let port = prop_oneof![6 => Just(None), 1 => Just(Some(81)), 1 => Just(Some(82))];
    (some_host(), port, prop::collection::vec(match_text(), 0..12))
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let of_listener = (some_host(), prop::collection::vec(virtual_host(), 1..8));
    prop::collection::vec(of_listener, 1..4).prop_map(|listeners| {
        let mut number = 0;
        let mut virtual_host = |(name, port, matches): (&str, Option<u16>, Vec<String>)| {
            let candidates = matches.iter().map(|text| {
                number += 1;
                candidate(text, &rule(&format!("{number}: {text}")))
            });
            host(name, port, candidates.collect())
        };
        let mut all: Vec<Listener> = Vec::new();
        for (hostname, hosts) in listeners {
            let mut hosts: Vec<VirtualHost> = hosts.into_iter().map(&mut virtual_host).collect();
            hosts.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
            hosts.dedup_by(|a, b| (&a.host, a.port) == (&b.host, b.port));
            let listener = listener(hostname, hosts);
            if all.iter().all(|other| other.hostname != listener.hostname) {
                all.push(listener);
            }
        }
        snapshot(1, all)
    })
}

fn any_request() -> impl Strategy<Value = Asked> {
    let port = prop_oneof![Just(""), Just(":81"), Just(":82"), Just(":80")];
    let query = subsequence(&REQUEST_QUERIES[..], 0..4).prop_shuffle();
    let headers = subsequence(&REQUEST_HEADERS[..], 0..5).prop_shuffle();
    let method = select(&["", "", " method=POST"][..]);
    (select(&REQUEST_HOSTS[..]), port, select(&REQUEST_PATHS[..]), query, headers, method).prop_map(
        |(host, port, path, query, headers, method)| {
            let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
            Asked::new(&format!("{host}{port}{path}{query}{}{method}", headers.concat()))
        },
    )
}

/// The rule that the documentation of the snapshot's types demands, found by looking at everything.
fn demanded<'a>(snapshot: &'a Snapshot, head: &Head<'_>) -> Option<&'a RuleId> {
    let listeners =
        snapshot.binds[0].listeners.iter().filter(|listener| listener.hostname.matches(head.host));
    let listener = listeners.max_by_key(|listener| listener.hostname.specificity())?;
    let mut hosts: Vec<&VirtualHost> = listener
        .hosts
        .iter()
        .filter(|host| host.host.matches(head.host) && host.port.is_none_or(|port| Some(port) == head.port))
        .collect();
    hosts.sort_by_key(|host| (Reverse(host.host.specificity()), host.port.is_none()));
    let mut candidates = hosts.iter().flat_map(|host| &host.candidates);
    candidates.find(|candidate| holds(&candidate.matcher, head)).map(|candidate| &candidate.rule.id)
}

fn holds(matcher: &HttpMatch, head: &Head<'_>) -> bool {
    path_holds(&matcher.path, head.path)
        && matcher.method.as_ref().is_none_or(|method| method == head.method)
        && matcher.headers.iter().all(|wanted| {
            let lines: Vec<&[u8]> =
                head.headers.get_all(&wanted.name).iter().map(http::HeaderValue::as_bytes).collect();
            !lines.is_empty() && value_holds(&wanted.value, &lines.join(&b","[..]))
        })
        && matcher.query.iter().all(|wanted| {
            let pairs = head
                .query
                .unwrap_or_default()
                .split('&')
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            let decoded: Vec<_> = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
            let first = decoded.iter().find(|(name, _)| *name == wanted.name.as_bytes());
            first.is_some_and(|(_, value)| value_holds(&wanted.value, value))
        })
}

fn path_holds(matcher: &PathMatch, path: &str) -> bool {
    match matcher {
        PathMatch::Exact(wanted) => **wanted == *path,
        PathMatch::Regex(pattern) => pattern.matches(path.as_bytes()),
        PathMatch::Prefix(prefix) => {
            let mut elements = path.split('/');
            prefix.split('/').all(|wanted| elements.next() == Some(wanted))
        }
    }
}

fn value_holds(wanted: &ValueMatch, value: &[u8]) -> bool {
    wanted.matches(value)
}

/// Percent-decoding letter by letter.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        if *first == b'%'
            && let Some(byte) = tail.get(..2).and_then(hex)
        {
            out.push(byte);
            rest = &tail[2..];
        } else {
            out.push(if *first == b'+' { b' ' } else { *first });
            rest = tail;
        }
    }
    out
}

/// The request as somebody would ask about it.
fn question(asked: &Asked) -> Question {
    let query = asked.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let port = asked.port.map(|port| format!(":{port}")).unwrap_or_default();
    let mut headers = vec![format!("Host: {}{port}", asked.host)];
    headers.extend(asked.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
    let url = format!("10.0.0.1{}{query}", asked.path);
    Question::new(asked.method.as_str(), &url, headers.iter().map(String::as_str)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_table_and_its_explanation_name_the_rule_that_a_plain_reading_of_everything_names(
        snapshot in any_snapshot(), requests in prop::collection::vec(any_request(), 32),
    ) {
        let table = compiler(1).compile(&snapshot);
        for request in &requests {
            let got = match table.route(0, &request.head()) {
                Routed::Rule(rule) => Some(&rule.id),
                Routed::NoRoute(_) | Routed::Gone => None,
            };
            prop_assert_eq!(got, demanded(&snapshot, &request.head()), "{:?}", request);
            let told = table.explain(&question(request));
            let told = told.rule.map(|rule| (rule.route, rule.rule));
            prop_assert_eq!(told, got.map(|id| (id.route.name.to_string(), id.rule.to_string())));
        }
    }
}

/// Without this the property could hold because nothing ever matches.
#[test]
fn random_requests_do_find_rules() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut found = 0;
    for _ in 0..500 {
        let snapshot = any_snapshot().new_tree(&mut runner).unwrap().current();
        let request = any_request().new_tree(&mut runner).unwrap().current();
        found += u32::from(demanded(&snapshot, &request.head()).is_some());
    }
    assert!((50..450).contains(&found), "{found} of 500");
}
