//! `{$.data.list[0]['a key']}`: one value of an answer. The part of Kubernetes' `JSONPath` that names one value; what else there is
//! was refused when the template was read, unless an argument brought it in.

use serde_json::Value as Json;

/// The value at the path, or why there is none.
pub(super) fn at<'j>(json: &'j Json, path: &str) -> Result<&'j Json, String> {
    let not_a_path = || format!("{path} is not a path to one value");
    let inner =
        path.trim().strip_prefix('{').and_then(|path| path.strip_suffix('}')).ok_or_else(not_a_path)?;
    let mut rest = inner.strip_prefix('$').unwrap_or(inner);
    let mut value = json;
    while !rest.is_empty() {
        let (step, tail) = step(rest).ok_or_else(not_a_path)?;
        let next = match step {
            Step::Name(name) => value.get(name),
            Step::Index(index) => value.get(index),
        };
        value = next.ok_or_else(|| format!("the answer has nothing at {path}"))?;
        rest = tail;
    }
    Ok(value)
}

enum Step<'p> {
    Name(&'p str),
    Index(usize),
}

fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(tail) = path.strip_prefix('.') {
        let (name, rest) = tail.split_at(tail.find(['.', '[']).unwrap_or(tail.len()));
        return (!name.is_empty()).then_some((Step::Name(name), rest));
    }
    let tail = path.strip_prefix('[')?;
    if let Some(quoted) = tail.strip_prefix('\'') {
        let (name, rest) = quoted.split_once("']")?;
        return Some((Step::Name(name), rest));
    }
    let (index, rest) = tail.split_once(']')?;
    Some((Step::Index(index.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_names_one_value() {
        let answer = json!({"a": {"b": [1, {"c d": true}], "e-f": null}, "0": "zero"});
        for (path, wanted) in [
            ("{$}", Some(answer.clone())),
            ("{}", Some(answer.clone())),
            ("{$.a.b[0]}", Some(json!(1))),
            (" {.a.b[1]['c d']} ", Some(json!(true))),
            ("{$['a'].e-f}", Some(json!(null))),
            ("{$.0}", Some(json!("zero"))),
            ("{$.a.b[2]}", None),
            ("{$.a.c}", None),
            ("{$.a.b.c}", None),
            ("{$.a[0]}", None),
            ("$.a", None),
            ("{$..a}", None),
            ("{$.a.b[*]}", None),
            ("{$.a.b[}", None),
            ("{a}", None),
        ] {
            assert_eq!(at(&answer, path).ok(), wanted.as_ref(), "{path}");
        }
    }
}
