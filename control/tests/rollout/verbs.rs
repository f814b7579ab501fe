//! Every verb in every phase: what it does, or the words with which it is refused.

use std::fmt::Write as _;

use watershed_config::Spot;
use watershed_control::rollout::port::{Refused, Verb};
use watershed_control::rollout::view::{Phase, VerbRequest};

use crate::world::{World, canary, pause, rollout, weight};

const SITUATIONS: [&str; 7] =
    ["healthy", "stepping", "step pause", "paused", "file pause", "aborted", "undone"];

fn world(situation: &str) -> World {
    let steps = match situation {
        "stepping" => canary([weight(10.0), weight(50.0)]),
        _ => canary([weight(10.0), pause(None), weight(50.0), pause(None)]),
    };
    let mut world = World::new(rollout(None, steps), &[("1", 1)]);
    world.run_for(1);
    if situation == "healthy" {
        return world;
    }
    if situation == "stepping" {
        // Nobody acknowledges, so it stays in its first step.
        world.lag = u64::MAX / 2;
    }
    world.pods.insert("2", vec![true]);
    world.run_for(3);
    match situation {
        "paused" => drop(world.verb(Verb::Pause).unwrap()),
        "file pause" => world.spec.paused = Some(Spot { line: 7, column: 3, ..Spot::default() }),
        "aborted" => drop(world.verb(Verb::Abort).unwrap()),
        "undone" => drop(world.verb(Verb::Undo).unwrap()),
        _ => {}
    }
    world.run_for(1);
    world
}

/// What is said, or `! ` and what is refused.
fn ask(situation: &str, verb: Verb, full: bool) -> String {
    let request =
        VerbRequest { full, weight: (verb == Verb::SetWeight).then_some(25.0), ..VerbRequest::default() };
    match world(situation).verb_with(verb, request) {
        Ok(message) => message,
        Err(Refused::Refused(why)) => format!("! {why}"),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn every_verb_in_every_phase_does_what_it_says_or_says_why_not() {
    let expected = include_str!("verbs.txt");
    let mut said = String::new();
    for verb in Verb::ALL {
        for full in [false, true].into_iter().take(if verb == Verb::Promote { 2 } else { 1 }) {
            let flag = if full { " --full" } else { "" };
            for situation in SITUATIONS {
                let answer = ask(situation, verb, full);
                writeln!(said, "{}{flag} when {situation}: {answer}", verb.as_str()).unwrap();
            }
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rollout/verbs.txt"), &said).unwrap();
        return;
    }
    assert_eq!(said, expected);
}

#[test]
fn what_was_seen_before_a_decision_is_a_conflict_and_an_abort_is_not() {
    let mut world = world("step pause");
    let old = VerbRequest { journal_version: Some(world.state.version - 1), ..VerbRequest::default() };
    let refused = world.verb_with(Verb::Promote, old.clone());
    assert_eq!(refused, Err(Refused::Conflict { current: world.state.version }));
    let seen = VerbRequest { journal_version: Some(world.state.version), ..VerbRequest::default() };
    world.run_for(5);
    world.verb_with(Verb::Promote, seen).expect("evidence and time are no decisions");
    world.verb_with(Verb::Abort, old).unwrap();
    assert_eq!(world.state.phase, Phase::Aborted);
}

#[test]
fn an_undo_survives_other_edits_and_ends_when_another_revision_is_asked_for() {
    let mut world = world("healthy");
    world.pods.insert("2", vec![true]);
    world.spec.target_revision = Some("2".into());
    world.run_until("step pause", |world| world.state.phase == Phase::Paused);
    world.verb_with(Verb::Promote, VerbRequest { full: true, ..VerbRequest::default() }).unwrap();
    world.run_until("complete", |world| world.state.stable.as_deref() == Some("2"));
    world.verb(Verb::Undo).unwrap();
    assert_eq!(world.share_of("1"), 100.0);
    world.spec.strategy = canary([weight(20.0)]);
    world.run_for(30);
    assert_eq!((world.share_of("1"), world.state.phase), (100.0, Phase::Healthy));
    world.pods.insert("3", vec![true]);
    world.spec.target_revision = Some("3".into());
    world.run_until("3", |world| world.state.stable.as_deref() == Some("3"));
}

#[test]
fn set_weight_holds_until_it_is_resumed() {
    let mut world = world("step pause");
    world
        .verb_with(Verb::SetWeight, VerbRequest { weight: Some(33.3333), ..VerbRequest::default() })
        .unwrap();
    world.run_for(60);
    assert_eq!((world.share_of("2"), world.state.phase), (33.3333, Phase::Paused));
    world.verb(Verb::Resume).unwrap();
    assert_eq!(world.share_of("2"), 10.0);
}
