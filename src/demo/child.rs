//! A child process: started on a leash, its output kept in a file, ended when its owner is dropped.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout};

use super::leash;

/// How often a child is looked at while somebody waits for its end.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long a child may take to say where it listens.
const ANNOUNCE_MAX: Duration = Duration::from_secs(10);

/// How many last lines of its output are shown when a child ends unexpectedly.
const LAST_LINES: usize = 12;

/// A running child of this process.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `watershed ARGS...` with standard error, and standard output unless it is read, going to the file `log`.
    ///
    /// It gets a process group of its own: a Ctrl-C in the terminal reaches the demo alone, which then ends its children
    /// in the right order.
    pub(super) fn start(args: &[String], log: &Path, stdout: Output) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let stdout = match stdout {
            Output::Log => Stdio::from(file.try_clone()?),
            Output::Read => Stdio::piped(),
        };
        let mut command = Command::new(leash::own_binary());
        command.arg0("watershed").args(args).process_group(0);
        let process = command.stdin(Stdio::null()).stdout(stdout).stderr(file).spawn();
        let process = process.with_context(|| format!("cannot start watershed {}", args.join(" ")))?;
        Ok(Self { process, log: log.to_owned() })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Reads the first line that it writes; the child must have been started with [`Output::Read`].
    pub(super) async fn first_line(&mut self) -> anyhow::Result<String> {
        let pipe = self.process.stdout.take().context("the child's output is not read")?;
        let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))?;
        let mut line = String::new();
        let read = timeout(ANNOUNCE_MAX, BufReader::new(pipe).read_line(&mut line)).await;
        match read {
            Ok(Ok(1..)) => Ok(line),
            _ => bail!("it did not say where it listens; its last lines:\n{}", self.last_lines()),
        }
    }

    /// How it ended, or `None` while it runs.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Asks it to end (SIGTERM). A child that is gone already is fine.
    pub(super) fn ask_to_end(&self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
    }

    /// Ends it without asking (SIGKILL).
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Waits for its end; after `patience` it is killed.
    pub(super) async fn wait(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.kill()?;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The last lines of its output, indented; the file keeps all of them.
    pub(super) fn last_lines(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&text))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where a child's standard output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// Into its log file.
    Log,
    /// To [`Child::first_line`].
    Read,
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(LAST_LINES);
    match &lines[from..] {
        [] => "    (it wrote nothing)".to_owned(),
        last => last.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_the_last_ones() {
        let text = (0..100).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        let shown = last_lines(&text);
        assert_eq!(shown.lines().count(), LAST_LINES);
        assert!(shown.starts_with("    line 88\n") && shown.ends_with("line 99"), "{shown}");
        assert_eq!(last_lines(""), "    (it wrote nothing)");
    }
}
