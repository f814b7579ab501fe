//! Where problems of a file are gathered.

use std::cell::{Cell, OnceCell, RefCell};
use std::path::Path;
use std::sync::Arc;

use crate::model::{ObjectId, Origin};
use crate::problem::{Problem, Severity, Spot};

/// Most problems that are kept of one file: each holds a few hundred bytes, and nobody reads more of them at a time.
pub(crate) const PROBLEMS_MAX: usize = 1_000;

/// Most memory that the regular expressions of one file may take once compiled, in bytes: a text of 16 MiB could ask for
/// hundreds of gigabytes within the limit of each single one.
const COMPILED_MAX: usize = 64 * 1024 * 1024;

/// A file's name and its lines, for excerpts.
pub(crate) struct Source<'t> {
    pub(crate) file: Arc<Path>,
    text: &'t str,
    /// Where each line begins; filled at the first problem, because most files have none.
    starts: OnceCell<Vec<usize>>,
    /// How many more problems are kept.
    left: Cell<usize>,
    dropped: Cell<usize>,
    /// Bytes that compiled regular expressions may still take.
    compile: Cell<usize>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(file: &Arc<Path>, text: &'t str) -> Self {
        Self {
            file: Arc::clone(file),
            text,
            starts: OnceCell::new(),
            left: Cell::new(PROBLEMS_MAX),
            dropped: Cell::new(0),
            compile: Cell::new(COMPILED_MAX),
        }
    }

    /// A problem at a place of this file, with its line.
    pub(crate) fn problem(&self, severity: Severity, spot: Spot, what: String) -> Problem {
        let problem = Problem::new(severity, Some(Arc::clone(&self.file)), spot, what);
        match (spot.line as usize).checked_sub(1).and_then(|index| self.line(index)) {
            Some(line) => problem.with_line(line),
            None => problem,
        }
    }

    /// The line of this index, from 0, with its end.
    fn line(&self, index: usize) -> Option<&'t str> {
        let starts = self.starts.get_or_init(|| {
            std::iter::once(0).chain(self.text.match_indices('\n').map(|(at, _)| at + 1)).collect()
        });
        let rest = self.text.get(*starts.get(index)?..)?;
        rest.split('\n').next()
    }

    /// How many problems there were over [`PROBLEMS_MAX`].
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.get()
    }
}

/// Gathers the problems of one document.
pub(crate) struct Sink<'s> {
    source: &'s Source<'s>,
    object: Option<ObjectId>,
    problems: RefCell<Vec<Problem>>,
    failed: Cell<bool>,
}

impl<'s> Sink<'s> {
    pub(crate) fn new(source: &'s Source<'s>, object: Option<ObjectId>) -> Self {
        Self { source, object, problems: RefCell::default(), failed: Cell::new(false) }
    }

    /// Where an object at this place was written.
    pub(crate) fn origin(&self, spot: Spot) -> Origin {
        Origin { file: Some(Arc::clone(&self.source.file)), spot }
    }

    /// Whether there was an error.
    pub(crate) fn failed(&self) -> bool {
        self.failed.get()
    }

    /// Whether the file may have another regular expression compiled.
    pub(crate) fn may_compile(&self) -> bool {
        self.source.compile.get() > 0
    }

    /// Takes the memory of a compiled regular expression from the file's allowance.
    pub(crate) fn charge(&self, bytes: usize) {
        self.source.compile.set(self.source.compile.get().saturating_sub(bytes));
    }

    /// Keeps one problem.
    pub(crate) fn report(
        &self,
        severity: Severity,
        spot: Spot,
        field: &str,
        what: impl Into<String>,
        help: impl Into<String>,
    ) {
        if severity == Severity::Error {
            self.failed.set(true);
        }
        if self.source.left.get() == 0 {
            self.source.dropped.set(self.source.dropped.get() + 1);
            return;
        }
        self.source.left.set(self.source.left.get() - 1);
        let mut problem = self.source.problem(severity, spot, what.into()).with_field(field).with_help(help);
        problem.object.clone_from(&self.object);
        self.problems.borrow_mut().push(problem);
    }

    /// All problems, in order of place.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by(Problem::order);
        // An alias shows one mistake once for each of its uses.
        problems.dedup_by(|a, b| a.spot == b.spot && a.severity == b.severity && a.what == b.what);
        problems
    }
}
