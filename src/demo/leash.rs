//! No orphans: a child of the demo ends when the demo does, however the demo ends.
//!
//! The proxy is started through here too (hidden subcommand `demo-proxy`): tie the process to its parent, then become exactly
//! what a user starts, `watershed run ...`.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Options of `watershed demo-proxy`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// End when the process with this id, its parent, ends
    #[arg(long)]
    pub(crate) parent: u32,
    /// What follows `watershed`, beginning with `run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) args: Vec<String>,
}

/// Becomes `watershed ARGS...` on a leash; comes back only if that fails.
pub(crate) fn run(options: &Options) -> ExitCode {
    let error = match end_with_parent(Some(options.parent)) {
        Ok(()) => Command::new(own_binary()).arg0("watershed").args(&options.args).exec(),
        Err(error) => error,
    };
    eprintln!("cannot start watershed {}: {error}", options.args.join(" "));
    ExitCode::FAILURE
}

/// Asks the kernel to kill this process when its parent ends; survives `exec`. Nothing where there is no parent to watch.
pub(crate) fn end_with_parent(parent: Option<u32>) -> io::Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // The parent may have ended before the line above took effect.
    if std::os::unix::process::parent_id() != parent {
        return Err(io::Error::other(format!("the parent process {parent} has ended")));
    }
    Ok(())
}

/// The binary of this process, also after it was replaced on disk by a new build.
pub(crate) fn own_binary() -> PathBuf {
    let running = std::env::current_exe().ok().filter(|path| path.exists());
    running.unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}
