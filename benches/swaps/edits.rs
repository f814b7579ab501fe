//! The same with the real process and real edits of a route's file, the directory, the debounce and the compiling included.
//!
//! Control's thread has the worker's core for itself and the worker, which is the worst that a machine can do to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{connect, exchange};
use crate::support::manifests::{Manifests, route_file, route_text};
use crate::support::rig::Rig;
use crate::support::watershed::Watershed;
use crate::support::{Outcome, during};
use crate::{CORE, Plan};

/// With more files than this, looking at them ten times a second is all that one core can do.
pub(crate) const ROUTES_MAX: usize = 1_000;
/// Edits per second.
pub(crate) const RATE: u32 = 10;

/// p99 in microseconds without and with edits, in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) still_us: f64,
    pub(crate) edited_us: f64,
    pub(crate) requests: u64,
}

pub(crate) fn measure(plan: Plan, routes: usize, program: &std::path::Path) -> Outcome<Vec<Round>> {
    let exchange = exchange(routes);
    let mut rig = Rig::new(exchange)?;
    let pods = [rig.open_pod()?, rig.open_pod()?];
    let manifests = Manifests { routes, pods, protocol: exchange.protocol };
    let watershed = Watershed::start(program, manifests, Some(CORE))?;
    connect(&mut rig, watershed.address)?;
    (0..plan.rounds).map(|_| round(plan, &mut rig, &watershed)).collect()
}

fn round(plan: Plan, rig: &mut Rig, watershed: &Watershed) -> Outcome<Round> {
    let still = rig.open_loop(plan.rate, plan.lasting)?;
    let stop = Arc::new(AtomicBool::new(false));
    let editing = edit(watershed, &stop);
    let edited = rig.open_loop(plan.rate, plan.lasting);
    stop.store(true, Relaxed);
    editing.join().unwrap_or_else(|_| Err("the editing thread panicked".to_owned()))?;
    let edited = edited?;
    let p99 = |latencies: &hdrhistogram::Histogram<u64>| latencies.value_at_quantile(0.99) as f64 / 1e3;
    Ok(Round { still_us: p99(&still), edited_us: p99(&edited), requests: still.len() + edited.len() })
}

/// Renames new versions over a route's file until told to stop.
fn edit(watershed: &Watershed, stop: &Arc<AtomicBool>) -> thread::JoinHandle<Outcome<()>> {
    let (directory, stop) = (watershed.manifests(), Arc::clone(stop));
    thread::spawn(move || {
        let began = Instant::now();
        // A name that begins with a dot is not read.
        let (next, file) = (directory.join(".next"), directory.join(route_file(0)));
        for n in 0.. {
            thread::sleep(
                (began + Duration::from_secs(1) / RATE * n).saturating_duration_since(Instant::now()),
            );
            if stop.load(Relaxed) {
                break;
            }
            let share = 1 + n % 99;
            during("writing an edit", std::fs::write(&next, route_text(0, [100 - share, share], None)))?;
            during("renaming an edit", std::fs::rename(&next, &file))?;
        }
        Ok(())
    })
}
