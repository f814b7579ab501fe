//! Collects what is wrong between objects, with its place.

use watershed_config::model::Meta;
use watershed_config::{Problem, Severity, Spot};

use super::suggest::Suggest;

/// The problems found so far and the means to suggest names.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    pub(super) suggest: Suggest,
}

impl Report {
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// All problems in the order in which they are shown, each once.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by(|a, b| a.order(b).then_with(|| a.field.cmp(&b.field)));
        self.problems.dedup();
        self.problems
    }
}

/// A problem at a place inside an object.
pub(super) fn problem(severity: Severity, meta: &Meta, spot: Spot, what: String) -> Problem {
    Problem::new(severity, meta.origin.file.clone(), spot, what).with_object(meta.id.clone())
}

/// A warning at a place inside an object.
pub(super) fn warning(meta: &Meta, spot: Spot, what: String) -> Problem {
    problem(Severity::Warning, meta, spot, what)
}
