//! "Did you mean": the name that somebody probably wanted to write.

use std::cell::Cell;

/// Most comparisons of names for all suggestions of one assembly. At about half a microsecond each they stay below 50 ms, however
/// many references are wrong; a catalog in which 10,000 names are wrong needs no hints about each.
const COMPARISONS_MAX: usize = 100_000;

/// Names whose lengths differ by more than this are never near enough.
const LENGTHS_DIFFER_MAX: usize = 4;

/// Most names that a message lists before it says how many more there are.
const LISTED_MAX: usize = 5;

/// Finds near names within a budget that all messages share.
#[derive(Debug)]
pub(crate) struct Suggest {
    left: Cell<usize>,
}

impl Default for Suggest {
    fn default() -> Self {
        Self { left: Cell::new(COMPARISONS_MAX) }
    }
}

impl Suggest {
    /// The name nearest to `wanted`, if one is near enough to be a slip ([`watershed_config::nearest`]). The first one wins
    /// among equally near names, so the order of `names` decides.
    pub(crate) fn nearest<'n>(
        &self,
        wanted: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        // Of a single letter everything is near.
        let others = names.into_iter().filter(|name| *name != wanted && name.len() > 1);
        let affordable = others.take_while(|_| {
            let left = self.left.get();
            self.left.set(left.saturating_sub(1));
            left > 0
        });
        // A length that differs by more than the distance that is allowed needs no comparison.
        let near = affordable.filter(|name| name.len().abs_diff(wanted.len()) <= LENGTHS_DIFFER_MAX);
        watershed_config::nearest(wanted, near)
    }
}

/// `"a", "b" and 3 more`, for messages.
pub(crate) fn listed(names: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<String> = names.by_ref().take(LISTED_MAX).map(|name| format!("{name}")).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{COMPARISONS_MAX, Suggest, listed};

    #[test]
    fn a_slip_is_recognised_and_a_different_name_is_not() {
        let check = |wanted: &str, names: &[&str], nearest: Option<&str>| {
            assert_eq!(Suggest::default().nearest(wanted, names.iter().copied()), nearest, "{wanted}");
        };
        check("helo", &["world", "hello"], Some("hello"));
        check("hello-canray", &["hello-stable", "hello-canary"], Some("hello-canary"));
        check("htp", &["http", "https"], Some("http"));
        check("gateway", &["web"], None);
        check("a", &["b"], None);
        check("", &["a"], None);
        check("same", &["same"], None);
    }

    #[test]
    fn suggestions_stop_when_the_budget_is_spent() {
        let suggest = Suggest::default();
        let far = vec!["zzzz"; COMPARISONS_MAX + 1];
        assert_eq!(suggest.nearest("helo", far), None);
        assert_eq!(suggest.nearest("helo", ["hello"]), None);
    }

    #[test]
    fn a_long_list_says_how_many_more_there_are() {
        assert_eq!(listed(["a", "b"]), "a, b");
        assert_eq!(listed(1..=7), "1, 2, 3, 4, 5 and 2 more");
    }
}
