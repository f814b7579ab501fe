//! A rollout wishes for pods; here is who grants it, as far as pods may go. (More of them come by Deployments.)

use std::time::{Duration, Instant};

use watershed_control::rollout::view::RolloutView;

use super::super::manifests::VERSIONS;
use super::super::manifests::rollout::HELLO;
use super::super::proxy::Proxy;
use super::super::supervisor::Supervisor;

/// How often wishes are looked at where nothing else looks at the rollout.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Lets pods go that the rollout needs no more, after a while: until then the traffic can go back to them at once.
#[derive(Debug)]
pub(in super::super) struct Scaler {
    warm: Duration,
    unwanted_since: [Option<Instant>; VERSIONS.len()],
    followed: Option<Instant>,
}

impl Scaler {
    /// One that leaves pods for this long.
    pub(in super::super) fn new(warm: Duration) -> Self {
        Self { warm, unwanted_since: [None; VERSIONS.len()], followed: None }
    }

    /// How many pods each version is to have; `None` is as many as its Deployment says.
    ///
    /// A revision that has the traffic, or is getting it, keeps its pods whatever was wished for earlier.
    pub(super) fn orders(&mut self, view: &RolloutView, now: Instant) -> [Option<u32>; VERSIONS.len()] {
        for (since, version) in self.unwanted_since.iter_mut().zip(VERSIONS) {
            let revision = view.revisions.iter().find(|revision| revision.revision == version.label);
            let has_lost = match revision {
                Some(revision) => matches!(&*revision.role, "old" | "aborted") && revision.applied == 0.0,
                // One whose pods have gone is in no view any more; new pods of it would look like a new version.
                None => since.is_some(),
            };
            let unwanted = has_lost && view.wished_replicas.get(version.label) == Some(&0);
            *since = since.or(Some(now)).filter(|_| unwanted);
        }
        let is_over =
            |since: Option<Instant>| since.is_some_and(|since| now.duration_since(since) >= self.warm);
        self.unwanted_since.map(|since| is_over(since).then_some(0))
    }

    /// Looks at the rollout now and then, and has it done.
    pub(in super::super) async fn follow(&mut self, proxy: &Proxy, supervisor: &mut Supervisor) {
        if self.followed.is_some_and(|followed| followed.elapsed() < FOLLOW_EVERY) {
            return;
        }
        self.followed = Some(Instant::now());
        let Ok(view) = proxy.rollout(HELLO).await else { return };
        for (version, replicas) in self.orders(&view, Instant::now()).into_iter().enumerate() {
            supervisor.scale(version, replicas);
        }
    }
}

#[cfg(test)]
mod tests {
    use watershed_control::rollout::view::RevisionView;

    use super::*;

    const WARM: Duration = Duration::from_secs(30);

    fn view(roles: [&str; 2], wished: &[(&str, u32)]) -> RolloutView {
        let revision = |(version, role): (usize, &str)| RevisionView {
            revision: VERSIONS[version].label.into(),
            number: None,
            role: role.into(),
            desired: 0.0,
            applied: if role == "stable" { 100.0 } else { 0.0 },
            measured: None,
            clamped: false,
            requests: 0,
            failed: 0,
            in_flight: 0,
            pods: Vec::new(),
        };
        RolloutView {
            revisions: roles.into_iter().enumerate().map(revision).collect(),
            wished_replicas: wished.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            ..RolloutView::default()
        }
    }

    #[test]
    fn pods_that_nobody_wants_go_after_a_while_and_only_then() {
        let (mut scaler, now) = (Scaler::new(WARM), Instant::now());
        let view = view(["old", "stable"], &[("1.0.0", 0)]);
        assert_eq!(scaler.orders(&view, now), [None; 3]);
        assert_eq!(scaler.orders(&view, now + WARM / 2), [None; 3]);
        assert_eq!(scaler.orders(&view, now + WARM), [Some(0), None, None]);
    }

    #[test]
    fn whoever_has_the_traffic_or_gets_it_keeps_its_pods() {
        for role in ["stable", "canary", "preview", "active"] {
            let (mut scaler, now) = (Scaler::new(WARM), Instant::now());
            let view = view([role, "stable"], &[("1.0.0", 0)]);
            assert_eq!(scaler.orders(&view, now), [None; 3]);
            assert_eq!(scaler.orders(&view, now + WARM), [None; 3], "{role}");
        }
    }

    #[test]
    fn pods_that_have_gone_stay_away_until_their_version_is_wanted_again() {
        let (mut scaler, now) = (Scaler::new(WARM), Instant::now());
        scaler.orders(&view(["old", "stable"], &[("1.0.0", 0)]), now);
        let mut gone = view(["old", "stable"], &[("1.0.0", 0)]);
        gone.revisions.remove(0);
        assert_eq!(scaler.orders(&gone, now + WARM), [Some(0), None, None]);
        assert_eq!(scaler.orders(&gone, now + 2 * WARM), [Some(0), None, None]);
        let tried_again = view(["canary", "stable"], &[("1.0.0", 0)]);
        assert_eq!(scaler.orders(&tried_again, now + 2 * WARM), [None; 3]);
    }

    #[test]
    fn a_version_that_is_wanted_again_has_its_time_again() {
        let (mut scaler, now) = (Scaler::new(WARM), Instant::now());
        let (gone, back) =
            (view(["old", "stable"], &[("1.0.0", 0)]), view(["stable", "old"], &[("1.0.0", 0)]));
        scaler.orders(&gone, now);
        scaler.orders(&back, now + WARM / 2);
        assert_eq!(scaler.orders(&gone, now + WARM), [None; 3]);
    }
}
