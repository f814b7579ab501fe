//! What the load has seen so far: each exchange, and tallies per phase for the live view.
//!
//! Pure: times come in as arguments, counted from the first request.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::exchange::{Exchange, Failure, Fate};
use super::super::manifests::VERSIONS;
use super::super::script::WEIGHTS;

/// The longest latency told apart: a minute, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What happened in one phase, or between two.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Good answers per version.
    pub(crate) answered: [u64; VERSIONS.len()],
    /// Requests that a version's own pods failed, per version.
    pub(crate) failed_by: [u64; VERSIONS.len()],
    /// Requests without a complete answer of a pod.
    pub(crate) failed: u64,
    /// Microseconds from the moment at which the schedule wanted the request sent to its complete answer.
    pub(crate) latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let latency =
            Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("the bounds are constant and valid");
        Self { answered: [0; VERSIONS.len()], failed_by: [0; VERSIONS.len()], failed: 0, latency }
    }
}

impl Tally {
    /// Good answers of all versions.
    pub(crate) fn total(&self) -> u64 {
        self.answered.iter().sum()
    }

    /// Requests without a good answer, whoever failed them.
    pub(crate) fn bad(&self) -> u64 {
        self.failed + self.failed_by.iter().sum::<u64>()
    }

    /// This quantile (0 to 1) of the latency, or `None` if nothing was answered.
    pub(crate) fn latency_at(&self, quantile: f64) -> Option<Duration> {
        let some = !self.latency.is_empty();
        some.then(|| Duration::from_micros(self.latency.value_at_quantile(quantile)))
    }

    fn add(&mut self, outcome: &Result<Answer, Failure>, latency: Duration) {
        match outcome {
            Ok(answer) if answer.failed => self.failed_by[answer.version] += 1,
            Ok(answer) => self.answered[answer.version] += 1,
            Err(_) => self.failed += 1,
        }
        self.latency.saturating_record(latency.as_micros() as u64);
    }
}

/// A pod's complete answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Index of the version of the pod that made it.
    pub(crate) version: usize,
    /// The name of that pod.
    pub(crate) pod: String,
    /// Whether it says 500: the pod did not do what it was asked for.
    pub(crate) failed: bool,
}

/// In which phase a request was sent; `None` while an edit was on its way to the workers.
pub(crate) type Tag = Option<usize>;

/// The client's book.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    exchanges: Vec<Exchange>,
    pods: Vec<String>,
    /// The versions of these pods.
    versions: Vec<usize>,
    phase: Tag,
    phases: [Tally; WEIGHTS.len()],
    recent: Tally,
    whole: Tally,
    in_flight: u64,
    over: bool,
}

impl Progress {
    /// From now on requests belong to this phase, or to none.
    pub(crate) fn enter(&mut self, phase: Tag) {
        self.phase = phase;
    }

    /// Takes up the next request of the schedule and gives its number.
    pub(crate) fn offer(&mut self, now: Duration) -> usize {
        self.exchanges.push(Exchange { sent: now, ended: now, fate: Fate::Pending });
        self.in_flight += 1;
        self.exchanges.len() - 1
    }

    /// Notes that a request is being sent, and gives the phase that it belongs to.
    pub(crate) fn send(&mut self, number: usize, now: Duration) -> Tag {
        self.exchanges[number].sent = now;
        self.phase
    }

    /// Notes what came of a request that the schedule wanted sent at `due`.
    pub(crate) fn end(
        &mut self,
        number: usize,
        tag: Tag,
        due: Duration,
        now: Duration,
        outcome: Result<Answer, Failure>,
    ) {
        let latency = now.saturating_sub(due);
        self.in_flight -= 1;
        self.recent.add(&outcome, latency);
        self.whole.add(&outcome, latency);
        // A request that was still open when the weights were edited may have met either of them.
        if let Some(phase) = tag.filter(|_| tag == self.phase) {
            self.phases[phase].add(&outcome, latency);
        }
        let fate = match outcome {
            Ok(answer) if answer.failed => Fate::FailedBy { pod: self.pod_index(answer) },
            Ok(answer) => Fate::Answered { pod: self.pod_index(answer) },
            Err(failure) => Fate::Failed(Box::new(failure)),
        };
        let exchange = &mut self.exchanges[number];
        exchange.ended = now;
        exchange.fate = fate;
    }

    fn pod_index(&mut self, answer: Answer) -> u16 {
        let known = self.pods.iter().position(|pod| *pod == answer.pod);
        known.unwrap_or_else(|| {
            self.pods.push(answer.pod);
            self.versions.push(answer.version);
            self.pods.len() - 1
        }) as u16
    }

    /// Notes that no request will follow and none is open.
    pub(crate) fn finish(&mut self) {
        self.over = true;
    }

    /// Whether the load has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// The tally of one phase.
    pub(crate) fn phase(&self, phase: usize) -> &Tally {
        &self.phases[phase]
    }

    /// The tally of everything.
    pub(crate) fn whole(&self) -> &Tally {
        &self.whole
    }

    /// Requests that were answered or failed.
    pub(crate) fn ended(&self) -> u64 {
        self.whole.total() + self.whole.bad()
    }

    /// What happened since the last call of this.
    pub(crate) fn take_recent(&mut self) -> Tally {
        std::mem::take(&mut self.recent)
    }

    /// Requests that wait for a connection or an answer.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Every request so far, by number.
    pub(crate) fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// The version that has answered this request, well or not.
    pub(crate) fn version_of(&self, exchange: &Exchange) -> Option<usize> {
        match exchange.fate {
            Fate::Answered { pod } | Fate::FailedBy { pod } => Some(self.versions[usize::from(pod)]),
            Fate::Pending | Fate::Failed(_) => None,
        }
    }

    /// The pods that have answered; [`Fate::Answered`] holds indexes into it.
    pub(crate) fn pods(&self) -> &[String] {
        &self.pods
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn answer(version: usize, pod: &str) -> Answer {
        Answer { version, pod: pod.to_owned(), failed: false }
    }

    #[test]
    fn requests_belong_to_a_phase_if_they_were_sent_and_answered_in_it_and_to_none_around_an_edit() {
        let mut progress = Progress::default();
        progress.enter(Some(1));
        let first = progress.offer(MS);
        let tag = progress.send(first, MS);
        let open = progress.offer(MS);
        let still = progress.send(open, MS);
        progress.end(first, tag, MS, 3 * MS, Ok(answer(0, "a")));
        progress.enter(None);
        let second = progress.offer(MS);
        let none = progress.send(second, MS);
        progress.end(open, still, MS, 3 * MS, Ok(answer(1, "b")));
        progress.end(second, none, MS, 3 * MS, Ok(answer(1, "b")));
        assert_eq!(progress.phase(1).answered, [1, 0, 0]);
        assert_eq!(progress.whole().answered, [1, 2, 0]);
        assert_eq!(progress.phase(2).total(), 0);
        assert_eq!(progress.pods(), ["a", "b"]);
        assert_eq!(progress.in_flight(), 0);
    }

    #[test]
    fn latency_counts_from_when_the_schedule_wanted_it_so_that_a_stall_shows() {
        let mut progress = Progress::default();
        let number = progress.offer(MS);
        let tag = progress.send(number, 500 * MS);
        progress.end(number, tag, MS, 501 * MS, Ok(answer(0, "a")));
        let p50 = progress.whole().latency_at(0.5).unwrap();
        assert!(p50 >= 499 * MS && p50 <= 501 * MS, "{p50:?}");
        assert_eq!(progress.exchanges()[number].sent, 500 * MS);
    }

    #[test]
    fn what_a_version_failed_is_told_from_what_was_not_answered() {
        let mut progress = Progress::default();
        let by_version = Ok(Answer { failed: true, ..answer(2, "c") });
        for outcome in [Ok(answer(2, "c")), by_version, Err(Failure::TimedOut)] {
            let number = progress.offer(MS);
            progress.end(number, None, MS, MS, outcome);
        }
        let whole = progress.whole();
        assert_eq!((whole.answered, whole.failed_by, whole.failed), ([0, 0, 1], [0, 0, 1], 1));
        assert_eq!((whole.bad(), progress.ended()), (2, 3));
        assert_eq!(progress.exchanges()[1].fate, Fate::FailedBy { pod: 0 });
    }

    #[test]
    fn recent_starts_anew_each_time() {
        let mut progress = Progress::default();
        let number = progress.offer(MS);
        progress.end(number, None, MS, MS, Err(Failure::Broken));
        assert_eq!(progress.take_recent().failed, 1);
        assert_eq!(progress.take_recent().failed, 0);
        assert_eq!(progress.whole().failed, 1);
        assert_eq!(Tally::default().latency_at(0.5), None);
    }
}
