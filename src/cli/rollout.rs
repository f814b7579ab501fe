//! `watershed rollout`: looking at rollouts of a running process, and telling them what to do. The words are those of `kubectl
//! rollout` and `kubectl argo rollouts`.
//!
//! Everything goes through the admin API of the process ([`place`] finds it, [`client`] asks it); what is printed is made of one
//! `RolloutView` by pure functions ([`tree`], [`tables`], [`why`]).
//!
//! Exit codes: 0 done, 1 refused, failed or nobody to ask, 2 usage.

mod change;
mod client;
mod get;
mod output;
mod place;
mod status;
pub(super) mod table;
mod tables;
mod tree;
mod why;
mod words;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use watershed_control::state_dir::StateEnvironment;

use crate::screen::Screen;
use client::Client;
use place::{Place, PlaceArgs};

/// `watershed rollout`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct RolloutArgs {
    /// The namespace of the Rollout
    #[arg(short, long, global = true, value_name = "NS", default_value = "default", value_parser = dns_name)]
    pub namespace: String,
    /// Which process to ask
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What to do
    #[command(subcommand)]
    pub command: RolloutCommand,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Show a rollout: its step, its shares, its revisions and their pods
    Get(GetArgs),
    /// List rollouts
    List(ListArgs),
    /// Wait until a rollout is complete: exit code 0; 1 if it is degraded, aborted or out of time
    Status(StatusArgs),
    /// Show what was rolled out, when and why
    History(HistoryArgs),
    /// Say in sentences what a rollout is doing, why, and what comes next
    Why(NamedArgs),
    /// Hold a rollout where it is
    Pause(ChangeArgs),
    /// End an operator's pause and the hold of `set-weight`
    Resume(ChangeArgs),
    /// End the current step
    Promote(PromoteArgs),
    /// Give all traffic back to the stable revision, at once
    Abort(ChangeArgs),
    /// Begin again what was aborted or undone
    Retry(ChangeArgs),
    /// Go back to an earlier revision, at once
    Undo(UndoArgs),
    /// Replace the pods of a revision, where something here can (nothing can in a directory)
    Restart(ChangeArgs),
    /// Give the new revision this share and hold it until `resume`
    SetWeight(SetWeightArgs),
}

/// A Rollout's name.
#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// Its name, or `rollout/NAME`
    #[arg(value_parser = rollout_name)]
    pub name: String,
}

/// `get`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub named: NamedArgs,
    /// Go on showing it as it changes
    #[arg(short, long)]
    pub watch: bool,
    /// How it is printed
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}

/// `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Those of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// How they are printed
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}

/// `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub named: NamedArgs,
    /// Wait; with `--watch=false` say how it stands and end
    #[arg(short, long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub watch: bool,
    /// Give up after this long, with exit code 1; 0s is never
    #[arg(short, long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Complete only with this revision, by its name or its number in the history
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
}

/// `history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub named: NamedArgs,
    /// Everything about this one
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,
    /// How it is printed
    #[arg(short, long, value_enum)]
    pub output: Option<Structured>,
}

/// What every change takes.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    pub named: NamedArgs,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Who, for the history; `$USER@HOST` unless it is said
    #[arg(long, value_name = "WHO")]
    pub by: Option<String>,
}

/// `promote`.
#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    pub change: ChangeArgs,
    /// End all steps
    #[arg(long)]
    pub full: bool,
}

/// `undo`.
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    pub change: ChangeArgs,
    /// To the revision of this number in the history; 0 is the one before
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub to_revision: u64,
}

/// `set-weight`.
#[derive(Debug, Args)]
pub(crate) struct SetWeightArgs {
    #[command(flatten)]
    pub change: ChangeArgs,
    /// The share in percent, from 0 to 100, with decimals
    #[arg(value_name = "PERCENT", value_parser = weight, allow_negative_numbers = true)]
    pub percent: f64,
}

/// How rollouts are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// With more columns
    Wide,
    /// As JSON
    Json,
    /// As YAML
    Yaml,
    /// As `rollout.watershed.dev/NAME`
    Name,
}

/// How a history is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Structured {
    /// As JSON
    Json,
    /// As YAML
    Yaml,
}

/// Why a command has no effect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It makes no sense.
    Usage(String),
    /// It was refused, or could not be done.
    Failed(String),
    /// Nobody reads any more what it prints.
    Unread,
}

impl From<io::Error> for Failure {
    /// Writing is the only thing that is not said with more words where it fails.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::Failed(format!("cannot write: {error}"))
    }
}

/// Runs the command on standard output.
pub(crate) fn run(args: &RolloutArgs) -> ExitCode {
    let variable = |name: &str| std::env::var_os(name);
    let environment = StateEnvironment {
        state_directory: variable("STATE_DIRECTORY"),
        xdg_state_home: variable("XDG_STATE_HOME"),
        home: variable("HOME"),
    };
    match execute(args, &environment, &mut Screen::of_stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            if let Failure::Usage(said) | Failure::Failed(said) = failure {
                eprintln!("watershed rollout: {said}");
            }
            ExitCode::from(code)
        }
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            // Whoever stopped reading has seen enough.
            Self::Unread => 0,
        }
    }
}

fn execute(args: &RolloutArgs, environment: &StateEnvironment, screen: &mut Screen) -> Result<(), Failure> {
    let client = Client::new(Place::find(&args.place, environment)?);
    let namespace = &*args.namespace;
    match &args.command {
        RolloutCommand::Get(get) => get::run(&client, namespace, get, screen),
        RolloutCommand::List(list) => {
            let views = client.list((!list.all_namespaces).then_some(namespace))?;
            Ok(screen.write(&tables::list(&views, namespace, list, now(), screen.style())?)?)
        }
        RolloutCommand::Status(status) => status::run(&client, namespace, status, screen),
        RolloutCommand::History(history) => {
            let view = client.find(namespace, &history.named.name)?;
            Ok(screen.write(&tables::history(&view, history, now(), screen.style())?)?)
        }
        RolloutCommand::Why(named) => {
            let view = client.find(namespace, &named.name)?;
            Ok(screen.say(why::text(&words::cleaned(&view), now()).trim_end())?)
        }
        change => change::run(&client, namespace, change, screen),
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `NAME`, or `rollout/NAME` as kubectl prints it.
fn rollout_name(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        None => text,
        Some(("rollout" | "rollouts" | "rollout.watershed.dev", name)) => name,
        Some(_) => {
            return Err("a Rollout is named by `NAME` or `rollout/NAME`; its namespace by -n".to_owned());
        }
    };
    dns_name(name)
}

/// What Kubernetes takes for a name, so that it needs no escaping in a path.
fn dns_name(text: &str) -> Result<String, String> {
    let is_name =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    if text.is_empty() || !text.chars().all(is_name) {
        return Err("names have lower-case letters, digits, `-` and `.`".to_owned());
    }
    Ok(text.to_owned())
}

/// A percentage, with or without its sign.
fn weight(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a weight is a percentage from 0 to 100, such as 5 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests;
