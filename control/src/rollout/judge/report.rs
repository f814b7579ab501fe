//! What people are shown of the judge.

use watershed_config::model::JudgeSpec;
use watershed_config::observation::DURATION_BOUNDS_US;

use super::{JudgeState, Metric, Requests, Verdict, limit, shown};
use crate::rollout::view::{JudgeMetricView, JudgeView};

/// Evidence above this is not written out: a broken canary reaches 10^100 within seconds.
const WRITTEN_MAX: f64 = 1_000_000.0;

impl JudgeState {
    /// For `get` and the API; `state` says what it compares, or why there is nothing to compare.
    ///
    /// The evidence of a metric is its part of the whole, so that they add up.
    pub fn view(&self, spec: &JudgeSpec, state: String) -> JudgeView {
        let metrics = Metric::ALL.into_iter().filter_map(|metric| {
            let (canary, stable) = self.of(metric).requests();
            Some(JudgeMetricView {
                name: self.name(metric)?,
                evidence: shown(self.ln_part(metric)),
                canary: canary.all,
                bad_canary: canary.bad,
                stable: stable.all,
                bad_stable: stable.bad,
            })
        });
        JudgeView {
            enabled: spec.enabled,
            state,
            evidence: self.evidence(),
            limit: limit(spec),
            metrics: metrics.collect(),
            excess_failed: self.excess(),
            max_failed_requests: spec.max_failed_requests,
        }
    }

    /// What speaks most against the canary, in a sentence with its numbers.
    pub fn why(&self, spec: &JudgeSpec, canary: &str, stable: &str) -> String {
        if let Verdict::BudgetSpent { excess, allowed } = self.verdict(spec) {
            return format!(
                "canary {canary} failed {excess:.1} requests more than at the rate of stable {stable}; {allowed} are allowed"
            );
        }
        let metric = self.leading();
        let (of_canary, of_stable) = self.of(metric).requests();
        let what = match (metric, self.bound(metric)) {
            (Metric::Slow(_), Some(bound)) => format!("was slower than {bound} on"),
            (Metric::Slow(_), None) => "was slow on".to_owned(),
            (Metric::Failed, _) => "failed".to_owned(),
        };
        format!(
            "canary {canary} {what} {} of {} requests it was compared on ({}), stable {stable} {} of {} ({}); \
             evidence {} of {} needed",
            of_canary.bad,
            of_canary.all,
            percent(of_canary),
            of_stable.bad,
            of_stable.all,
            percent(of_stable),
            written(self.evidence()),
            written(limit(spec)),
        )
    }

    /// What a metric is called; `None` for a latency bound that there is not.
    fn name(&self, metric: Metric) -> Option<String> {
        match metric {
            Metric::Failed => Some("failed".to_owned()),
            Metric::Slow(_) => self.bound(metric).map(|bound| format!("slower than {bound}")),
        }
    }

    /// A latency bound with its unit: `250 µs`, `2.5 s`.
    fn bound(&self, metric: Metric) -> Option<String> {
        let Metric::Slow(slow) = metric else { return None };
        let us = *DURATION_BOUNDS_US.get(usize::from(self.bounds[slow]?))? as f64;
        Some(match us {
            ..1e3 => format!("{us} µs"),
            ..1e6 => format!("{} ms", us / 1e3),
            _ => format!("{} s", us / 1e6),
        })
    }
}

/// Two significant digits are enough: `0.14 %`, `3.5 %`, `35 %`.
fn percent(requests: Requests) -> String {
    let percent = 100.0 * requests.rate();
    let decimals = match percent {
        10.0.. => 0,
        1.0.. => 1,
        0.1.. => 2,
        _ => 3,
    };
    let digits = format!("{percent:.decimals$}");
    let short =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{short} %")
}

fn written(evidence: f64) -> String {
    match evidence {
        WRITTEN_MAX.. => "over 1000000".to_owned(),
        10.0.. => format!("{evidence:.0}"),
        _ => format!("{evidence:.1}"),
    }
}
