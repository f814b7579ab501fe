//! What so many tables leave behind, each compiled, published under load, and dropped.

use std::time::Duration;

use crate::server::{Server, exchange};
use crate::support::rig::Rig;
use crate::support::{Outcome, process};

/// Few, so that it does not take hours; a table that stays is as bad with ten routes as with a thousand.
const ROUTES: usize = 10;
/// Looks at the memory.
const PARTS: usize = 10;

/// Resident memory while tables were swapped.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) swaps: usize,
    /// At the beginning and after every tenth part, in KiB.
    pub(crate) resident_kib: Vec<u64>,
    pub(crate) requests: u64,
}

pub(crate) fn measure(rate: usize, swaps: usize) -> Outcome<Memory> {
    let mut rig = Rig::new(exchange(ROUTES))?;
    let mut server = Server::start(&mut rig, ROUTES)?;
    let mut memory = Memory { swaps, resident_kib: Vec::new(), requests: 0 };
    // The first tables are warm-up: the allocator takes what it will need.
    server.tell(&format!("compile {}", swaps / 100))?;
    memory.resident_kib.push(process::resident_kib(server.process.pid()));
    for _ in 0..PARTS {
        server.begin(&format!("compile {}", swaps / PARTS))?;
        while !server.has_answered()? {
            memory.requests += rig.open_loop(rate / 5, Duration::from_millis(100))?.len();
        }
        server.answer()?;
        memory.resident_kib.push(process::resident_kib(server.process.pid()));
    }
    Ok(memory)
}
