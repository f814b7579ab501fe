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

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// It failed because of its revision.
    pub failed: bool,
    /// Which slow bounds it exceeded, one bit for each.
    pub slow: u8,
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
        ring.enter(drawn, terms, side, now, self.tables.of(worker))
    }

    /// A request has ended, on the worker that began it.
    pub fn leave(&self, worker: usize, place: Place, outcome: Outcome) {
        if let Some(ring) = self.rings[worker].get() {
            ring.leave(place, outcome, self.tables.of(worker));
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

/// What is known of a block's requests: a bit for each in the order in which they were drawn, except where said otherwise.
#[derive(Debug, Clone, Copy)]
struct Marks {
    canary: u8,
    done: u8,
    failed: u8,
    slow: [u8; SLOW_BOUNDS],
    /// How many.
    drawn: u8,
    /// [`OPEN`], [`VOID`], and the slow bounds that are there.
    flags: u8,
}

const OPEN: u8 = 1 << 7;
const VOID: u8 = 1 << 6;

impl Marks {
    fn of(word: u64) -> Self {
        let [canary, done, failed, a, b, c, drawn, flags] = word.to_le_bytes();
        Self { canary, done, failed, slow: [a, b, c], drawn, flags }
    }

    fn word(self) -> u64 {
        let [a, b, c] = self.slow;
        u64::from_le_bytes([self.canary, self.done, self.failed, a, b, c, self.drawn, self.flags])
    }

    fn new(bounds: u8) -> Self {
        Self { canary: 0, done: 0, failed: 0, slow: [0; SLOW_BOUNDS], drawn: 0, flags: OPEN | bounds }
    }

    fn is_open(self) -> bool {
        self.flags & OPEN != 0
    }

    fn is_drawn(self) -> bool {
        usize::from(self.drawn) == BLOCK
    }

    fn is_complete(self) -> bool {
        self.is_drawn() && self.done == u8::MAX
    }
}

impl Default for Ring {
    fn default() -> Self {
        let cells = (0..CELLS).map(|_| Cell::default()).collect();
        Self { current: AtomicU64::new(0), oldest: AtomicU64::new(1), cells }
    }
}

impl Ring {
    fn enter(
        &self,
        drawn: Drawn,
        terms: Terms,
        side: Side,
        now: Ticks,
        tables: &WorkerTables,
    ) -> Option<Place> {
        if drawn.position == 0 {
            self.open(drawn.block, terms, tables);
        }
        let number = self.current.load(Relaxed);
        let cell = self.cell(number);
        let mut marks = cell.marks();
        if !marks.is_open() || cell.block.load(Relaxed) != drawn.block {
            return None;
        }
        let is_void = side == Side::Other || cell.epoch.load(Relaxed) != terms.epoch;
        marks.flags |= if is_void { VOID } else { 0 };
        marks.canary |= u8::from(side == Side::Canary) << drawn.position;
        marks.drawn += 1;
        cell.set_marks(marks);
        cell.stamp.store(u64::from(number as u32) << 32 | u64::from(now), Relaxed);
        self.close_overdue(number, now, tables);
        Some(Place { number: number as u32, position: drawn.position })
    }

    /// Begins the next block.
    fn open(&self, block: u64, terms: Terms, tables: &WorkerTables) {
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
    fn close_overdue(&self, current: u64, now: Ticks, tables: &WorkerTables) {
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

    fn leave(&self, place: Place, outcome: Outcome, tables: &WorkerTables) {
        let cell = self.cell(u64::from(place.number));
        let mut marks = cell.marks();
        let number = (cell.stamp.load(Relaxed) >> 32) as u32;
        if number != place.number || !marks.is_open() {
            return;
        }
        marks.done |= 1 << place.position;
        marks.failed |= u8::from(outcome.failed) << place.position;
        for (bound, slow) in marks.slow.iter_mut().enumerate() {
            *slow |= (outcome.slow >> bound & 1) << place.position;
        }
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
        Marks::of(self.marks.load(Relaxed))
    }

    fn set_marks(&self, marks: Marks) {
        self.marks.store(marks.word(), Relaxed);
    }

    fn close(&self, marks: Marks, tables: &WorkerTables) {
        if marks.flags & VOID == 0 {
            tables.count(marks);
        }
        self.marks.store(0, Relaxed);
    }
}

/// How many blocks there were of each kind in one run of a Rollout.
#[derive(Debug)]
pub struct Tables {
    /// By worker, allocated at its first draw.
    workers: Box<[OnceLock<Box<WorkerTables>>]>,
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
        let canary = marks.canary;
        let kind = |bad: u8| BlockKind {
            canary: canary.count_ones() as u8,
            bad_canary: (bad & canary).count_ones() as u8,
            bad_stable: (bad & !canary).count_ones() as u8,
        };
        let [failed, by_bound @ ..] = &self.0;
        failed[kind(marks.failed).index()].add(1);
        for (bound, table) in by_bound.iter().enumerate() {
            if marks.flags >> bound & 1 == 1 {
                table[kind(marks.slow[bound] | !marks.done).index()].add(1);
            }
        }
    }
}

impl Tables {
    /// Empty ones.
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    fn of(&self, worker: usize) -> &WorkerTables {
        self.workers[worker].get_or_init(Box::default)
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
