//! Child processes on a core of their own, and what CPU time they took.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{Outcome, during};

/// First argument of a process that this benchmark starts from its own binary.
pub(crate) const ROLE: &str = "--role";

/// How long a process that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// A child process; ended when dropped, and by the kernel if the benchmark itself dies.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts this very binary in another role.
    pub(crate) fn role(arguments: &[&str]) -> Outcome<Self> {
        let own = during("finding the benchmark's binary", std::env::current_exe())?;
        let mut command = Command::new(own);
        Self::spawn(command.arg(ROLE).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()))
    }

    /// Starts a command.
    pub(crate) fn spawn(command: &mut Command) -> Outcome<Self> {
        Ok(Self { child: during("starting a process", command.spawn())? })
    }

    /// The address that the child prints as its first line.
    pub(crate) fn address(&mut self) -> Outcome<SocketAddr> {
        let mut line = String::new();
        let stdout = self.child.stdout.take().ok_or("a contender without standard output")?;
        during("reading a contender's address", BufReader::new(stdout).read_line(&mut line))?;
        during("a contender's address", line.trim().parse())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, which it should not.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked first: a build that counts where it goes (deploy/build) writes that down when it ends.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let end = Instant::now() + GRACE;
        while !self.has_ended() && Instant::now() < end {
            std::thread::sleep(GRACE / 500);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this process was started for, if the benchmark itself started it: its role and the rest of its arguments. Moves to the core
/// that it was given, ties its life to its parent's, and becomes another program if that is its role.
pub(crate) fn own_role() -> Outcome<Option<(String, Vec<OsString>)>> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != ROLE) {
        return Ok(None);
    }
    let mut text = || arguments.next().unwrap_or_default().to_string_lossy().into_owned();
    let (role, core) = (text(), text());
    let rest: Vec<OsString> = arguments.collect();
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    during("tying a process to its parent", tied)?;
    if let Ok(core) = core.parse() {
        pin(core)?;
    }
    match rest.split_first() {
        Some((program, arguments)) if role == "program" => Err(become_program(program, arguments)),
        _ => Ok(Some((role, rest))),
    }
}

/// Ties this thread, and those that it starts, to a core.
pub(crate) fn pin(core: usize) -> Outcome<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    during(&format!("moving to core {core}"), sched_setaffinity(None, &cores))
}

/// Becomes another program. Only returns if that fails.
fn become_program(program: &OsString, arguments: &[OsString]) -> String {
    format!("starting {}: {}", program.display(), Command::new(program).args(arguments).exec())
}

/// CPU time of all threads of a process so far, in user space and in the kernel, to the nanosecond.
///
/// `schedstat` and not `stat`: the latter counts in hundredths of a second.
pub(crate) fn cpu_time(pid: u32) -> Outcome<Duration> {
    let threads = during("looking at a contender's threads", std::fs::read_dir(format!("/proc/{pid}/task")))?;
    let mut total = 0;
    for thread in threads.flatten() {
        let text = during("reading schedstat", std::fs::read_to_string(thread.path().join("schedstat")))?;
        total += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// What the machine is, for the head of a report.
pub(crate) fn machine() -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    format!(
        "{} x {}, Linux {}, load average {}",
        cores,
        model.unwrap_or("unknown processor"),
        read("/proc/sys/kernel/osrelease").trim(),
        load.split_whitespace().next().unwrap_or("?"),
    )
}
