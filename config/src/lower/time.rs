//! Points in time as Kubernetes writes them (RFC 3339).

use std::time::UNIX_EPOCH;

use crate::fields::{At, quoted};
use crate::model::Timestamp;

/// The value as a point in time.
pub(super) fn timestamp(at: &At<'_>) -> Option<Timestamp> {
    let text = at.string()?;
    let parsed = parse(text);
    if parsed.is_none() {
        at.error(
            format!("{} is not a point in time", quoted(text)),
            "write it as 2026-01-31T12:00:00Z (RFC 3339), or leave it out",
        );
    }
    parsed
}

fn parse(text: &str) -> Option<Timestamp> {
    let (utc, offset) = match text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) {
        Some((date, offset)) if offset.starts_with(['+', '-']) => (format!("{date}Z"), seconds(offset)?),
        _ => (text.to_owned(), 0),
    };
    let since = humantime::parse_rfc3339(&utc).ok()?.duration_since(UNIX_EPOCH).ok()?;
    since.as_secs().checked_add_signed(-offset).map(Timestamp)
}

/// `+02:00` in seconds.
fn seconds(offset: &str) -> Option<i64> {
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let total = hours * 3600 + minutes * 60;
    (hours < 24 && minutes < 60).then_some(if offset.starts_with('-') { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::{Timestamp, parse};

    #[test]
    fn an_offset_is_taken_into_account() {
        for (text, wanted) in [
            ("1970-01-01T00:00:10Z", Some(10)),
            ("1970-01-01T02:00:10+02:00", Some(10)),
            ("1970-01-01T00:00:10.500Z", Some(10)),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01T00:00:10", None),
            ("1970-01-01", None),
            ("yesterday", None),
            ("\u{e9}\u{e9}\u{e9}\u{e9}", None),
        ] {
            assert_eq!(parse(text), wanted.map(Timestamp), "{text}");
        }
    }
}
