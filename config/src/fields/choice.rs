//! Fields of which exactly one may be there.

use super::{At, Fields};
use crate::yaml::Value;

/// What is said when there is not exactly one.
pub(crate) struct Choice<'w> {
    /// The rule, for when there are two: "a step does one thing".
    pub(crate) rule: &'w str,
    /// What is missing, for when there is none: "the step does nothing".
    pub(crate) none: &'w str,
    /// What to write then.
    pub(crate) help: &'w str,
}

impl<'a> Fields<'a> {
    /// Those of the named fields that are there, in the order in which they are written. More than one are an error at each but
    /// the first, none is an error at the whole; callers lower all of them, so that everything is reported, and take the first.
    pub(crate) fn exactly_one(
        &self,
        names: &[&'static str],
        choice: &Choice<'_>,
    ) -> Vec<(&'static str, At<'a>)> {
        let found = self.at_most_one(names, choice.rule);
        if found.is_empty() && !names.iter().any(|name| self.report_misspelt(name)) {
            self.report_none(names, choice);
        }
        found
    }

    /// Like [`Self::exactly_one`], except that there may be none.
    pub(crate) fn at_most_one(&self, names: &[&'static str], rule: &str) -> Vec<(&'static str, At<'a>)> {
        let mut found: Vec<(&'static str, At<'a>)> =
            names.iter().filter_map(|name| Some((*name, self.get(name)?))).collect();
        found.sort_by_key(|(_, at)| at.spot);
        if let Some(((first, first_at), others)) = found.split_first() {
            for (_, at) in others {
                at.error(
                    format!("{rule}, and `{first}` is there already in line {}", first_at.spot.line),
                    "remove one of the two",
                );
            }
        }
        found
    }

    fn report_none(&self, names: &[&'static str], choice: &Choice<'_>) {
        let written = self
            .entries
            .iter()
            .find(|entry| names.contains(&entry.key.as_str()) && matches!(entry.value.value, Value::Null));
        match written {
            Some(entry) => At { spot: entry.spot, ..self.at.child(entry) }
                .error(format!("`{}` has no value", entry.key), choice.help),
            None => self.at.error(choice.none, choice.help),
        }
    }

    /// Reports fields that other systems of the same shape have and nobody has built here.
    pub(crate) fn not_supported(&self, names: &[&'static str], of: &str) {
        for name in names {
            if let Some(at) = self.get(name) {
                at.not_supported(&format!("{name} of {of}"));
            }
        }
    }
}
