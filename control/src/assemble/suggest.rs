//! "Did you mean": the name that somebody probably wanted to write.

use std::cell::Cell;

/// Most comparisons of names for all suggestions of one assembly. At about half a microsecond each they stay below 50 ms, however
/// many references are wrong; a catalog in which 10,000 names are wrong needs no hints about each.
const COMPARISONS_MAX: usize = 100_000;

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
    /// The name nearest to `wanted`, if one is near enough to be a slip: at most a third of its letters differ. The first one
    /// wins among equally near names, so the order of `names` decides.
    pub(crate) fn nearest<'n>(
        &self,
        wanted: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        let length = wanted.chars().count();
        let limit = (length / 3).max(1);
        let mut best: Option<(usize, &str)> = None;
        for name in names {
            let Some(left) = self.left.get().checked_sub(1) else { break };
            self.left.set(left);
            // Lengths that differ by more than the limit cannot be within it; names are ASCII, so bytes are letters.
            if name.len().abs_diff(wanted.len()) > limit || name == wanted {
                continue;
            }
            let distance = strsim::osa_distance(wanted, name);
            let better = best.is_none_or(|(least, _)| distance < least);
            if distance <= limit && better && distance < length.max(1) {
                best = Some((distance, name));
            }
        }
        best.map(|(_, name)| name)
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
        let far = vec!["zzzz"; COMPARISONS_MAX];
        assert_eq!(suggest.nearest("helo", far), None);
        assert_eq!(suggest.nearest("helo", ["hello"]), None);
    }

    #[test]
    fn a_long_list_says_how_many_more_there_are() {
        assert_eq!(listed(["a", "b"]), "a, b");
        assert_eq!(listed(1..=7), "1, 2, 3, 4, 5 and 2 more");
    }
}
