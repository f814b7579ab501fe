//! What happens when: four weights, and one pod killed while the traffic is split in halves.
//!
//! Times count from the first request. The phases have equal lengths, so that `--duration` scales all of them.

use std::time::Duration;

/// The canary's weights in percent, one per phase.
pub(super) const WEIGHTS: [u32; 4] = [0, 10, 50, 100];

/// The phase in whose middle a pod is killed: the one in which both versions carry traffic in halves.
const KILL_IN_PHASE: usize = 2;

/// Something that the demo does to the running system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// The HTTPRoute is edited to this phase's weight.
    Enter {
        /// Index into [`WEIGHTS`].
        phase: usize,
    },
    /// One pod of the canary gets SIGKILL.
    Kill,
}

/// The acts of one run, in order of time.
#[derive(Debug, Clone)]
pub(super) struct Script {
    acts: Vec<(Duration, Act)>,
    done: usize,
}

impl Script {
    /// Spreads the acts over a run of this length.
    pub(super) fn over(length: Duration) -> Self {
        let phase_length = length / WEIGHTS.len() as u32;
        let mut acts: Vec<_> =
            (0..WEIGHTS.len()).map(|phase| (phase_length * phase as u32, Act::Enter { phase })).collect();
        let middle = phase_length * KILL_IN_PHASE as u32 + phase_length / 2;
        acts.insert(KILL_IN_PHASE + 1, (middle, Act::Kill));
        Self { acts, done: 0 }
    }

    /// The next act whose time has come, each once; ask again until there is none.
    pub(super) fn next_due(&mut self, elapsed: Duration) -> Option<Act> {
        let &(at, act) = self.acts.get(self.done)?;
        if at > elapsed {
            return None;
        }
        self.done += 1;
        Some(act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_comes_once_in_order_and_the_kill_in_the_middle_of_the_even_split() {
        let mut script = Script::over(Duration::from_secs(20));
        let mut seen = Vec::new();
        for tenth in 0..=200 {
            while let Some(act) = script.next_due(Duration::from_millis(tenth * 100)) {
                seen.push((tenth, act));
            }
        }
        let enter = |phase| Act::Enter { phase };
        let expected = [(0, enter(0)), (50, enter(1)), (100, enter(2)), (125, Act::Kill), (150, enter(3))];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_late_look_finds_every_missed_act_in_order() {
        let mut script = Script::over(Duration::from_secs(4));
        let mut count = 0;
        while script.next_due(Duration::from_secs(9)).is_some() {
            count += 1;
        }
        assert_eq!(count, 5);
    }
}
