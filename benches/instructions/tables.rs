//! The parts that need no socket: the routing table, the split, counting, compiling and swapping.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use watershed_proxy::table::{Action, Head, Routed, RoutingTable, Rule};
use watershed_proxy::telemetry::cells::CodeClass;

use crate::builder::{Asked, compiler};
use crate::callgrind::window;
use crate::shop::{self, REQUESTS, edited, requests, shop};
use crate::support::Outcome;

const ROUTES: usize = 1_000;
const HOSTS: usize = 100;
const WORKERS: usize = 2;

fn table() -> RoutingTable {
    compiler(WORKERS).compile(&shop(ROUTES, HOSTS))
}

/// A request's number as a random number.
fn scrambled(turn: usize) -> u64 {
    (turn as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Counts `what` on one request after another.
fn in_turn(repeats: usize, what: impl Fn(&Head<'_>, u64) -> usize) -> Outcome<()> {
    let requests = requests(ROUTES, HOSTS);
    let once = |turn: usize| {
        black_box(what(&requests[turn % REQUESTS].head(), scrambled(turn)));
    };
    (0..REQUESTS).for_each(once);
    window(&mut || {
        (0..repeats).for_each(once);
        Ok(())
    })
}

pub(crate) fn route(repeats: usize) -> Outcome<()> {
    let table = table();
    in_turn(repeats, |head, _| usize::from(matches!(table.route(0, head), Routed::Rule(_))))
}

pub(crate) fn route_and_pick(repeats: usize) -> Outcome<()> {
    let table = table();
    in_turn(repeats, |head, random| shop::route_and_pick(&table, head, random))
}

/// The rules of all requests.
fn rules(table: &RoutingTable) -> Vec<Arc<Rule>> {
    let rule = |asked: &Asked| match table.route(0, &asked.head()) {
        Routed::Rule(rule) => Some(Arc::clone(rule)),
        _ => None,
    };
    requests(ROUTES, HOSTS).iter().filter_map(rule).collect()
}

/// A ticket, and the arm that owns it.
pub(crate) fn pick(repeats: usize) -> Outcome<()> {
    let rules = rules(&table());
    window(&mut || {
        for turn in 0..repeats {
            if let Action::Split(split) = &rules[turn % rules.len()].action {
                black_box(split.pick(split.state.draw(0)));
            }
        }
        Ok(())
    })
}

/// One weight among all the routes has changed, and everything was read again. Old tables are dropped outside.
pub(crate) fn compile_edit(repeats: usize) -> Outcome<()> {
    let versions = [shop(ROUTES, HOSTS), edited(ROUTES, HOSTS)];
    let mut compiler = compiler(WORKERS);
    let mut tables: Vec<_> = versions.iter().map(|version| compiler.compile(version)).collect();
    tables.reserve(repeats);
    window(&mut || {
        for turn in 0..repeats {
            tables.push(compiler.compile(black_box(&versions[turn % 2])));
        }
        Ok(())
    })
}

/// The control thread's part and a worker's: publishing a table, and the load that finds it.
pub(crate) fn swap_and_load(repeats: usize) -> Outcome<()> {
    let snapshot = shop(ROUTES, HOSTS);
    let mut compiler = compiler(WORKERS);
    let tables = [Arc::new(compiler.compile(&snapshot)), Arc::new(compiler.compile(&snapshot))];
    let current = Arc::new(ArcSwap::new(Arc::clone(&tables[0])));
    let mut cache = Cache::new(Arc::clone(&current));
    let mut once = |turn: usize| {
        drop(current.swap(Arc::clone(&tables[turn % 2])));
        black_box(cache.load().generation);
    };
    (0..16).for_each(&mut once);
    window(&mut || {
        (0..repeats).for_each(&mut once);
        Ok(())
    })
}

pub(crate) fn count(repeats: usize) -> Outcome<()> {
    let rules = rules(&table());
    let once = |turn: usize| {
        let duration = Duration::from_micros((turn % 3000) as u64);
        rules[turn % rules.len()].series.cells(0).record(CodeClass::Success, None, duration);
    };
    (0..rules.len()).for_each(once);
    window(&mut || {
        (0..repeats).for_each(once);
        Ok(())
    })
}
