//! `jsonPath`: which part of an answer is the result. The part of Kubernetes' `JSONPath` that names one value.

use crate::fields::{At, quoted};

/// Checks `{$.data.list[0]['a key']}`.
pub(super) fn check(at: &At<'_>, text: &str) {
    if segments(text).is_some() {
        return;
    }
    let bare = text.trim_matches(['{', '}', '$', '.']);
    let example = format!("{{$.{bare}}}");
    let help = match segments(&example) {
        Some(()) if !bare.is_empty() => format!("write {example}"),
        _ => "write names and indices in braces: {$.data.ok} or {$.data.items[0]['a key']}; \
              ranges, filters and `..` are not supported yet"
            .to_owned(),
    };
    at.error(format!("{} is not a path to one value", quoted(text)), help);
}

fn segments(text: &str) -> Option<()> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    rest = rest.strip_prefix('$').unwrap_or(rest);
    if !rest.is_empty() && !rest.starts_with(['.', '[']) {
        return None;
    }
    while !rest.is_empty() {
        rest = match rest.strip_prefix('.') {
            Some(tail) => name(tail)?,
            None => bracket(rest.strip_prefix('[')?)?,
        };
    }
    Some(())
}

fn name(tail: &str) -> Option<&str> {
    let end = tail.find(['.', '[']).unwrap_or(tail.len());
    let (name, rest) = tail.split_at(end);
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    (!name.is_empty() && name.chars().all(plain)).then_some(rest)
}

fn bracket(tail: &str) -> Option<&str> {
    if let Some(quoted) = tail.strip_prefix('\'') {
        let (name, rest) = quoted.split_once("']")?;
        return (!name.is_empty()).then_some(rest);
    }
    let (index, rest) = tail.split_once(']')?;
    index.parse::<u32>().ok().map(|_| rest)
}

#[cfg(test)]
mod tests {
    use super::segments;

    #[test]
    fn a_path_names_one_value() {
        for good in ["{$}", "{}", "{$.a}", "{.a.b-c}", "{$['a b'].c[0]}", "{$[12]}", " {$.a} "] {
            assert!(segments(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "$.a",
            "a",
            "{a}",
            "{$.}",
            "{$..a}",
            "{$.a[*]}",
            "{$[?(@.a)]}",
            "{$.a[}",
            "{$['']}",
            "{$.a b}",
        ] {
            assert!(segments(bad).is_none(), "{bad}");
        }
    }
}
