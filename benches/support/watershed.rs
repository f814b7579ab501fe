//! The real `watershed run`, as a process of its own on manifests that a benchmark wrote.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::manifests::Manifests;
use super::process::{Process, ROLE};
use super::{Outcome, during};

const START_LIMIT: Duration = Duration::from_secs(20);

/// A started process with its directories.
pub(crate) struct Watershed {
    pub(crate) process: Process,
    /// Of its Gateway.
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    directory: TempDir,
}

impl Watershed {
    /// Starts it with its defaults, on one core or on all, and waits until it is ready.
    pub(crate) fn start(program: &Path, manifests: Manifests, core: Option<usize>) -> Outcome<Self> {
        Self::start_with(program, core, |folder, port| manifests.write(folder, port))
    }

    /// The same with manifests that `write` puts into a directory, with a way in on this port.
    pub(crate) fn start_with(
        program: &Path,
        core: Option<usize>,
        write: impl FnOnce(&Path, u16) -> Outcome<()>,
    ) -> Outcome<Self> {
        let directory = during("making a directory", tempfile::tempdir())?;
        let (port, admin) = (free_port()?, SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        let folder = directory.path().join("manifests");
        during("making a directory", std::fs::create_dir(&folder))?;
        write(&folder, port)?;
        let log = directory.path().join("log");
        // Through this binary, which moves to the core and ties the process to our life before it becomes the program.
        let mut command = Command::new(during("finding the benchmark's binary", std::env::current_exe())?);
        let core = core.map_or_else(|| "any".to_owned(), |core| core.to_string());
        command.args([ROLE, "program", &core]).arg(program).arg("run").arg("-f").arg(&folder);
        command.arg("--state-dir").arg(directory.path().join("state"));
        command.args(["--service-listener", "off", "--admin", &admin.to_string()]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(during("making a log", File::create(&log))?);
        let mut process = Process::spawn(&mut command)?;
        if let Err(error) = wait_ready(admin, &mut process) {
            return Err(format!("{error}; its log:\n{}", std::fs::read_to_string(&log).unwrap_or_default()));
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { process, address, admin, directory })
    }

    /// Where its manifests are.
    pub(crate) fn manifests(&self) -> PathBuf {
        self.directory.path().join("manifests")
    }

    /// One request to its admin address; the whole answer as text.
    pub(crate) fn ask(&self, path: &str) -> Outcome<String> {
        during(path, ask(self.admin, path))
    }
}

/// A port that nobody listens on now. Somebody might in a moment; then the start fails and says so.
pub(crate) fn free_port() -> Outcome<u16> {
    let listener = during("finding a free port", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(during("finding a free port", listener.local_addr())?.port())
}

/// Waits until `/readyz` says 200.
fn wait_ready(admin: SocketAddr, process: &mut Process) -> Outcome<()> {
    let ends = Instant::now() + START_LIMIT;
    while Instant::now() < ends {
        if process.has_ended() {
            return Err("watershed ended at its start".to_owned());
        }
        if ask(admin, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err("watershed did not become ready".to_owned())
}

/// One request to an admin address; the whole answer as text.
pub(crate) fn ask(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
