//! `judge`, and what is done about what went wrong.

use crate::fields::{At, Fields};
use crate::model::{JudgeSpec, Reaction};

/// What a judge does of whom nothing is said.
pub(super) fn default() -> JudgeSpec {
    JudgeSpec {
        enabled: true,
        false_alarm_rate: 0.01,
        minimum_effect: 1.1,
        on_failure: Reaction::Abort,
        max_failed_requests: None,
    }
}

pub(super) fn lower(at: &At<'_>) -> Option<JudgeSpec> {
    let fields = at.fields()?;
    let default = default();
    let spec = JudgeSpec {
        enabled: fields.bool("enabled").unwrap_or(default.enabled),
        false_alarm_rate: fields
            .get("falseAlarmRate")
            .and_then(|at| false_alarm_rate(&at))
            .unwrap_or(default.false_alarm_rate),
        minimum_effect: fields
            .get("minimumEffect")
            .and_then(|at| minimum_effect(&at))
            .unwrap_or(default.minimum_effect),
        on_failure: reaction(&fields, "onFailure"),
        max_failed_requests: fields
            .get("maxFailedRequests")
            .and_then(|at| at.integer(0, i64::from(i32::MAX)))
            .map(i64::unsigned_abs),
    };
    fields.finish();
    Some(spec)
}

/// A probability. Above a half the judge would rather toss a coin.
fn false_alarm_rate(at: &At<'_>) -> Option<f64> {
    let rate = at.number()?;
    if rate > 0.0 && rate <= 0.5 {
        return Some(rate);
    }
    let help = "write how probable a false alarm may be, above 0 and at most 0.5; 0.01 is one in a hundred";
    at.error(format!("{} is out of range", at.found()), help);
    None
}

/// An odds ratio: 1 is no difference, 1.1 ten per cent more failures.
fn minimum_effect(at: &At<'_>) -> Option<f64> {
    let effect = at.number()?;
    if effect >= 1.0 {
        return Some(effect);
    }
    let help = "write how many times as many failures are too many, 1 or more; 1.1 is ten per cent more";
    at.error(format!("{} is out of range", at.found()), help);
    None
}

/// What is done when something went wrong; an abort, unless said otherwise.
pub(super) fn reaction(fields: &Fields<'_>, name: &'static str) -> Reaction {
    let words = [("abort", Reaction::Abort), ("pause", Reaction::Pause), ("proceed", Reaction::Proceed)];
    fields.get(name).and_then(|at| at.one_of(&words)).unwrap_or(Reaction::Abort)
}
