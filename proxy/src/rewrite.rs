//! Filters of a rule: header changes, rewrites and redirects (Gateway API, `HTTPRouteFilter`).

use http::Uri;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use watershed_config::model::{Filter, HeaderEdits, PathRewrite, Redirect, RedirectScheme};

use crate::headers::Added;
use crate::table::Rule;

/// Applies the request half of the filters, in order.
pub(crate) fn apply_to_request(filters: &[Filter], prefix_length: usize, parts: &mut Parts) {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(edits) => apply_edits(edits, &mut parts.headers),
            Filter::Rewrite(rewrite) => {
                if let Some(host) = &rewrite.hostname {
                    parts.headers.insert(HOST, host.clone());
                }
                if let Some(path) = &rewrite.path {
                    rewrite_path(path, prefix_length, parts);
                }
            }
            // The table turns rules with these into other actions.
            Filter::Redirect(_) | Filter::Unsupported(_) | Filter::ResponseHeaders(_) => {}
        }
    }
}

/// Whether one of the filters changes a header that a request gets here.
pub(crate) fn edits_added_headers(filters: &[Filter]) -> bool {
    filters.iter().any(|filter| match filter {
        Filter::RequestHeaders(HeaderEdits { set, add, remove }) => {
            set.iter().chain(add).map(|(name, _)| name).chain(remove).any(Added::has)
        }
        // A new host is none of them: they name the one that the client asked for.
        Filter::Rewrite(_) | Filter::Redirect(_) | Filter::Unsupported(_) | Filter::ResponseHeaders(_) => {
            false
        }
    })
}

/// Applies the response half of the filters, in order.
pub(crate) fn apply_to_response(filters: &[Filter], headers: &mut HeaderMap) {
    for filter in filters {
        if let Filter::ResponseHeaders(edits) = filter {
            apply_edits(edits, headers);
        }
    }
}

fn apply_edits(edits: &HeaderEdits, headers: &mut HeaderMap) {
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name, value.clone());
    }
    for name in &edits.remove {
        headers.remove(name);
    }
}

fn rewrite_path(rewrite: &PathRewrite, prefix_length: usize, parts: &mut Parts) {
    let path = rewritten_path(rewrite, prefix_length, parts.uri.path());
    let target = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let Ok(target) = PathAndQuery::try_from(target) else { return };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(target);
    parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
}

/// The path after a rewrite. A replaced prefix keeps the rest of the path, with exactly one slash between
/// (Gateway API, the table at `HTTPPathModifier.replacePrefixMatch`).
fn rewritten_path(rewrite: &PathRewrite, prefix_length: usize, path: &str) -> String {
    match rewrite {
        PathRewrite::Full(path) => path.to_string(),
        PathRewrite::Prefix(replacement) => {
            let rest = path.get(prefix_length..).unwrap_or_default();
            let whole = format!("{replacement}{rest}");
            if whole.starts_with('/') { whole } else { format!("/{whole}") }
        }
    }
}

/// The `Location` of a redirect (Gateway API, `HTTPRequestRedirectFilter`): what is not said is taken from the request. The
/// port is the one given; else the scheme's own, if a scheme is given; else the listener's, not the `Host` header's. The
/// well-known port of the scheme is left out.
pub(crate) fn location(redirect: &Redirect, rule: &Rule, host: &str, uri: &Uri) -> Option<HeaderValue> {
    let scheme = match redirect.scheme {
        Some(RedirectScheme::Https) => "https",
        Some(RedirectScheme::Http) | None => "http",
    };
    let own_port = if scheme == "https" { 443 } else { 80 };
    let port = match (redirect.port, redirect.scheme) {
        (Some(port), _) => port.get(),
        (None, Some(_)) => own_port,
        (None, None) => rule.listener_port,
    };
    let host = redirect.hostname.as_deref().unwrap_or(host);
    let path = match &redirect.path {
        Some(rewrite) => rewritten_path(rewrite, rule.prefix_length, uri.path()),
        None => uri.path().to_owned(),
    };
    let port = if port == own_port { String::new() } else { format!(":{port}") };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    HeaderValue::try_from(format!("{scheme}://{host}{port}{path}{query}")).ok()
}

#[cfg(test)]
mod tests {
    use watershed_config::model::PathRewrite;

    use super::rewritten_path;

    /// The table of the specification; prefixes and replacements are stored without their trailing slash.
    #[test]
    fn a_replaced_prefix_leaves_exactly_one_slash() {
        let check = |path: &str, prefix: &str, replacement: &str, wanted: &str| {
            let rewrite = PathRewrite::Prefix(replacement.trim_end_matches('/').into());
            let length = prefix.trim_end_matches('/').len();
            assert_eq!(rewritten_path(&rewrite, length, path), wanted, "{path} {prefix} {replacement}");
        };
        for (prefix, replacement) in
            [("/foo", "/xyz"), ("/foo/", "/xyz"), ("/foo", "/xyz/"), ("/foo/", "/xyz/")]
        {
            check("/foo/bar", prefix, replacement, "/xyz/bar");
        }
        check("/foo", "/foo", "/xyz", "/xyz");
        check("/foo/", "/foo", "/xyz", "/xyz/");
        check("/foo/bar", "/foo", "/", "/bar");
        check("/foo/bar", "/foo", "", "/bar");
        check("/foo/", "/foo", "/", "/");
        check("/foo", "/foo", "/", "/");
        check("/foo", "/", "/xyz", "/xyz/foo");
    }

    #[test]
    fn a_full_path_replaces_everything() {
        assert_eq!(rewritten_path(&PathRewrite::Full("/one".into()), 3, "/two/three"), "/one");
    }
}
