//! `watershed simulate`: what would become of a rollout, before it is one.
//!
//! The Rollout is read as `check` reads it; traffic, failures and durations are said by flags and by a small file (`settings`);
//! [`crate::simulate`] lets the production engine, judge and split go through it in virtual time, once for each seed; and
//! `table` shows what came of it. Nothing is listened on, and nobody is asked anything.
//!
//! Exit codes: 0 simulated, whatever became of the rollout; 1 if there is no Rollout without an error; 2 usage.

mod settings;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use watershed_config::model::{Kind, ObjectName};
use watershed_config::{Problem, Severity};
use watershed_control::load::Loaded;

use super::Switchable;
use super::check::{colours_wanted, read, written};
use crate::screen::Screen;
use crate::simulate::profile::Profile;
use crate::simulate::report::Report;
use crate::simulate::simulate;
use crate::simulate::subject::Subject;
use settings::Settings;

/// `watershed simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// The Rollout, if the manifests have several
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Its namespace, if several have one of this name
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
    /// A manifest with the Rollout, or a directory; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// A file of YAML with the flags below in lowerCamel (`stableErrors: 0.1`), and `phases`, a list of changes: `{at: 10m, rps:
    /// 500, stableErrors: 5}`. Flags that are given go before it
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
    /// How the result is printed
    #[arg(short = 'o', long, value_enum, default_value_t = SimulateOutput::Table)]
    pub output: SimulateOutput,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SimulateOutput {
    /// For people.
    Table,
    /// One JSON object; times in milliseconds, shares in percent.
    Json,
}

/// Why nothing was simulated.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The question makes no sense.
    Usage(String),
    /// The Rollout is in error, or not there.
    Refused(String),
}

/// Runs the command on standard output.
pub(crate) fn run(args: SimulateArgs) -> ExitCode {
    let output = args.output;
    match prepare(args).and_then(|(subject, profile)| print(&subject, &profile, output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(what)) => {
            eprintln!("watershed simulate: {what}");
            ExitCode::from(2)
        }
        Err(Failure::Refused(what)) => {
            eprintln!("watershed simulate: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Reads everything.
fn prepare(args: SimulateArgs) -> Result<(Subject, Profile), Failure> {
    if let Some(path) = args.paths.iter().find(|path| path.symlink_metadata().is_err()) {
        return Err(Failure::Usage(format!("there is no file or directory {}", path.display())));
    }
    let file = args.profile.as_deref().map(read_settings).transpose()?.unwrap_or_default();
    let profile = args.settings.over(file).profile().map_err(Failure::Usage)?;
    // Where Services answer plays no part in a rollout.
    let loaded = read(&args.paths, Switchable(None));
    let name = choose(&loaded, args.name.as_deref(), args.namespace.as_deref())?;
    let problems: Vec<&Problem> =
        loaded.problems.iter().filter(|problem| concerns(problem, name.as_ref())).collect();
    show(&problems);
    let Some(name) = name else {
        return Err(Failure::Refused("these manifests have no Rollout".to_owned()));
    };
    let is_wrong = problems.iter().any(|problem| {
        problem.severity == Severity::Error
            && problem.object.as_ref().is_some_and(|object| object.kind == Kind::Rollout)
    });
    match loaded.catalog.rollout(&name).filter(|_| !is_wrong) {
        Some(rollout) => Ok((Subject::new(&loaded.catalog, rollout), profile)),
        None => Err(Failure::Refused(format!("the Rollout {name} is in error"))),
    }
}

fn read_settings(path: &Path) -> Result<Settings, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    Settings::read(&text).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))
}

/// The Rollout that is meant: one in error may be, too. `None` if there is none at all.
fn choose(
    loaded: &Loaded,
    name: Option<&str>,
    namespace: Option<&str>,
) -> Result<Option<ObjectName>, Failure> {
    let good = loaded.catalog.rollouts().map(|rollout| rollout.meta.name());
    let bad = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let bad = bad.filter_map(|problem| problem.object.as_ref());
    let bad = bad.filter(|object| object.kind == Kind::Rollout).map(|object| &object.name);
    let known: BTreeSet<&ObjectName> = good.chain(bad).collect();
    let asked = |rollout: &&ObjectName| {
        name.is_none_or(|name| *name == *rollout.name)
            && namespace.is_none_or(|namespace| *namespace == *rollout.namespace)
    };
    let meant: Vec<&ObjectName> = known.iter().copied().filter(asked).collect();
    let list = |names: &[&ObjectName]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match meant.as_slice() {
        [one] => Ok(Some((*one).clone())),
        [] if known.is_empty() => Ok(None),
        [] => {
            let known: Vec<&ObjectName> = known.into_iter().collect();
            Err(Failure::Refused(format!("there is no such Rollout; there is {}", list(&known))))
        }
        several => Err(Failure::Usage(format!("name one of the Rollouts (-n NS NAME): {}", list(several)))),
    }
}

/// Whether a problem may be why a rollout does not do what is expected: its own, those of analyses, and of files that are not
/// understood at all.
fn concerns(problem: &Problem, rollout: Option<&ObjectName>) -> bool {
    match (&problem.object, rollout) {
        (None, _) | (_, None) => true,
        (Some(object), Some(rollout)) => match object.kind {
            Kind::Rollout => object.name == *rollout,
            Kind::AnalysisTemplate => object.name.namespace == rollout.namespace,
            _ => false,
        },
    }
}

fn show(problems: &[&Problem]) {
    let colour = io::stderr().is_terminal() && colours_wanted();
    for problem in problems {
        eprintln!("{}\n", written(problem, colour));
    }
}

fn print(subject: &Subject, profile: &Profile, output: SimulateOutput) -> Result<(), Failure> {
    let report = simulate(subject, profile);
    let text = match output {
        SimulateOutput::Json => json(&report)?,
        SimulateOutput::Table => table::table(&report, subject, profile, Screen::of_stdout().style().width),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Refused(format!("cannot write: {error}")))
        }
        // Whoever stopped reading has seen enough.
        _ => Ok(()),
    }
}

fn json(report: &Report) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(report).map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(text + "\n")
}
