//! Rollouts in virtual time: what would become of one, by the parts that decide about it in production.
//!
//! ```text
//! Subject (which Rollout) ┐
//! Profile (which traffic) ┴> World, once for each seed -> Ended -> Report over all seeds
//! ```
//!
//! A [`World`](world) has the engine decide as often as the process does; lets requests arrive, divides them with the data
//! plane's own split, and counts what became of every eight of them by its own blocks ([`traffic`]); and gives the counts to the
//! engine, whose judge is the production one. Only the requests' outcomes and durations are made up, by the [`profile`], and
//! what external [`analyses`] say.
//!
//! Pure: no clock, no file, no network, and random numbers only from seeds, so that two runs with the same seed are the same.
//!
//! Deliberately absent: pods that come and go, workers that take a new plan late (they have it at once, and the engine hears of
//! it at its next decision, as on one machine), retries, and requests that are routed by header or kept by a sticky key: those
//! take the shares as all others do, and as in production no judge compares sticky ones.

mod analyses;
mod durations;
pub(crate) mod profile;
pub(crate) mod quantity;
pub(crate) mod report;
mod statistics;
pub(crate) mod subject;
#[cfg(test)]
mod tests;
mod traffic;
mod world;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use profile::Profile;
use report::Report;
use subject::Subject;
use world::{Ended, World};

/// Simulates the rollout with every seed, and with every seed once more with a canary that is exactly as good as the stable
/// revision. Takes all cores for as long as it lasts.
pub(crate) fn simulate(subject: &Subject, profile: &Profile) -> Report {
    let ended = run_all(subject, profile);
    let equal = profile.without_difference();
    // Nothing would be different, so it need not be done again.
    let none_worse = if equal == *profile { None } else { Some(run_all(subject, &equal)) };
    Report::new(subject, profile, &ended, none_worse.as_deref().unwrap_or(&ended))
}

/// One rollout for each seed, in their order.
fn run_all(subject: &Subject, profile: &Profile) -> Vec<Ended> {
    let seeds = u64::from(profile.seeds);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (next, all) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= seeds {
                return;
            }
            let ended = World::new(subject, profile, number).run();
            all.lock().unwrap_or_else(PoisonError::into_inner).push((number, ended));
        }
    };
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Threads end in any order; what is printed must not depend on it.
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, ended)| ended).collect()
}
