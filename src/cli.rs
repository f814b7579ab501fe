//! The command line: what may be said, and which part of the program it is said to.

pub(crate) mod check;
pub(crate) mod exchange;
pub(crate) mod explain;
pub(crate) mod rollout;
pub(crate) mod simulate;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{app, demo};

/// Exact traffic splitting for Kubernetes-style Services, from manifests, live.
#[derive(Debug, Parser)]
#[command(name = "watershed", version, about, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Carry traffic as manifests say, and follow every edit of them
    Run(RunArgs),
    /// Print every problem of manifests, with its place and how to mend it
    Check(check::CheckArgs),
    /// Say which rule, share and endpoints a request would get, and why
    Explain(explain::ExplainArgs),
    /// Look at rollouts of a running process, and tell them what to do
    Rollout(rollout::RolloutArgs),
    /// Show what would become of a rollout, by letting it happen many times in virtual time
    Simulate(Box<simulate::SimulateArgs>),
    /// Show rollouts on this machine: pods, load, a good version promoted, a bad one aborted, and that nothing is lost
    Demo(demo::Options),
    /// Print what a shell needs to complete these commands: `source <(watershed completion bash)`
    Completion {
        /// Which shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// A pod of the demo
    #[command(hide = true)]
    DemoPod(demo::pod::Options),
    /// A process that ends with the demo
    #[command(hide = true)]
    DemoProxy(demo::leash::Options),
}

impl Cli {
    /// Does what was asked. Exit codes: 0 done, 1 not done, 2 usage.
    pub(crate) fn run(self) -> ExitCode {
        match self.command {
            Command::Run(args) => app::run(args),
            Command::Check(args) => check::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Rollout(args) => rollout::run(&args),
            Command::Simulate(args) => simulate::run(*args),
            Command::Demo(options) => demo::run(&options),
            Command::Completion { shell } => complete(shell),
            Command::DemoPod(options) => demo::pod::run(&options),
            Command::DemoProxy(options) => demo::leash::run(&options),
        }
    }
}

/// Shells that can be told how to complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}

/// Made from the commands themselves, so that it cannot be behind them.
fn complete(shell: Shell) -> ExitCode {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "watershed", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("watershed completion: cannot write: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// `watershed run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A manifest, or a directory of them, to watch; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Where metrics, health and the debug pages are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901", env = "WATERSHED_ADMIN")]
    pub admin: SocketAddr,
    /// Where every Service answers by its name; `off` for nowhere
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:8000")]
    pub service_listener: Switchable,
    /// Worker threads [default: one for each core that the process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Where last good versions of objects are kept [default: `$STATE_DIRECTORY`, else under `$XDG_STATE_HOME`]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Start without objects that are in error and have no last good version
    #[arg(long)]
    pub lenient: bool,
    /// After SIGTERM, go on accepting connections for this long
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub drain_delay: Duration,
    /// After SIGTERM, what is in flight may take this long
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = humantime::parse_duration)]
    pub drain_deadline: Duration,
    /// Write a line of JSON for every request to standard output
    #[arg(long)]
    pub access_log: bool,
    /// How the log on standard error is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or directives as for `RUST_LOG`
    #[arg(long, value_name = "FILTER", default_value = "info", env = "WATERSHED_LOG")]
    pub log: String,
    /// Answer larger request bodies with 413 [default: no limit]
    #[arg(long, value_name = "BYTES")]
    pub max_request_body: Option<u64>,
    /// Add `Via` to requests and responses
    #[arg(long)]
    pub via: bool,
    /// Add `watershed-revision` to responses: which revision answered
    #[arg(long)]
    pub revision_header: bool,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// An address, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switchable(pub Option<SocketAddr>);

impl std::str::FromStr for Switchable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text
            .parse()
            .map_err(|_| format!("`{text}` is neither an address like 127.0.0.1:8000 nor `off`"))?;
        Ok(Self(Some(address)))
    }
}
