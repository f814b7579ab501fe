//! A file's text becomes its documents: each the object it describes, or the problems that say why not.
//!
//! Nothing here stops at the first problem, and one bad document never spoils its neighbours; only a text that is not YAML
//! (or exceeds a limit) is in error as a whole.

use std::path::Path;
use std::sync::Arc;

use crate::fields::{At, PROBLEMS_MAX, Sink, Source};
use crate::lower::{self, Lowered};
use crate::model::{Object, ObjectId};
use crate::problem::{Problem, Severity, Spot};
use crate::yaml::{self, Entry, Node, Value};

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
///
/// Limits: 16 MiB of text, a million values after aliases are expanded, nesting 64 deep (a text beyond one of them is broken);
/// 1,000 problems are kept, and what was over that is counted.
pub fn read(file: &Arc<Path>, text: &str) -> Reading {
    let source = Source::new(file, text);
    let nodes = match yaml::parse(text) {
        Ok(nodes) => nodes,
        Err(broken) => {
            let problem = Problem::new(Severity::Error, Some(Arc::clone(file)), broken.spot, broken.what)
                .with_help(broken.help)
                .with_excerpt_from(text);
            return Reading { documents: Vec::new(), problems: vec![problem], broken: true };
        }
    };
    let mut documents = Vec::new();
    for node in nodes {
        flatten(node, &source, &mut documents);
    }
    let mut problems = Vec::new();
    if source.dropped() > 0 {
        let what = format!("{} more problems of this file are not shown", source.dropped());
        let problem = Problem::new(Severity::Note, Some(Arc::clone(file)), Spot::default(), what);
        problems.push(problem.with_help(format!("mend the first {PROBLEMS_MAX} and look again")));
    }
    Reading { documents, problems, broken: false }
}

/// One document for a plain object, one for each item of a list.
fn flatten(mut node: Node, source: &Source<'_>, documents: &mut Vec<Document>) {
    match take_items(&mut node) {
        Some(items) => {
            let sink = Sink::new(source, None);
            At::root(&node, &sink).report_flaws();
            if sink.failed() {
                let problems = sink.into_problems();
                documents.push(Document { id: None, object: None, problems, source: String::new() });
            }
            for item in items {
                flatten(item, source, documents);
            }
        }
        None => documents.push(document(&node, source)),
    }
}

fn document(node: &Node, source: &Source<'_>) -> Document {
    let Lowered { id, object, problems } = lower::lower(node, source);
    let mut text = String::new();
    if id.is_some() {
        node.write_json(&mut text);
    }
    Document { id, object, problems, source: text }
}

/// The items of a `kind: List` or a typed list (`ServiceList`), whose items may leave out what the list's kind says.
fn take_items(node: &mut Node) -> Option<Vec<Node>> {
    let kind = node.get("kind")?.as_str()?.strip_suffix("List")?.to_owned();
    let version = node.get("apiVersion").cloned();
    let Value::Mapping(entries) = &mut node.value else { return None };
    let entry = entries.iter_mut().find(|entry| entry.key == "items" && entry.flaw.is_none())?;
    let Value::Sequence(items) = &mut entry.value.value else { return None };
    let mut items = std::mem::take(items);
    if !kind.is_empty() {
        for item in &mut items {
            let spot = item.spot;
            add(item, "kind", Node { spot, value: Value::String(kind.clone()) });
            if let Some(version) = &version {
                add(item, "apiVersion", version.clone());
            }
        }
    }
    Some(items)
}

/// Adds a field to a mapping that does not have it.
fn add(node: &mut Node, key: &str, value: Node) {
    if let Value::Mapping(entries) = &mut node.value
        && !entries.iter().any(|entry| entry.key == key)
    {
        entries.push(Entry { key: key.to_owned(), spot: value.spot, value, flaw: None });
    }
}
