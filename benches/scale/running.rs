//! The real process: what it holds resident, and what a change costs it.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::watershed::Watershed;
use crate::support::{Outcome, during, process};
use crate::world::{World, slice_file, slice_text};

/// After it is ready, for what its start still has to write.
const SETTLE: Duration = Duration::from_millis(500);
/// From there until the first poll of the directory (5 s) is over, with which the allocator gives back what the start left over.
const REST: Duration = Duration::from_secs(6);
/// Changes of one endpoint, and the time between two: more than the debounce, so that each is a swap of its own.
const CHANGES: usize = 20;
const EVERY: Duration = Duration::from_millis(150);

/// Resident memory by kind, in MB of 1,000,000 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    own: f64,
    /// Pages of files, above all of its program: clean, and shared with whoever else runs it.
    files: f64,
    peak: f64,
    /// Own and files once it has rested.
    rested: f64,
    /// Own and files after all changes.
    later: f64,
}

/// What was measured of a process.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) resident: Resident,
    /// CPU time of all its threads for each change of one endpoint.
    pub(crate) change_ms: f64,
}

impl Resident {
    fn of(pid: u32) -> Outcome<Self> {
        let status = during("reading its status", std::fs::read_to_string(format!("/proc/{pid}/status")))?;
        let mb = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            // The kernel says kB and means KiB.
            line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
                / 1e6
        };
        let (own, files) = (mb("RssAnon:"), mb("RssFile:"));
        Ok(Self { own, files, peak: mb("VmHWM:"), rested: own + files, later: own + files })
    }

    pub(crate) fn total(&self) -> f64 {
        self.own + self.files
    }

    pub(crate) fn show(&self) -> String {
        format!(
            "{:.1} MB resident after the start ({:.1} its own, {:.1} of files), {:.1} at rest, {:.1} at most, \
             {:.1} later",
            self.total(),
            self.own,
            self.files,
            self.rested,
            self.peak,
            self.later,
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "own_mb": self.own, "files_mb": self.files, "rested_mb": self.rested,
            "peak_mb": self.peak, "later_mb": self.later })
    }
}

/// With the manifests of the examples, on another port.
pub(crate) fn examples(program: &Path) -> Outcome<Resident> {
    let watershed = Watershed::start_with(program, None, |directory, port| {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/split");
        for entry in during("reading the examples", std::fs::read_dir(examples))?.flatten() {
            let text = during("reading an example", std::fs::read_to_string(entry.path()))?;
            let text = text.replace("port: 8080", &format!("port: {port}"));
            during("copying an example", std::fs::write(directory.join(entry.file_name()), text))?;
        }
        Ok(())
    })?;
    rest(watershed.process.pid())
}

/// What is resident after the start, and after a rest.
fn rest(pid: u32) -> Outcome<Resident> {
    thread::sleep(SETTLE);
    let started = Resident::of(pid)?;
    thread::sleep(REST);
    Ok(Resident { rested: Resident::of(pid)?.total(), ..started })
}

pub(crate) fn measure(world: World, program: &Path) -> Outcome<Running> {
    let watershed = Watershed::start_with(program, None, |directory, port| world.write(directory, port))?;
    let pid = watershed.process.pid();
    let mut resident = rest(pid)?;
    let before = process::cpu_time(pid)?;
    for change in 0..CHANGES {
        // A name that begins with a dot is not read.
        let (next, file) = (watershed.manifests().join(".next"), watershed.manifests().join(slice_file(0)));
        during("writing a change", std::fs::write(&next, slice_text(0, change % 2 == 1)))?;
        during("renaming a change", std::fs::rename(&next, &file))?;
        thread::sleep(EVERY);
    }
    let used = process::cpu_time(pid)?.saturating_sub(before);
    let later = Resident::of(pid)?;
    (resident.later, resident.peak) = (later.later, later.peak);
    Ok(Running { resident, change_ms: used.as_secs_f64() * 1e3 / CHANGES as f64 })
}
