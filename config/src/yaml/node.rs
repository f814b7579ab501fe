//! A value with its place: what everything after the parser works on.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::spans::{Inside, Spans};
use super::tree::Tree;
use crate::problem::Spot;

/// A value and where it stands. Line 0 where no place is known.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) spot: Spot,
    pub(crate) value: Value,
}

/// See [`Tree`]; scalars remember how they were written, for messages.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64, String),
    Float(f64, String),
    String(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
    Tagged(String),
}

/// One line of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) spot: Spot,
    pub(crate) value: Node,
    /// Why the entry must not be used, if so.
    pub(crate) flaw: Option<KeyFlaw>,
}

/// What may be wrong with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyFlaw {
    /// The key was there before, at this place.
    Duplicate(Spot),
    /// The key is not text, nor a number or boolean that could be taken as text.
    NotText,
}

impl Node {
    /// The value of a key of a mapping; `None` for anything else, for `null`, and for entries with a flaw.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Mapping(entries) = &self.value else { return None };
        let entry = entries.iter().find(|entry| entry.key == key && entry.flaw.is_none())?;
        (!matches!(entry.value.value, Value::Null)).then_some(&entry.value)
    }

    /// Whether a key in it must not be used.
    pub(crate) fn has_flaw(&self) -> bool {
        match &self.value {
            Value::Mapping(entries) => {
                entries.iter().any(|entry| entry.flaw.is_some() || entry.value.has_flaw())
            }
            Value::Sequence(items) => items.iter().any(Node::has_flaw),
            _ => false,
        }
    }

    /// Whether it is a list; readers have reported what is none.
    pub(crate) fn is_sequence(&self) -> bool {
        matches!(self.value, Value::Sequence(_))
    }

    /// The text of a string.
    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = &self.value { Some(text) } else { None }
    }

    /// Compact JSON of the same meaning. Floats that JSON has no word for become `null`.
    pub(crate) fn write_json(&self, out: &mut String) {
        match &self.value {
            Value::Null | Value::Tagged(_) => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Integer(value, _) => out.push_str(&value.to_string()),
            Value::Float(value, _) => out.push_str(&serde_json::Value::from(*value).to_string()),
            Value::String(text) => write_text(text, out),
            Value::Sequence(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Value::Mapping(entries) => {
                out.push('{');
                for (index, entry) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_text(&entry.key, out);
                    out.push(':');
                    entry.value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// Puts places on a tree. Where the shapes differ, the part has the place of what surrounds it.
pub(super) fn place(tree: Tree, spans: Option<&Rc<Spans>>) -> Node {
    place_in(tree, spans.map(|spans| &**spans), Spot::default())
}

fn place_in(tree: Tree, spans: Option<&Spans>, around: Spot) -> Node {
    let spot = spans.map_or(around, |spans| spans.spot);
    let written = |otherwise: String| match spans.map(|spans| &spans.inside) {
        Some(Inside::Scalar(Some(text))) => text.clone(),
        _ => otherwise,
    };
    let value = match tree {
        Tree::Null => Value::Null,
        Tree::Bool(value) => Value::Bool(value),
        Tree::Integer(value) => Value::Integer(value, written(value.to_string())),
        Tree::Float(value) => Value::Float(value, written(format!("{value:?}"))),
        Tree::String(text) => Value::String(text),
        Tree::Tagged(tag) => Value::Tagged(tag),
        Tree::Sequence(items) => {
            let inside = match spans.map(|spans| &spans.inside) {
                Some(Inside::Sequence(inside)) if inside.len() == items.len() => Some(inside),
                _ => None,
            };
            let item = |(index, item): (usize, Tree)| {
                place_in(item, inside.map(|inside: &Vec<Rc<Spans>>| &*inside[index]), spot)
            };
            Value::Sequence(items.into_iter().enumerate().map(item).collect())
        }
        Tree::Mapping(entries) => Value::Mapping(place_entries(entries, spans, spot)),
    };
    Node { spot, value }
}

fn place_entries(entries: Vec<(Tree, Tree)>, spans: Option<&Spans>, around: Spot) -> Vec<Entry> {
    let inside = match spans.map(|spans| &spans.inside) {
        Some(Inside::Mapping(inside)) if inside.len() == entries.len() => Some(inside),
        _ => None,
    };
    let mut placed = Vec::with_capacity(entries.len());
    let mut merged = Vec::new();
    for (index, (key, value)) in entries.into_iter().enumerate() {
        let pair = inside.map(|inside| &inside[index]);
        let (key, flaw) = key_text(place_in(key, pair.map(|(key, _)| &**key), around));
        let value = place_in(value, pair.map(|(_, value)| &**value), key.0);
        if key.1 == "<<" {
            merged.push(value);
        } else {
            placed.push(Entry { spot: key.0, key: key.1, value, flaw });
        }
    }
    mark_duplicates(&mut placed);
    if !merged.is_empty() {
        let mut known = placed.iter().map(|entry| entry.key.clone()).collect();
        for value in merged {
            merge(&mut placed, &mut known, value);
        }
    }
    placed
}

/// A key is text; numbers and booleans count as what was written, as `kubectl` takes them.
fn key_text(key: Node) -> ((Spot, String), Option<KeyFlaw>) {
    match key.value {
        Value::String(text) | Value::Integer(_, text) | Value::Float(_, text) => ((key.spot, text), None),
        Value::Bool(value) => ((key.spot, value.to_string()), None),
        _ => ((key.spot, String::new()), Some(KeyFlaw::NotText)),
    }
}

fn mark_duplicates(entries: &mut [Entry]) {
    let mut seen: HashMap<String, Spot> = HashMap::with_capacity(entries.len());
    for entry in entries.iter_mut().filter(|entry| entry.flaw.is_none()) {
        match seen.get(&entry.key) {
            Some(first) => entry.flaw = Some(KeyFlaw::Duplicate(*first)),
            None => drop(seen.insert(entry.key.clone(), entry.spot)),
        }
    }
}

/// `<<: *other`: entries of another mapping (or several) unless the key is there already.
fn merge(entries: &mut Vec<Entry>, known: &mut HashSet<String>, value: Node) {
    match value.value {
        Value::Mapping(others) => {
            entries.extend(others.into_iter().filter(|other| known.insert(other.key.clone())));
        }
        Value::Sequence(items) => items.into_iter().for_each(|item| merge(entries, known, item)),
        _ => entries.push(Entry {
            key: "<<".to_owned(),
            spot: value.spot,
            value,
            flaw: Some(KeyFlaw::NotText),
        }),
    }
}
