//! The rolling update: exchanges pods in rotation, a batch at a time.
//!
//! Of `base` stable pods: those in rotation never exceed base + maxSurge, and the ready ones never fall below base -
//! maxUnavailable. A batch admits and withdraws in one snapshot, so both bounds hold in every snapshot; the next one waits until
//! every worker has acknowledged it. Withdrawn pods stay warm until they go.

use std::collections::BTreeSet;

use watershed_config::model::{RollingUpdate, Strategy};

use super::Tick;
use crate::rollout::facts::PodFacts;
use crate::rollout::state::Rotation;

/// The counts from which a batch is made. Pure, so that its bounds can be tested by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pods {
    /// Stable pods at the beginning.
    pub(super) base: u32,
    /// Above it, in rotation.
    pub(super) surge: u32,
    /// Below it, ready.
    pub(super) unavailable: u32,
    /// New pods that are in rotation.
    pub(super) admitted: u32,
    /// Those of them that are available: ready for long enough.
    pub(super) available: u32,
    /// New pods that are ready and not in rotation.
    pub(super) waiting: u32,
    /// Old pods that are in rotation and ready.
    pub(super) old_ready: u32,
    /// Old pods that are in rotation and not ready.
    pub(super) old_unready: u32,
}

/// A batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    /// So many new pods come in.
    pub(super) admit: u32,
    /// So many old pods that are not ready go out.
    pub(super) withdraw_unready: u32,
    /// So many old pods that are ready go out.
    pub(super) withdraw_ready: u32,
}

/// The largest batch within the bounds.
pub(super) fn batch(pods: Pods) -> Batch {
    let (most, least) = (pods.base + pods.surge, pods.base.saturating_sub(pods.unavailable));
    // An old pod that is not ready serves nobody: it makes room first.
    let withdraw_unready = pods.old_unready;
    let available = pods.old_ready + pods.available;
    let withdraw_ready = available.saturating_sub(least).min(pods.old_ready);
    let in_rotation = pods.admitted + pods.old_ready - withdraw_ready;
    let admit = most.saturating_sub(in_rotation).min(pods.waiting);
    Batch { admit, withdraw_unready, withdraw_ready }
}

impl Tick<'_> {
    fn rolling(&self) -> Option<&RollingUpdate> {
        match &self.spec.strategy {
            Strategy::RollingUpdate(rolling) => Some(rolling),
            _ => None,
        }
    }

    pub(super) fn begin_roll(&mut self) {
        let base = self.pods_of_stable();
        let Some(run) = &mut self.state.run else { return };
        // After an edit it goes on with the pods that are in.
        run.rotation.get_or_insert_with(|| Rotation {
            base,
            admitted: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
        });
        let revision = run.revision.clone();
        self.wish_all(&revision);
    }

    /// Makes a batch; true when nobody of the old revision is left in rotation.
    pub(super) fn roll(&mut self) -> bool {
        if !self.is_everywhere() {
            return false;
        }
        let (Some(rolling), Some(run), now) = (self.rolling(), self.state.active(), self.now) else {
            return false;
        };
        let Some(rotation) = &run.rotation else { return false };
        let pods_of = |revision: &str| -> Vec<&PodFacts> {
            let facts = self.facts.revision(revision);
            facts.map_or_else(Vec::new, |facts| facts.pods.iter().filter(|pod| !pod.terminating).collect())
        };
        let (new, old) = (pods_of(&run.revision), pods_of(&run.from));
        let min_ready = rolling.min_ready.as_millis() as u64;
        let is_in = |pod: &&&PodFacts| rotation.admitted.contains(&*pod.uid);
        let is_available =
            |pod: &&&PodFacts| pod.ready_since.is_some_and(|since| now >= since.saturating_add(min_ready));
        let waiting: Vec<&&PodFacts> =
            new.iter().filter(|pod| !is_in(pod) && pod.ready_since.is_some()).collect();
        let in_old: Vec<&&PodFacts> =
            old.iter().filter(|pod| !rotation.withdrawn.contains(&*pod.uid)).collect();
        let (old_ready, old_unready): (Vec<&PodFacts>, Vec<&PodFacts>) =
            in_old.into_iter().copied().partition(|pod| pod.ready_since.is_some());
        let pods = Pods {
            base: rotation.base,
            surge: rolling.max_surge.of_rounded_up(rotation.base),
            unavailable: rolling.max_unavailable.of_rounded_down(rotation.base),
            admitted: new.iter().filter(is_in).count() as u32,
            available: new.iter().filter(|pod| is_in(pod) && is_available(pod)).count() as u32,
            waiting: waiting.len() as u32,
            old_ready: old_ready.len() as u32,
            old_unready: old_unready.len() as u32,
        };
        if pods.old_ready + pods.old_unready == 0 {
            return pods.available > 0;
        }
        let batch = batch(pods);
        let admit: Vec<String> =
            waiting.iter().take(batch.admit as usize).map(|pod| pod.uid.to_string()).collect();
        let ready_out = old_ready.iter().take(batch.withdraw_ready as usize);
        let withdraw: Vec<String> = old_unready
            .iter()
            .take(batch.withdraw_unready as usize)
            .chain(ready_out)
            .map(|pod| pod.uid.to_string())
            .collect();
        self.waiting = format!(
            "{} of {} pods in rotation are of {}",
            pods.admitted,
            pods.admitted + pods.old_ready + pods.old_unready,
            run.revision
        );
        self.exchange(&admit, &withdraw, &new, &old);
        false
    }

    fn exchange(&mut self, admit: &[String], withdraw: &[String], new: &[&PodFacts], old: &[&PodFacts]) {
        let now = self.now;
        let Some(run) = &mut self.state.run else { return };
        let Some(rotation) = &mut run.rotation else { return };
        if admit.is_empty() && withdraw.is_empty() {
            return;
        }
        rotation.admitted.extend(admit.iter().cloned());
        rotation.withdrawn.extend(withdraw.iter().cloned());
        // Pods that are gone are not remembered.
        rotation.admitted.retain(|uid| new.iter().any(|pod| *pod.uid == **uid));
        rotation.withdrawn.retain(|uid| old.iter().any(|pod| *pod.uid == **uid));
        run.progress_at = now;
        let message = format!(
            "{} pods of {} come in, {} of {} go out",
            admit.len(),
            run.revision,
            withdraw.len(),
            run.from
        );
        self.state.normal(now, "PodsExchanged", message);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Pods, batch};

    proptest! {
        #[test]
        fn a_batch_never_exceeds_the_surge_nor_takes_more_ready_pods_than_may_be_missing(
            base in 0u32..50, surge in 0u32..20, unavailable in 0u32..20,
            admitted in 0u32..50, waiting in 0u32..50, old_ready in 0u32..50, old_unready in 0u32..50,
            share in 0.0f64..=1.0,
        ) {
            let available = (f64::from(admitted) * share) as u32;
            let pods = Pods { base, surge, unavailable, admitted, available, waiting, old_ready, old_unready };
            let made = batch(pods);
            let before = admitted + old_ready + old_unready;
            let after = before + made.admit - made.withdraw_ready - made.withdraw_unready;
            prop_assert!(after <= (base + surge).max(before), "{pods:?}: {made:?}");
            let least = base.saturating_sub(unavailable).min(old_ready + available);
            prop_assert!(old_ready - made.withdraw_ready + available >= least, "{pods:?}: {made:?}");
        }

        /// With enough new pods and some room, it comes to its end.
        #[test]
        fn batches_come_to_an_end(base in 1u32..40, surge in 0u32..10, unavailable in 0u32..10) {
            prop_assume!(surge + unavailable > 0);
            let mut pods = Pods {
                base, surge, unavailable, admitted: 0, available: 0, waiting: base, old_ready: base, old_unready: 0,
            };
            for _ in 0..=2 * base {
                let made = batch(pods);
                pods.admitted += made.admit;
                pods.waiting -= made.admit;
                pods.available = pods.admitted;
                pods.old_ready -= made.withdraw_ready;
                pods.old_unready -= made.withdraw_unready;
            }
            prop_assert_eq!((pods.old_ready, pods.admitted), (0, base));
        }
    }
}
