//! SIGKILL in the middle of a rollout.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::support::{Connection, request, test_seed};

use super::stage::{Stage, wait};

/// How often the process is killed.
const KILLS: usize = 50;
/// How far the canary's count may be above its share: 9 for each of two workers, and what is in flight.
const BOUND: f64 = 18.0 + 4.0;

/// What clients were answered by, whoever else was not there to answer.
#[derive(Default)]
struct Counted {
    stable: AtomicU64,
    canary: AtomicU64,
}

fn ask_until(stop: &AtomicBool, address: std::net::SocketAddr, counted: &Counted) {
    while !stop.load(SeqCst) {
        let Ok(mut connection) = Connection::open(address) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        while let Ok(answer) = connection.ask(request("hello", "/", &[])) {
            let count = if answer.pod().starts_with("hello-v2-") { &counted.canary } else { &counted.stable };
            count.fetch_add(1, SeqCst);
            if stop.load(SeqCst) {
                return;
            }
        }
    }
}

#[test]
fn killed_at_random_instants_it_goes_on_rightly_and_never_serves_more_than_is_journaled() {
    let pauses = "{setWeight: 5}, {pause: {duration: 1s}}, {setWeight: 20}, {pause: {duration: 1s}}, {setWeight: 40}, {pause: {duration: 2s}}";
    let strategy = format!("{{canary: {{steps: [{pauses}]}}}}");
    let mut stage = Stage::new(&strategy, 1);
    stage.add("v2", 1);
    stage.write_rollout("v2", &strategy);
    let mut random = fastrand::Rng::with_seed(test_seed());
    let mut steps_seen = std::collections::BTreeSet::new();
    for kill in 0..KILLS {
        let watershed = stage.start().begin();
        let (stop, counted) = (AtomicBool::new(false), Counted::default());
        let address = watershed.services();
        let allowed = std::thread::scope(|scope| {
            scope.spawn(|| ask_until(&stop, address, &counted));
            std::thread::sleep(Duration::from_millis(random.u64(30..250)));
            watershed.kill();
            stop.store(true, SeqCst);
            let journal = stage.journal();
            let run = journal.as_ref().map(|journal| &journal["state"]["run"]);
            steps_seen.extend(run.and_then(|run| run["step"].as_u64()));
            let done = journal.as_ref().is_some_and(|journal| journal["state"]["stable"] == "v2");
            if done { 1e6 } else { run.and_then(|run| run["weight"].as_f64()).unwrap_or(0.0) }
        });
        let (stable, canary) = (counted.stable.load(SeqCst) as f64, counted.canary.load(SeqCst) as f64);
        let most = allowed / 1e6 * (stable + canary) + BOUND;
        assert!(
            canary <= most,
            "kill {kill}: {canary} of {} at a journaled weight of {allowed}",
            stable + canary
        );
    }
    assert!(steps_seen.len() > 1, "the kills saw only {steps_seen:?}");
    let watershed = stage.start().ready();
    wait(&watershed, "it comes to its end", |view| view["phase"] == "Healthy" && view["stable"] == "v2");
}
