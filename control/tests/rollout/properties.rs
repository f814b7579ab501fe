//! What holds whatever happens: random specifications, pods, lags, operators and crashes.

use std::time::Duration;

use proptest::prelude::*;
use watershed_config::model::{self, Amount, BlueGreen, Preview, RollingUpdate, StepAction};
use watershed_control::rollout::port::Verb;
use watershed_control::rollout::view::{Phase, VerbRequest};

use crate::world::{World, canary, pause, rollout, weight};

#[derive(Debug, Clone)]
enum Happening {
    Ticks(u8),
    Pods(&'static str, Vec<bool>),
    Lag(u64),
    Verb(Verb, f64, bool),
    Target(Option<&'static str>),
    Strategy(model::Strategy),
    FilePause(bool),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<StepAction>> {
    let step = prop_oneof![
        3 => (0u32..=100).prop_map(|percent| weight(f64::from(percent))),
        2 => (0u64..20).prop_map(|seconds| pause(Some(seconds))),
        1 => Just(pause(None)),
    ];
    prop::collection::vec(step, 1..6)
}

/// Any of the three.
fn strategy() -> impl Strategy<Value = model::Strategy> {
    let seconds = |most: u64| (0..most).prop_map(Duration::from_secs);
    let blue_green = (any::<bool>(), prop::option::of(seconds(20)), seconds(40)).prop_map(
        |(auto_promotion, auto_promotion_after, scale_down_delay)| {
            model::Strategy::BlueGreen(BlueGreen {
                preview: Some(Preview::Header {
                    name: "x-preview".parse().unwrap(),
                    value: "1".parse().unwrap(),
                }),
                auto_promotion,
                auto_promotion_after,
                scale_down_delay,
                pre_promotion: None,
                post_promotion: None,
            })
        },
    );
    let rolling = (0u32..4, 0u32..4, seconds(5)).prop_map(|(surge, unavailable, min_ready)| {
        model::Strategy::RollingUpdate(RollingUpdate {
            max_surge: Amount::Count(surge),
            max_unavailable: Amount::Count(if surge == 0 { unavailable.max(1) } else { unavailable }),
            min_ready,
        })
    });
    prop_oneof![2 => steps().prop_map(canary), 1 => blue_green, 2 => rolling]
}

fn happening() -> impl Strategy<Value = Happening> {
    let revision = prop::sample::select(vec!["1", "2", "3"]);
    let verb = prop::sample::select(Verb::ALL.to_vec());
    prop_oneof![
        8 => (1u8..60).prop_map(Happening::Ticks),
        4 => (revision.clone(), prop::collection::vec(prop::bool::weighted(0.8), 0..4))
            .prop_map(|(revision, pods)| Happening::Pods(revision, pods)),
        1 => (0u64..3_000).prop_map(Happening::Lag),
        3 => (verb, 0.0f64..=100.0, any::<bool>()).prop_map(|(verb, weight, full)| Happening::Verb(verb, weight, full)),
        2 => prop::option::of(revision).prop_map(Happening::Target),
        1 => strategy().prop_map(Happening::Strategy),
        1 => any::<bool>().prop_map(Happening::FilePause),
        1 => Just(Happening::Crash),
    ]
}

fn apply(world: &mut World, happening: &Happening, crashes: bool) {
    match happening {
        Happening::Ticks(ticks) => {
            for _ in 0..*ticks {
                world.tick();
                check(world);
            }
        }
        Happening::Pods(revision, pods) => {
            world.pods.insert(revision, pods.clone());
            check(world);
        }
        Happening::Lag(lag) => world.lag = *lag,
        Happening::Verb(verb, weight, full) => {
            let request = VerbRequest {
                weight: (*verb == Verb::SetWeight).then_some(*weight),
                full: *full && *verb == Verb::Promote,
                ..VerbRequest::default()
            };
            world.verb_with(*verb, request).ok();
            check(world);
        }
        Happening::Target(target) => world.spec.target_revision = target.map(Into::into),
        Happening::Strategy(strategy) => world.spec.strategy = strategy.clone(),
        Happening::FilePause(paused) => world.spec.paused = paused.then(Default::default),
        Happening::Crash if crashes => {
            world.crash();
            check(world);
        }
        Happening::Crash => {}
    }
}

/// The invariants of one moment.
fn check(world: &World) {
    let shares = world.shares();
    if world.plan().is_none() {
        return;
    }
    // I1.
    let sum: u32 = shares.iter().map(|(_, share)| share).sum();
    assert!(shares.is_empty() || sum == 1_000_000, "{shares:?}");
    // I2: with the pods of this very moment.
    for (revision, share) in &shares {
        let ready = world.pods.get(&**revision).is_some_and(|pods| pods.contains(&true));
        let stable = world.state.stable.as_deref() == Some(&**revision);
        assert!(*share == 0 || ready || stable, "{revision} has {share} and nobody is ready");
    }
    // I4, as a consequence: aborted is everything to stable, in the same breath.
    if world.state.phase == Phase::Aborted {
        assert_eq!(world.share_of(world.state.stable.as_deref().unwrap()), 100.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn invariants_hold_whatever_happens(
        first in strategy(), happenings in prop::collection::vec(happening(), 1..40),
    ) {
        let mut world = World::new(rollout(None, first), &[("1", 2)]);
        for happening in &happenings {
            apply(&mut world, happening, true);
        }
    }

    /// I7: a crash between any two decisions changes nothing, given the same facts.
    #[test]
    fn a_restart_at_any_point_decides_as_no_restart(
        first in strategy(), happenings in prop::collection::vec(happening(), 1..40),
    ) {
        let mut crashed = World::new(rollout(None, first.clone()), &[("1", 2)]);
        let mut whole = World::new(rollout(None, first), &[("1", 2)]);
        (crashed.lag, whole.lag) = (0, 0);
        // Between the decision and the journal, and (`Happening::Crash`) between the journal and the plan.
        crashed.forgetful = true;
        for happening in happenings.iter().filter(|happening| !matches!(happening, Happening::Lag(_))) {
            apply(&mut crashed, happening, true);
            apply(&mut whole, happening, false);
            let decided = |world: &World| {
                let run = world.state.run.clone();
                (world.state.stable.clone(), world.state.phase, run.map(|run| (run.revision, run.step, run.aborted)))
            };
            prop_assert_eq!(decided(&crashed), decided(&whole));
            prop_assert_eq!(crashed.shares(), whole.shares());
        }
    }

    /// Left alone with healthy pods, every canary whose pauses end comes to its end.
    #[test]
    fn every_canary_comes_to_its_end(first in steps(), lag in 0u64..3_000) {
        let endless = |step: &StepAction| matches!(step, StepAction::Pause(None));
        let steps: Vec<_> = first.into_iter().filter(|step| !endless(step)).collect();
        prop_assume!(!steps.is_empty());
        let mut world = World::new(rollout(Some("2"), canary(steps)), &[("1", 2), ("2", 2)]);
        world.lag = lag;
        world.run_until("complete", |world| world.state.stable.as_deref() == Some("2"));
    }

    /// I8: what came since the last decision is counted once.
    #[test]
    fn requests_are_counted_once(happenings in prop::collection::vec(happening(), 1..30)) {
        let mut world = World::new(rollout(None, canary([weight(30.0), pause(None)])), &[("1", 2), ("2", 1)]);
        for happening in &happenings {
            apply(&mut world, happening, false);
            if let Some(run) = world.state.active() {
                let all = |revision: &str| world.counts.get(revision).map_or(0, |counts| counts.requests);
                prop_assert!(run.tally.canary <= all(&run.revision) && run.tally.stable <= all(&run.from));
            }
        }
    }
}
