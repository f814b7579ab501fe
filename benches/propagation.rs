//! How long an edit takes: from the rename of a route's file to the workers. See `benches/README.md`.
//!
//! The real `watershed run`, on all cores, with nothing pinned: a stream of 50 weight edits a second, each a new file renamed over
//! the old one. Every version of the route also sets a response header to its number, so that clients see which one served them.

mod support;

#[path = "propagation/apply.rs"]
mod apply;
#[path = "propagation/edits.rs"]
mod edits;
#[path = "propagation/observers.rs"]
mod observers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use edits::Edits;
use support::manifests::Manifests;
use support::messages::{Exchange, Protocol};
use support::rig::Rig;
use support::watershed::Watershed;
use support::{Entrance, Given, Outcome, during, process};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Only the first ten routes are called: every number of routes that is tried has them.
const EXCHANGE: Exchange = Exchange { protocol: Protocol::Http1, upload: 0, answer: 128, routes: 10 };
/// What the contract promises for every edit.
const LIMIT: Duration = Duration::from_millis(100);
/// Connections that keep both workers busy where there is load.
const LOAD_CONNECTIONS: usize = 32;

/// Time from the write of a weight edit until it is in force, in a stream of edits.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench propagation --")]
struct Arguments {
    /// 2 seconds of edits for each case instead of 6
    #[arg(long)]
    quick: bool,
    /// Edits per second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Numbers of routes to try
    #[arg(long, value_delimiter = ',', default_value = "10,1000")]
    routes: Vec<usize>,
    /// Measure this binary instead of the one built with the benchmark
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_watershed"))]
    watershed: PathBuf,
    #[command(flatten)]
    given: Given,
}

fn main() -> ExitCode {
    Entrance { name: "propagation", play: support::unknown_role, given: |all: &Arguments| &all.given, run }
        .enter()
}

fn run(arguments: &Arguments) -> Outcome<bool> {
    let machine = process::machine();
    let lasting = Duration::from_secs(if arguments.quick { 2 } else { 6 });
    println!("{machine}\n{} edits a second for {lasting:?}; milliseconds from the rename", arguments.rate);
    let mut cases = Vec::new();
    for routes in &arguments.routes {
        println!("\n{routes} routes, apply alone: {}", apply::measure(*routes)?);
        for loaded in [false, true] {
            cases.push(case(arguments, *routes, loaded, lasting)?);
        }
    }
    let cases = Value::Array(cases);
    support::write_json(
        "propagation",
        &json!({ "machine": machine, "rate": arguments.rate, "cases": cases }),
    )?;
    Ok(true)
}

fn case(arguments: &Arguments, routes: usize, loaded: bool, lasting: Duration) -> Outcome<Value> {
    // The clients end before the pods do.
    let [stop_load, stop_pods] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (ports, serving) = start_pods(&stop_pods)?;
    let manifests = Manifests { routes, pods: ports, protocol: EXCHANGE.protocol };
    let watershed = Watershed::start(&arguments.watershed, manifests, None)?;
    let load = loaded.then(|| start_load(&watershed, &stop_load));
    let edits = Edits::make(&watershed, arguments.rate, lasting);
    stop_load.store(true, Relaxed);
    let sent = load.map_or(Ok(0), finish)?;
    stop_pods.store(true, Relaxed);
    finish(serving)?;
    let swaps = watershed.ask("/metrics").map(|text| edits::applied(&text))?;
    edits.and_then(|edits| {
        edits.report(routes, loaded.then_some(sent / (lasting.as_secs() as usize)), swaps, LIMIT)
    })
}

/// Two pods on a thread of their own; gives their ports.
fn start_pods(stop: &Arc<AtomicBool>) -> Outcome<([u16; 2], JoinHandle<Outcome<()>>)> {
    let stop = Arc::clone(stop);
    let (send, ports) = std::sync::mpsc::sync_channel(1);
    let serving = thread::spawn(move || {
        let mut pods = Rig::new(EXCHANGE)?;
        during("telling the pods' ports", send.send([pods.open_pod()?, pods.open_pod()?]))?;
        pods.serve_until(&stop)
    });
    Ok((during("starting the pods", ports.recv())?, serving))
}

/// Requests as fast as they are answered; gives how many were.
fn start_load(watershed: &Watershed, stop: &Arc<AtomicBool>) -> JoinHandle<Outcome<usize>> {
    let (stop, target) = (Arc::clone(stop), watershed.address);
    thread::spawn(move || {
        let mut clients = Rig::new(EXCHANGE)?;
        clients.connect(target, LOAD_CONNECTIONS, 1, false)?;
        let mut sent = 0;
        while !stop.load(Relaxed) {
            clients.closed_loop(500, LOAD_CONNECTIONS)?;
            sent += 500;
        }
        Ok(sent)
    })
}

fn finish<T>(thread: JoinHandle<Outcome<T>>) -> Outcome<T> {
    thread.join().unwrap_or_else(|_| Err("a thread of the benchmark panicked".to_owned()))
}
