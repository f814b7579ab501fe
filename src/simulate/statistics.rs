//! What can be said of a rate after so many trials, and of values that were seen.

/// The rate that is not exceeded with 95 % confidence (Clopper and Pearson 1934): at which so few events or fewer had a
/// probability of 5 %.
pub(crate) fn rate_at_most(events: u64, trials: u64) -> f64 {
    let (mut low, mut high) = (events as f64 / trials as f64, 1.0);
    for _ in 0..60 {
        let rate = f64::midpoint(low, high);
        if probability_of_at_most(events, trials, rate) > 0.05 { low = rate } else { high = rate }
    }
    high
}

/// Of the binomial distribution.
fn probability_of_at_most(events: u64, trials: u64, rate: f64) -> f64 {
    let (ln_rate, ln_rest) = (rate.ln(), (1.0 - rate).ln());
    let mut ln_term = trials as f64 * ln_rest;
    let mut sum = ln_term.exp();
    for event in 0..events.min(trials) {
        ln_term += ((trials - event) as f64 / (event + 1) as f64).ln() + ln_rate - ln_rest;
        sum += ln_term.exp();
    }
    sum
}

/// The quantile at this part of `all` values, of which some are missing because they are endless; `None` if it is one of those.
pub(crate) fn quantile(values: impl Iterator<Item = u64>, all: u64, part: f64) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get((all as f64 * part) as usize).copied()
}
