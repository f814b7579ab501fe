//! What requests notice of table swaps. See `benches/README.md`.
//!
//! ```text
//! core 0: role `serve`: a worker, and the thread that swaps      core 1: clients at a fixed rate, and pods
//! ```
//!
//! Two tables are compiled beforehand, and every rule of one differs from the other's. The swapping thread publishes them in turn,
//! past the directory and the debounce, and shares the worker's core: what a swap costs is paid where requests are served.
//! The rates of swapping alternate within a round, so that their latencies are compared under the same conditions, in slices,
//! as the host takes a core away now and then. Apart from that: the real `watershed run` under real edits of files, and a
//! million tables compiled, published and dropped.
//!
//! An answer that is not 200, a reset or a closed connection ends the benchmark: it is the error that must not be.

#[path = "../proxy/tests/table/builder.rs"]
mod builder;
#[path = "support/routes.rs"]
mod routes;
mod support;

#[path = "swaps/edits.rs"]
mod edits;
#[path = "swaps/fire.rs"]
mod fire;
#[path = "swaps/memory.rs"]
mod memory;
#[path = "swaps/report.rs"]
mod report;
#[path = "swaps/serve.rs"]
mod serve;
#[path = "swaps/server.rs"]
mod server;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

use support::{Entrance, Given, Outcome, process};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The core that serves and swaps; clients and pods have the other.
const CORE: usize = 0;

/// Latency at a fixed rate while tables are swapped, and what a million swaps leave behind.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench swaps --")]
struct Arguments {
    /// 3 short rounds, and fewer swaps for memory
    #[arg(long)]
    quick: bool,
    /// Rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Requests per second
    #[arg(long, default_value_t = 5_000)]
    rate: usize,
    /// Numbers of routes to try
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000")]
    routes: Vec<usize>,
    /// Measure real edits with this binary instead of the one built with the benchmark
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_watershed"))]
    watershed: PathBuf,
    #[command(flatten)]
    given: Given,
}

/// How requests are sent, and how often.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    rate: usize,
    /// How long each rate of swapping is looked at in a round.
    lasting: Duration,
}

fn main() -> ExitCode {
    Entrance { name: "swaps", play, given: |all: &Arguments| &all.given, run }.enter()
}

fn play(role: &str, arguments: &[OsString]) -> Outcome<()> {
    if role == "serve" { serve::run(arguments) } else { support::unknown_role(role, arguments) }
}

/// Whether everything that is promised was kept.
fn run(arguments: &Arguments) -> Outcome<bool> {
    let machine = process::machine();
    let plan = Plan {
        rounds: arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 9 }).max(1),
        rate: arguments.rate,
        lasting: Duration::from_millis(if arguments.quick { 500 } else { 1_000 }),
    };
    println!(
        "{machine}\n{} rounds; {} requests/s on 32 connections; medians and quartiles",
        plan.rounds, plan.rate
    );
    process::pin(1 - CORE)?;
    let mut fire = Vec::new();
    for routes in &arguments.routes {
        fire.push(report::fire(*routes, &fire::measure(plan, *routes)?));
    }
    let mut edited = Vec::new();
    for routes in arguments.routes.iter().filter(|routes| **routes <= edits::ROUTES_MAX) {
        edited.push(report::edits(*routes, &edits::measure(plan, *routes, &arguments.watershed)?));
    }
    let swaps = if arguments.quick { 100_000 } else { 1_000_000 };
    let memory = report::memory(&memory::measure(plan.rate, swaps)?);
    let kept = report::verdict(&fire, &memory);
    let results = json!({ "machine": machine, "rounds": plan.rounds, "rate": plan.rate,
        "precompiled": fire, "file_edits": edited, "memory": memory });
    support::write_json("swaps", &results)?;
    Ok(kept)
}
