//! Labels, annotations and label selectors.

use std::sync::Arc;

use super::names;
use crate::fields::{At, Fields, quoted};
use crate::model::{LabelRequirement, LabelSelector, Labels};
use crate::yaml::Value;

/// Labels, or a selector's labels: keys and values have a syntax, and values are strings.
pub(super) fn labels(at: &At<'_>) -> Labels {
    let label = |(key, spot, value): (&str, _, At<'_>)| {
        let at_key = At { spot, ..value.clone() };
        key_is_valid(&at_key, key);
        let text = text_value(key, &value, "labels are strings")?;
        value_is_valid(&value, text).then(|| (key.into(), text.into()))
    };
    at.entries().into_iter().filter_map(label).collect()
}

/// Annotations are not read, but a value that is no string would be refused by an API server.
pub(super) fn check_annotations(at: &At<'_>) {
    for (key, _, value) in at.entries() {
        text_value(key, &value, "annotations are strings");
    }
}

/// The value as a label's key.
pub(super) fn key<'a>(at: &At<'a>) -> Option<&'a str> {
    at.string().filter(|key| key_is_valid(at, key))
}

/// The value of the field `name` as a label's value; `rule` says that such values are strings.
pub(super) fn value<'a>(name: &str, at: &At<'a>, rule: &str) -> Option<&'a str> {
    text_value(name, at, rule).filter(|text| value_is_valid(at, text))
}

/// `version: 1.0` is the commonest mistake of all: YAML reads a number and drops the zero.
fn text_value<'a>(key: &str, value: &At<'a>, rule: &str) -> Option<&'a str> {
    let written = match &value.node.value {
        Value::String(text) => return Some(text),
        Value::Integer(_, text) | Value::Float(_, text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null => {
            // An API server takes it for the empty string.
            value.warning(
                format!("`{key}` has no value and counts as the empty string"),
                format!("write {key}: \"\" to say so, or remove the line"),
            );
            return Some("");
        }
        _ => {
            value.wrong_type("a string");
            return None;
        }
    };
    value.error(
        format!("{rule}, but `{key}` is {}", value.found()),
        format!("put it in quotes: {key}: \"{written}\""),
    );
    None
}

fn key_is_valid(at: &At<'_>, key: &str) -> bool {
    let valid = names::is_label_key(key);
    if !valid {
        at.error(
            format!("{} is not a valid label name", quoted(key)),
            "use up to 63 letters, digits, `-`, `_` and `.`, optionally after a DNS name and `/`",
        );
    }
    valid
}

fn value_is_valid(at: &At<'_>, value: &str) -> bool {
    let valid = names::is_label_value(value);
    if !valid {
        at.error(
            format!("{} is not a valid label value", quoted(value)),
            "use up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends",
        );
    }
    valid
}

/// A `metav1.LabelSelector`.
pub(super) fn selector(at: &At<'_>) -> Option<LabelSelector> {
    let fields = at.fields()?;
    let mut requirements: Vec<LabelRequirement> = fields
        .get("matchLabels")
        .map(|at| labels(&at))
        .unwrap_or_default()
        .iter()
        .map(|(key, value)| LabelRequirement::In(Arc::clone(key), vec![Arc::clone(value)]))
        .collect();
    requirements.extend(fields.items("matchExpressions").iter().filter_map(requirement));
    fields.finish();
    Some(LabelSelector(requirements))
}

#[derive(Clone, Copy, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

fn requirement(at: &At<'_>) -> Option<LabelRequirement> {
    let fields = at.fields()?;
    let key_at = fields.require("key", "write the label's name");
    let operator = fields.require("operator", "write In, NotIn, Exists or DoesNotExist");
    let values_at = fields.get("values");
    fields.finish();
    let key = key_at.and_then(|at| at.string().filter(|key| key_is_valid(&at, key)));
    let operator = operator.and_then(|at| {
        at.one_of(&[
            ("In", Operator::In),
            ("NotIn", Operator::NotIn),
            ("Exists", Operator::Exists),
            ("DoesNotExist", Operator::DoesNotExist),
        ])
    })?;
    let values = values(values_at.as_ref());
    let wants_values = matches!(operator, Operator::In | Operator::NotIn);
    if wants_values && values.is_empty() {
        at.error("this operator needs `values`", "list at least one value under `values`");
    }
    if !wants_values && let Some(values_at) = values_at.filter(|_| !values.is_empty()) {
        values_at.error("this operator takes no `values`", "remove `values`, or use In or NotIn");
    }
    let key: Arc<str> = key?.into();
    Some(match operator {
        Operator::In => LabelRequirement::In(key, values),
        Operator::NotIn => LabelRequirement::NotIn(key, values),
        Operator::Exists => LabelRequirement::Exists(key),
        Operator::DoesNotExist => LabelRequirement::DoesNotExist(key),
    })
}

fn values(at: Option<&At<'_>>) -> Vec<Arc<str>> {
    let items = at.map(At::items).unwrap_or_default();
    let good = items.iter().filter_map(|item| item.string().filter(|text| value_is_valid(item, text)));
    good.map(Arc::from).collect()
}

/// A mapping of strings of which nothing else is known (a Service's selector).
pub(super) fn optional_labels(fields: &Fields<'_>, name: &'static str) -> Labels {
    fields.get(name).map(|at| labels(&at)).unwrap_or_default()
}
