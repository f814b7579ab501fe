//! Durations: those of the Gateway API (GEP-2257: `1h30m`, `500ms`, up to five digits for each of `h`, `m`, `s` and `ms`), and
//! those that Argo takes (Go's, or a number of seconds).

use std::time::Duration;

use crate::fields::{At, Fields, quoted};
use crate::yaml::Value;

/// The value as a duration.
pub(super) fn duration(at: &At<'_>) -> Option<Duration> {
    if let Value::Integer(number, _) = at.node.value {
        at.error(
            "a duration needs a unit",
            format!("write {number}s for seconds, {number}ms for milliseconds"),
        );
        return None;
    }
    let text = at.string()?;
    let parsed = parse(text);
    if parsed.is_none() {
        at.error(
            format!("{} is not a duration", quoted(text)),
            "write whole numbers with the units h, m, s and ms, for example 1m30s or 500ms",
        );
    }
    parsed
}

/// Longest wait that can be written, in hours; who writes more meant another unit.
const WAIT_HOURS_MAX: u32 = 365 * 24;

/// The value as a wait, as Argo takes it: `30s`, `1h30m`, `1.5h`, or seconds as a number or as digits. `otherwise` says what to
/// do instead of waiting for more than a year.
pub(super) fn wait(at: &At<'_>, otherwise: &str) -> Option<Duration> {
    let seconds = match &at.node.value {
        Value::Integer(seconds, _) => Some(*seconds as f64),
        Value::String(text) => go_seconds(text),
        Value::Float(_, text) => {
            let help = format!("write it with a unit: {text}s");
            at.error(format!("a duration without a unit is in whole seconds, not {text}"), help);
            return None;
        }
        _ => {
            at.wrong_type("a duration such as 30s");
            return None;
        }
    };
    let Some(seconds) = seconds else {
        at.error(
            format!("{} is not a duration", quoted(at.node.as_str().unwrap_or_default())),
            wait_help(at),
        );
        return None;
    };
    if seconds < 0.0 {
        at.error("a duration cannot be negative", "write it without the `-`");
        return None;
    }
    if seconds > f64::from(WAIT_HOURS_MAX) * 3600.0 {
        let help = format!("write at most {WAIT_HOURS_MAX}h, {otherwise}");
        at.error("the duration is longer than 365 days", help);
        return None;
    }
    Some(Duration::from_millis((seconds * 1000.0).round() as u64))
}

fn wait_help(at: &At<'_>) -> String {
    let days = at.node.as_str().and_then(|text| text.strip_suffix('d')?.parse::<u32>().ok());
    match days {
        Some(days) if days <= 365 => format!("days are no unit here: write {}h", days * 24),
        _ => "write numbers with the units h, m, s and ms, for example 30s or 1h30m".to_owned(),
    }
}

/// `-1h1.5m`, or digits alone for seconds. Units below the millisecond, which Go has, are no waits.
fn go_seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest.parse::<f64>().ok().map(|seconds| sign * seconds);
    }
    let mut total = 0.0;
    let mut parts = 0;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        total += number
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        parts += 1;
        rest = tail;
    }
    (parts > 0).then_some(sign * total)
}

/// A field that holds a whole number of seconds, if there.
pub(super) fn seconds(fields: &Fields<'_>, name: &'static str, least: i64) -> Option<Duration> {
    let seconds = fields.get(name)?.integer(least, i64::from(i32::MAX))?;
    Some(Duration::from_secs(seconds as u64))
}

/// `^([0-9]{1,5}(h|m|s|ms)){1,4}$`.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        if !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = number.parse().ok()?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        total += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        parts += 1;
        rest = tail;
    }
    (1..=4).contains(&parts).then_some(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{go_seconds, parse};

    #[test]
    fn waits_are_those_of_go_or_seconds() {
        for (text, seconds) in [
            ("30s", Some(30.0)),
            ("1h30m", Some(5400.0)),
            ("1.5h", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("90", Some(90.0)),
            ("-5", Some(-5.0)),
            ("-1m", Some(-60.0)),
            ("", None),
            ("-", None),
            ("s", None),
            (".", None),
            (".s", None),
            ("1.2.3s", None),
            ("1d", None),
            ("10us", None),
            ("1 s", None),
            ("1.5", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(go_seconds(text), seconds, "{text:?}");
        }
    }

    #[test]
    fn durations_follow_gep_2257() {
        for (text, millis) in [
            ("0s", Some(0)),
            ("10s", Some(10_000)),
            ("1h30m", Some(5_400_000)),
            ("1m1s1ms", Some(61_001)),
            ("99999h", Some(359_996_400_000)),
            ("100000s", None),
            ("1.5s", None),
            ("10", None),
            ("s", None),
            ("", None),
            ("1d", None),
            ("-1s", None),
            ("1s1s1s1s1s", None),
            ("1 s", None),
        ] {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }
}
