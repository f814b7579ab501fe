//! A file's text becomes its documents: each the object it describes, or the problems that say why not.
//!
//! Nothing here stops at the first problem, and one bad document never spoils its neighbours; only a text that is not YAML
//! (or exceeds a limit) is in error as a whole.

use std::path::Path;
use std::sync::Arc;

use crate::model::{Object, ObjectId};
use crate::problem::Problem;

/// What a file's text holds.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// One per object, the items of a `kind: List` flattened, in file order.
    pub documents: Vec<Document>,
    /// Problems of the file as a whole.
    pub problems: Vec<Problem>,
    /// The text is not YAML, or too big or too deep: the file as a whole is in error and `documents` is empty.
    pub broken: bool,
}

/// One object of a file, as far as it could be read.
#[derive(Debug, Clone)]
pub struct Document {
    /// The identity as far as it could be made out, also of an object in error, so that its last good version can be kept.
    /// `None` for kinds that are not read.
    pub id: Option<ObjectId>,
    /// The object, unless it has an error.
    pub object: Option<Object>,
    /// Errors, warnings and notes of this document, in order of place.
    pub problems: Vec<Problem>,
    /// The object alone as compact JSON, which [`read`] reads again: kept as the last good text.
    pub source: String,
}

/// Reads a file's text. `file` is only named in problems and origins.
pub fn read(_file: &Arc<Path>, _text: &str) -> Reading {
    Reading::default()
}
