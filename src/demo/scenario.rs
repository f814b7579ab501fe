//! Which story is told, and how fast.

use std::time::Duration;

use super::Options;
use super::manifests::VERSIONS;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// A Rollout in steps that is promoted, then one of a bad version that is aborted by the judge
    Canary,
    /// A Rollout that previews a version, moves everything to it at once, and goes back
    Bluegreen,
    /// A Rollout that exchanges pods one by one, is paused and resumed, loses a pod, and is undone
    Rolling,
    /// No Rollout: the weights of an HTTPRoute edited by hand, 0, 10, 50, 100 %, and a pod killed
    Split,
}

/// The share of requests that the bad version of the canary's story fails, where the rate is high enough.
const FAIL_CHANCE: f64 = 0.03;

/// At lower rates it fails more, so that as many fail per second: the judge goes by events, not by time.
const FAILS_PER_SECOND_AT_TEN_PERCENT: f64 = 3.0;

/// A version worse than this would be found without a judge.
const FAIL_CHANCE_MAX: f64 = 0.25;

/// Shorter steps would leave the judge too little to see: about nine failures at 10 %, and twice as many at 50 %.
const FIRST_PAUSE_MIN: Duration = Duration::from_secs(3);
const SECOND_PAUSE_MIN: Duration = Duration::from_millis(1500);

/// How long pods that lost the traffic stay at least, so that it can be moved back.
const WARM_MIN: Duration = Duration::from_secs(30);

impl Scenario {
    /// How versions are called in the summary.
    pub(super) fn names(self) -> Vec<String> {
        match self {
            Self::Split => VERSIONS[..2]
                .iter()
                .map(|version| format!("{} ({})", version.service, version.label))
                .collect(),
            Self::Canary => VERSIONS.iter().map(|version| version.label.to_owned()).collect(),
            Self::Bluegreen | Self::Rolling => {
                VERSIONS[..2].iter().map(|version| version.label.to_owned()).collect()
            }
        }
    }
}

/// The times of a story, all of which `--duration` scales.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// How long nothing happens: at the beginning, between two acts, at the end.
    pub(super) breath: Duration,
    /// How long a canary stays at 10 %.
    pub(super) first_pause: Duration,
    /// How long it stays at 50 %.
    pub(super) second_pause: Duration,
    /// How long an operator looks before going on, and how long a pod must have been ready.
    pub(super) look: Duration,
    /// How long pods that lost the traffic stay.
    pub(super) warm: Duration,
    /// How long to wait for anything that should happen by itself.
    pub(super) patience: Duration,
    /// The share of requests that the bad version fails.
    pub(super) fail_chance: f64,
}

impl Pace {
    /// That of a run.
    pub(super) fn of(options: &Options) -> Self {
        let length = options.duration;
        let at_ten_percent = f64::from(options.rate) / 10.0;
        let fail_chance =
            (FAILS_PER_SECOND_AT_TEN_PERCENT / at_ten_percent).clamp(FAIL_CHANCE, FAIL_CHANCE_MAX);
        Self {
            breath: length / 20,
            first_pause: (length / 4).max(FIRST_PAUSE_MIN),
            second_pause: (length / 10).max(SECOND_PAUSE_MIN),
            // Whole seconds, because manifests want them so.
            look: Duration::from_secs((length / 7).as_secs().max(1)),
            warm: length.max(WARM_MIN),
            patience: length + Duration::from_secs(20),
            // As it is written into the manifest.
            fail_chance: (fail_chance * 1000.0).round() / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(duration_s: u64, rate: u32) -> Pace {
        let duration = Duration::from_secs(duration_s);
        let scenario = Scenario::Canary;
        Pace::of(&Options { scenario, duration, rate, workers: None, dir: None, keep: false })
    }

    #[test]
    fn the_bad_version_fails_as_many_requests_a_second_at_any_rate() {
        for (rate, chance) in [(20_000, 0.03), (1000, 0.03), (300, 0.1), (120, 0.25), (10, 0.25)] {
            assert!((pace(20, rate).fail_chance - chance).abs() < 1e-9, "{rate}");
        }
    }

    #[test]
    fn short_runs_have_steps_that_are_long_enough_for_the_judge() {
        let Pace { first_pause, second_pause, .. } = pace(4, 1000);
        assert_eq!((first_pause, second_pause), (FIRST_PAUSE_MIN, SECOND_PAUSE_MIN));
    }

    #[test]
    fn two_rollouts_fit_into_the_duration() {
        let Pace { breath, first_pause, second_pause, .. } = pace(20, 1000);
        // The second one is aborted during its first pause.
        assert!(breath * 3 + first_pause * 2 + second_pause <= Duration::from_secs(20));
    }
}
