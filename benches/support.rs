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

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// A failure ends the benchmark: a number taken beside an error would be wrong.
pub(crate) type Outcome<T> = Result<T, String>;

/// Puts what was being done in front of an error.
pub(crate) fn during<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Outcome<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Said by cargo, to all benchmarks.
#[derive(Debug, clap::Args)]
pub(crate) struct Given {
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Where a benchmark begins.
pub(crate) struct Entrance<A> {
    /// As cargo knows it.
    pub(crate) name: &'static str,
    /// What a process that the benchmark has started does, by its role.
    pub(crate) play: fn(&str, &[OsString]) -> Outcome<()>,
    /// What cargo has given.
    pub(crate) given: fn(&A) -> &Given,
    /// The benchmark: whether everything that is promised was kept.
    pub(crate) run: fn(&A) -> Outcome<bool>,
}

impl<A: Parser> Entrance<A> {
    /// A benchmark's `main`. Without `--bench` (`cargo test --benches`) it only says how it is run.
    pub(crate) fn enter(&self) -> ExitCode {
        match self.done() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{}: {error}", self.name);
                ExitCode::FAILURE
            }
        }
    }

    fn done(&self) -> Outcome<bool> {
        if let Some((role, arguments)) = process::own_role()? {
            return (self.play)(&role, &arguments).map(|()| true);
        }
        let arguments = A::parse();
        if (self.given)(&arguments).bench {
            return (self.run)(&arguments);
        }
        println!("{0}: run it with `cargo bench --bench {0}`", self.name);
        Ok(true)
    }
}

/// For benchmarks whose processes have no roles.
pub(crate) fn unknown_role(role: &str, _arguments: &[OsString]) -> Outcome<()> {
    Err(format!("unknown role {role}"))
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
