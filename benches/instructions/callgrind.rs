//! Running a case under callgrind, and reading what it counted.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cases::{Case, Thread};
use crate::support::process::ROLE;
use crate::support::{Outcome, during};

/// The part that is counted on the main thread. Callgrind knows it by its name, so it must not be inlined away.
#[inline(never)]
pub(crate) fn window(work: &mut dyn FnMut() -> Outcome<()>) -> Outcome<()> {
    // Through here, or the call would be compiled to a jump, and callgrind would see neither end.
    std::hint::black_box(work())
}

/// The name of [`window`] as callgrind reads it from the symbols.
const WINDOW: &str = concat!(module_path!(), "::window");

/// Whether there is a valgrind at all.
pub(crate) fn find() -> Outcome<()> {
    match Command::new("valgrind").arg("--version").stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        _ => {
            Err("needs valgrind, which is not installed or does not start (apt-get install valgrind)"
                .to_owned())
        }
    }
}

/// Instructions of one repetition of a case.
pub(crate) fn count(case: &Case) -> Outcome<f64> {
    let total = match case.thread {
        Thread::Main => run(case, case.repeats)?,
        // A window holds for its own thread only: what the others do besides is what they do without any repetition.
        Thread::Others => run(case, case.repeats)?.saturating_sub(run(case, 0)?),
    };
    if total == 0 {
        return Err(format!("{}: callgrind counted nothing", case.name));
    }
    Ok(total as f64 / case.repeats as f64)
}

/// Runs a case once; gives the instructions of the threads that count.
fn run(case: &Case, repeats: usize) -> Outcome<u64> {
    let directory = during("making a directory", tempfile::tempdir())?;
    let own = during("finding the benchmark's binary", std::env::current_exe())?;
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--zero-before={WINDOW}"))
        .arg(format!("--dump-after={WINDOW}"))
        .arg(format!("--callgrind-out-file={}", directory.path().join("counts").display()))
        .arg(own)
        .args([ROLE, "count", "any", case.name, &repeats.to_string()])
        // The allocator gives memory back after so much time, and here time is not what repeats.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = during("starting valgrind", command.output())?;
    if !output.status.success() {
        return Err(format!("{}: {}", case.name, String::from_utf8_lossy(&output.stderr).trim()));
    }
    match case.thread {
        Thread::Main => total(&directory.path().join("counts.1-01")),
        Thread::Others => {
            let files = during("reading counts", std::fs::read_dir(directory.path()))?;
            let names = files.flatten().map(|file| file.path());
            names.filter(|path| is_of_other_thread(path)).map(|path| total(&path)).sum()
        }
    }
}

/// `counts-NN` is what a thread did until the end, by the number of the thread; the main thread is the first.
fn is_of_other_thread(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("counts-")
        .and_then(|number| number.parse::<u32>().ok())
        .is_some_and(|thread| thread > 1)
}

/// The sum that callgrind writes at the end of a file.
fn total(path: &Path) -> Outcome<u64> {
    let text = during(&path.to_string_lossy(), std::fs::read_to_string(path))?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    during("callgrind's totals", line.unwrap_or_default().trim().parse())
}
