//! What a `ReplicaSet`'s controller and a kubelet would do next with the pods of one Deployment.
//!
//! A pod that has to go is first *withdrawn* (its file gets a deletionTimestamp, so the proxy sends it nothing new), then told to
//! end, and killed only if it does not. One that ended by itself is replaced, never restarted: the new one has another name.

use std::time::Duration;

/// How long a withdrawn pod is left alone, so that the proxy has read its file before the pod closes connections.
const WITHDRAWN_FOR: Duration = Duration::from_millis(500);

/// How long a pod may take to end; longer than it waits for its requests in flight.
const ENDING_FOR: Duration = Duration::from_secs(12);

/// How far one pod is in its life, and for how long it has been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Runs and is wanted.
    Serving,
    /// Its file says that it is terminating.
    Withdrawn(Duration),
    /// It was told to end.
    Ending(Duration),
    /// Its process is gone.
    Ended,
}

/// What to do with the pod at this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Mark its file as terminating.
    Withdraw(usize),
    /// Tell it to end.
    Terminate(usize),
    /// Kill it.
    Kill(usize),
    /// Remove its file.
    Forget(usize),
}

/// The steps to take now, and how many pods to start after them.
pub(super) fn plan(wanted: u32, pods: &[State]) -> (Vec<Step>, usize) {
    let mut steps = Vec::new();
    for (index, state) in pods.iter().enumerate() {
        match *state {
            State::Withdrawn(since) if since >= WITHDRAWN_FOR => steps.push(Step::Terminate(index)),
            State::Ending(since) if since >= ENDING_FOR => steps.push(Step::Kill(index)),
            State::Ended => steps.push(Step::Forget(index)),
            _ => {}
        }
    }
    let serving: Vec<usize> = (0..pods.len()).filter(|index| pods[*index] == State::Serving).collect();
    let wanted = wanted as usize;
    // The newest go first, as a `ReplicaSet` would choose among equals.
    steps.extend(serving.iter().skip(wanted).map(|index| Step::Withdraw(*index)));
    (steps, wanted.saturating_sub(serving.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Ended, Ending, Serving, Withdrawn};

    const LONG: Duration = Duration::from_mins(1);

    #[track_caller]
    fn check(wanted: u32, pods: &[State], steps: &[Step], start: usize) {
        assert_eq!(plan(wanted, pods), (steps.to_vec(), start), "{wanted} wanted of {pods:?}");
    }

    #[test]
    fn as_many_pods_serve_as_are_wanted() {
        check(2, &[], &[], 2);
        check(2, &[Serving, Serving], &[], 0);
        check(3, &[Serving, Withdrawn(Duration::ZERO)], &[], 2);
        check(0, &[], &[], 0);
    }

    #[test]
    fn a_pod_that_ended_is_forgotten_and_replaced() {
        check(2, &[Serving, Ended], &[Step::Forget(1)], 1);
    }

    #[test]
    fn surplus_pods_are_withdrawn_newest_first_before_anything_else_happens_to_them() {
        check(1, &[Serving, Serving, Serving], &[Step::Withdraw(1), Step::Withdraw(2)], 0);
        check(0, &[Ended, Serving], &[Step::Forget(0), Step::Withdraw(1)], 0);
    }

    #[test]
    fn a_withdrawn_pod_is_told_to_end_and_killed_only_if_it_does_not() {
        check(1, &[Serving, Withdrawn(Duration::from_millis(100))], &[], 0);
        check(1, &[Serving, Withdrawn(LONG)], &[Step::Terminate(1)], 0);
        check(1, &[Serving, Ending(Duration::from_secs(1))], &[], 0);
        check(1, &[Serving, Ending(LONG)], &[Step::Kill(1)], 0);
    }
}
