//! What a value means: CEL conditions over `result`.

use std::collections::HashMap;

use cel::{Context, ExecutionError, Program, Value};
use serde_json::Value as Json;

use super::run::Measured;

/// Longest condition with its arguments, in bytes; the same as without. A sum of a thousand terms would overflow the stack.
const CONDITION_MAX: usize = 1024;

/// Longest text of a value that is kept, in characters.
const TEXT_MAX: usize = 200;

/// A value that was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reading {
    /// One for each series. Not JSON, in which NaN has no place.
    Numbers(Vec<f64>),
    /// What was answered.
    Json(Json),
}

/// Judges a value. A failure outweighs a success where both conditions hold; without conditions any value is a success.
pub(super) fn judge(reading: &Reading, success: Option<&str>, failure: Option<&str>) -> Measured {
    let text = reading.text();
    let result = reading.value();
    let holds = |condition: Option<&str>| condition.map(|condition| holds(condition, &result)).transpose();
    let (succeeds, fails) = match (holds(success), holds(failure)) {
        (Ok(succeeds), Ok(fails)) => (succeeds, fails),
        (Err(why), _) | (_, Err(why)) => {
            let nan = if reading.has_nan() { "; NaN compares with nothing" } else { "" };
            return Measured::Error(format!("{why}{nan}; the value was {text}"));
        }
    };
    match (succeeds, fails) {
        (_, Some(true)) | (Some(false), None) => Measured::Failure(text),
        (Some(true) | None, _) => Measured::Success(text),
        (Some(false), Some(false)) => Measured::Inconclusive(text),
    }
}

fn holds(condition: &str, result: &Value) -> Result<bool, String> {
    if condition.len() > CONDITION_MAX {
        return Err(format!("the condition has more than {CONDITION_MAX} bytes with its arguments"));
    }
    let program = Program::compile(condition).map_err(|errors| {
        let what = errors.errors.first().map_or("it cannot be read", |error| error.msg.as_str());
        format!("the condition `{condition}` is not CEL: {what}")
    })?;
    let mut context = Context::default();
    context.add_variable_from_value("result", result.clone());
    match program.execute(&context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(other) => {
            Err(format!("the condition `{condition}` is a {}, neither true nor false", other.type_of()))
        }
        Err(error) => Err(format!("the condition `{condition}` has no value: {}", explained(&error))),
    }
}

fn explained(error: &ExecutionError) -> String {
    match error {
        ExecutionError::IndexOutOfBounds(_) => {
            "there are fewer values than it asks for (guard with size(result) > 0)".to_owned()
        }
        other => other.to_string(),
    }
}

impl Reading {
    fn value(&self) -> Value {
        match self {
            Self::Numbers(numbers) => numbers.clone().into(),
            Self::Json(json) => value(json),
        }
    }

    fn has_nan(&self) -> bool {
        matches!(self, Self::Numbers(numbers) if numbers.iter().any(|number| number.is_nan()))
    }

    /// As people see it.
    fn text(&self) -> String {
        let whole = match self {
            Self::Numbers(numbers) => format!("{numbers:?}"),
            Self::Json(json) => json.to_string(),
        };
        if whole.chars().count() <= TEXT_MAX {
            return whole;
        }
        whole.chars().take(TEXT_MAX).chain(['…']).collect()
    }
}

/// JSON in CEL. All numbers are `double`, as CEL has it for JSON: otherwise `result.good / result.all` would be 0 for 99 of 100.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(holds) => (*holds).into(),
        Json::Number(number) => number.as_f64().unwrap_or(f64::NAN).into(),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::List(items.iter().map(value).collect::<Vec<_>>().into()),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), value(field)));
            fields.collect::<HashMap<_, _>>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(reading: &Reading, success: &str, failure: &str, wanted: &str) {
        let given = |condition| Some(condition).filter(|condition: &&str| !condition.is_empty());
        let said = match judge(reading, given(success), given(failure)) {
            Measured::Success(_) => "success",
            Measured::Failure(_) => "failure",
            Measured::Inconclusive(_) => "inconclusive",
            Measured::Error(_) => "error",
        };
        assert_eq!(said, wanted, "{reading:?}, success if {success}, failure if {failure}");
    }

    #[test]
    fn conditions_that_are_not_given_are_the_opposite_of_the_other() {
        let rate = Reading::Numbers(vec![0.97]);
        for (success, failure, wanted) in [
            ("", "", "success"),
            ("result[0] >= 0.95", "", "success"),
            ("result[0] >= 0.99", "", "failure"),
            ("", "result[0] < 0.95", "success"),
            ("", "result[0] < 0.99", "failure"),
            ("result[0] >= 0.99", "result[0] < 0.95", "inconclusive"),
            ("result[0] >= 0.95", "result[0] < 0.9", "success"),
            ("result[0] >= 0.99", "result[0] < 0.98", "failure"),
            ("result[0] >= 0.95", "result[0] < 0.98", "failure"),
        ] {
            check(&rate, success, failure, wanted);
        }
    }

    #[test]
    fn what_has_no_value_is_an_error_and_not_a_verdict() {
        let (none, nan) = (Reading::Numbers(Vec::new()), Reading::Numbers(vec![f64::NAN]));
        check(&none, "result[0] >= 0.95", "", "error");
        check(&none, "", "result[0] < 0.95", "error");
        check(&none, "size(result) == 0 || result[0] >= 0.95", "", "success");
        check(&nan, "result[0] >= 0.95", "", "error");
        check(&nan, "result[0] != result[0] || result[0] >= 0.95", "", "success");
        check(&nan, "result[0] + 1.0", "", "error");
        check(&nan, "result[0] >=", "", "error");
        let Measured::Error(why) = judge(&nan, Some("result[0] >= 0.95"), None) else { panic!("no error") };
        assert!(why.ends_with("; NaN compares with nothing; the value was [NaN]"), "{why}");
    }

    #[test]
    fn json_is_what_it_looks_like() {
        let answer = Reading::Json(json!({"ok": true, "good": 99, "all": 100, "tags": ["a"], "none": null}));
        check(&answer, "result.ok && result.good / result.all >= 0.99", "", "success");
        check(&answer, "result.good == 99 && 'a' in result.tags && result.none == null", "", "success");
        check(&answer, "has(result.bad)", "", "failure");
        check(&answer, "result.bad", "", "error");
        check(&Reading::Json(json!("up")), "result == 'up'", "", "success");
    }

    #[test]
    fn the_longest_and_the_deepest_condition_is_no_danger() {
        let one = Reading::Json(json!(1));
        // As many operators as there is room for, on a thread as small as any.
        let judged = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            check(&one, &format!("{}1 == 508", "1+".repeat(507)), "", "success");
            check(&one, &format!("{}1", "1==".repeat(340)), "", "failure");
            check(&one, &format!("{}true", "!".repeat(1_020)), "", "success");
            check(&one, &format!("{}true{}", "(".repeat(90), ")".repeat(90)), "", "success");
            check(&one, &format!("{}true{}", "(".repeat(500), ")".repeat(500)), "", "error");
            check(&one, &"!".repeat(2_000), "", "error");
        });
        judged.unwrap().join().unwrap();
    }

    #[test]
    fn long_values_are_cut() {
        let Measured::Success(text) = judge(&Reading::Json(json!("é".repeat(10_000))), None, None) else {
            panic!("any value is a success")
        };
        assert_eq!(text.chars().count(), TEXT_MAX + 1);
    }
}
