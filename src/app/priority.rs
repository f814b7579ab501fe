//! Whose work may wait: everybody's but the requests'.
//!
//! Assembling and compiling are milliseconds of work at once, a scrape of thousands of series too. Where there is no core to
//! spare for them, requests would stand behind that work.

/// How much nicer control is than the workers. The kernel weighs a thread at 5 with 335 against the workers' 1,024 (`sched(7)`):
/// on a core that is busy with requests control still gets a quarter, so that probes, readiness answers and edits come through;
/// on a core with time to spare it loses nothing. At 10, a tenth, requests gain no more, and with all cores saturated edits
/// miss the 100 ms in which they are promised to be in force.
#[cfg(target_os = "linux")]
const NICER: i32 = 5;

/// Lowers the priority of the calling thread and of all that it will start: on Linux niceness belongs to threads and is
/// inherited. There is no way back without a privilege.
pub(super) fn give_way() {
    // Elsewhere it is the process's, and the workers would be lowered as well.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!(%error, "the priority of control's threads cannot be lowered; requests may wait for it");
    }
}
