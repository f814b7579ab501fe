//! What the benchmarks over real sockets share: the other side of a proxy (client and pods in one lean loop), processes pinned to
//! a core with their CPU time, manifests, and medians.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod manifests;
pub(crate) mod messages;
pub(crate) mod process;
pub(crate) mod rig;
pub(crate) mod stats;
pub(crate) mod watershed;

use std::path::PathBuf;

/// A failure ends the benchmark: a number taken beside an error would be wrong.
pub(crate) type Outcome<T> = Result<T, String>;

/// Puts what was being done in front of an error.
pub(crate) fn during<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Outcome<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Writes a result beside the build, as `bench/NAME.json` in the target directory, and says where.
pub(crate) fn write_json(name: &str, value: &serde_json::Value) -> Outcome<()> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    during("making the directory for results", std::fs::create_dir_all(&directory))?;
    let file = directory.join(format!("{name}.json"));
    during("writing the results", std::fs::write(&file, format!("{value:#}\n")))?;
    println!("\nwritten: {}", file.display());
    Ok(())
}
