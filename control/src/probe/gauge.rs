//! When results become a verdict. Pure.

use watershed_config::model::Probe;

/// The verdict of one probe, and the results in a row that speak against it.
#[derive(Debug)]
pub(super) struct Gauge {
    /// `None` until the first result.
    ready: Option<bool>,
    reported: bool,
    contrary: u32,
}

impl Gauge {
    /// The first result decides, whatever the thresholds.
    pub(super) fn undecided() -> Self {
        Self { ready: None, reported: false, contrary: 0 }
    }

    /// Results have to overcome this by the thresholds.
    pub(super) fn decided(ready: bool) -> Self {
        Self { ready: Some(ready), reported: false, contrary: 0 }
    }

    /// Takes in a result; returns the verdict if it is the first one or another one.
    pub(super) fn record(&mut self, passed: bool, probe: &Probe) -> Option<bool> {
        let before = self.ready;
        let ready = *self.ready.get_or_insert(passed);
        if ready == passed {
            self.contrary = 0;
        } else {
            self.contrary += 1;
            let threshold = if passed { probe.success_threshold } else { probe.failure_threshold };
            if self.contrary >= threshold {
                self.ready = Some(passed);
                self.contrary = 0;
            }
        }
        let is_first = !std::mem::replace(&mut self.reported, true);
        self.ready.filter(|_| is_first || self.ready != before)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use watershed_config::model::ProbeAction;

    use super::*;

    /// Results, `+` or `-`, to what is reported after each: `r`eady, `u`nready, or nothing.
    fn check(mut gauge: Gauge, thresholds: (u32, u32), results: &str, expected: &str) {
        let port = std::num::NonZeroU16::MIN;
        let probe = Probe {
            action: ProbeAction::Tcp { host: None, port },
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            success_threshold: thresholds.0,
            failure_threshold: thresholds.1,
        };
        let report = |result| match gauge.record(result == '+', &probe) {
            Some(true) => 'r',
            Some(false) => 'u',
            None => '.',
        };
        assert_eq!(results.chars().map(report).collect::<String>(), expected, "{results}");
    }

    #[test]
    fn the_first_result_at_the_start_counts_without_thresholds() {
        check(Gauge::undecided(), (3, 3), "+--+---", "r.....u");
        check(Gauge::undecided(), (3, 3), "-++-+++", "u.....r");
    }

    #[test]
    fn a_new_pod_is_unready_until_it_has_passed_often_enough() {
        check(Gauge::decided(false), (1, 3), "+", "r");
        check(Gauge::decided(false), (2, 3), "-+-++", "u...r");
    }

    #[test]
    fn a_ready_pod_stays_ready_until_it_has_failed_often_enough() {
        check(Gauge::decided(true), (1, 3), "--+---+", "r....ur");
        check(Gauge::decided(true), (1, 1), "-", "u");
    }
}
