//! Labels as ten thousand pods have them: a handful each, written once and looked up by key.

use std::collections::BTreeMap;
use std::iter::Map;
use std::slice;
use std::sync::Arc;

/// Labels of an object, sorted by key, each key once. A slice: the smallest node of a tree has room for eleven entries, which
/// was most of what a pod took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(Box<[Label]>);

type Label = (Arc<str>, Arc<str>);

impl Labels {
    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        let place = self.0.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        Some(&self.0[place].1)
    }

    /// Whether there is a label with this key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values, in order of the keys.
    pub fn iter(&self) -> Iter<'_> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(key, _)| key)
    }

    /// These labels and another one, which replaces one of the same key.
    #[must_use]
    pub fn with(&self, key: Arc<str>, value: Arc<str>) -> Self {
        self.0.iter().cloned().chain([(key, value)]).collect()
    }
}

/// Of two values of one key the last is taken.
impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        Self(labels.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
    }
}

/// See [`Labels::iter`].
type Iter<'a> = Map<slice::Iter<'a, Label>, fn(&'a Label) -> (&'a Arc<str>, &'a Arc<str>)>;

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a Arc<str>, &'a Arc<str>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::Labels;

    fn labels(of: &[(&str, &str)]) -> Labels {
        of.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn labels_are_found_and_equal_whatever_the_order_in_which_they_were_written() {
        let written = labels(&[("version", "v1"), ("app", "web"), ("tier", "front")]);
        assert_eq!(written, labels(&[("app", "web"), ("tier", "front"), ("version", "v1")]));
        assert_eq!(written.get("tier").map(|value| &**value), Some("front"));
        assert!(written.get("tie").is_none() && !written.contains_key("zone"));
        assert_eq!(written.keys().map(|key| &**key).collect::<Vec<_>>(), ["app", "tier", "version"]);
    }

    #[test]
    fn of_two_values_of_one_key_the_last_counts() {
        assert_eq!(labels(&[("app", "old"), ("app", "new")]), labels(&[("app", "new")]));
        assert_eq!(labels(&[("app", "old")]).with("app".into(), "new".into()), labels(&[("app", "new")]));
    }
}
