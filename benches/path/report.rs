//! The table that is printed, and the same as JSON.

use serde_json::{Map, Value, json};

use crate::contender::Contender;
use crate::measure::{Round, Sample};
use crate::scenario::Scenario;
use crate::support::stats::Spread;

const ORDER: [Contender; 4] = [Contender::Floor, Contender::Bare, Contender::BareAgain, Contender::Watershed];

/// Prints a scenario and returns it as JSON.
pub(crate) fn scenario(scenario: &Scenario, rounds: &[Round]) -> Value {
    println!("\n{}: {}", scenario.name, describe(scenario));
    println!(
        "  {:<11} {:<24} {:>10} {:>6} {:>11} {:>11}   {:<24} {:<24}",
        "", "CPU us per request", "requests/s", "core", "added p50", "added p99", "CPU / floor", "CPU / bare"
    );
    let mut contenders = Map::new();
    for contender in ORDER {
        if let Some(line) = line(contender, rounds) {
            contenders.insert(contender.as_str().replace(' ', "_"), line);
        }
    }
    let direct = |pick: fn(&Sample) -> f64| Spread::of(rounds.iter().map(|round| pick(&round.direct)));
    println!(
        "  straight to a pod: {:.0} requests/s, p50 {:.0} us, p99 {:.0} us (what the generator can do)",
        direct(|sample| sample.per_second).median,
        direct(|sample| sample.p50_us).median,
        direct(|sample| sample.p99_us).median
    );
    json!({
        "name": scenario.name,
        "direct_per_second": direct(|sample| sample.per_second).json(),
        "contenders": contenders,
    })
}

fn describe(scenario: &Scenario) -> String {
    let Scenario { connections, depth, requests, rate, fresh, .. } = scenario;
    let connections = match (fresh, depth) {
        (true, _) => format!("{connections} connections at a time, each for one request"),
        (false, 1) => format!("{connections} connections"),
        (false, _) => format!("{connections} connections with {depth} streams each"),
    };
    let latency = if *rate > 0 { format!(", latency at {rate} a second") } else { String::new() };
    format!("{connections}, {requests} requests for CPU time{latency}")
}

fn line(contender: Contender, rounds: &[Round]) -> Option<Value> {
    let samples: Vec<(&Sample, &Round)> =
        rounds.iter().filter_map(|round| Some((round.of(contender)?, round))).collect();
    if samples.is_empty() {
        return None;
    }
    let of = |pick: fn(&Sample) -> f64| Spread::of(samples.iter().map(|(sample, _)| pick(sample)));
    let added = |pick: fn(&Sample) -> f64| {
        Spread::of(samples.iter().map(|(sample, round)| pick(sample) - pick(&round.direct)))
    };
    let ratio_to = |other: Contender| {
        Spread::of(samples.iter().filter_map(|(sample, round)| Some(sample.cpu_us / round.of(other)?.cpu_us)))
    };
    let cpu = of(|sample| sample.cpu_us);
    let (per_second, busy) = (of(|sample| sample.per_second), of(|sample| sample.busy));
    let (p50, p99) = (added(|sample| sample.p50_us), added(|sample| sample.p99_us));
    let (to_floor, to_bare) = (ratio_to(Contender::Floor), ratio_to(Contender::Bare));
    let show_ratio = |itself: bool, ratio: &Spread| if itself { "1".to_owned() } else { ratio.show(2) };
    println!(
        "  {:<11} {:<24} {:>10.0} {:>5.0}% {:>8.0} us {:>8.0} us   {:<24} {:<24}",
        contender.as_str(),
        cpu.show(2),
        per_second.median,
        busy.median * 100.0,
        p50.median,
        p99.median,
        show_ratio(contender == Contender::Floor, &to_floor),
        show_ratio(contender == Contender::Bare, &to_bare),
    );
    Some(json!({
        "cpu_us_per_request": cpu.json(),
        "rig_us_per_request": of(|sample| sample.rig_us).json(),
        "requests_per_second": per_second.json(),
        "core_busy": busy.json(),
        "added_p50_us": p50.json(),
        "added_p99_us": p99.json(),
        "cpu_to_floor": to_floor.json(),
        "cpu_to_bare": to_bare.json(),
        "resident_kib": of(|sample| sample.resident_kib as f64).json(),
    }))
}
