//! What a request costs: the TCP floor, bare hyper and Watershed, side by side in one run. See `benches/README.md`.
//!
//! Each contender is a process on core 0, its clients and pods are one lean loop on core 1. A round runs all contenders in a
//! random order, each freshly started; ratios are taken within a round, so that a machine that changes its speed between rounds
//! does not change them.

mod support;

#[path = "path/bare.rs"]
mod bare;
#[path = "path/contender.rs"]
mod contender;
#[path = "path/floor.rs"]
mod floor;
#[path = "path/measure.rs"]
mod measure;
#[path = "path/report.rs"]
mod report;
#[path = "path/scenario.rs"]
mod scenario;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use scenario::{SCENARIOS, Scenario};
use support::{Entrance, Given, Outcome, process};

/// The same allocator as Watershed's, for bare hyper's sake.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU time, throughput and added latency of a request's path: TCP floor, bare hyper, Watershed.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench path --")]
struct Arguments {
    /// A look in about 20 seconds: 3 rounds of the first two scenarios
    #[arg(long)]
    quick: bool,
    /// Rounds of each scenario [default: 15]
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these scenarios, by the beginning of their name [default: all]
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Leave out the second bare hyper, which shows how far two runs of the same thing are apart
    #[arg(long)]
    no_control: bool,
    /// Measure this binary instead of the one built with the benchmark
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_watershed"))]
    watershed: PathBuf,
    #[command(flatten)]
    given: Given,
}

fn main() -> ExitCode {
    Entrance { name: "path", play: contender::play, given: |all: &Arguments| &all.given, run }.enter()
}

fn run(arguments: &Arguments) -> Outcome<bool> {
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 15 }).max(1);
    let chosen = scenarios(arguments);
    if chosen.is_empty() {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        return Err(format!("no such scenario; there are {}", names.join(", ")));
    }
    let machine = process::machine();
    println!("{machine}\n{rounds} rounds; medians and quartiles; ratios within rounds");
    process::pin(1 - contender::CORE)?;
    let control = !arguments.no_control && !arguments.quick;
    let mut results = Vec::new();
    for scenario in chosen {
        let rounds = measure::scenario(scenario, rounds, control, &arguments.watershed)?;
        results.push(report::scenario(scenario, &rounds));
    }
    let results = Value::Array(results);
    support::write_json("path", &json!({ "machine": machine, "rounds": rounds, "scenarios": results }))?;
    Ok(true)
}

fn scenarios(arguments: &Arguments) -> Vec<&'static Scenario> {
    let wanted = |scenario: &&Scenario| {
        arguments.scenario.is_empty()
            || arguments.scenario.iter().any(|name| scenario.name.starts_with(&**name))
    };
    let quick_only = arguments.quick && arguments.scenario.is_empty();
    let count = if quick_only { 2 } else { SCENARIOS.len() };
    SCENARIOS.iter().take(count).filter(wanted).collect()
}
