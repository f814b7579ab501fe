//! Typed readers of single values.

use std::net::IpAddr;
use std::num::NonZeroU16;

use super::{At, Fields, suggest};
use crate::yaml::Value;

impl<'a> At<'a> {
    /// "expected X, found Y", with what to change where that is plain.
    pub(crate) fn wrong_type(&self, expected: &str) {
        let help = match &self.node.value {
            Value::Integer(_, text) | Value::Float(_, text) if expected.contains("string") => {
                format!("write it in quotes: \"{text}\"")
            }
            Value::String(text)
                if expected.contains("true or false") && (text == "true" || text == "false") =>
            {
                format!("write it without quotes: {text}")
            }
            Value::String(text) if expected.contains("number") && percentage(text).is_some() => {
                format!("write only the number: {}", percentage(text).unwrap_or_default())
            }
            Value::String(text) if expected == "a number" && is_decimal(text) => {
                format!("write it without quotes: {text}")
            }
            Value::Bool(value) if expected.contains("string") => format!("write it in quotes: \"{value}\""),
            Value::String(text) if expected.contains("number") && text.parse::<i64>().is_ok() => {
                format!("write it without quotes: {text}")
            }
            Value::String(text) if expected.contains("true or false") && (text == "yes" || text == "no") => {
                format!("write {} instead", text == "yes")
            }
            Value::Mapping(_) if expected.contains("list") => {
                "begin each entry with `- `, even if there is only one".to_owned()
            }
            Value::Sequence(_) => "remove the `- ` or the brackets".to_owned(),
            Value::String(text) if expected.contains("list") => {
                format!("write a list, even for one entry: [{}]", clip(text))
            }
            _ if expected.contains("mapping") => "write fields (`name: value`) here".to_owned(),
            _ => format!("write {expected} here"),
        };
        self.error(format!("expected {expected}, found {}", self.found()), help);
    }

    /// What stands here, for messages.
    pub(crate) fn found(&self) -> String {
        match &self.node.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Integer(_, text) | Value::Float(_, text) => format!("the number {text}"),
            Value::String(text) => format!("the string {}", quoted(text)),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Tagged(tag) => format!("a value with the tag {}", clip(tag)),
        }
    }

    /// A string.
    pub(crate) fn string(&self) -> Option<&'a str> {
        if let Value::String(text) = &self.node.value {
            return Some(text);
        }
        self.wrong_type("a string");
        None
    }

    /// A string that is not empty and not longer than `max` bytes.
    pub(crate) fn text(&self, max: usize) -> Option<&'a str> {
        let text = self.string()?;
        if text.is_empty() {
            self.error("this must not be empty", "write a value, or remove the field");
            return None;
        }
        if text.len() > max {
            self.error(
                format!("this has {} characters, at most {max} are allowed", text.len()),
                "shorten it",
            );
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub(crate) fn bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self.node.value {
            return Some(value);
        }
        self.wrong_type("true or false");
        None
    }

    /// A whole number within limits.
    pub(crate) fn integer(&self, least: i64, most: i64) -> Option<i64> {
        let value = match &self.node.value {
            Value::Integer(value, _) => *value,
            Value::Float(value, _) if value.fract() == 0.0 && value.abs() < 9e15 => *value as i64,
            _ => {
                self.wrong_type("a whole number");
                return None;
            }
        };
        if (least..=most).contains(&value) {
            return Some(value);
        }
        self.error(format!("{value} is out of range"), format!("write a number from {least} to {most}"));
        None
    }

    /// A number, whole or not.
    pub(crate) fn number(&self) -> Option<f64> {
        match &self.node.value {
            Value::Integer(value, _) => Some(*value as f64),
            Value::Float(value, _) if value.is_finite() => Some(*value),
            Value::Float(..) => {
                self.error(format!("{} is out of range", self.found()), "write a finite number");
                None
            }
            _ => {
                self.wrong_type("a number");
                None
            }
        }
    }

    /// A port: 1 to 65535.
    pub(crate) fn port(&self) -> Option<NonZeroU16> {
        NonZeroU16::new(self.integer(1, 65535)? as u16)
    }

    /// An IP address.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        let text = self.string()?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.error(
                format!("{} is not an IP address", quoted(text)),
                "write an address such as 10.0.0.7 or fd00::7, without a port and without a name",
            );
        }
        parsed
    }

    /// One of a set of words.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.string()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names = words.iter().map(|(word, _)| *word);
        let mut help = format!("allowed are {}", suggest::list(names.clone()));
        if let Some(near) = suggest::nearest(text, names) {
            help = format!("did you mean `{near}`? {help}");
        }
        self.error(format!("{} is not allowed here", quoted(text)), help);
        None
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Vec<At<'a>> {
        let Value::Sequence(items) = &self.node.value else {
            self.wrong_type("a list");
            return Vec::new();
        };
        items.iter().enumerate().map(|(index, node)| self.item(index, node)).collect()
    }

    /// The items of a list that has an upper limit.
    pub(crate) fn items_up_to(&self, max: usize) -> Vec<At<'a>> {
        let mut items = self.items();
        if items.len() > max {
            self.error(
                format!("the list has {} entries, at most {max} are allowed", items.len()),
                "remove some, or spread them over several objects",
            );
            items.truncate(max);
        }
        items
    }
}

impl<'a> Fields<'a> {
    /// A string, if there.
    pub(crate) fn string(&self, name: &'static str) -> Option<&'a str> {
        self.get(name)?.string()
    }

    /// A boolean, if there.
    pub(crate) fn bool(&self, name: &'static str) -> Option<bool> {
        self.get(name)?.bool()
    }

    /// The items of a list, none if absent.
    pub(crate) fn items(&self, name: &'static str) -> Vec<At<'a>> {
        self.get(name).map(|list| list.items()).unwrap_or_default()
    }

    /// The items of a list with an upper limit, none if absent.
    pub(crate) fn items_up_to(&self, name: &'static str, max: usize) -> Vec<At<'a>> {
        self.get(name).map(|list| list.items_up_to(max)).unwrap_or_default()
    }
}

/// What the items are lowered to, without those that cannot be. As many places as items: collecting what may be left out begins
/// with four, and a world of thousands of routes is made of lists of one or two.
pub(crate) fn lower_each<'a, T>(items: &[At<'a>], lower: impl FnMut(&At<'a>) -> Option<T>) -> Vec<T> {
    let mut lowered = Vec::with_capacity(items.len());
    lowered.extend(items.iter().filter_map(lower));
    lowered
}

/// Longest value that a message repeats, in characters.
const QUOTED_MAX: usize = 60;

/// A value in quotes, clipped.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", clip(text).escape_debug())
}

/// The number of `90%`.
fn percentage(text: &str) -> Option<&str> {
    text.strip_suffix('%').filter(|number| number.parse::<u32>().is_ok())
}

/// `12.5`, and not `inf` or `1e9`.
fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && text.parse::<f64>().is_ok()
}

fn clip(text: &str) -> String {
    if text.chars().nth(QUOTED_MAX).is_none() {
        return text.to_owned();
    }
    text.chars().take(QUOTED_MAX).chain("...".chars()).collect()
}
