//! Canaries, blue-green and rolling updates from their beginning to their end.

use std::time::Duration;

use watershed_config::model::{Amount, BlueGreen, Preview, Reaction, RollingUpdate, Strategy};
use watershed_control::rollout::engine::Action;
use watershed_control::rollout::port::Verb;
use watershed_control::rollout::view::Phase;

use crate::world::{World, canary, pause, rollout, weight};

fn three_steps() -> World {
    let strategy = canary([weight(10.0), pause(Some(5)), weight(50.0), pause(Some(5))]);
    let mut world = World::new(rollout(None, strategy), &[("1", 3)]);
    world.run_for(1);
    world
}

#[test]
fn without_a_record_the_named_revision_is_stable_and_nothing_starts() {
    let world = three_steps();
    assert_eq!((world.state.stable.as_deref(), world.state.phase), (Some("1"), Phase::Healthy));
    assert_eq!(world.share_of("1"), 100.0);
}

#[test]
fn a_stable_revision_whose_pods_are_not_ready_yet_is_not_replaced_by_one_that_nobody_asked_for() {
    let mut world = World::new(rollout(Some("1"), canary([weight(10.0)])), &[("1", 1), ("2", 1)]);
    world.pods.insert("1", vec![false]);
    world.run_for(2);
    assert_eq!((world.state.stable.as_deref(), world.share_of("2")), (Some("1"), 0.0));
}

#[test]
fn a_newer_revision_with_ready_pods_starts_and_ends_as_the_stable_one() {
    let mut world = three_steps();
    world.pods.insert("2", vec![true; 3]);
    let mut shares = Vec::new();
    world.run_until("it is healthy again", |world| {
        let share = world.share_of("2");
        if shares.last() != Some(&share) {
            shares.push(share);
        }
        world.state.stable.as_deref() == Some("2")
    });
    assert_eq!(shares, [0.0, 10.0, 50.0, 100.0]);
    assert_eq!(world.state.phase, Phase::Healthy);
    world.run_for(60);
    assert!(world.actions.contains(&Action::Scale { revision: "1".to_owned(), replicas: 0 }));
}

#[test]
fn a_step_is_left_within_a_second_of_its_gate() {
    let mut world = three_steps();
    world.pods.insert("2", vec![true]);
    world.lag = 3_000;
    let took = world.run_until("the first step is done", |world| {
        world.state.run.as_ref().is_some_and(|run| run.step == 1)
    });
    assert!((3.0..4.0).contains(&took), "{took}");
}

#[test]
fn a_revision_whose_pods_are_not_ready_gets_nothing_and_its_share_stays_with_stable() {
    let mut world = three_steps();
    world.pods.insert("2", vec![true]);
    world.run_until("10 %", |world| world.share_of("2") == 10.0);
    world.pods.insert("2", vec![false]);
    assert_eq!((world.share_of("2"), world.share_of("1")), (0.0, 100.0));
    world.run_for(60);
    assert_eq!(world.state.stable.as_deref(), Some("1"));
    world.pods.insert("2", vec![true]);
    world.run_until("it goes on", |world| world.state.stable.as_deref() == Some("2"));
}

#[test]
fn without_ready_pods_the_deadline_aborts_and_it_does_not_start_again_by_itself() {
    let mut world = three_steps();
    world.spec.target_revision = Some("2".into());
    world.spec.progress_deadline = Duration::from_secs(20);
    let took = world.run_until("aborted", |world| world.state.phase == Phase::Aborted);
    assert!((20.0..21.0).contains(&took), "{took}");
    world.pods.insert("2", vec![true]);
    world.run_for(60);
    assert_eq!(world.state.phase, Phase::Aborted);
    world.verb(Verb::Retry).unwrap();
    world.run_until("complete", |world| world.state.stable.as_deref() == Some("2"));
}

#[test]
fn a_deadline_pauses_or_proceeds_where_the_rollout_says_so() {
    for (reaction, phase) in [(Reaction::Pause, Phase::Paused), (Reaction::Proceed, Phase::Progressing)] {
        let mut world = three_steps();
        world.spec.target_revision = Some("2".into());
        world.spec.progress_deadline = Duration::from_secs(20);
        world.spec.on_deadline = reaction;
        world.run_for(22);
        let step = world.state.run.as_ref().unwrap().step;
        assert_eq!(
            (world.state.phase, step > 0),
            (if step == 1 { Phase::Paused } else { phase }, reaction == Reaction::Proceed)
        );
    }
}

#[test]
fn an_edit_of_the_steps_begins_again_without_lowering_anybody() {
    let mut world = three_steps();
    world.pods.insert("2", vec![true]);
    world.run_until("50 %", |world| world.share_of("2") == 50.0);
    world.spec.strategy = canary([weight(5.0), pause(Some(2)), weight(60.0), pause(None)]);
    for _ in 0..100 {
        world.tick();
        assert!(world.share_of("2") >= 50.0);
    }
    assert_eq!(world.share_of("2"), 60.0);
}

#[test]
fn a_third_revision_supersedes_the_second() {
    let mut world = three_steps();
    world.pods.insert("2", vec![true]);
    world.run_until("10 %", |world| world.share_of("2") == 10.0);
    world.pods.insert("3", vec![true]);
    world.run_until("the third has a share", |world| {
        assert!(world.share_of("2") == 0.0 || world.share_of("3") == 0.0);
        world.share_of("3") == 10.0
    });
    world.run_until("the third is stable", |world| world.state.stable.as_deref() == Some("3"));
    let outcomes: Vec<_> = world.state.history.iter().map(|past| (&*past.revision, &*past.outcome)).collect();
    assert_eq!(outcomes, [("1", "stable"), ("2", "superseded"), ("3", "stable")]);
}

#[test]
fn the_target_edited_back_ends_the_run_at_once() {
    let mut world = three_steps();
    world.pods.insert("2", vec![true]);
    world.spec.target_revision = Some("2".into());
    world.run_until("50 %", |world| world.share_of("2") == 50.0);
    world.spec.target_revision = Some("1".into());
    world.tick();
    assert_eq!((world.share_of("2"), world.state.phase), (0.0, Phase::Healthy));
}

#[test]
fn two_equally_old_revisions_ask_for_a_name() {
    let mut spec = rollout(None, canary([weight(10.0)]));
    spec.stable_revision = None;
    // Not numbers, so they have no creation time here.
    let mut world = World::new(spec, &[("blue", 1), ("green", 1)]);
    world.run_for(2);
    assert_eq!(world.state.phase, Phase::Degraded);
    assert!(world.state.message.contains("spec.targetRevision"), "{}", world.state.message);
    world.spec.target_revision = Some("green".into());
    world.run_until("green", |world| world.state.stable.as_deref() == Some("green"));
}

fn blue_green() -> BlueGreen {
    BlueGreen {
        preview: Some(Preview::Header { name: "x-preview".parse().unwrap(), value: "1".parse().unwrap() }),
        auto_promotion: false,
        auto_promotion_after: None,
        scale_down_delay: Duration::from_secs(30),
        pre_promotion: None,
        post_promotion: None,
    }
}

#[test]
fn blue_green_previews_waits_switches_in_one_swap_and_switches_back() {
    let mut world = World::new(rollout(None, Strategy::BlueGreen(blue_green())), &[("1", 2)]);
    world.run_for(1);
    world.pods.insert("2", vec![true, true]);
    world.run_for(30);
    assert_eq!((world.share_of("2"), world.state.phase), (0.0, Phase::Paused));
    assert_eq!(world.plan().unwrap().routes.len(), 1);
    world.verb(Verb::Promote).unwrap();
    let mut shares = Vec::new();
    world.run_until("switched", |world| {
        shares.push(world.share_of("2"));
        world.state.stable.as_deref() == Some("2")
    });
    shares.dedup();
    assert_eq!(shares, [100.0]);
    assert!(world.plan().unwrap().routes.is_empty());
    world.verb(Verb::Undo).unwrap();
    assert_eq!((world.share_of("1"), world.share_of("2")), (100.0, 0.0));
}

#[test]
fn blue_green_promotes_itself_after_its_time() {
    let strategy = BlueGreen {
        auto_promotion: true,
        auto_promotion_after: Some(Duration::from_mins(1)),
        ..blue_green()
    };
    let mut world = World::new(rollout(None, Strategy::BlueGreen(strategy)), &[("1", 2)]);
    world.run_for(1);
    world.pods.insert("2", vec![true, true]);
    let took = world.run_until("switched", |world| world.share_of("2") == 100.0);
    assert!((60.0..62.0).contains(&took), "{took}");
}

fn rolling(surge: u32, unavailable: u32) -> World {
    let strategy = Strategy::RollingUpdate(RollingUpdate {
        max_surge: Amount::Count(surge),
        max_unavailable: Amount::Count(unavailable),
        min_ready: Duration::from_secs(1),
    });
    let mut world = World::new(rollout(None, strategy), &[("1", 10)]);
    world.run_for(1);
    world
}

#[test]
fn a_rolling_update_keeps_to_its_bounds_in_every_snapshot() {
    for (surge, unavailable) in [(3, 2), (0, 1), (1, 0), (10, 10)] {
        let mut world = rolling(surge, unavailable);
        world.pods.insert("2", vec![true; 10]);
        world.run_until("rolled", |world| {
            if let Some(plan) = world.plan().filter(|plan| plan.rotation.is_some()) {
                let mut endpoints = world.endpoints();
                plan.withdraw(&mut endpoints);
                let ready = endpoints
                    .iter()
                    .filter(|endpoint| endpoint.state == watershed_config::snapshot::EndpointState::Ready)
                    .count() as u32;
                assert!(ready <= 10 + surge && ready >= 10 - unavailable, "{ready} of {surge}/{unavailable}");
            }
            world.state.stable.as_deref() == Some("2")
        });
    }
}

#[test]
fn an_abort_in_the_middle_of_a_rolling_update_brings_the_old_pods_back_in_one_swap() {
    let mut world = rolling(2, 0);
    world.pods.insert("2", vec![true; 10]);
    world.run_until("half way", |world| world.share_of("2") >= 40.0);
    world.verb(Verb::Abort).unwrap();
    assert_eq!((world.share_of("1"), world.state.phase), (100.0, Phase::Aborted));
}

#[test]
fn pods_are_compared_by_their_speed_only_once_they_are_warm() {
    let mut world = World::new(rollout(None, canary([weight(10.0), pause(None)])), &[("1", 1)]);
    world.run_for(1);
    world.pods.insert("2", vec![true]);
    world.run_until("10 %", |world| world.share_of("2") == 10.0);
    let is_warm = |world: &World| world.state.run.as_ref().unwrap().warm;
    let took = world.run_until("warm", is_warm);
    assert!((9.0..11.0).contains(&took), "{took}");
    world.pods.insert("2", vec![true, true]);
    world.run_for(1);
    assert!(!is_warm(&world), "a new pod is cold");
    world.run_until("warm again", is_warm);
}
