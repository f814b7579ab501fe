//! Evidence for the judge: what became of every eight requests whose tickets were shuffled together.
//!
//! Inside such a block every order of the revisions was equally probable, whatever the requests were. A block counts once, when
//! all of its requests have ended, by how many of them the canary got and how many were bad on either side. One that cannot wait
//! any longer counts what is unfinished as slow: a canary that hangs must not look like one that is asked rarely. A block is void,
//! and counts nowhere, if the shares changed while it was drawn or a third revision had a part in it.
//!
//! Blocks of one split and worker live in a [`Ring`], which only that worker touches; its words are atomic so that it can be
//! shared with the table, as the split's sequence is. A request holds a [`Place`] in it, which may be older than what is there.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use watershed_config::observation::{BLOCK, BLOCK_KINDS, BlockCounts, BlockKind, BlockTable, SLOW_BOUNDS};

use crate::coarse::Ticks;
use crate::split::Drawn;
use crate::telemetry::cells::Counter;

/// Blocks that may be open at a time in one ring: 8,192 requests in flight of one split and worker. More are closed early.
/// 32 KB.
const CELLS: u64 = 1024;
/// How long a block waits for its requests after the last of them has begun, in ticks of a tenth of a second.
const WAIT: Ticks = 100;

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The revision that is asked about.
    Canary,
    /// The one that is known.
    Stable,
    /// Neither: there is nothing to compare it with.
    Other,
}

/// Under what a ticket is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Changes with the shares and with the slow bounds.
    pub epoch: u64,
    /// Which of the slow bounds are there, one bit for each.
    pub bounds: u8,
}

/// A request's place in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The block's number in its ring, of which the lowest bits are enough to tell old from new.
    number: u32,
    position: u8,
}

/// How a request ended, as it stands in its block: the lowest bit of each byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome(u64);

impl Outcome {
    /// Whether it failed because of its revision, and which slow bounds it exceeded.
    pub fn new(failed: bool, slow: [bool; SLOW_BOUNDS]) -> Self {
        let begun = 1 << DONE | u64::from(failed) << FAILED;
        let bounds =
            slow.iter().enumerate().map(|(bound, slow)| u64::from(*slow) << (SLOW + 8 * bound as u32));
        Self(bounds.fold(begun, |word, bound| word | bound))
    }
}

/// The evidence of one split in one run.
#[derive(Debug)]
pub struct Evidence {
    /// By worker, allocated at its first draw.
    rings: Box<[OnceLock<Box<Ring>>]>,
    tables: Arc<Tables>,
}

impl Evidence {
    /// None yet; what there will be goes into these tables.
    pub fn new(workers: usize, tables: Arc<Tables>) -> Self {
        Self { rings: (0..workers).map(|_| OnceLock::new()).collect(), tables }
    }

    /// A request of this worker has drawn a ticket. `None` if its block began without being watched.
    pub fn enter(&self, worker: usize, drawn: Drawn, terms: Terms, side: Side, now: Ticks) -> Option<Place> {
        let ring = self.rings[worker].get_or_init(Box::default);
        ring.enter(drawn, terms, side, now, Own { tables: &self.tables, worker })
    }

    /// A request has ended, on the worker that began it.
    pub fn leave(&self, worker: usize, place: Place, outcome: Outcome) {
        if let Some(ring) = self.rings[worker].get() {
            ring.leave(place, outcome, Own { tables: &self.tables, worker });
        }
    }
}

/// The blocks of one split and worker that are not closed yet.
#[derive(Debug)]
struct Ring {
    /// Number of the block that is being drawn; the first is 1.
    current: AtomicU64,
    /// No block below this number is open.
    oldest: AtomicU64,
    /// By the lowest bits of their number.
    cells: Box<[Cell]>,
}

/// One block; closed if its marks are 0.
#[derive(Debug, Default)]
struct Cell {
    /// [`Drawn::block`].
    block: AtomicU64,
    epoch: AtomicU64,
    /// The number's low half, and the tick of its last draw.
    stamp: AtomicU64,
    marks: AtomicU64,
}

/// What is known of a block's requests, in a byte for each thing: a bit for each request in the order in which they were drawn,
/// but for the number of those that were drawn, and the flags.
#[derive(Debug, Clone, Copy)]
struct Marks(u64);

/// Where the bytes of [`Marks`] begin.
const CANARY: u32 = 0;
const DONE: u32 = 8;
const FAILED: u32 = 16;
/// One byte for each bound.
const SLOW: u32 = 24;
const DRAWN: u32 = 48;
/// [`OPEN`], [`VOID`], and the slow bounds that are there, from the lowest bit on.
const FLAGS: u32 = 56;

const OPEN: u64 = 1 << (FLAGS + 7);
const VOID: u64 = 1 << (FLAGS + 6);

impl Marks {
    fn new(bounds: u8) -> Self {
        Self(OPEN | u64::from(bounds) << FLAGS)
    }

    fn byte(self, begin: u32) -> u8 {
        (self.0 >> begin) as u8
    }

    fn slow(self, bound: usize) -> u8 {
        self.byte(SLOW + 8 * bound as u32)
    }

    fn is_open(self) -> bool {
        self.0 & OPEN != 0
    }

    fn is_void(self) -> bool {
        self.0 & VOID != 0
    }

    fn measures(self, bound: usize) -> bool {
        self.byte(FLAGS) >> bound & 1 == 1
    }

    fn is_drawn(self) -> bool {
        usize::from(self.byte(DRAWN)) == BLOCK
    }

    fn is_complete(self) -> bool {
        self.is_drawn() && self.byte(DONE) == u8::MAX
    }

    fn draw(self, position: u8, side: Side, is_void: bool) -> Self {
        let canary = u64::from(side == Side::Canary) << CANARY << position;
        Self((self.0 | canary | if is_void { VOID } else { 0 }) + (1 << DRAWN))
    }

    fn end(self, position: u8, outcome: Outcome) -> Self {
        Self(self.0 | outcome.0 << position)
    }
}

impl Default for Ring {
    fn default() -> Self {
        let cells = (0..CELLS).map(|_| Cell::default()).collect();
        Self { current: AtomicU64::new(0), oldest: AtomicU64::new(1), cells }
    }
}

impl Ring {
    fn enter(&self, drawn: Drawn, terms: Terms, side: Side, now: Ticks, tables: Own<'_>) -> Option<Place> {
        if drawn.position == 0 {
            self.open(drawn.block, terms, tables);
        }
        let number = self.current.load(Relaxed);
        let cell = self.cell(number);
        let marks = cell.marks();
        if !marks.is_open() || cell.block.load(Relaxed) != drawn.block {
            return None;
        }
        let is_void = side == Side::Other || cell.epoch.load(Relaxed) != terms.epoch;
        cell.set_marks(marks.draw(drawn.position, side, is_void));
        cell.stamp.store(u64::from(number as u32) << 32 | u64::from(now), Relaxed);
        self.close_overdue(number, now, tables);
        Some(Place { number: number as u32, position: drawn.position })
    }

    /// Begins the next block.
    fn open(&self, block: u64, terms: Terms, tables: Own<'_>) {
        let before = self.current.load(Relaxed);
        let last = self.cell(before);
        if !last.marks().is_drawn() {
            // The rest of it was drawn while nothing was compared.
            last.marks.store(0, Relaxed);
        }
        let number = before + 1;
        let cell = self.cell(number);
        if cell.marks().is_open() {
            cell.close(cell.marks(), tables);
        }
        cell.block.store(block, Relaxed);
        cell.epoch.store(terms.epoch, Relaxed);
        cell.set_marks(Marks::new(terms.bounds));
        self.current.store(number, Relaxed);
    }

    /// Closes blocks that have waited for too long, the oldest first. All but the current one have been drawn to their end.
    fn close_overdue(&self, current: u64, now: Ticks, tables: Own<'_>) {
        let known = self.oldest.load(Relaxed);
        let mut oldest = known.max(current.saturating_sub(CELLS - 1));
        while oldest < current {
            let cell = self.cell(oldest);
            let marks = cell.marks();
            if marks.is_open() {
                if now.saturating_sub(cell.stamp.load(Relaxed) as Ticks) <= WAIT {
                    break;
                }
                cell.close(marks, tables);
            }
            oldest += 1;
        }
        if oldest != known {
            self.oldest.store(oldest, Relaxed);
        }
    }

    fn leave(&self, place: Place, outcome: Outcome, tables: Own<'_>) {
        let cell = self.cell(u64::from(place.number));
        let marks = cell.marks();
        let number = (cell.stamp.load(Relaxed) >> 32) as u32;
        if number != place.number || !marks.is_open() {
            return;
        }
        let marks = marks.end(place.position, outcome);
        if marks.is_complete() {
            cell.close(marks, tables);
        } else {
            cell.set_marks(marks);
        }
    }

    fn cell(&self, number: u64) -> &Cell {
        &self.cells[(number % CELLS) as usize]
    }
}

impl Cell {
    fn marks(&self) -> Marks {
        Marks(self.marks.load(Relaxed))
    }

    fn set_marks(&self, marks: Marks) {
        self.marks.store(marks.0, Relaxed);
    }

    fn close(&self, marks: Marks, tables: Own<'_>) {
        if !marks.is_void() {
            tables.count(marks);
        }
        self.marks.store(0, Relaxed);
    }
}

/// How many blocks there were of each kind in one run of a Rollout.
#[derive(Debug)]
pub struct Tables {
    /// By worker, allocated at its first block.
    workers: Box<[OnceLock<Box<WorkerTables>>]>,
}

/// A worker's own part of them, looked up when there is something to count.
#[derive(Debug, Clone, Copy)]
struct Own<'a> {
    tables: &'a Tables,
    worker: usize,
}

impl Own<'_> {
    fn count(self, marks: Marks) {
        self.tables.workers[self.worker].get_or_init(Box::default).count(marks);
    }
}

/// One worker's: by what is bad (a failure, or one of the slow bounds), then by kind.
#[derive(Debug)]
struct WorkerTables([[Counter; BLOCK_KINDS]; 1 + SLOW_BOUNDS]);

impl Default for WorkerTables {
    fn default() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| Counter::default())))
    }
}

impl WorkerTables {
    /// Counts a block that is over. What is unfinished is slow.
    fn count(&self, marks: Marks) {
        let canary = marks.byte(CANARY);
        let kind = |bad: u8| BlockKind {
            canary: canary.count_ones() as u8,
            bad_canary: (bad & canary).count_ones() as u8,
            bad_stable: (bad & !canary).count_ones() as u8,
        };
        let [failed, by_bound @ ..] = &self.0;
        failed[kind(marks.byte(FAILED)).index()].add(1);
        for (bound, table) in by_bound.iter().enumerate() {
            if marks.measures(bound) {
                table[kind(marks.slow(bound) | !marks.byte(DONE)).index()].add(1);
            }
        }
    }
}

impl Tables {
    /// Empty ones.
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// Over all workers.
    pub fn sums(&self) -> BlockCounts {
        let mut sums = BlockCounts::default();
        for WorkerTables([failed, slow @ ..]) in
            self.workers.iter().filter_map(OnceLock::get).map(|one| &**one)
        {
            add_all(&mut sums.failed, failed);
            for (sum, table) in sums.slow.iter_mut().zip(slow) {
                add_all(sum, table);
            }
        }
        sums
    }
}

fn add_all(sums: &mut BlockTable, table: &[Counter; BLOCK_KINDS]) {
    for (sum, counter) in sums.0.iter_mut().zip(table) {
        *sum += counter.value();
    }
}

#[cfg(test)]
mod tests;
