//! What is said about traffic: the same names as flags and, in lowerCamel, in a file.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::simulate::profile::{Answer, Behaviour, Conditions, Profile};
use crate::simulate::quantity::{Count, Percent, Rate, Spread, Time};

/// The longest that may be simulated: a rollout decides ten times a second.
const LIMIT_MAX: Duration = Duration::from_hours(30 * 24);

/// Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Requests per second, arriving at random [default: 100]
    #[arg(long, value_name = "N")]
    rps: Option<Rate>,
    /// Percentage of requests that fail at the stable revision [default: 0.1]
    #[arg(long, value_name = "PERCENT")]
    stable_errors: Option<Percent>,
    /// Percentage of requests that fail at the canary [default: as at the stable revision]
    #[arg(long, value_name = "PERCENT")]
    canary_errors: Option<Percent>,
    /// Median duration of a request at the stable revision [default: 20ms]
    #[arg(long, value_name = "TIME")]
    stable_latency: Option<Time>,
    /// Median duration of a request at the canary [default: as at the stable revision]
    #[arg(long, value_name = "TIME")]
    canary_latency: Option<Time>,
    /// How far durations are spread: standard deviation of their logarithm; with 0.5 one in ten takes twice the median
    /// [default: 0.5]
    #[arg(long, value_name = "N")]
    latency_spread: Option<Spread>,
    /// From when on the canary's values hold, since the rollout began; before, it behaves as the stable revision [default: 0s]
    #[arg(long, value_name = "TIME")]
    onset: Option<Time>,
    /// Pods of each revision, all ready [default: 3]
    #[arg(long, value_name = "N")]
    pods: Option<Count<1000>>,
    /// Worker threads of the proxy [default: 2]
    #[arg(long, value_name = "N")]
    workers: Option<Count<256>>,
    /// How many rollouts are simulated, twice: once more with a canary that is as good as the stable revision [default: 100]
    #[arg(long, value_name = "N")]
    seeds: Option<Count<1_000_000>>,
    /// Seed of the first; the others follow it [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A pause without an end is promoted after this [default: 0s]
    #[arg(long, value_name = "TIME")]
    promote_after: Option<Time>,
    /// What external analyses answer from the onset on; before, they pass [default: pass]
    #[arg(long, value_enum, value_name = "ANSWER", hide_possible_values = false)]
    analysis: Option<Answer>,
    /// Virtual time after which a rollout is given up, at most 30d [default: 24h]
    #[arg(long, value_name = "TIME")]
    limit: Option<Time>,
    /// In a file: what changes later, and stays so until it changes again
    #[arg(skip)]
    phases: Vec<Phase>,
}

/// What changes at some time; the rest stays as it is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Phase {
    at: Time,
    rps: Option<Rate>,
    stable_errors: Option<Percent>,
    canary_errors: Option<Percent>,
    stable_latency: Option<Time>,
    canary_latency: Option<Time>,
    latency_spread: Option<Spread>,
}

impl Settings {
    /// Reads a file's text.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        // A file with nothing in it, or with comments alone, says nothing.
        let read: Option<Self> = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        Ok(read.unwrap_or_default())
    }

    /// These, and where they say nothing, the others.
    pub(super) fn over(self, other: Self) -> Self {
        Self {
            rps: self.rps.or(other.rps),
            stable_errors: self.stable_errors.or(other.stable_errors),
            canary_errors: self.canary_errors.or(other.canary_errors),
            stable_latency: self.stable_latency.or(other.stable_latency),
            canary_latency: self.canary_latency.or(other.canary_latency),
            latency_spread: self.latency_spread.or(other.latency_spread),
            onset: self.onset.or(other.onset),
            pods: self.pods.or(other.pods),
            workers: self.workers.or(other.workers),
            seeds: self.seeds.or(other.seeds),
            seed: self.seed.or(other.seed),
            promote_after: self.promote_after.or(other.promote_after),
            analysis: self.analysis.or(other.analysis),
            limit: self.limit.or(other.limit),
            phases: if self.phases.is_empty() { other.phases } else { self.phases },
        }
    }

    /// With everything that was left out.
    pub(super) fn profile(mut self) -> Result<Profile, String> {
        let limit = self.limit.map_or(Duration::from_hours(24), |limit| limit.0);
        if limit > LIMIT_MAX {
            return Err("the limit is too far away: write at most 30d".to_owned());
        }
        let onset = self.onset.map_or(0, Time::ms);
        self.phases.sort_by_key(|phase| phase.at);
        Ok(Profile {
            pods: self.pods.map_or(3, |pods| pods.0),
            workers: self.workers.map_or(2, |workers| workers.0),
            seeds: self.seeds.map_or(100, |seeds| seeds.0),
            seed: self.seed.unwrap_or(1),
            promote_after: self.promote_after.map_or(0, Time::ms),
            limit: limit.as_millis() as u64,
            onset,
            analysis: self.analysis.unwrap_or_default(),
            conditions: self.conditions(onset),
        })
    }

    /// What holds when: from the beginning, from the onset, and from each phase on.
    fn conditions(self, onset: u64) -> Vec<Conditions> {
        let mut current = Phase {
            at: Time(Duration::ZERO),
            rps: self.rps,
            stable_errors: self.stable_errors,
            canary_errors: self.canary_errors,
            stable_latency: self.stable_latency,
            canary_latency: self.canary_latency,
            latency_spread: self.latency_spread,
        };
        let mut times: Vec<u64> = self.phases.iter().map(|phase| phase.at.ms()).chain([0, onset]).collect();
        times.sort_unstable();
        times.dedup();
        let mut phases = self.phases.into_iter().peekable();
        let mut conditions = Vec::with_capacity(times.len());
        for from in times {
            while let Some(phase) = phases.next_if(|phase| phase.at.ms() <= from) {
                current = phase.over(&current);
            }
            conditions.push(current.conditions(from, from >= onset));
        }
        conditions
    }
}

impl Phase {
    fn over(self, before: &Self) -> Self {
        Self {
            at: self.at,
            rps: self.rps.or(before.rps),
            stable_errors: self.stable_errors.or(before.stable_errors),
            canary_errors: self.canary_errors.or(before.canary_errors),
            stable_latency: self.stable_latency.or(before.stable_latency),
            canary_latency: self.canary_latency.or(before.canary_latency),
            latency_spread: self.latency_spread.or(before.latency_spread),
        }
    }

    fn conditions(&self, from: u64, different: bool) -> Conditions {
        let stable = Behaviour {
            errors: self.stable_errors.map_or(0.001, Percent::part),
            latency: self.stable_latency.map_or(Duration::from_millis(20), |latency| latency.0),
            spread: self.latency_spread.map_or(0.5, |spread| spread.0),
        };
        let canary = Behaviour {
            errors: self.canary_errors.map_or(stable.errors, Percent::part),
            latency: self.canary_latency.map_or(stable.latency, |latency| latency.0),
            spread: stable.spread,
        };
        let rps = self.rps.map_or(100.0, |rps| rps.0);
        Conditions { from, rps, stable, canary: if different { canary } else { stable } }
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    fn wrong(text: &str) -> String {
        Settings::read(text).unwrap_err()
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_said_with_its_line_and_what_to_write() {
        for (text, expected) in [
            (
                "rps: 5\nstableError: 1\n",
                "unknown field `stableError`, expected one of `rps`, `stableErrors`",
            ),
            ("rps: 5\nstableErrors: 101\n", "101 is out of range: write a percentage from 0 to 100"),
            ("rps: 5\nstableErrors: 5%\n", "expected a percentage from 0 to 100, without its sign"),
            ("rps: 5\nonset: 10\n", "expected a time with its unit, as in `90s`"),
            ("rps: 5\nonset: soon\n", "`soon` is no time: write a time with its unit"),
            ("rps: 5\npods: 0\n", "0 is out of range: write a whole number from 1 on"),
            ("rps: 5\nanalysis: fails\n", "unknown variant `fails`, expected one of `pass`, `fail`"),
            ("rps: 5\nphases: [{rps: 3}]\n", "missing field `at`"),
            ("rps: 5\nphases: [{at: 1m, pods: 3}]\n", "unknown field `pods`, expected one of `at`, `rps`"),
        ] {
            let wrong = wrong(text);
            assert!(wrong.contains(expected) && wrong.contains("line 2"), "{text}{wrong}");
        }
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let flags = Settings::read("rps: 7").unwrap();
        let file = Settings::read("# all of it\nrps: 5\nstableErrors: 2\ncanaryErrors: 3\n").unwrap();
        let profile = flags.over(file).profile().unwrap();
        let [all] = profile.conditions.as_slice() else { panic!("{profile:?}") };
        assert_eq!((all.rps, all.stable.errors, all.canary.errors), (7.0, 0.02, 0.03));
        assert_eq!(Settings::read("# nothing\n").unwrap(), Settings::default());
    }

    #[test]
    fn a_canary_of_which_nothing_is_said_has_every_outage_of_the_stable_revision() {
        let text = "onset: 2m\ncanaryLatency: 90ms\nphases: [{at: 3m, rps: 0}, {at: 1m, stableErrors: 50}]\n";
        let profile = Settings::read(text).unwrap().profile().unwrap();
        let seen: Vec<(u64, f64, f64, f64, u128)> = profile
            .conditions
            .iter()
            .map(|now| {
                let latency = now.canary.latency.as_millis();
                (now.from / 1000, now.rps, now.stable.errors, now.canary.errors, latency)
            })
            .collect();
        assert_eq!(
            seen,
            [
                (0, 100.0, 0.001, 0.001, 20),
                (60, 100.0, 0.5, 0.5, 20),
                (120, 100.0, 0.5, 0.5, 90),
                (180, 0.0, 0.5, 0.5, 90)
            ]
        );
        assert_eq!(profile.different_from(), Some(120_000));
    }
}
