//! Medians and quartiles: what is left of a noisy machine when runs are repeated.

use serde_json::{Value, json};

/// A median with its quartiles.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Of any number of values, in any order; zero of none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = values.len().saturating_sub(1);
            let position = share * last as f64;
            let (below, above) = (position.floor() as usize, position.ceil() as usize);
            let value = |index: usize| values.get(index).copied().unwrap_or_default();
            value(below) + (value(above) - value(below)) * position.fract()
        };
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    /// `median [low to high]` with this many digits after the point.
    pub(crate) fn show(&self, digits: usize) -> String {
        format!("{:.digits$} [{:.digits$} to {:.digits$}]", self.median, self.low, self.high)
    }

    pub(crate) fn json(&self) -> Value {
        let round = |value: f64| (value * 1e4).round() / 1e4;
        json!({ "median": round(self.median), "q1": round(self.low), "q3": round(self.high) })
    }
}
