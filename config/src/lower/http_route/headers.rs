//! Header names and values, and the header modifiers.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue};

use crate::fields::{At, quoted};
use crate::model::HeaderEdits;

const NAME_MAX: usize = 256;
const VALUE_MAX: usize = 4096;
const EDITS_MAX: usize = 16;

/// Headers that describe the connection or the framing of the body; changing them would corrupt the message, and a proxy sets
/// them itself (RFC 9110 section 7.6.1).
const NOT_EDITABLE: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The value as a header's name.
pub(in crate::lower) fn name(at: &At<'_>) -> Option<HeaderName> {
    let text = at.text(NAME_MAX)?;
    if let Ok(name) = HeaderName::try_from(text) {
        return Some(name);
    }
    let help = match text.strip_prefix(':') {
        Some(_) => "pseudo-headers cannot be named; use `path`, `method` or `hostnames`",
        None => "use letters, digits and `-`, without spaces and colons",
    };
    at.error(format!("{} is not a valid name", quoted(text)), help);
    None
}

/// The value as a header's value.
pub(in crate::lower) fn value(at: &At<'_>) -> Option<HeaderValue> {
    let text = at.text(VALUE_MAX)?;
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) && text.trim() == text;
    if let (true, Ok(value)) = (visible, HeaderValue::try_from(text)) {
        return Some(value);
    }
    at.error(
        format!("{} is not a valid header value", quoted(text)),
        "use printable ASCII characters, without spaces at the ends",
    );
    None
}

/// `{name, value}`.
pub(in crate::lower) fn pair(item: &At<'_>) -> Option<(HeaderName, HeaderValue)> {
    let fields = item.fields()?;
    let name = fields.require("name", "write the header's name").and_then(|at| name(&at));
    let value = fields.require("value", "write the header's value").and_then(|at| value(&at));
    fields.finish();
    Some((name?, value?))
}

/// A `RequestHeaderModifier` or `ResponseHeaderModifier`.
pub(super) fn edits(at: &At<'_>) -> Option<HeaderEdits> {
    let fields = at.fields()?;
    let mut seen = HashMap::new();
    let mut edits = HeaderEdits::default();
    for item in fields.items_up_to("set", EDITS_MAX) {
        edits.set.extend(pair(&item).filter(|(name, _)| allowed(&item, name, &mut seen)));
    }
    for item in fields.items_up_to("add", EDITS_MAX) {
        edits.add.extend(pair(&item).filter(|(name, _)| allowed(&item, name, &mut seen)));
    }
    for item in fields.items_up_to("remove", EDITS_MAX) {
        edits.remove.extend(name(&item).filter(|name| allowed(&item, name, &mut seen)));
    }
    fields.finish();
    Some(edits)
}

fn allowed(item: &At<'_>, name: &HeaderName, seen: &mut HashMap<HeaderName, u32>) -> bool {
    if NOT_EDITABLE.contains(&name.as_str()) {
        item.error(
            format!("the header {name} belongs to the connection and cannot be changed"),
            "remove it from the filter",
        );
    }
    if let Some(line) = seen.insert(name.clone(), item.spot.line) {
        item.error(
            format!("the header {name} is changed twice by this filter; first in line {line}"),
            "keep one of the two; write several values as one, with commas between them",
        );
        return false;
    }
    true
}
