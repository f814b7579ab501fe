//! Hostnames with wildcards, their order and their intersection (Gateway API, `Hostname`).

use std::fmt;
use std::sync::Arc;

/// A hostname that a listener or route serves. Stored in lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hostname {
    /// Exactly this name.
    Exact(Arc<str>),
    /// `*.suffix`: one or more labels before the suffix, never the suffix alone. Holds `.suffix`, with the dot.
    Wildcard(Arc<str>),
    /// Every name: nothing was said.
    Any,
}

impl Hostname {
    /// Reads `example.com`, `*.example.com` or the empty string. Does not judge the syntax of the name.
    pub fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix('*') {
            _ if lower.is_empty() => Self::Any,
            Some(suffix) if suffix.starts_with('.') => Self::Wildcard(suffix.into()),
            _ => Self::Exact(lower.as_str().into()),
        }
    }

    /// Whether a request's host (lower case, without port) belongs to it.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
            Self::Any => true,
        }
    }

    /// The more specific of the two if one lies within the other; `None` if no name belongs to both.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, name) | (name, Self::Any) => Some(name.clone()),
            (Self::Exact(name), pattern) if pattern.matches(name) => Some(self.clone()),
            (pattern, Self::Exact(name)) if pattern.matches(name) => Some(other.clone()),
            (Self::Wildcard(a), Self::Wildcard(b)) if a.ends_with(&**b) => Some(self.clone()),
            (Self::Wildcard(a), Self::Wildcard(b)) if b.ends_with(&**a) => Some(other.clone()),
            _ => None,
        }
    }

    /// Orders by how specific a name is: exact before wildcard before any, longer before shorter
    /// (Gateway API: "characters in a matching non-wildcard hostname", then "in a matching hostname"). Greater is better.
    pub fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Exact(name) => (2, name.len()),
            Self::Wildcard(suffix) => (1, suffix.len()),
            Self::Any => (0, 0),
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hostname;

    #[test]
    fn a_wildcard_matches_one_or_more_labels_and_never_its_own_suffix() {
        let wildcard = Hostname::parse("*.Example.com");
        assert!(wildcard.matches("a.example.com") && wildcard.matches("a.b.example.com"));
        assert!(
            !wildcard.matches("example.com")
                && !wildcard.matches("aexample.com")
                && !wildcard.matches(".example.com.evil")
        );
    }

    #[test]
    fn intersection_is_the_more_specific_name_in_either_order() {
        let check = |a: &str, b: &str, both: Option<&str>| {
            let (a, b, both) = (Hostname::parse(a), Hostname::parse(b), both.map(Hostname::parse));
            assert_eq!(a.intersect(&b), both, "{a} with {b}");
            assert_eq!(b.intersect(&a), both, "{b} with {a}");
        };
        check("", "a.b", Some("a.b"));
        check("*.b", "a.b", Some("a.b"));
        check("*.b", "b", None);
        check("*.b.c", "*.c", Some("*.b.c"));
        check("*.xc", "*.c", None);
        check("a.b", "a.c", None);
    }
}
