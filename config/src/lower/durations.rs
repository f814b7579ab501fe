//! Durations of the Gateway API (GEP-2257): `1h30m`, `500ms`, up to five digits for each of `h`, `m`, `s` and `ms`.

use std::time::Duration;

use crate::fields::{At, quoted};
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

    use super::parse;

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
