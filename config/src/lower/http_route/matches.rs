//! `matches`: path, method, headers and query parameters.

use std::collections::HashMap;

use http::{HeaderName, Method};

use crate::fields::{At, quoted};
use crate::lower::patterns::pattern;
use crate::model::{HeaderMatch, HttpMatch, PathMatch, Pattern, QueryMatch, ValueMatch};

use super::headers;

/// Most matches of a rule.
pub(super) const MATCHES_MAX: usize = 64;
const CONDITIONS_MAX: usize = 16;
const PATH_MAX: usize = 1024;
const HEADER_VALUE_MAX: usize = 4096;
const QUERY_VALUE_MAX: usize = 1024;

/// The default: a prefix match on `/`.
pub(super) fn every_path() -> HttpMatch {
    HttpMatch { path: PathMatch::Prefix("".into()), method: None, headers: Vec::new(), query: Vec::new() }
}

pub(super) fn lower(item: &At<'_>) -> Option<HttpMatch> {
    let fields = item.fields()?;
    let path = fields.get("path").map_or(Some(every_path().path), |at| path(&at));
    let method = fields.get("method").and_then(|at| method(&at));
    let headers = distinct(&fields.items_up_to("headers", CONDITIONS_MAX), str::to_ascii_lowercase, header);
    let query = distinct(&fields.items_up_to("queryParams", CONDITIONS_MAX), str::to_owned, query);
    fields.finish();
    Some(HttpMatch { path: path?, method, headers, query })
}

#[derive(Clone, Copy, PartialEq)]
enum PathType {
    Exact,
    Prefix,
    Regex,
}

fn path(at: &At<'_>) -> Option<PathMatch> {
    let fields = at.fields()?;
    let words = [
        ("Exact", PathType::Exact),
        ("PathPrefix", PathType::Prefix),
        ("RegularExpression", PathType::Regex),
    ];
    let kind = fields.get("type").map_or(Some(PathType::Prefix), |at| at.one_of(&words));
    let value_at = fields.get("value");
    fields.finish();
    let kind = kind?;
    let Some(at) = value_at else {
        return match kind {
            PathType::Exact => Some(PathMatch::Exact("/".into())),
            PathType::Prefix => Some(every_path().path),
            PathType::Regex => Pattern::new("/").ok().map(PathMatch::Regex),
        };
    };
    let value = at.text(PATH_MAX)?;
    if kind == PathType::Regex {
        return pattern(&at, value).map(PathMatch::Regex);
    }
    if let Some((what, help)) = path_flaw(value) {
        at.error(format!("the path {} {what}", quoted(value)), help);
        return None;
    }
    Some(match kind {
        PathType::Exact => PathMatch::Exact(value.into()),
        _ => PathMatch::Prefix(value.strip_suffix('/').unwrap_or(value).into()),
    })
}

/// What is wrong with a literal path, by the validation rules of `HTTPPathMatch`.
fn path_flaw(path: &str) -> Option<(String, String)> {
    let flaw = |what: &str, help: &str| Some((what.to_owned(), help.to_owned()));
    if !path.starts_with('/') {
        return Some((
            "does not begin with `/`".to_owned(),
            format!("write {}", quoted(&format!("/{path}"))),
        ));
    }
    if path.contains("//") {
        return flaw("contains `//`", "write a single `/`");
    }
    for part in ["/./", "/../"] {
        if path.contains(part) || path.ends_with(part.trim_end_matches('/')) {
            return flaw("contains `.` or `..` as an element", "write the path that is meant");
        }
    }
    if path.to_ascii_lowercase().contains("%2f") {
        return flaw("contains an encoded slash (%2F)", "use a RegularExpression to match it");
    }
    if path.contains(['#', '?']) {
        return flaw("contains `#` or `?`", "match query parameters under queryParams");
    }
    if path.contains('*') && (path.ends_with("/*") || path.ends_with(".*")) {
        // Allowed by the API, where it is a letter like any other; nobody means that.
        return flaw(
            "ends with a wildcard, which PathPrefix and Exact do not have",
            "leave the `*` out: PathPrefix matches everything below",
        );
    }
    let bytes = path.as_bytes();
    let valid = |(at, byte): (usize, &u8)| match byte {
        b'%' => matches!(bytes.get(at + 1..at + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit)),
        byte => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(byte),
    };
    if !bytes.iter().enumerate().all(valid) {
        return flaw("contains a character that a path cannot have", "encode it, for example a space as %20");
    }
    None
}

fn method(at: &At<'_>) -> Option<Method> {
    at.one_of(&[
        ("GET", &Method::GET),
        ("HEAD", &Method::HEAD),
        ("POST", &Method::POST),
        ("PUT", &Method::PUT),
        ("DELETE", &Method::DELETE),
        ("CONNECT", &Method::CONNECT),
        ("OPTIONS", &Method::OPTIONS),
        ("TRACE", &Method::TRACE),
        ("PATCH", &Method::PATCH),
    ])
    .cloned()
}

/// Lowers conditions; of those with one name only the first counts (Gateway API), which is worth a word.
fn distinct<T>(items: &[At<'_>], key: fn(&str) -> String, lower: fn(&At<'_>) -> Option<T>) -> Vec<T> {
    let mut seen: HashMap<String, (String, u32)> = HashMap::new();
    let mut kept = Vec::new();
    for item in items {
        let lowered = lower(item);
        if let Some(name) = item.node.get("name").and_then(|name| name.as_str()) {
            if let Some((first, line)) = seen.get(&key(name)) {
                let what = format!("{} is matched already in line {line}", quoted(name));
                let help = "remove one of the two; to accept several values use a RegularExpression";
                if first == name {
                    item.error(what, help);
                } else {
                    item.warning(format!("{what}, only the first counts"), help);
                }
                continue;
            }
            seen.insert(key(name), (name.to_owned(), item.spot.line));
        }
        kept.extend(lowered);
    }
    kept
}

fn header(item: &At<'_>) -> Option<HeaderMatch> {
    let (name, value) = condition(item, HEADER_VALUE_MAX)?;
    Some(HeaderMatch { name, value })
}

/// Query parameters have the syntax of header names, but their case counts.
fn query(item: &At<'_>) -> Option<QueryMatch> {
    let written = item.node.get("name").and_then(|name| name.as_str()).unwrap_or_default();
    let (_, value) = condition(item, QUERY_VALUE_MAX)?;
    Some(QueryMatch { name: written.into(), value })
}

fn condition(item: &At<'_>, max: usize) -> Option<(HeaderName, ValueMatch)> {
    let fields = item.fields()?;
    let kind = fields
        .get("type")
        .map_or(Some(false), |at| at.one_of(&[("Exact", false), ("RegularExpression", true)]));
    let name = fields.require("name", "write the name").and_then(|at| headers::name(&at));
    let value_at = fields.require("value", "write the value to compare with");
    fields.finish();
    let at = value_at?;
    let value = at.text(max)?;
    let value = if kind? { ValueMatch::Regex(pattern(&at, value)?) } else { ValueMatch::Exact(value.into()) };
    Some((name?, value))
}

#[cfg(test)]
mod tests {
    use super::path_flaw;

    #[test]
    fn paths_follow_the_rules_of_the_api() {
        for good in ["/", "/a", "/a/", "/a.b/c", "/a%20b", "/.well-known/x", "/a:b@c", "/..a", "/a*b"] {
            assert_eq!(path_flaw(good), None, "{good}");
        }
        for bad in [
            "", "a", "//", "/a//b", "/./a", "/a/../b", "/a/..", "/a/.", "/a%2fb", "/a%2Fb", "/a#b", "/a?b",
            "/a b", "/a%2", "/a%zz", "/\u{e9}", "/a/*",
        ] {
            assert!(path_flaw(bad).is_some(), "{bad}");
        }
    }
}
