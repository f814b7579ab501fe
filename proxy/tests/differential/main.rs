//! Our HTTP/1.1 codec towards pods against hyper's client, on the same bytes.
//!
//! A pod answers one request with given bytes, and closes. Once they go through the proxy, once straight to hyper's client, and
//! what comes out is compared. The claim: a client of the proxy never gets a *complete* response that hyper would not take for
//! complete with the same body, so nothing is smuggled in and nothing cut off; and what hyper accepts the proxy accepts, except
//! for what [`outcome::Stricter`] lists. After every answer the same client asks for something else and must get that: whatever
//! a pod sent too much is nobody's answer.
//!
//! Written by hand are the cases that matter ([`corpus`]); [`mutate`] makes thousands of others of them, from a seed that is
//! printed. `WATERSHED_DIFFERENTIAL_SEED` repeats a run, `WATERSHED_DIFFERENTIAL_CASES` makes it longer.
#![cfg(test)] // Always so, and said so that clippy takes the helpers for tests, in which `unwrap` is fine.

mod corpus;
mod direct;
mod mutate;
mod outcome;
mod through;

#[path = "../sockets"]
mod sockets {
    #[allow(dead_code, unused_imports, reason = "shared with the tests over sockets, which use all of it")]
    pub(crate) mod support;
}
use sockets::support;

use std::collections::BTreeMap;
use std::sync::Arc;

use corpus::Case;
use fastrand::Rng;
use outcome::Verdict;

/// Clients that ask at the same time.
const LANES: usize = 4;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs all cases both ways and compares; says how often the proxy was stricter, by reason.
fn compare(cases: Vec<Case>) {
    let count = cases.len();
    // Those with bodies by themselves, since they must not meet a pod that closes without a word.
    let (bodiless, others): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| case.asked.body().is_empty());
    let (mut failures, mut counts) = (Vec::new(), BTreeMap::<String, usize>::new());
    for verdict in in_lanes(bodiless).into_iter().chain(in_lanes(others)) {
        match verdict {
            Ok(verdict) => *counts.entry(format!("{verdict:?}")).or_default() += 1,
            Err(failure) => failures.push(failure),
        }
    }
    println!("{count} cases: {counts:#?}");
    let count = failures.len();
    failures.truncate(10);
    assert!(failures.is_empty(), "{count} differences, among them:\n{}", failures.join("\n\n"));
}

fn in_lanes(mut cases: Vec<Case>) -> Vec<Result<Verdict, String>> {
    let per_lane = cases.len().div_ceil(LANES).max(1);
    std::thread::scope(|scope| {
        let mut lanes = Vec::new();
        while !cases.is_empty() {
            let lane = cases.split_off(cases.len().saturating_sub(per_lane));
            lanes.push(scope.spawn(|| run(lane)));
        }
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    })
}

/// One after the other, by a client, a proxy and a pod of their own: what a pod sends too much, at a time when its connection
/// carries nothing, would be anybody's answer with every HTTP/1.1 client.
fn run(cases: Vec<Case>) -> Vec<Result<Verdict, String>> {
    let cases = Arc::new(cases);
    let setup = through::Setup::start(Arc::clone(&cases));
    let mut client = setup.client();
    let each = cases.iter().enumerate().map(|(index, case)| {
        let ours = client.ask(index, case);
        let hypers = direct::ask(case);
        let next = client.ask_next(index);
        outcome::judge(case, &hypers, &ours)
            .and_then(|verdict| next.map(|()| verdict))
            .map_err(|why| format!("{why}\n{case:?}\nhyper: {hypers:?}\nproxy: {ours:?}"))
    });
    each.collect()
}

#[test]
fn cases_by_hand_come_out_as_they_do_with_hyper_however_they_arrive() {
    let whole = corpus::all();
    let halved = whole.iter().map(|case| case.cut_at([case.bytes.len() / 2]));
    let by_bytes = whole.iter().filter(|case| case.bytes.len() < 200).map(Case::cut_everywhere);
    let cases: Vec<_> = halved.chain(by_bytes).collect();
    compare(whole.into_iter().chain(cases).collect());
}

#[test]
fn a_response_that_breaks_off_anywhere_is_as_complete_as_it_is_for_hyper() {
    let all = corpus::all();
    let short = all.iter().filter(|case| case.is_short());
    compare(short.flat_map(|case| (0..case.bytes.len()).map(|end| case.ended_at(end))).collect());
}

#[test]
fn mutations_come_out_as_they_do_with_hyper() {
    let seed = from_environment("WATERSHED_DIFFERENTIAL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let count = from_environment("WATERSHED_DIFFERENTIAL_CASES").unwrap_or(4_000);
    println!("WATERSHED_DIFFERENTIAL_SEED={seed}");
    let (mut random, originals) = (Rng::with_seed(seed), corpus::all());
    compare((0..count).map(|_| mutate::one(&originals, &mut random)).collect());
}
