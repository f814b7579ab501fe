use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use watershed_config::observation::{BLOCK, BlockCounts, BlockKind, BlockTable};

use super::{CELLS, Evidence, Outcome, Place, Side, Tables, Terms, WAIT};
use crate::coarse::Ticks;
use crate::split::{SplitState, Thresholds};

/// Two of three bounds are there.
const TERMS: Terms = Terms { epoch: 1, bounds: 0b101 };
const GOOD: Ended = Ended { failed: false, slow: 0 };

/// How a request ended, with one bit for each bound.
#[derive(Debug, Clone, Copy)]
struct Ended {
    failed: bool,
    slow: u8,
}

/// One split with one worker, and what is known of it.
struct Watched {
    state: SplitState,
    shares: Thresholds,
    tables: Arc<Tables>,
    evidence: Evidence,
}

impl Watched {
    /// With a canary of this many of 100.
    fn new(seed: u64, canary: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let tables = Arc::new(Tables::new(1));
        Self {
            state: SplitState::new(1, || random.u64(..)),
            shares: Thresholds::new(&[canary, 100 - canary]).unwrap(),
            evidence: Evidence::new(1, Arc::clone(&tables)),
            tables,
        }
    }

    /// A request begins under these terms.
    fn begin_under(&self, terms: Terms, now: Ticks) -> (Option<Place>, Side) {
        let drawn = self.state.draw_in_block(0);
        let side = if self.shares.pick(drawn.ticket) == 0 { Side::Canary } else { Side::Stable };
        (self.evidence.enter(0, drawn, terms, side, now), side)
    }

    fn begin(&self, now: Ticks) -> (Place, Side) {
        let (place, side) = self.begin_under(TERMS, now);
        (place.unwrap(), side)
    }

    /// A whole block begins.
    fn begin_block(&self, now: Ticks) -> Vec<(Place, Side)> {
        (0..BLOCK).map(|_| self.begin(now)).collect()
    }

    fn end(&self, place: Place, ended: Ended) {
        let slow = std::array::from_fn(|bound| ended.slow >> bound & 1 == 1);
        self.evidence.leave(0, place, Outcome::new(ended.failed, slow));
    }

    fn counts(&self) -> BlockCounts {
        self.tables.sums()
    }

    fn blocks(&self) -> u64 {
        self.counts().failed.0.iter().sum()
    }
}

/// The kind of one block, from plain lists.
fn kind(sides: &[Side], bad: impl Fn(usize) -> bool) -> BlockKind {
    let count = |side: Side, only_bad: bool| {
        let of = sides.iter().enumerate().filter(|(n, own)| **own == side && (!only_bad || bad(*n)));
        of.count() as u8
    };
    BlockKind {
        canary: count(Side::Canary, false),
        bad_canary: count(Side::Canary, true),
        bad_stable: count(Side::Stable, true),
    }
}

fn table(kinds: impl IntoIterator<Item = BlockKind>) -> BlockTable {
    let mut table = BlockTable::default();
    kinds.into_iter().for_each(|kind| table.add(kind, 1));
    table
}

fn outcome() -> impl Strategy<Value = Ended> {
    (prop::bool::weighted(0.2), 0u8..8).prop_map(|(failed, slow)| Ended { failed, slow })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The blocks are the eight consecutive tickets that they are said to be, each counted once and whole, in whatever order
    /// requests end.
    #[test]
    fn counts_are_those_of_a_plain_reading_in_whatever_order_requests_end(
        seed: u64, canary in 0u32..=100, outcomes in prop::collection::vec(outcome(), 1..400), order: u64,
    ) {
        let watched = Watched::new(seed, canary);
        let mut random = fastrand::Rng::with_seed(order);
        let (mut open, mut sides) = (Vec::new(), Vec::new());
        for outcome in &outcomes {
            let (place, side) = watched.begin(0);
            sides.push(side);
            open.push((place, *outcome));
            while !open.is_empty() && random.u8(..3) == 0 {
                let (place, outcome) = open.swap_remove(random.usize(..open.len()));
                watched.end(place, outcome);
            }
        }
        random.shuffle(&mut open);
        for (place, outcome) in open {
            watched.end(place, outcome);
        }
        let expected = |bad: &dyn Fn(&Ended) -> bool| {
            let blocks = sides.chunks_exact(BLOCK).zip(outcomes.chunks_exact(BLOCK));
            table(blocks.map(|(sides, outcomes)| kind(sides, |n| bad(&outcomes[n]))))
        };
        let counts = watched.counts();
        prop_assert_eq!(&counts.failed, &expected(&|outcome| outcome.failed));
        prop_assert_eq!(&counts.slow[0], &expected(&|outcome| outcome.slow & 1 != 0));
        prop_assert_eq!(&counts.slow[1], &BlockTable::default(), "a bound that is not there");
        prop_assert_eq!(&counts.slow[2], &expected(&|outcome| outcome.slow & 4 != 0));
    }

    #[test]
    fn every_ticket_has_a_place_of_its_own_in_the_block_of_its_turn(seed: u64, requests in 1usize..200) {
        let watched = Watched::new(seed, 50);
        let mut blocks: HashMap<u32, Vec<u8>> = HashMap::new();
        for n in 0..requests {
            let (place, _) = watched.begin(0);
            prop_assert_eq!(place.number as usize, n / BLOCK + 1);
            blocks.entry(place.number).or_default().push(place.position);
        }
        for positions in blocks.values() {
            prop_assert_eq!(positions.clone(), (0..positions.len() as u8).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_canary_that_hangs_is_slow_and_not_failed_and_what_it_says_later_is_not_heard() {
    let watched = Watched::new(1, 30);
    let block = watched.begin_block(0);
    let sides: Vec<Side> = block.iter().map(|(_, side)| *side).collect();
    assert!(sides.contains(&Side::Canary));
    for (place, _) in block.iter().filter(|(_, side)| *side == Side::Stable) {
        watched.end(*place, GOOD);
    }
    watched.begin(WAIT);
    assert_eq!(watched.blocks(), 0, "it may still answer in time");
    watched.begin(WAIT + 1);
    let hangs = |n: usize| sides[n] == Side::Canary;
    assert_eq!(watched.counts().failed, table([kind(&sides, |_| false)]));
    for bound in [0, 2] {
        assert_eq!(watched.counts().slow[bound], table([kind(&sides, hangs)]));
    }
    let before = watched.counts();
    for (place, _) in &block {
        watched.end(*place, Ended { failed: true, slow: 7 });
    }
    assert_eq!(watched.counts(), before);
}

#[test]
fn a_block_that_is_drawn_slowly_is_not_closed_before_it_is_whole() {
    let watched = Watched::new(2, 30);
    for n in 0..BLOCK as Ticks {
        let (place, _) = watched.begin(n * 2 * WAIT);
        watched.end(place, GOOD);
    }
    assert_eq!(watched.blocks(), 1);
    assert_eq!(
        watched.counts().slow[0].iter().map(|(kind, _)| kind.bad_canary + kind.bad_stable).sum::<u8>(),
        0
    );
}

#[test]
fn a_block_whose_cell_is_needed_again_is_closed() {
    let watched = Watched::new(3, 30);
    let first = watched.begin_block(0);
    for _ in 1..CELLS {
        watched.begin_block(0);
    }
    assert_eq!(watched.blocks(), 0);
    watched.begin(0);
    let sides: Vec<Side> = first.iter().map(|(_, side)| *side).collect();
    assert_eq!(watched.counts().slow[0], table([kind(&sides, |_| true)]));
    for (place, _) in first {
        watched.end(place, GOOD);
    }
    assert_eq!(watched.blocks(), 1, "the newer block in its place has not heard of it");
}

#[test]
fn a_block_that_sees_another_epoch_is_void_and_the_next_counts() {
    let watched = Watched::new(4, 30);
    let mut places: Vec<Place> = (0..5).map(|_| watched.begin(0).0).collect();
    let next = Terms { epoch: 2, bounds: 1 };
    places.extend((0..11).map(|_| watched.begin_under(next, 0).0.unwrap()));
    for place in places {
        watched.end(place, GOOD);
    }
    assert_eq!(watched.blocks(), 1);
    assert_eq!(watched.counts().slow[2], BlockTable::default(), "counted under the bounds of its time");
    assert_eq!(watched.counts().slow[0].0.iter().sum::<u64>(), 1);
}

#[test]
fn a_block_in_which_a_third_revision_has_a_part_is_void() {
    let watched = Watched::new(5, 30);
    for n in 0..2 * BLOCK {
        let drawn = watched.state.draw_in_block(0);
        let side = if n == 3 { Side::Other } else { Side::Stable };
        let place = watched.evidence.enter(0, drawn, TERMS, side, 0).unwrap();
        watched.end(place, GOOD);
    }
    assert_eq!(watched.blocks(), 1);
}

#[test]
fn a_block_that_was_not_watched_from_its_beginning_to_its_end_does_not_count() {
    let watched = Watched::new(6, 30);
    watched.state.draw(0);
    for _ in 1..BLOCK {
        assert_eq!(watched.begin_under(TERMS, 0).0, None, "it began before");
    }
    let places: Vec<Place> = (0..5).map(|_| watched.begin(0).0).collect();
    for _ in 5..BLOCK + 3 {
        // Nothing is compared for a while.
        watched.state.draw(0);
    }
    for _ in 3..BLOCK {
        assert_eq!(watched.begin_under(TERMS, 0).0, None);
    }
    for place in places {
        watched.end(place, GOOD);
    }
    watched.begin_block(0).into_iter().for_each(|(place, _)| watched.end(place, GOOD));
    assert_eq!(watched.blocks(), 1);
}

/// In the order in which they end, quick failures of a slow canary would be counted before what else it did.
#[test]
fn blocks_are_counted_in_the_order_in_which_they_began() {
    let watched = Watched::new(7, 50);
    let (first, second) = (watched.begin_block(0), watched.begin_block(0));
    let counted = || watched.tables.sums().failed.iter().map(|(_, blocks)| blocks).sum::<u64>();
    for (place, _) in &second {
        watched.end(*place, GOOD);
    }
    assert_eq!(counted(), 0, "an older one is on its way");
    for (place, _) in &first {
        watched.end(*place, GOOD);
    }
    assert_eq!(counted(), 2);
}
