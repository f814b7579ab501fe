//! `watershed`: sends exact shares of traffic where manifests say, live.

mod admin;
mod app;
mod cli;
mod demo;
mod screen;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

/// Fewer instructions per request than the system's allocator, and freed memory goes back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
