//! Does the judge keep its promise, and how soon does it find a worse canary? See `benches/README.md`.
//!
//! Thousands of simulated rollouts through the data plane's own split and the judge itself; beside them, on the same requests,
//! the rules with fixed thresholds that others use. Seeds are fixed: two runs print the same.

#[path = "judge/rules.rs"]
mod rules;
#[path = "judge/scenarios.rs"]
mod scenarios;
#[path = "../src/simulate/statistics.rs"]
mod statistics;
#[path = "judge/traffic.rs"]
mod traffic;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use clap::Parser;

use scenarios::{EQUAL, WORSE};
use statistics::{quantile, rate_at_most};
use traffic::{ALPHA, Alarm, Bad, Ended, Scenario};

/// False alarms and time to detection of the judge, by simulation.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench judge --")]
struct Arguments {
    /// A twentieth of the rollouts
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose name contains this
    #[arg(long)]
    scenario: Option<String>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Each period several times, 10,989 rollouts in all.
const PERIODIC_ROLLOUTS: u64 = 999 * 11;
const EQUAL_ROLLOUTS: u64 = 10_000;
const WORSE_ROLLOUTS: u64 = 1_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Without `--bench` it is run as a test: only that it works.
    let part = if arguments.quick || !arguments.bench { 20 } else { 1 };
    let chosen = |scenario: &&Scenario| {
        arguments.scenario.as_ref().is_none_or(|part| scenario.name.contains(part.as_str()))
    };
    println!(
        "Rollouts of a canary that is no worse, rolled back all the same; at most {} are allowed",
        percent(ALPHA)
    );
    println!(
        "{:42} {:>8} {:>8} {:>8} {:6} {:>8} {:>8}",
        "", "rollouts", "judge", "95 % ub", "", "Flagger", "Argo"
    );
    let mut kept = true;
    for scenario in EQUAL.iter().filter(chosen) {
        let periodic = matches!(scenario.bad, Bad::Periodic);
        let rollouts = if periodic { PERIODIC_ROLLOUTS } else { EQUAL_ROLLOUTS };
        kept &= false_alarms(scenario, rollouts / part);
    }
    println!(
        "\nRollouts of a canary that is worse: found, after how many seconds (median, p90), bad requests served (median)"
    );
    println!("{:42} {:^32} {:^24} {:^24}", "", "judge", "Flagger", "Argo");
    for scenario in WORSE.iter().filter(chosen) {
        detections(scenario, WORSE_ROLLOUTS / part);
    }
    println!(
        "\nFlagger: success rate >= 99 % each minute, threshold 5. Argo: the same rate, failureLimit 3. Latency bounds count as"
    );
    println!("failures for both: a threshold on p99 at stable's own p99.");
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Simulates on all cores.
fn simulate(scenario: &Scenario, rollouts: u64) -> Vec<Ended> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let run = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Relaxed)));
        numbers.take_while(|number| *number < rollouts).map(|number| scenario.run(number)).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a simulation does not panic")).collect()
    })
}

/// Whether the promise was kept.
fn false_alarms(scenario: &Scenario, rollouts: u64) -> bool {
    let ended = simulate(scenario, rollouts);
    let count = |alarm: fn(&Ended) -> Option<Alarm>| ended.iter().filter_map(alarm).count() as u64;
    let part = |alarms: u64| percent(alarms as f64 / rollouts as f64);
    let alarms = count(|ended| ended.judge);
    let at_most = rate_at_most(alarms, rollouts);
    // A quick look has too few rollouts to exclude 1 % by its upper bound.
    let kept = at_most <= ALPHA || (rollouts < 1_000 && alarms as f64 <= ALPHA * rollouts as f64);
    println!(
        "{:42} {rollouts:8} {:>8} {:>8} {:6} {:>8} {:>8}",
        scenario.name,
        part(alarms),
        percent(at_most),
        if kept { "PASS" } else { "FAIL" },
        part(count(|ended| ended.flagger)),
        part(count(|ended| ended.argo)),
    );
    kept
}

fn detections(scenario: &Scenario, rollouts: u64) {
    let ended = simulate(scenario, rollouts);
    let found = |alarm: fn(&Ended) -> Option<Alarm>| {
        let alarms: Vec<Alarm> = ended.iter().filter_map(alarm).collect();
        let part = alarms.len() as f64 / rollouts as f64;
        // Rollouts in which nothing was found take for ever.
        let seconds = |q: f64| {
            let seconds = written(quantile(alarms.iter().map(|alarm| u64::from(alarm.seconds)), rollouts, q));
            // An alarm before the canary became worse is a false one.
            if seconds == "0" { "early".to_owned() } else { seconds }
        };
        let bad = written(quantile(alarms.iter().map(|alarm| alarm.served_bad), rollouts, 0.5));
        [percent(part), seconds(0.5), seconds(0.9), bad]
    };
    print!("{:42}", scenario.name);
    let [judge, flagger, argo] =
        [found(|ended| ended.judge), found(|ended| ended.flagger), found(|ended| ended.argo)];
    println!(
        " {:>8} {:>7} {:>7} {:>7} {:>8} {:>7} {:>7} {:>8} {:>7} {:>7}",
        judge[0], judge[1], judge[2], judge[3], flagger[0], flagger[1], flagger[3], argo[0], argo[1], argo[3]
    );
}

fn written(quantile: Option<u64>) -> String {
    quantile.map_or_else(|| "-".to_owned(), |quantile| quantile.to_string())
}

fn percent(part: f64) -> String {
    if part < 0.1 { format!("{:.2} %", part * 100.0) } else { format!("{:.1} %", part * 100.0) }
}
