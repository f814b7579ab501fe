//! Nothing is lost while everything about a live service changes.
//!
//! Clients of HTTP/1.1 and of HTTP/2 send requests, half of them POSTs with a body and an id, and never repeat one. Meanwhile weights, routes and
//! endpoints change about a hundred times a second, pods close connections whenever they like, and some restart as polite
//! servers do. *Lost* is what the design calls so: a request that does not get exactly one complete answer made by a pod, or a
//! POST that ran twice.
//!
//! HTTP/1.1 leaves one case that nobody can decide: a POST that was already written when its pod closed the idle connection.
//! It is answered 502 `closed_while_sending`, and it is counted here by that name and by no other.

mod changes;
pub(crate) mod client;
pub(crate) mod tally;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::{Manifests, Pod, Speaks, Start, test_duration, test_seed};
use changes::{Editor, Fleet};
use client::{CLIENTS, Client};
use tally::Tally;

/// Long enough for hundreds of edits and dozens of restarts; CI has little time. Longer with `WATERSHED_TEST_SECONDS`.
const DURATION: Duration = Duration::from_secs(4);

#[test]
fn nothing_is_lost_over_http1_while_everything_changes() {
    let tally = run(Speaks::Http1);
    println!("{tally}");
    tally.assert_nothing_lost();
}

#[test]
fn nothing_at_all_is_lost_over_h2c_while_everything_changes() {
    let tally = run(Speaks::H2c);
    println!("{tally}");
    tally.assert_nothing_lost();
    // HTTP/2 says which requests were not handled, so there is nothing left that cannot be decided.
    assert_eq!(tally.closed_while_sending, 0, "{tally}");
}

fn run(speaks: Speaks) -> Tally {
    let seed = test_seed();
    let manifests = Manifests::new();
    let fleet = Fleet::start(&manifests, speaks);
    let watershed = Start::over(manifests.path()).args(&["--workers", "2"]).ready();
    let before = watershed.generation();
    let (stop, stop_changes) = (AtomicBool::new(false), AtomicBool::new(false));
    let end = Instant::now() + test_duration(DURATION);
    let (mut tally, edits) = std::thread::scope(|scope| {
        let editor = scope.spawn(|| Editor::new(&manifests, &fleet, seed).edit_until(&stop_changes));
        scope.spawn(|| fleet.shed_until(&stop_changes, seed));
        scope.spawn(|| fleet.restart_until(&stop_changes, &manifests, &watershed));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (stop, address) = (&stop, watershed.services());
                scope.spawn(move || Client::new(number, address, seed).ask_until(stop))
            })
            .collect();
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, SeqCst);
        let results = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        stop_changes.store(true, SeqCst);
        (Tally::new(results), editor.join().unwrap())
    });
    tally.edits = edits;
    tally.generations = watershed.generation() - before;
    (tally.restarts, tally.sheds) = (fleet.restarts(), fleet.sheds());
    tally.audit(fleet.pods());
    tally.compare(&watershed);
    tally
}

/// Every pod's name, for people who read a failure.
fn names(pods: &[&Pod]) -> String {
    pods.iter().map(|pod| format!("{}: {}", pod.name(), pod.count())).collect::<Vec<_>>().join(", ")
}
