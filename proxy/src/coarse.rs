//! Time that is good to a tenth of a second, and nearly free.
//!
//! Most limits on time are there for what almost never happens: a client that stops in the middle, an endpoint that goes
//! silent. Arming and disarming an exact timer for each request costs more than all of our own work on it. Here each worker has
//! a clock that its sweep moves on every [`TICK`]; who waits leaves a waker, and the sweep wakes those whose time has come.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

/// How often the sweep runs, and so how exact the limits are.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Ticks since the worker started; begins at 1, so that 0 can mean "never".
pub(crate) type Ticks = u32;

/// How many ticks a limit lasts, rounded up. Asked several times for each request, hence without the 128-bit numbers of
/// [`Duration::as_millis`], by which a processor cannot divide.
pub(crate) fn ticks(limit: Duration) -> Ticks {
    const NANOS: u32 = TICK.subsec_nanos();
    const { assert!(TICK.as_secs() == 0 && 1_000_000_000 % NANOS == 0, "a second is so many ticks") }
    let seconds = limit.as_secs().saturating_mul(u64::from(1_000_000_000 / NANOS));
    u32::try_from(seconds.saturating_add(limit.subsec_nanos().div_ceil(NANOS).into())).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct Waiting {
    until: Ticks,
    waker: Waker,
}

thread_local! {
    static NOW: Cell<Ticks> = const { Cell::new(1) };
    static INSTANT: Cell<Instant> = Cell::new(Instant::now());
    static WAITING: RefCell<Slab<Waiting>> = const { RefCell::new(Slab::new()) };
}

/// The current tick of this thread's clock.
pub(crate) fn now() -> Ticks {
    NOW.get()
}

/// When this thread's clock was last moved on.
pub(crate) fn instant() -> Instant {
    INSTANT.get()
}

/// Moves this thread's clock on and wakes those whose time has come. Called by the worker's sweep.
pub(crate) fn advance() {
    NOW.set(NOW.get() + 1);
    INSTANT.set(Instant::now());
    // Wakers are called outside the borrow: waking may drop a task and with it a `Limit`.
    let due: Vec<Waker> = WAITING.with_borrow(|waiting| {
        waiting
            .iter()
            .filter(|(_, entry)| entry.until <= now())
            .map(|(_, entry)| entry.waker.clone())
            .collect()
    });
    due.into_iter().for_each(Waker::wake);
}

/// A limit on how long something may stay pending. Costs nothing until [`Limit::exceeded`] is first asked.
#[derive(Debug)]
pub(crate) struct Limit {
    after: Ticks,
    entry: Option<usize>,
}

impl Limit {
    pub(crate) fn new(after: Ticks) -> Self {
        Self { after, entry: None }
    }

    /// To be asked when the thing is pending: whether it has been for too long. The task is woken when it will have been.
    pub(crate) fn exceeded(&mut self, cx: &Context<'_>) -> bool {
        self.exceeded_since(0, cx)
    }

    /// The same where something else counts as movement too, which last happened at `moved`.
    pub(crate) fn exceeded_since(&mut self, moved: Ticks, cx: &Context<'_>) -> bool {
        WAITING.with_borrow_mut(|waiting| match self.entry {
            None => {
                let until = now().saturating_add(self.after);
                self.entry = Some(waiting.insert(Waiting { until, waker: cx.waker().clone() }));
                false
            }
            Some(key) => {
                let entry = &mut waiting[key];
                entry.until = entry.until.max(moved.saturating_add(self.after));
                entry.waker.clone_from(cx.waker());
                entry.until <= now()
            }
        })
    }

    /// To be told when the thing has moved: the limit starts again with the next pending.
    pub(crate) fn restart(&mut self) {
        if let Some(key) = self.entry.take() {
            // The thread's storage may be gone already when a task is dropped at the thread's end.
            let _ = WAITING.try_with(|waiting| waiting.borrow_mut().try_remove(key));
        }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.restart();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::{Duration, Limit, advance, ticks};

    #[test]
    fn a_limit_lasts_so_many_ticks_rounded_up() {
        for (ms, expected) in [(0, 0), (1, 1), (100, 1), (101, 2), (2_950, 30), (3_000, 30), (600_000, 6_000)]
        {
            assert_eq!(ticks(Duration::from_millis(ms)), expected, "{ms} ms");
        }
        assert_eq!(ticks(Duration::from_nanos(100_000_001)), 2);
        assert_eq!(ticks(Duration::MAX), u32::MAX);
    }

    #[test]
    fn a_limit_is_exceeded_after_its_ticks_and_starts_again_when_something_moved() {
        let cx = Context::from_waker(Waker::noop());
        let mut limit = Limit::new(2);
        let ask_after = |ticks: u32, limit: &mut Limit| {
            (0..ticks).for_each(|_| advance());
            limit.exceeded(&cx)
        };
        assert!(!ask_after(5, &mut limit), "the first time starts it");
        assert!(!ask_after(1, &mut limit));
        assert!(ask_after(1, &mut limit));
        limit.restart();
        assert!(!ask_after(9, &mut limit));
        assert!(ask_after(2, &mut limit));
    }

    #[test]
    fn movement_elsewhere_puts_the_end_off() {
        let cx = Context::from_waker(Waker::noop());
        let mut limit = Limit::new(3);
        assert!(!limit.exceeded_since(0, &cx));
        (0..2).for_each(|_| advance());
        let moved = super::now();
        (0..2).for_each(|_| advance());
        assert!(!limit.exceeded_since(moved, &cx));
        advance();
        assert!(limit.exceeded_since(moved, &cx));
    }
}
