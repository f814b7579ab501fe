//! When a burst of events is over. Pure; time is an argument.

use std::time::{Duration, Instant};

use crate::wake::Span;

/// Events since the last time that they were acted upon.
#[derive(Debug)]
pub(super) struct Debounce {
    quiet: Duration,
    burst_max: Duration,
    burst: Option<Span>,
}

impl Debounce {
    pub(super) fn new(quiet: Duration, burst_max: Duration) -> Self {
        Self { quiet, burst_max, burst: None }
    }

    /// Something happened.
    pub(super) fn note(&mut self, now: Instant) {
        self.note_span(Span { first: now, last: now });
    }

    /// Things happened, of which word comes only now.
    pub(super) fn note_span(&mut self, heard: Span) {
        self.burst = Some(match self.burst {
            Some(burst) => Span { first: burst.first.min(heard.first), last: burst.last.max(heard.last) },
            None => heard,
        });
    }

    /// Something happened that waits for nothing.
    pub(super) fn hurry(&mut self, now: Instant) {
        let first = now.checked_sub(self.burst_max).unwrap_or(now);
        self.burst = Some(Span { first, last: now });
    }

    /// When to act.
    pub(super) fn due(&self) -> Option<Instant> {
        self.burst.map(|Span { first, last }| (last + self.quiet).min(first + self.burst_max))
    }

    /// Whether to act now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// It is being acted upon.
    pub(super) fn clear(&mut self) {
        self.burst = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When, in milliseconds, events at these times are acted upon.
    fn acts(events: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut debounce = Debounce::new(Duration::from_millis(20), Duration::from_millis(50));
        let mut acts = Vec::new();
        for now in 0..500 {
            if debounce.is_due(at(now)) {
                debounce.clear();
                acts.push(now);
            }
            if events.contains(&now) {
                debounce.note(at(now));
            }
        }
        acts
    }

    #[test]
    fn it_acts_after_quiet_or_when_a_burst_has_lasted_long_enough() {
        assert_eq!(acts(&[0]), [20]);
        assert_eq!(acts(&[0, 10, 15]), [35]);
        assert_eq!(acts(&[0, 100]), [20, 120]);
        let stream: Vec<u64> = (0..200).step_by(10).collect();
        assert_eq!(acts(&stream), [50, 100, 150, 200]);
    }

    #[test]
    fn what_happened_while_nobody_listened_has_waited_already() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut debounce = Debounce::new(Duration::from_millis(20), Duration::from_millis(50));
        debounce.note_span(Span { first: at(0), last: at(45) });
        assert_eq!(debounce.due(), Some(at(50)), "a step of 48 ms does not put it off");
        debounce.note(at(48));
        assert_eq!(debounce.due(), Some(at(50)));
        debounce.clear();
        debounce.note(at(60));
        assert_eq!(debounce.due(), Some(at(80)));
    }

    #[test]
    fn what_is_urgent_waits_for_nothing() {
        let now = Instant::now() + Duration::from_secs(1);
        let mut debounce = Debounce::new(Duration::from_millis(20), Duration::from_millis(50));
        debounce.note(now);
        debounce.hurry(now);
        assert!(debounce.is_due(now));
    }
}
