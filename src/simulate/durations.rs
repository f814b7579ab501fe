//! How long requests take: a log-normal distribution, drawn bucket by bucket.
//!
//! All that is ever asked of a duration is which bucket it falls into, so the buckets are drawn by their probabilities, and no
//! request needs a logarithm or a root.

use std::time::Duration;

use fastrand::Rng;
use watershed_config::observation::DURATION_BOUNDS_US;

/// Equally long parts of the range of a random number; each knows the first bucket that begins in it.
const PARTS: usize = 256;

/// Draws buckets of durations.
#[derive(Debug)]
pub(super) struct Durations {
    /// The probability that a request takes at most the bound.
    up_to: [f64; DURATION_BOUNDS_US.len()],
    first: [u8; PARTS],
}

impl Durations {
    /// With this median; `spread` is the standard deviation of the logarithm.
    pub(super) fn new(median: Duration, spread: f64) -> Self {
        let median = median.as_secs_f64().max(1e-9) * 1e6;
        // All alike is a distribution, too, but not one to divide by.
        let spread = spread.max(1e-6);
        let up_to = DURATION_BOUNDS_US.map(|bound| normal_up_to(((bound as f64) / median).ln() / spread));
        let first = std::array::from_fn(|part| {
            let least = part as f64 / PARTS as f64;
            up_to.iter().take_while(|up_to| **up_to <= least).count() as u8
        });
        Self { up_to, first }
    }

    /// The bucket of a request: an index into [`DURATION_BOUNDS_US`], or one more.
    pub(super) fn draw(&self, random: &mut Rng) -> usize {
        let number = random.f64();
        let mut bucket = usize::from(self.first[(number * PARTS as f64) as usize]);
        while self.up_to.get(bucket).is_some_and(|up_to| *up_to <= number) {
            bucket += 1;
        }
        bucket
    }
}

/// The probability that a standard normal variable is at most this.
fn normal_up_to(x: f64) -> f64 {
    0.5 * complement_of_error_function(-x / std::f64::consts::SQRT_2)
}

/// erfc, to 1.2e-7 of its value (Press et al., Numerical Recipes, 6.2): far finer than anything that could be seen here.
fn complement_of_error_function(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let sum = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| sum * t + coefficient);
    let tail = t * (-x * x + sum).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fastrand::Rng;

    use super::{Durations, normal_up_to};

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        for (x, expected) in
            [(0.0, 0.5), (1.0, 0.841_345), (-1.0, 0.158_655), (2.326, 0.989_991), (-8.0, 0.0)]
        {
            assert!((normal_up_to(x) - expected).abs() < 1e-5, "{x}: {}", normal_up_to(x));
        }
    }

    #[test]
    fn half_of_the_requests_are_faster_than_the_median_and_none_differ_without_spread() {
        let (mut random, durations) = (Rng::with_seed(1), Durations::new(Duration::from_millis(25), 0.5));
        // 25 ms is the upper bound of bucket 9; 50 ms, that of bucket 10, is ln 2 / 0.5 = 1.386 deviations above it: 91.7 %.
        let drawn: Vec<usize> = (0..10_000).map(|_| durations.draw(&mut random)).collect();
        let up_to = |bucket: usize| drawn.iter().filter(|drawn| **drawn <= bucket).count();
        // Five standard deviations of 10,000 draws at one half are 250.
        assert!(
            up_to(9).abs_diff(5_000) < 250 && up_to(10).abs_diff(9_172) < 140,
            "{} {}",
            up_to(9),
            up_to(10)
        );
        let alike = Durations::new(Duration::from_millis(20), 0.0);
        assert!((0..1_000).all(|_| alike.draw(&mut random) == 9));
        let endless = Durations::new(Duration::from_secs(1_000), 0.0);
        assert_eq!(endless.draw(&mut random), 20, "above the last bound");
    }
}
