//! What one block says about how much worse the canary is.
//!
//! Of a block's 8 requests the canary got n, and E of the 8 were bad. If a bad answer has ψ times the odds on the canary, how
//! many of the E are the canary's has Fisher's noncentral hypergeometric distribution: e of them with a probability
//! proportional to C(n, e) C(8 - n, E - e) ψ^e. Neither the rate of bad requests nor anything else of the traffic is in it.
//!
//! The factor of a block for ψ is that probability divided by the one for the minimum effect ψ₀. Its expectation is 1 if the
//! odds ratio is ψ₀ and at most 1 if it is less, as the factor grows with e and a smaller odds ratio makes e smaller.
//!
//! A simpler factor, in which each of the E bad requests is the canary's with a probability of nψ / (nψ + 8 - n) of its own, is
//! as fair (Hoeffding 1963, theorem 4: drawing with replacement spreads wider) and the same for E = 1. But what is common loses
//! by it: with every second request slower than the bound, and the canary at 10 % slower at twice the odds, it shrinks with
//! each block, and no canary would ever be found by its median.

use watershed_config::observation::{BLOCK, BlockKind};

/// Odds ratios that are bet on.
pub(super) const ODDS_RATIOS: [f64; 8] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];

/// Natural logarithms, one for each of [`ODDS_RATIOS`].
pub(super) type LnFactors = [f64; ODDS_RATIOS.len()];

/// Whether a block of this kind says anything: it has requests of both revisions, and good ones and bad ones.
///
/// This does not depend on which revision the bad ones are of, so that it may decide what is counted without making any
/// difference to chance.
pub(super) fn is_informative(kind: BlockKind) -> bool {
    let bad = kind.bad_canary + kind.bad_stable;
    (1..BLOCK as u8).contains(&kind.canary) && (1..BLOCK as u8).contains(&bad)
}

/// Logarithms of a block's factors. An odds ratio that is not above the minimum effect is not bet on: its factor is 1.
pub(super) fn ln_factors(kind: BlockKind, minimum_effect: f64) -> LnFactors {
    // Anything below 1 (or no number at all) would take a better canary for a worse one.
    let minimum_effect = minimum_effect.max(1.0);
    ODDS_RATIOS.map(|odds_ratio| {
        if odds_ratio > minimum_effect {
            ln_probability(kind, odds_ratio) - ln_probability(kind, minimum_effect)
        } else {
            0.0
        }
    })
}

/// Logarithm of the probability of the block given its numbers of the canary's requests and of bad ones, but for a constant
/// that does not depend on the odds ratio.
fn ln_probability(kind: BlockKind, odds_ratio: f64) -> f64 {
    let (canary, stable) = (kind.canary, BLOCK as u8 - kind.canary);
    let bad = kind.bad_canary + kind.bad_stable;
    let (least, most) = (bad.saturating_sub(stable), bad.min(canary));
    // Relative to the block itself, so that nothing is far from 1: at most 100^7.
    let others = (least..=most).map(|bad_canary| {
        let ways = choose(canary, bad_canary) * choose(stable, bad - bad_canary);
        ways * odds_ratio.powi(i32::from(bad_canary) - i32::from(kind.bad_canary))
    });
    -others.sum::<f64>().ln()
}

/// In how many ways some can be chosen of at most 8.
fn choose(of: u8, some: u8) -> f64 {
    (0..some).fold(1.0, |ways, n| ways * f64::from(of - n) / f64::from(n + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How probable each number of the canary's bad requests is, given how many requests it got and how many were bad.
    fn distribution(canary: u8, bad: u8, odds_ratio: f64) -> Vec<(BlockKind, f64)> {
        let stable = 8 - canary;
        let kinds = (bad.saturating_sub(stable)..=bad.min(canary)).map(|bad_canary| BlockKind {
            canary,
            bad_canary,
            bad_stable: bad - bad_canary,
        });
        let ways = |kind: BlockKind| choose(canary, kind.bad_canary) * choose(stable, kind.bad_stable);
        let weight = |kind: BlockKind| ways(kind) * odds_ratio.powi(i32::from(kind.bad_canary));
        let all: f64 = kinds.clone().map(weight).sum();
        kinds.map(|kind| (kind, weight(kind) / all)).collect()
    }

    fn check_expectations(check: impl Fn(f64, &str)) {
        let nulls = [1.0, 1.02, 1.1, 1.4, 2.5, 8.0];
        for (canary, bad) in (0..=8).flat_map(|canary| (0..=8).map(move |bad| (canary, bad))) {
            for (place, minimum_effect) in nulls.iter().enumerate() {
                for truth in &nulls[..=place] {
                    let mut expected = [0.0; ODDS_RATIOS.len()];
                    for (kind, probability) in distribution(canary, bad, *truth) {
                        let factors = ln_factors(kind, *minimum_effect);
                        for (sum, ln) in expected.iter_mut().zip(factors) {
                            *sum += probability * ln.exp();
                        }
                    }
                    for (expected, odds_ratio) in expected.iter().zip(ODDS_RATIOS) {
                        let case = format!(
                            "{canary} of 8, {bad} bad, odds {truth}, minimum {minimum_effect}, bet on {odds_ratio}"
                        );
                        check(*expected, &case);
                    }
                }
            }
        }
    }

    /// The heart of the matter: whatever the odds ratio is, as long as it is not above the minimum effect, nobody wins in the
    /// long run. All 165 kinds of blocks are enumerated.
    #[test]
    fn no_bet_on_a_block_is_expected_to_win_without_a_difference_above_the_minimum() {
        check_expectations(|expected, case| assert!(expected <= 1.0 + 1e-12, "{expected}: {case}"));
    }

    #[test]
    fn a_bet_is_exactly_fair_at_the_minimum_effect() {
        for (canary, bad) in (0..=8).flat_map(|canary| (0..=8).map(move |bad| (canary, bad))) {
            let mut expected = [0.0; ODDS_RATIOS.len()];
            for (kind, probability) in distribution(canary, bad, 1.1) {
                for (sum, ln) in expected.iter_mut().zip(ln_factors(kind, 1.1)) {
                    *sum += probability * ln.exp();
                }
            }
            assert!(
                expected.iter().all(|mean| (mean - 1.0).abs() < 1e-12),
                "{canary} of 8, {bad}: {expected:?}"
            );
        }
    }

    #[test]
    fn one_more_bad_request_of_the_canary_is_never_less_evidence() {
        for kind in BlockKind::all().filter(|kind| kind.bad_canary < kind.canary) {
            for minimum_effect in [1.0, 1.1, 4.0] {
                let more = BlockKind { bad_canary: kind.bad_canary + 1, ..kind };
                let (less, more) = (ln_factors(kind, minimum_effect), ln_factors(more, minimum_effect));
                assert!(less.iter().zip(more).all(|(less, more)| more >= less - 1e-12), "{kind:?}");
            }
        }
    }

    #[test]
    fn blocks_that_say_nothing_are_factors_of_one() {
        for kind in BlockKind::all() {
            let says_nothing = ln_factors(kind, 1.1).iter().all(|ln| ln.abs() < 1e-12);
            assert_eq!(says_nothing, !is_informative(kind), "{kind:?}");
        }
    }

    #[test]
    fn no_minimum_effect_makes_a_factor_that_is_no_number() {
        for minimum_effect in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, 1e300, 99.9] {
            for kind in BlockKind::all() {
                assert!(ln_factors(kind, minimum_effect).iter().all(|ln| ln.is_finite()), "{minimum_effect}");
            }
        }
    }
}
