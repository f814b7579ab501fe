//! How many instructions things take: the same number on a busy machine as on a quiet one. See `benches/README.md`.
//!
//! For each case this program starts itself once more under `valgrind --tool=callgrind`, in the role `count`. The child prepares
//! the case, warms it up and repeats it inside [`callgrind::window`], which is what counts: callgrind starts and ends there. Of
//! a thread that is not the main one it counts everything, so that what it does without repetitions is subtracted. That plain valgrind does it is why no runner has to be installed beside it, as gungraun wants.
//!
//! Only instructions of the program count, none of the kernel: a proxied request over loopback sockets is therefore counted as it
//! would be over streams in memory, but through the real listener, runtime and connections.
//!
//! `--check` holds the counts against `instructions/baseline.json` and fails where one has grown by more than 5 %; `--save` makes
//! them the new baseline.

#[path = "../proxy/tests/table/builder.rs"]
mod builder;
#[path = "support/routes.rs"]
mod routes;
#[path = "routing/shop.rs"]
mod shop;
mod support;

#[path = "instructions/baseline.rs"]
mod baseline;
#[path = "instructions/callgrind.rs"]
mod callgrind;
#[path = "instructions/cases.rs"]
mod cases;
#[path = "instructions/lockstep.rs"]
mod lockstep;
#[path = "instructions/requests.rs"]
mod requests;
#[path = "instructions/tables.rs"]
mod tables;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use baseline::{Baseline, Verdict};
use cases::{CASES, DIFFERENCES, PROMISES, Promise};
use support::{Entrance, Given, Outcome, during};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts the instructions of a request's way, of its parts, and of an edit.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench instructions --")]
struct Arguments {
    /// Fail where a count has grown by more than 5 % over the baseline
    #[arg(long, conflicts_with_all = ["save", "case"])]
    check: bool,
    /// Make these counts the baseline
    #[arg(long, conflicts_with = "case")]
    save: bool,
    /// Only cases whose names begin with this; may be given several times
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    #[command(flatten)]
    given: Given,
}

fn main() -> ExitCode {
    Entrance { name: "instructions", play, given: |all: &Arguments| &all.given, run }.enter()
}

/// The life of a process under callgrind.
fn play(role: &str, arguments: &[OsString]) -> Outcome<()> {
    let text = |index: usize| arguments.get(index).and_then(|text| text.to_str()).unwrap_or_default();
    let repeats = during("how often", text(1).parse())?;
    match CASES.iter().find(|case| case.name == text(0)) {
        Some(case) if role == "count" => (case.run)(repeats),
        _ => Err(format!("unknown role {role} {}", text(0))),
    }
}

/// False if something has regressed or a promise is broken, and that was to be checked.
fn run(arguments: &Arguments) -> Outcome<bool> {
    if arguments.check || arguments.save {
        baseline::require_profile()?;
    }
    callgrind::find()?;
    let wanted =
        |name: &str| arguments.case.is_empty() || arguments.case.iter().any(|case| name.starts_with(&**case));
    let mut counted = Vec::new();
    for case in CASES.iter().filter(|case| wanted(case.name)) {
        counted.push((case.name, callgrind::count(case)?));
    }
    let count_of = |name: &str| counted.iter().find(|(other, _)| *other == name).map(|(_, count)| *count);
    let differences: Vec<_> = DIFFERENCES
        .iter()
        .filter_map(|it| Some((it.name, (count_of(it.with)? - count_of(it.without)?).max(0.0))))
        .collect();
    let promises: Vec<_> =
        PROMISES.iter().filter_map(|it| Some((it, count_of(it.with)? / count_of(it.without)?))).collect();
    counted.extend(differences);
    if arguments.save {
        return baseline::save(&counted).map(|()| true);
    }
    let verdict = Baseline::read().and_then(|before| before.compare(&counted))?;
    let broken = promises.iter().filter(|(promise, ratio)| !is_kept(promise, *ratio)).count();
    Ok(!arguments.check || (broken == 0 && verdict == Verdict::Held))
}

fn is_kept(promise: &Promise, ratio: f64) -> bool {
    let kept = ratio <= promise.most;
    let word = if kept { "kept" } else { "BROKEN" };
    println!("{}: {ratio:.3} of what it takes without; at most {:.2}: {word}", promise.name, promise.most);
    kept
}
