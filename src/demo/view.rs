//! The live view: in place on a terminal, one line a second into a pipe.
//!
//! What is shown is rendered by `block` (weights edited by hand) and `rollout`, which are pure and never exceed the width they are given: a line that
//! wraps would make the next redraw start in the wrong row. [`Screen`] does the writing.

mod block;
mod rollout;

use std::io;
use std::time::Duration;

use super::manifests::VERSIONS;
use super::script::WEIGHTS;
use crate::screen::Screen;
pub(super) use crate::screen::thousands;
pub(super) use block::{NARROW, cut};
pub(super) use rollout::RolloutFrame;

/// How often a terminal is redrawn: often enough to look alive, seldom enough to read.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// How often a pipe gets a line.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How far a phase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not begun.
    Ahead,
    /// Carrying traffic now.
    Now,
    /// Over.
    Done,
}

/// One phase, as shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PhaseRow {
    /// The canary's weight in percent.
    pub(super) weight: u32,
    /// How far it is.
    pub(super) stage: Stage,
    /// Good answers per version.
    pub(super) answered: [u64; VERSIONS.len()],
}

impl PhaseRow {
    /// Good answers of all versions.
    pub(super) fn total(&self) -> u64 {
        self.answered.iter().sum()
    }

    /// The canary's observed share in percent, or `None` before the first answer.
    pub(super) fn share(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.answered[super::manifests::CANARY] as f64 * 100.0 / total as f64)
    }

    /// By how many requests the canary got more (or fewer) than its exact share.
    pub(super) fn off_by(&self) -> f64 {
        self.answered[super::manifests::CANARY] as f64 - self.total() as f64 * f64::from(self.weight) / 100.0
    }
}

/// Everything that the view shows of edited weights at one moment.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// What the clients see.
    pub(super) numbers: Numbers,
    /// How long the load lasts.
    pub(super) length: Duration,
    /// The phases.
    pub(super) phases: [PhaseRow; WEIGHTS.len()],
}

/// What the clients see at one moment.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    /// Time since the load began.
    pub(super) elapsed: Duration,
    /// Requests answered in the last second.
    pub(super) rate: u64,
    /// All requests answered.
    pub(super) requests: u64,
    /// Median latency of the last second.
    pub(super) p50: Option<Duration>,
    /// 99th percentile of the last second.
    pub(super) p99: Option<Duration>,
    /// Requests without a good answer so far.
    pub(super) errors: u64,
    /// Requests waiting for an answer now.
    pub(super) in_flight: u64,
}

/// How often to show a frame.
pub(super) fn every(screen: &Screen) -> Duration {
    if screen.is_terminal() { REDRAW_EVERY } else { LINE_EVERY }
}

/// Shows a frame of a rollout in the place of the one before.
pub(super) fn show_rollout(screen: &mut Screen, frame: &RolloutFrame<'_>) -> io::Result<()> {
    let lines =
        if screen.is_terminal() { rollout::block(frame, screen.style()) } else { vec![rollout::line(frame)] };
    screen.draw(&lines)
}

/// Shows a frame in the place of the one before.
pub(super) fn show(screen: &mut Screen, frame: &Frame) -> io::Result<()> {
    let lines =
        if screen.is_terminal() { block::block(frame, screen.style()) } else { vec![block::line(frame)] };
    screen.draw(&lines)
}

/// A latency in milliseconds, with two decimals below ten.
pub(super) fn millis(latency: Option<Duration>) -> String {
    match latency.map(|latency| latency.as_secs_f64() * 1000.0) {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn latencies_have_as_many_digits_as_mean_something() {
        assert_eq!(millis(None), "-");
        assert_eq!(millis(Some(Duration::from_micros(412))), "0.41 ms");
        assert_eq!(millis(Some(Duration::from_micros(61_700))), "62 ms");
    }

    #[test]
    fn a_share_is_off_by_whole_requests_from_its_target() {
        let row = PhaseRow { weight: 10, stage: Stage::Now, answered: [898, 102, 0] };
        assert_eq!(row.share(), Some(10.2));
        assert!((row.off_by() - 2.0).abs() < 1e-9);
        assert_eq!(PhaseRow { answered: [0; 3], ..row }.share(), None);
    }
}
