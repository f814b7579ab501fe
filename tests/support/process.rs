//! The process under test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Exposition, ask, eventually, eventually_some, free_port, request};

/// Lines of the log that are shown when a test fails.
const LINES_SHOWN: usize = 60;

/// How to start `watershed run`.
#[derive(Debug)]
pub(crate) struct Start {
    command: Command,
    state: Option<TempDir>,
    admin: Option<SocketAddr>,
    services: SocketAddr,
}

impl Start {
    /// Over a file or a directory, with its own state directory and ports.
    pub(crate) fn over(path: impl AsRef<Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watershed"));
        command.arg("run").arg("-f").arg(path.as_ref());
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let state = TempDir::with_prefix("watershed-state-").unwrap();
        let services = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self { command, state: Some(state), admin: None, services }
    }

    /// One more argument.
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Several more arguments.
    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// With a state directory that outlives the process.
    pub(crate) fn state_dir(mut self, path: &Path) -> Self {
        self.state = None;
        self.command.arg("--state-dir").arg(path);
        self
    }

    /// With this admin address instead of a free one.
    pub(crate) fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub(crate) fn ready(self) -> Watershed {
        let watershed = self.begin();
        eventually("/readyz answers 200", || {
            watershed.assert_running();
            watershed.has_admin() && watershed.admin("/readyz").status == 200
        });
        watershed
    }

    /// Starts it and does not wait.
    pub(crate) fn begin(mut self) -> Watershed {
        if let Some(state) = &self.state {
            self.command.arg("--state-dir").arg(state.path());
        }
        let admin = self.admin.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        self.command.args(["--admin", &admin, "--service-listener", &self.services.to_string()]);
        let mut child = self.command.spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let output = Log::follow(child.stdout.take().unwrap());
        Watershed { child, log, output, services: self.services, _state: self.state }
    }

    /// Starts it and waits for its end, which is to come by itself.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        self.begin().end()
    }
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Watershed {
    child: Child,
    log: Log,
    output: Log,
    services: SocketAddr,
    _state: Option<TempDir>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Everything it wrote to standard error.
    pub(crate) log: String,
    /// From the call that awaited the end.
    pub(crate) after: Duration,
}

impl Watershed {
    /// Over a directory, ready.
    #[track_caller]
    pub(crate) fn run(path: impl AsRef<Path>) -> Self {
        Start::over(path).ready()
    }

    /// Where every Service answers by its name.
    pub(crate) fn services(&self) -> SocketAddr {
        self.services
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Everything that it wrote to standard output so far.
    pub(crate) fn output(&self) -> String {
        self.output.text()
    }

    /// Waits until a line of the log contains all of these.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, parts: &[&str]) {
        eventually(&format!("a line of the log with {parts:?}"), || {
            self.log().lines().any(|line| parts.iter().all(|part| line.contains(part)))
        });
    }

    fn has_admin(&self) -> bool {
        self.admin_line().is_some()
    }

    /// It chose the port itself, and says so in its first lines.
    fn admin_line(&self) -> Option<SocketAddr> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("admin address="))?;
        line.split_once("address=")?.1.trim().parse().ok()
    }

    /// Where it serves metrics and health.
    #[track_caller]
    pub(crate) fn admin_address(&self) -> SocketAddr {
        eventually_some("the admin address in the log", || {
            self.assert_running();
            self.admin_line()
        })
    }

    /// GET from the admin address.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Answer {
        ask(self.admin_address(), &request("admin", path, &[]))
    }

    /// `/debug/config`.
    #[track_caller]
    pub(crate) fn config(&self) -> Value {
        self.admin("/debug/config").json()
    }

    /// `/metrics`, parsed strictly.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Exposition {
        Exposition::parse(self.admin("/metrics").text())
    }

    /// The generation that is published.
    #[track_caller]
    pub(crate) fn generation(&self) -> u64 {
        self.config()["generation"].as_u64().unwrap()
    }

    /// Waits until `/debug/config` is in force on all workers and satisfies this.
    #[track_caller]
    pub(crate) fn wait_for_config(&self, what: &str, mut holds: impl FnMut(&Value) -> bool) {
        eventually(what, || {
            let config = self.config();
            let published = &config["generation"];
            let used = config["generation_of_workers"].as_array().unwrap();
            used.iter().all(|generation| generation == published) && holds(&config)
        });
    }

    /// Waits until the Service's first port has these pods in this state, and no others.
    #[track_caller]
    pub(crate) fn wait_for_endpoints(&self, service: &str, state: &str, pods: &[&str]) {
        let mut wanted: Vec<String> = pods.iter().map(|pod| format!("default/{pod}")).collect();
        wanted.sort();
        self.wait_for_config(&format!("{service} has {state} {pods:?}"), |config| {
            endpoints(config, service, state) == wanted
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Megabytes of memory that it holds now.
    pub(crate) fn resident_mib(&self) -> u64 {
        self.status_mib("VmRSS:")
    }

    /// The most that it ever held.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.status_mib("VmHWM:")
    }

    fn status_mib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Fails if it has ended.
    #[track_caller]
    pub(crate) fn assert_running(&self) {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let has_ended = stat.is_empty() || stat.contains(") Z ");
        assert!(!has_ended, "ended unexpectedly; its log:\n{}", self.log());
    }

    /// Asks it to end with SIGTERM and waits.
    #[track_caller]
    pub(crate) fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, which is to come by itself.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let begun = Instant::now();
        let status: ExitStatus = eventually_some("the end of the process", || self.child.try_wait().unwrap());
        self.log.finish();
        Ended { code: status.code(), log: self.log.text(), after: begun.elapsed() }
    }
}

/// The pods of a Service in a state, sorted.
fn endpoints(config: &Value, service: &str, state: &str) -> Vec<String> {
    let name = format!("default/{service}");
    let backends = config["backends"].as_array().unwrap();
    let Some(backend) = backends.iter().find(|backend| backend["service"] == *name) else {
        return Vec::new();
    };
    let endpoints = backend["endpoints"].as_array().unwrap().iter();
    let mut pods: Vec<String> = endpoints
        .filter(|endpoint| endpoint["state"] == *state)
        .map(|endpoint| endpoint["pod"].as_str().unwrap().to_owned())
        .collect();
    pods.sort();
    pods
}

impl Drop for Watershed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.log.finish();
            let log = self.log.text();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            eprintln!("--- the end of the log of the process under test ---\n{}\n---", last.join("\n"));
        }
    }
}

/// What a process writes, gathered by a thread.
#[derive(Debug)]
struct Log {
    text: Arc<Mutex<String>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Log {
    fn follow(from: impl std::io::Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let gathered = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut lines = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(lines.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                gathered.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, thread: Some(thread) }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Waits for the end of the stream; the process is gone.
    fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
