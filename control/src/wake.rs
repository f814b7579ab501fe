//! Waking the driver, with the time of what happened.
//!
//! A change is to be in force soon after it was made, not soon after somebody had time to listen. So who hears of it notes when,
//! and the driver, which is deaf while it works, counts from there.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// When something happened, first and last, since somebody listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

/// A bell that remembers when it was rung.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    rung: Mutex<Option<Span>>,
    notify: Notify,
}

impl Wake {
    /// Something has happened.
    pub(crate) fn ring(&self) {
        self.ring_at(Instant::now());
    }

    fn ring_at(&self, now: Instant) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        *rung = Some(Span { first: rung.map_or(now, |span| span.first), last: now });
        drop(rung);
        self.notify.notify_one();
    }

    /// Waits until something has happened that nobody was told of yet.
    pub(crate) async fn rung(&self) -> Span {
        loop {
            self.notify.notified().await;
            if let Some(span) = self.rung.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return span;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_listens_late_hears_when_it_began() {
        let wake = Wake::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        wake.ring_at(at(5));
        wake.ring_at(at(30));
        assert_eq!(wake.rung().await, Span { first: at(5), last: at(30) });
        wake.ring_at(at(40));
        assert_eq!(wake.rung().await, Span { first: at(40), last: at(40) }, "each is told once");
    }
}
