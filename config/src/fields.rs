//! Reading a mapping field by field, with every problem kept and none of them stopping the rest.
//!
//! An [`At`] is a value with its path and place. [`Fields`] is a mapping that remembers which fields were asked for, so that
//! what nobody asked for can be reported as unknown. Readers return `None` both for what is absent and for what was wrong
//! (and reported): an object with an error is thrown away as a whole, so the callers may go on with a default.

mod choice;
mod read;
mod sink;
pub(crate) mod suggest;

use std::cell::RefCell;

use crate::problem::{Severity, Spot};
use crate::yaml::{Entry, KeyFlaw, Node, Value};

pub(crate) use choice::Choice;
pub(crate) use read::{lower_each, quoted};
pub(crate) use sink::{PROBLEMS_MAX, Sink, Source};

/// A value with its path and place.
#[derive(Clone)]
pub(crate) struct At<'a> {
    pub(crate) node: &'a Node,
    /// Path from the root of the object; empty for the root.
    pub(crate) path: String,
    /// Where problems about the value as a whole are shown: a scalar itself, a collection's key.
    pub(crate) spot: Spot,
    pub(crate) sink: &'a Sink<'a>,
}

impl<'a> At<'a> {
    /// The root of an object.
    pub(crate) fn root(node: &'a Node, sink: &'a Sink<'a>) -> Self {
        Self { node, path: String::new(), spot: node.spot, sink }
    }

    pub(crate) fn error(&self, what: impl Into<String>, help: impl Into<String>) {
        self.sink.report(Severity::Error, self.spot, &self.path, what, help);
    }

    pub(crate) fn warning(&self, what: impl Into<String>, help: impl Into<String>) {
        self.sink.report(Severity::Warning, self.spot, &self.path, what, help);
    }

    pub(crate) fn note(&self, what: impl Into<String>, help: impl Into<String>) {
        self.sink.report(Severity::Note, self.spot, &self.path, what, help);
    }

    /// An error for a field that the Gateway API has and nobody has built yet.
    pub(crate) fn not_supported(&self, what: &str) {
        self.error(format!("{what} is not supported yet"), "remove it; leaving it out changes nothing else");
    }

    /// The value of a key of this mapping. `null` counts as absent, as in Kubernetes.
    fn child(&self, entry: &'a Entry) -> At<'a> {
        let path =
            if self.path.is_empty() { entry.key.clone() } else { format!("{}.{}", self.path, entry.key) };
        let spot = match entry.value.value {
            Value::Mapping(_) | Value::Sequence(_) => entry.spot,
            _ => entry.value.spot,
        };
        At { node: &entry.value, path, spot, sink: self.sink }
    }

    /// The entries of a mapping whose keys are free (labels), with their keys.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Spot, At<'a>)> {
        let Value::Mapping(entries) = &self.node.value else {
            self.wrong_type("a mapping");
            return Vec::new();
        };
        let good = entries.iter().filter(|entry| entry.flaw.is_none());
        good.map(|entry| (entry.key.as_str(), entry.spot, self.child(entry))).collect()
    }

    /// The fields of a mapping; anything else is an error.
    pub(crate) fn fields(&self) -> Option<Fields<'a>> {
        let Value::Mapping(entries) = &self.node.value else {
            self.wrong_type("a mapping");
            return None;
        };
        Some(Fields { at: self.clone(), entries, known: RefCell::default(), reported: RefCell::default() })
    }

    /// Reports duplicate and impossible keys of the whole value, in order.
    pub(crate) fn report_flaws(&self) {
        match &self.node.value {
            _ if !self.node.has_flaw() => {}
            Value::Mapping(entries) => {
                for entry in entries {
                    let child = At { spot: entry.spot, ..self.child(entry) };
                    match entry.flaw {
                        Some(KeyFlaw::Duplicate(first)) => child.error(
                            format!(
                                "`{}` is given twice; it was given first in line {}",
                                entry.key, first.line
                            ),
                            "remove one of the two",
                        ),
                        Some(KeyFlaw::NotText) => child.error(
                            "the name of a field must be text",
                            "put it in quotes, or check the indentation of the line",
                        ),
                        None => child.report_flaws(),
                    }
                }
            }
            Value::Sequence(items) => {
                for (index, node) in items.iter().enumerate() {
                    self.item(index, node).report_flaws();
                }
            }
            _ => {}
        }
    }

    fn item(&self, index: usize, node: &'a Node) -> At<'a> {
        At { node, path: format!("{}[{index}]", self.path), spot: node.spot, sink: self.sink }
    }
}

/// A mapping whose fields are known by name.
pub(crate) struct Fields<'a> {
    pub(crate) at: At<'a>,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
    /// Unknown fields that were reported already.
    reported: RefCell<Vec<&'a str>>,
}

impl<'a> Fields<'a> {
    /// The field, which counts as known from now on. `null` counts as absent.
    pub(crate) fn get(&self, name: &'static str) -> Option<At<'a>> {
        self.known.borrow_mut().push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name && entry.flaw.is_none())?;
        (!matches!(entry.value.value, Value::Null)).then(|| self.at.child(entry))
    }

    /// The field, whose absence is an error.
    pub(crate) fn require(&self, name: &'static str, help: &str) -> Option<At<'a>> {
        let found = self.get(name);
        if found.is_none() && !self.report_misspelt(name) {
            let here =
                if self.at.path.is_empty() { "the object".to_owned() } else { format!("`{}`", self.at.path) };
            let place =
                self.entries.iter().find(|entry| entry.key == name).map_or(self.at.spot, |entry| entry.spot);
            let path = format!("{}{}{name}", self.at.path, if self.at.path.is_empty() { "" } else { "." });
            self.at.sink.report(Severity::Error, place, &path, format!("{here} has no `{name}`"), help);
        }
        found
    }

    /// Whether the field that is missing stands there under a name that is nearly its own; reported as unknown then.
    fn report_misspelt(&self, name: &'static str) -> bool {
        let known = self.known.borrow();
        let mut others = self.entries.iter().filter(|entry| entry.flaw.is_none() && entry.key != name);
        let written = others.find(|entry| {
            !known.contains(&entry.key.as_str()) && suggest::nearest(&entry.key, [name]).is_some()
        });
        let Some(entry) = written else { return false };
        self.report_unknown(entry, format!("did you mean `{name}`?"));
        self.reported.borrow_mut().push(&entry.key);
        true
    }

    fn report_unknown(&self, entry: &'a Entry, help: String) {
        At { spot: entry.spot, ..self.at.child(entry) }.error(format!("unknown field `{}`", entry.key), help);
    }

    /// Fields that exist and do not concern us.
    pub(crate) fn ignore(&self, names: &[&'static str]) {
        self.known.borrow_mut().extend_from_slice(names);
    }

    /// Reports every field that nobody asked for.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        for entry in self.entries.iter().filter(|entry| entry.flaw.is_none()) {
            let key = entry.key.as_str();
            if !known.contains(&key) && !self.reported.borrow().contains(&key) {
                self.report_unknown(entry, suggest::help(key, known.iter().copied()));
            }
        }
    }
}
