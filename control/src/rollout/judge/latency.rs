//! Which latency bounds are compared.
//!
//! "Slower than the bound" is a bad request like any other, so that neither averages nor a distribution's shape come into it
//! and a single request of a minute counts once. Any bound is valid that was chosen before the requests it judges; useful is
//! one that some of stable's requests exceed, and not all. The bounds are the edges of histogram buckets that are nearest to
//! stable's 50th, 90th and 99th percentiles so far.
//!
//! Shares are compared by their odds, s / (1 - s): from 1 % to 3 % is as far as from 25 % to 50 %.

use watershed_config::observation::{DURATION_BOUNDS_US, DurationCounts, SLOW_BOUNDS};

/// Parts of the requests that should exceed the bounds.
const SHARES: [f64; SLOW_BOUNDS] = [0.5, 0.1, 0.01];

/// Fewer requests than this do not tell where the 99th percentile is.
const REQUESTS_MIN: u64 = 100;

/// Lower bounds are not compared, as an index into [`DURATION_BOUNDS_US`]: 5 ms. A pod with a small share of the requests has colder
/// caches and connections, which shows as fractions of a millisecond, and nobody who waits for an answer notices less. A least
/// absolute effect, beside `minimumEffect`, which is relative.
const BOUND_MIN: usize = 5;

/// A bound stays until the odds of exceeding it are off by more than this. Changing it costs the blocks in flight and a change
/// of the snapshot, and buckets are wide: the next better edge may be a factor of 2 away.
const ODDS_OFF_MAX: f64 = 3.0;

/// The bounds to compare by from now on, as indexes into [`DURATION_BOUNDS_US`], for the 50th, 90th and 99th percentile; no
/// two are the same. `None` where there is no bound of use: there are fewer than 100 requests (what was before then stays),
/// the nearest edge is taken already, or everything is slower than the last one.
pub fn slow_bounds(
    previous: [Option<u8>; SLOW_BOUNDS],
    stable: &DurationCounts,
) -> [Option<u8>; SLOW_BOUNDS] {
    let requests = stable.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    if requests < REQUESTS_MIN {
        return previous;
    }
    let edges = edges(stable, requests);
    let mut bounds = [None; SLOW_BOUNDS];
    for (slot, share) in SHARES.iter().enumerate() {
        let kept = previous[slot].and_then(|bound| edges.iter().find(|edge| edge.bound == bound));
        bounds[slot] = kept.filter(|edge| edge.odds_off(*share) <= ODDS_OFF_MAX).map(|edge| edge.bound);
    }
    // The rarest first: where all is in one bucket, the edge above it is nearest to all three, and that is what it shows.
    for slot in (0..SLOW_BOUNDS).rev().filter(|slot| bounds[*slot].is_none()).collect::<Vec<_>>() {
        let nearer = |a: &&Edge, b: &&Edge| a.odds_off(SHARES[slot]).total_cmp(&b.odds_off(SHARES[slot]));
        let nearest = edges.iter().min_by(nearer).map(|edge| edge.bound);
        bounds[slot] = nearest.filter(|bound| !bounds.contains(&Some(*bound)));
    }
    bounds
}

/// The edge of a bucket.
struct Edge {
    bound: u8,
    /// Odds that a request is slower.
    odds: f64,
}

impl Edge {
    /// How far its odds are from a share's, as a factor of at least 1.
    fn odds_off(&self, share: f64) -> f64 {
        let off = self.odds * (1.0 - share) / share;
        off.max(1.0 / off)
    }
}

/// The edges from [`BOUND_MIN`] on that some requests are not slower than, from the lowest.
fn edges(counts: &DurationCounts, requests: u64) -> Vec<Edge> {
    let mut faster = 0u64;
    let all = (0..DURATION_BOUNDS_US.len()).map(|bound| {
        faster = faster.saturating_add(counts[bound]);
        // Half a request more on either side: none in 100 is no more than a hint that it is rare.
        let odds = (requests.saturating_sub(faster) as f64 + 0.5) / (faster as f64 + 0.5);
        (faster, Edge { bound: bound as u8, odds })
    });
    all.skip(BOUND_MIN).filter(|(faster, _)| *faster > 0).map(|(_, edge)| edge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [Option<u8>; SLOW_BOUNDS] = [None; SLOW_BOUNDS];

    fn counts(of: &[(usize, u64)]) -> DurationCounts {
        let mut counts = DurationCounts::default();
        for (bucket, count) in of {
            counts[*bucket] = *count;
        }
        counts
    }

    /// 50 % up to 7.5 ms, 40 % up to 25 ms, 9 % up to 100 ms, 1 % above.
    fn usual(scale: u64) -> DurationCounts {
        counts(&[(6, 50 * scale), (9, 40 * scale), (12, 9 * scale), (14, scale)])
    }

    #[test]
    fn bounds_are_the_edges_nearest_to_the_percentiles() {
        assert_eq!(slow_bounds(NONE, &usual(2)), [Some(6), Some(9), Some(12)]);
        assert_eq!(slow_bounds(NONE, &usual(1_000_000)), [Some(6), Some(9), Some(12)]);
    }

    #[test]
    fn what_nobody_notices_is_not_compared() {
        assert_eq!(slow_bounds(NONE, &counts(&[(0, 500), (2, 490), (4, 10)])), [None, None, Some(5)]);
    }

    #[test]
    fn too_few_requests_have_no_bounds_and_change_none() {
        assert_eq!(slow_bounds(NONE, &counts(&[(3, 99)])), NONE);
        assert_eq!(slow_bounds([Some(1), None, Some(7)], &counts(&[(3, 99)])), [Some(1), None, Some(7)]);
    }

    #[test]
    fn what_is_all_in_one_bucket_is_compared_by_its_upper_edge_alone() {
        assert_eq!(slow_bounds(NONE, &counts(&[(7, 1_000)])), [None, None, Some(7)]);
    }

    #[test]
    fn what_is_all_slower_than_the_last_bound_is_not_compared() {
        assert_eq!(slow_bounds(NONE, &counts(&[(DURATION_BOUNDS_US.len(), 1_000)])), NONE);
        assert_eq!(slow_bounds([None, None, Some(3)], &counts(&[(DURATION_BOUNDS_US.len(), 1_000)])), NONE);
    }

    #[test]
    fn a_bound_stays_while_its_odds_are_within_a_factor_of_three() {
        let bounds = [None, None, Some(6)];
        let stays = |slow: u64| {
            slow_bounds(bounds, &counts(&[(6, 10_000 - slow), (8, slow - slow / 2), (10, slow / 2)]))[2]
                == Some(6)
        };
        assert!(stays(290) && stays(40), "2.9 % and 0.4 % are near enough to 1 %");
        // Then edge 8, which half of them exceed, is nearer.
        assert!(!stays(400), "4 % are not");
    }

    #[test]
    fn bounds_are_distinct_also_where_an_old_one_is_in_the_way() {
        // The 99th percentile's old bound has become the 90th's nearest edge.
        let now = counts(&[(6, 500), (9, 480), (12, 20)]);
        let bounds = slow_bounds([None, None, Some(9)], &now);
        assert_eq!(bounds[2], Some(9), "2 % are within a factor of three of 1 %");
        assert!(bounds[1] != Some(9) && bounds[0] == Some(6), "{bounds:?}");
    }
}
