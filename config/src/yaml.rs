//! Text to trees: the only place that knows which YAML parser reads the data.
//!
//! `serde_yaml` says what the text *means*; positions come from another parser ([`spans`]) and only serve messages. Our own
//! visitor is used instead of `serde_yaml::Value` because it keeps duplicate keys (so that each can be reported at its place)
//! and counts nodes while aliases are being expanded, so that a text of a kilobyte cannot become gigabytes.
//!
//! A text that is one JSON value is read by `serde_json`: every JSON text means the same in YAML, but YAML forbids some of them
//! (tabs at the wrong place, surrogate escapes, keys over 1,024 characters).
//!
//! Deliberately absent: YAML 1.1 words (`yes`, `on`), custom tags (kept only to be refused by name), and recovery after a
//! syntax error: what follows one cannot be trusted.

mod guard;
mod node;
mod spans;
mod syntax;
mod tree;

use std::cell::Cell;

use serde::de::DeserializeSeed;

pub(crate) use node::{Entry, KeyFlaw, Node, Value};
pub(crate) use tree::Tree;

use crate::problem::Spot;
use tree::{Budget, TreeSeed};

/// Largest text, in bytes. Kubernetes itself stops at 1.5 MiB an object; ten thousand pods in one list fit well.
pub(crate) const TEXT_MAX: usize = 16 * 1024 * 1024;
/// Deepest nesting. A pod needs 12 levels, the largest custom resource definitions about 50.
pub(crate) const DEPTH_MAX: usize = 64;
/// Most values in a text, after aliases are expanded: about 300 MB of memory while a text is being read.
pub(crate) const NODES_MAX: usize = 1_000_000;

/// Why a text cannot be read at all.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) spot: Spot,
    pub(crate) what: String,
    pub(crate) help: String,
}

/// All documents of a text, with the place of everything in them. Empty documents are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, Broken> {
    guard::check(text)?;
    let budget = Budget::default();
    let trees = match parse_json(text, &budget) {
        Some(tree) => vec![tree],
        None => parse_yaml(text)?,
    };
    let spans = spans::of(text);
    let nodes = trees
        .into_iter()
        .enumerate()
        .map(|(index, tree)| node::place(tree, spans.get(index).and_then(Option::as_ref)));
    Ok(nodes.filter(|node| !matches!(node.value, Value::Null)).collect())
}

fn parse_json(text: &str, budget: &Budget) -> Option<Tree> {
    if !text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with(['{', '[']) {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}'));
    let tree = TreeSeed::new(budget).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(tree)
}

fn parse_yaml(text: &str) -> Result<Vec<Tree>, Broken> {
    let budget = Budget::default();
    let mut trees = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        match TreeSeed::new(&budget).deserialize(document) {
            Ok(tree) => trees.push(tree),
            Err(error) => return Err(broken(&error, text, &budget)),
        }
    }
    Ok(trees)
}

/// What the parser said, in words for people, with a place even where the parser knows none.
fn broken(error: &serde_yaml::Error, text: &str, budget: &Budget) -> Broken {
    let spot = error.location().map_or(Spot { line: 1, column: 1, length: 1 }, |location| Spot {
        line: location.line() as u32,
        column: location.column() as u32,
        length: 1,
    });
    match budget.exceeded() {
        Some(limit) => {
            let (what, help) = limit.words();
            Broken { spot, what, help }
        }
        None => syntax::explain(&error.to_string(), text, spot),
    }
}

/// Counts down a shared allowance.
fn take(left: &Cell<usize>) -> bool {
    let now = left.get();
    left.set(now.saturating_sub(1));
    now > 0
}

#[cfg(test)]
mod tests;
