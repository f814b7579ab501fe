use proptest::prelude::*;
use watershed_config::model::Reaction;
use watershed_config::observation::{BLOCK_KINDS, BlockKind, BlockTable};

use super::*;

fn spec() -> JudgeSpec {
    JudgeSpec {
        enabled: true,
        false_alarm_rate: 0.01,
        minimum_effect: 1.1,
        on_failure: Reaction::Abort,
        max_failed_requests: None,
    }
}

fn table(kinds: &[(u8, u8, u8, u64)]) -> BlockTable {
    let mut table = BlockTable::default();
    for (canary, bad_canary, bad_stable, blocks) in kinds {
        table.add(BlockKind { canary: *canary, bad_canary: *bad_canary, bad_stable: *bad_stable }, *blocks);
    }
    table
}

fn failed(kinds: &[(u8, u8, u8, u64)]) -> BlockCounts {
    BlockCounts { failed: table(kinds), ..BlockCounts::default() }
}

/// Some blocks of any kind, for all metrics.
fn some_blocks(most: u64) -> impl Strategy<Value = BlockCounts> {
    let kinds = || prop::collection::vec((0..BLOCK_KINDS, 0..=most), 0..6);
    let tables = [kinds(), kinds(), kinds(), kinds()];
    tables.prop_map(|tables| {
        let [failed, slow @ ..] = tables.map(|kinds| {
            let mut table = BlockTable::default();
            for (kind, blocks) in kinds {
                table.0[kind] = table.0[kind].saturating_add(blocks);
            }
            table
        });
        BlockCounts { failed, slow }
    })
}

proptest! {
    #[test]
    fn a_state_from_the_journal_goes_on_to_the_last_bit(
        before in prop::collection::vec(some_blocks(50), 0..20), after in prop::collection::vec(some_blocks(50), 0..20),
    ) {
        let mut state = JudgeState::default();
        for new in &before {
            state.observe(&spec(), new);
            state.count(Requests { all: 7, bad: 1 }, Requests { all: 70, bad: 3 });
        }
        let journal = serde_json::to_string(&state).unwrap();
        let mut restarted: JudgeState = serde_json::from_str(&journal).unwrap();
        prop_assert_eq!(&restarted, &state);
        for new in &after {
            state.observe(&spec(), new);
            restarted.observe(&spec(), new);
            prop_assert_eq!(restarted.verdict(&spec()), state.verdict(&spec()));
        }
        prop_assert_eq!(restarted, state);
    }

    #[test]
    fn no_counts_make_a_number_that_is_none(
        ticks in prop::collection::vec(some_blocks(u64::MAX), 1..8), minimum_effect in 1.0f64..200.0,
    ) {
        let spec = JudgeSpec { minimum_effect, ..spec() };
        let mut state = JudgeState::default();
        for new in &ticks {
            state.observe(&spec, new);
            state.count(Requests { all: u64::MAX, bad: u64::MAX }, Requests { all: u64::MAX, bad: 0 });
            prop_assert!(state.ln_evidence().is_finite() && state.evidence().is_finite());
            prop_assert!(state.excess().is_finite());
            let journal = serde_json::to_string(&state).unwrap();
            let numbers = journal.replace("\"bounds\":[null,null,null]", "");
            prop_assert!(!numbers.contains("null"), "{}", journal);
            prop_assert!(Metric::ALL.iter().all(|metric| state.ln_part(*metric).is_finite()));
            prop_assert_eq!(serde_json::from_str::<JudgeState>(&journal).unwrap(), state.clone());
        }
    }

    /// One more bad request of the canary in any block is never less evidence, in all and at any time.
    #[test]
    fn evidence_grows_with_the_bad_requests_of_the_canary(
        before in some_blocks(20), tick in some_blocks(20), after in some_blocks(20), kind in 0..BLOCK_KINDS,
    ) {
        let kind = BlockKind::all().nth(kind).unwrap();
        prop_assume!(kind.bad_canary < kind.canary);
        // Both ways the tick counts as one, so that the same is staked.
        let certain = BlockKind { canary: 1, bad_canary: 0, bad_stable: 1 };
        let evidence = |kind: BlockKind| {
            let mut tick = tick.clone();
            tick.failed.add(certain, 1);
            tick.failed.add(kind, 3);
            let mut state = JudgeState::default();
            for new in [&before, &tick, &after] {
                state.observe(&spec(), new);
            }
            (state.ln_evidence(), state.excess())
        };
        let (less, more) = (evidence(kind), evidence(BlockKind { bad_canary: kind.bad_canary + 1, ..kind }));
        prop_assert!(more.0 >= less.0 - 1e-9 && more.1 >= less.1 - 1e-9, "{:?} {:?}", less, more);
    }
}

#[test]
fn the_order_of_blocks_within_a_tick_does_not_matter_and_that_of_ticks_does() {
    // A table cannot even say it; what can be shown is that a tick is one stake and a product.
    let (good, bad) = ((1, 0, 1, 10), (1, 1, 0, 4));
    let evidence = |ticks: &[&[(u8, u8, u8, u64)]]| {
        let mut state = JudgeState::default();
        for tick in ticks {
            state.observe(&spec(), &failed(tick));
        }
        state.ln_evidence()
    };
    assert!((evidence(&[&[good, bad]]) - evidence(&[&[bad, good]])).abs() < 1e-12);
    assert!(
        evidence(&[&[good], &[bad]]) > evidence(&[&[bad], &[good]]),
        "a canary that broke later was better before"
    );
}

#[test]
fn ticks_that_say_nothing_change_no_evidence() {
    let mut state = JudgeState::default();
    state.observe(&spec(), &failed(&[(1, 1, 0, 2)]));
    let evidence = state.ln_evidence();
    for _ in 0..1_000 {
        state.observe(&spec(), &BlockCounts::default());
        // No bad requests, none of the canary, none of stable.
        state.observe(&spec(), &failed(&[(1, 0, 0, 100), (0, 0, 3, 100), (8, 3, 0, 100)]));
    }
    assert_eq!(state.ln_evidence().to_bits(), evidence.to_bits());
}

#[test]
fn a_broken_canary_is_found_by_a_dozen_failures_and_a_shared_outage_is_not() {
    let (mut broken, mut outage) = (JudgeState::default(), JudgeState::default());
    for _ in 0..12 {
        broken.observe(&spec(), &failed(&[(1, 1, 0, 1), (1, 0, 0, 10)]));
        // Everything fails on both sides, or a quarter does.
        outage
            .observe(&spec(), &failed(&[(1, 1, 7, 1_000), (4, 1, 1, 1_000), (2, 0, 2, 300), (2, 1, 1, 100)]));
    }
    assert!(matches!(broken.verdict(&spec()), Verdict::Worse { metric: Metric::Failed, .. }), "{broken:?}");
    assert_eq!(outage.verdict(&spec()), Verdict::Nothing);
    let off = JudgeSpec { enabled: false, ..spec() };
    assert_eq!(broken.verdict(&off), Verdict::Nothing);
    // A budget is no comparison: it holds without the judge.
    let budget = JudgeSpec { max_failed_requests: Some(0), ..off };
    assert!(matches!(broken.verdict(&budget), Verdict::BudgetSpent { allowed: 0, .. }));
}

#[test]
fn a_metric_keeps_its_evidence_when_its_bound_moves_and_counts_anew() {
    let mut state = JudgeState::default();
    let mut durations = DurationCounts::default();
    (durations[6], durations[8]) = (990, 10);
    let bounds = state.choose_bounds(&durations);
    assert_eq!(bounds, [None, None, Some(6)]);
    state.observe(
        &spec(),
        &BlockCounts { slow: [table(&[]), table(&[]), table(&[(1, 1, 0, 9)])], ..failed(&[]) },
    );
    assert!(state.why(&spec(), "2", "1").starts_with("canary 2 was slower than 7.5 ms on 9 of 9 requests"));
    let evidence = state.evidence();
    (durations[6], durations[8]) = (0, 1_000);
    assert_eq!(state.choose_bounds(&durations), [None, None, Some(8)]);
    assert_eq!(state.evidence().to_bits(), evidence.to_bits());
    let view = state.view(&spec(), String::new());
    let shown: Vec<_> = view.metrics.iter().map(|metric| (&*metric.name, metric.canary)).collect();
    assert_eq!(shown, [("failed", 0), ("slower than 15 ms", 0)]);
}

#[test]
fn its_sentences_have_the_numbers() {
    let mut state = JudgeState::default();
    let spec = JudgeSpec { max_failed_requests: Some(20), ..spec() };
    assert_eq!(
        state.why(&spec, "2.0.0", "1.0.0"),
        "canary 2.0.0 failed 0 of 0 requests it was compared on (0 %), stable 1.0.0 0 of 0 (0 %); evidence 1.0 of 100 needed"
    );
    for _ in 0..6 {
        state.observe(&spec, &failed(&[(1, 1, 0, 2), (1, 0, 0, 54), (1, 0, 1, 1)]));
    }
    assert_eq!(
        state.why(&spec, "2.0.0", "1.0.0"),
        "canary 2.0.0 failed 12 of 342 requests it was compared on (3.5 %), stable 1.0.0 6 of 2394 (0.25 %); \
         evidence 26349 of 100 needed"
    );
    let view = state.view(&spec, "comparing".to_owned());
    assert!((view.evidence - view.metrics[0].evidence) < 1.0 && view.metrics.len() == 1, "{view:?}");
    state.observe(&spec, &failed(&[(2, 2, 0, 5)]));
    assert_eq!(
        state.why(&spec, "2.0.0", "1.0.0"),
        "canary 2.0.0 failed 21.1 requests more than at the rate of stable 1.0.0; 20 are allowed"
    );
    assert!(matches!(state.verdict(&spec), Verdict::BudgetSpent { allowed: 20, .. }));
}
