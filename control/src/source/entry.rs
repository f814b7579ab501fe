//! What one file contributes: the objects that it claims, and what is wrong with it. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use watershed_config::model::{Object, ObjectId};
use watershed_config::{Document, Problem, Severity};
use xxhash_rust::xxh3::Xxh3Default;

use super::Content;

/// How often something was not taken, by kind; `file` for a file as a whole, `unknown` where no identity could be made out.
pub(crate) type Rejections = BTreeMap<&'static str, u64>;

/// One file that is there.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Below which `-f` path, by index.
    pub(super) root: usize,
    /// It is in error as a whole, and its claims are those that were last read from it.
    pub(super) in_error: bool,
    /// How many documents it held when it could last be read, those of kinds that are not read included.
    pub(super) documents: usize,
    /// What it says of which object. Of several documents with one identity, the first good one. Most files hold one
    /// document, for which a tree would take the room of eleven.
    pub(super) claims: HashMap<ObjectId, Claim>,
    /// All that is wrong with it.
    pub(super) problems: Vec<Problem>,
    /// Fingerprints of the documents in error, so that each bad version is counted once however often the file is read.
    faults: HashSet<u64>,
}

/// What a file says of an object.
#[derive(Debug)]
pub(super) enum Claim {
    /// It can be served.
    Good {
        /// The object, shared with the catalog once it is served.
        object: Arc<Object>,
        /// Its text, until that is handed over to the store.
        source: Option<String>,
    },
    /// It has an error.
    Bad,
}

impl Entry {
    /// Replaces what the file says by a new reading of it.
    pub(super) fn take(&mut self, path: &Arc<Path>, content: Content, rejections: &mut Rejections) {
        match content {
            Content::Unreadable(problem) => self.fail(vec![problem], rejections),
            Content::Text(reading) if reading.broken => self.fail(reading.problems, rejections),
            Content::Text(reading) => {
                self.in_error = false;
                self.documents = reading.documents.len();
                self.problems = reading.problems;
                self.claims.clear();
                let before = std::mem::take(&mut self.faults);
                for document in reading.documents {
                    self.take_document(path, document, &before, rejections);
                }
            }
        }
    }

    /// The file as a whole is in error: what was last read from it stays.
    fn fail(&mut self, problems: Vec<Problem>, rejections: &mut Rejections) {
        self.in_error = true;
        self.problems = problems;
        self.faults.clear();
        *rejections.entry("file").or_default() += 1;
    }

    fn take_document(
        &mut self,
        path: &Arc<Path>,
        document: Document,
        faults_before: &HashSet<u64>,
        rejections: &mut Rejections,
    ) {
        let Document { id, object, mut problems, source } = document;
        for problem in &mut problems {
            problem.object = problem.object.take().or_else(|| id.clone());
        }
        // Beyond a limit the parser drops problems, so an object that could be named and is not there counts by itself.
        let refused = object.is_none()
            && (id.is_some() || problems.iter().any(|problem| problem.severity == Severity::Error));
        if refused {
            let fault = fingerprint(&source, &problems);
            self.faults.insert(fault);
            if !faults_before.contains(&fault) {
                *rejections.entry(id.as_ref().map_or("unknown", |id| id.kind.as_str())).or_default() += 1;
            }
        }
        self.problems.append(&mut problems);
        match (id, object) {
            (Some(id), Some(object)) => self.claim(path, id, object, source, rejections),
            (Some(id), None) => {
                self.claims.entry(id).or_insert(Claim::Bad);
            }
            _ => {}
        }
    }

    fn claim(
        &mut self,
        path: &Arc<Path>,
        id: ObjectId,
        object: Object,
        source: String,
        rejections: &mut Rejections,
    ) {
        if let Some(Claim::Good { object: first, .. }) = self.claims.get(&id) {
            *rejections.entry(id.kind.as_str()).or_default() += 1;
            self.problems.push(duplicate(&object, path, first, path));
            return;
        }
        self.claims.insert(id, Claim::Good { object: Arc::new(object), source: Some(source) });
    }
}

/// Says that `other` stands for an object that `served` already is.
pub(super) fn duplicate(other: &Object, file: &Arc<Path>, served: &Object, served_file: &Path) -> Problem {
    let origin = &served.meta().origin;
    // A last good copy was read from the store: its place there means nothing to anybody.
    let known = origin.file.as_deref() == Some(served_file) && origin.spot.line > 0;
    let place = if known {
        format!("{}:{}:{}", served_file.display(), origin.spot.line, origin.spot.column)
    } else {
        served_file.display().to_string()
    };
    let id = other.id();
    Problem::new(
        Severity::Error,
        Some(Arc::clone(file)),
        other.meta().origin.spot,
        format!("{id} is defined twice: the one in {place} is served, this one is not"),
    )
    .with_object(id.clone())
    .with_help("remove or rename one of the two")
}

fn fingerprint(source: &str, problems: &[Problem]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(source.as_bytes());
    for problem in problems {
        hash.update(problem.what.as_bytes());
    }
    hash.digest()
}
