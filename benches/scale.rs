//! How memory and the work of control grow with routes and endpoints. See `benches/README.md`.
//!
//! For each size: the real `watershed run` on a directory of manifests (resident memory after its start, and CPU time for each
//! change of one endpoint), and the same manifests in this process, stage by stage (time, and memory that is still held after it).

mod support;

#[path = "scale/heap.rs"]
mod heap;
#[path = "scale/running.rs"]
mod running;
#[path = "scale/stages.rs"]
mod stages;
#[path = "scale/world.rs"]
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use running::Resident;
use support::{Entrance, Given, Outcome, process};
use world::World;

/// As in the binary, and counting what is held.
#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

/// Routes and endpoints. One at a time grows, then both.
const SIZES: [World; 7] = [
    World { routes: 100, endpoints: 1_000 },
    World { routes: 1_000, endpoints: 1_000 },
    World { routes: 10_000, endpoints: 1_000 },
    World { routes: 1_000, endpoints: 10_000 },
    World { routes: 1_000, endpoints: 20_000 },
    PROMISED,
    World { routes: 20_000, endpoints: 20_000 },
];
/// Where a promise is made about memory.
const PROMISED: World = World { routes: 5_000, endpoints: 10_000 };
/// Resident memory that is promised there, and with the examples, in MB of 1000 kB.
const PROMISED_MB: f64 = 40.0;
const EXAMPLES_MB: f64 = 12.0;

/// Memory and time by number of routes and endpoints.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench scale --")]
struct Arguments {
    /// Only the two smallest sizes and the one that something is promised for
    #[arg(long)]
    quick: bool,
    /// Measure this binary instead of the one built with the benchmark
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_watershed"))]
    watershed: PathBuf,
    #[command(flatten)]
    given: Given,
}

fn main() -> ExitCode {
    Entrance { name: "scale", play: support::unknown_role, given: |all: &Arguments| &all.given, run }.enter()
}

/// Whether what is promised about memory was kept.
fn run(arguments: &Arguments) -> Outcome<bool> {
    let machine = process::machine();
    println!("{machine}\n");
    let examples = running::examples(&arguments.watershed)?;
    println!("the examples: {}\n", examples.show());
    let mut promised = None;
    let mut cases = Vec::new();
    for world in SIZES
        .iter()
        .filter(|world| !arguments.quick || world.routes.max(world.endpoints) <= 1_000 || **world == PROMISED)
    {
        let (resident, value) = case(*world, arguments)?;
        if *world == PROMISED {
            promised = Some(resident);
        }
        cases.push(value);
    }
    let kept = [
        verdict("after the start with the examples", Some(&examples), EXAMPLES_MB),
        verdict("after the start with 5,000 routes and 10,000 endpoints", promised.as_ref(), PROMISED_MB),
    ];
    let results = json!({ "machine": machine, "examples": examples.json(), "cases": cases });
    support::write_json("scale", &results)?;
    Ok(kept.iter().all(|kept| *kept))
}

fn case(world: World, arguments: &Arguments) -> Outcome<(Resident, Value)> {
    println!("{} routes, {} endpoints", world.routes, world.endpoints);
    let running = running::measure(world, &arguments.watershed)?;
    println!("  the process: {}", running.resident.show());
    println!("  CPU time for each change of one endpoint: {:.1} ms", running.change_ms);
    let stages = stages::measure(world)?;
    println!("  {:<46} {:>9} {:>10}", "stage", "ms", "held, MB");
    for stage in &stages {
        println!("  {:<46} {:>9.2} {:>10.1}", stage.name, stage.took_ms, stage.held_mb);
    }
    println!();
    let stages: Vec<Value> = stages
        .iter()
        .map(|stage| json!({ "stage": stage.name, "ms": stage.took_ms, "held_mb": stage.held_mb }))
        .collect();
    let value = json!({ "routes": world.routes, "endpoints": world.endpoints, "change_cpu_ms": running.change_ms,
        "resident": running.resident.json(), "stages": stages });
    Ok((running.resident, value))
}

fn verdict(when: &str, resident: Option<&Resident>, at_most_mb: f64) -> bool {
    let Some(resident) = resident else { return true };
    let held = resident.total() <= at_most_mb;
    let word = if held { "kept:  " } else { "MISSED:" };
    println!("{word} {:.1} MB resident {when}, at most {at_most_mb} MB", resident.total());
    held
}
