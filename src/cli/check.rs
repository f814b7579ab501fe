//! `watershed check`: every problem of some manifests, and nothing else happens.
//!
//! The files are read as `run` reads them and put together with every pod counted as ready by its probes, because nobody is asked
//! anything here. What is said of one object and what is said of objects together comes in one list, by place.
//!
//! Exit codes: 0 without errors and warnings (notes do not count), 1 with either, 2 for a path that is not there.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use watershed_config::snapshot::Generation;
use watershed_config::{Problem, Severity};
use watershed_control::assemble::{AssembleOptions, assemble};
use watershed_control::load::{Loaded, load_once, show_excerpts};
use watershed_control::readiness::Readiness;
use watershed_control::rollout::plans_without_memory;

use super::Switchable;

/// `watershed check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Manifests, or directories of them
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// How problems are printed
    #[arg(short = 'o', long, value_enum, default_value_t = CheckOutput::Text)]
    pub output: CheckOutput,
    /// The address that `run` is given, so that what is in its way is told; `off` for nowhere
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:8000")]
    pub service_listener: Switchable,
}

/// How problems are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckOutput {
    /// For people: place, line, caret, what is wrong and how to mend it.
    Text,
    /// One JSON object.
    Json,
}

/// Runs the command on standard output.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    if let Some(path) = args.paths.iter().find(|path| path.symlink_metadata().is_err()) {
        eprintln!("watershed check: there is no file or directory {}", path.display());
        return ExitCode::from(2);
    }
    let stdout = io::stdout();
    let colour = args.output == CheckOutput::Text && stdout.is_terminal() && colours_wanted();
    let report = Report::of(args);
    match report.print(args.output, colour, &mut BufWriter::new(stdout.lock())) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("watershed check: cannot write: {error}");
            ExitCode::FAILURE
        }
        // Whoever stopped reading has seen enough; the exit code still tells.
        _ => ExitCode::from(report.exit_code()),
    }
}

/// Reads manifests with everything that is wrong with them, sorted by place.
pub(super) fn read(paths: &[PathBuf], service_listener: Switchable) -> Loaded {
    let mut loaded = load_once(paths);
    let mut readiness = Readiness::default();
    for pod in loaded.catalog.pods() {
        readiness.set(&pod.meta.uid, true);
    }
    let plans = plans_without_memory(&loaded.catalog, &readiness);
    let options = AssembleOptions { service_listener: service_listener.0, plans };
    loaded.problems.extend(assemble(&loaded.catalog, &readiness, &options, Generation(1)).problems);
    loaded.problems.sort_by(Problem::order);
    show_excerpts(&mut loaded.problems);
    loaded
}

/// See <https://no-color.org>: any value but the empty one means none.
pub(super) fn colours_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// What was found.
struct Report {
    problems: Vec<Problem>,
    files: usize,
    objects: usize,
}

impl Report {
    fn of(args: &CheckArgs) -> Self {
        let Loaded { catalog, problems, files } = read(&args.paths, args.service_listener);
        Self { problems, files, objects: catalog.len() }
    }

    fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|problem| problem.severity == severity).count()
    }

    fn exit_code(&self) -> u8 {
        u8::from(self.count(Severity::Error) + self.count(Severity::Warning) > 0)
    }

    fn print(&self, output: CheckOutput, colour: bool, out: &mut impl Write) -> io::Result<()> {
        match output {
            CheckOutput::Json => {
                serde_json::to_writer_pretty(&mut *out, &self.to_json())?;
                writeln!(out)?;
            }
            CheckOutput::Text => {
                for problem in &self.problems {
                    writeln!(out, "{}\n", written(problem, colour))?;
                }
                writeln!(out, "{}", self.summary())?;
            }
        }
        out.flush()
    }

    fn summary(&self) -> String {
        let number = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            _ => format!("{count} {noun}s"),
        };
        format!(
            "{}, {}, {} in {}, {}",
            number(self.count(Severity::Error), "error"),
            number(self.count(Severity::Warning), "warning"),
            number(self.count(Severity::Note), "note"),
            number(self.files, "file"),
            number(self.objects, "object"),
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "problems": self.problems.iter().map(problem_to_json).collect::<Vec<_>>(),
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "notes": self.count(Severity::Note),
            "files": self.files,
            "objects": self.objects,
        })
    }
}

/// A problem with every part in a field of its own; what is not known is null.
fn problem_to_json(problem: &Problem) -> Value {
    let place = (problem.spot.line > 0).then_some(problem.spot);
    json!({
        "severity": problem.severity.to_string(),
        "file": problem.file.as_ref().map(|file| file.to_string_lossy()),
        "line": place.map(|spot| spot.line),
        "column": place.map(|spot| spot.column),
        "length": place.map(|spot| spot.length),
        "object": problem.object.as_ref().map(|id| json!({
            "kind": id.kind.as_str(),
            "namespace": &*id.name.namespace,
            "name": &*id.name.name,
        })),
        "field": problem.field,
        "what": problem.what,
        "help": problem.help,
    })
}

const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

/// A problem as a terminal or a file gets it.
pub(super) fn written(problem: &Problem, colour: bool) -> String {
    if colour { coloured(problem) } else { problem.to_string() }
}

/// The same text as [`Problem`]'s `Display`, with what matters in colour.
fn coloured(problem: &Problem) -> String {
    let severity = match problem.severity {
        Severity::Error => "\x1b[1;31m",
        Severity::Warning => "\x1b[1;33m",
        Severity::Note => "\x1b[1;36m",
    };
    let head = format!(
        "{BOLD}{}:{RESET} {severity}{}:{RESET} {BOLD}{}{RESET}",
        problem.place(),
        problem.severity,
        problem.what
    );
    let plain = problem.to_string();
    let mut lines = vec![head];
    // The head is one line, because what is wrong is one sentence.
    for line in plain.lines().skip(problem.what.lines().count().max(1)) {
        let (gutter, rest) = line.split_once('|').unwrap_or((line, ""));
        lines.push(match line.strip_prefix("  help: ") {
            Some(help) => format!("  {CYAN}help:{RESET} {help}"),
            None if rest.trim_start().starts_with('^') && gutter.trim().is_empty() => {
                format!("{CYAN}{gutter}|{RESET}{severity}{rest}{RESET}")
            }
            None => format!("{CYAN}{gutter}|{RESET}{rest}"),
        });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{CheckArgs, CheckOutput, Report, Switchable};

    fn check(fixture: &str, output: CheckOutput, colour: bool) -> (u8, String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/check-objects").join(fixture);
        let service_listener = Switchable(Some(([127, 0, 0, 1], 8000).into()));
        let report = Report::of(&CheckArgs { paths: vec![path], output, service_listener });
        let mut out = Vec::new();
        report.print(output, colour, &mut out).unwrap();
        (report.exit_code(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn manifests_without_problems_give_the_summary_alone_and_exit_0() {
        let (code, text) = check("canary", CheckOutput::Text, false);
        assert_eq!((code, &*text), (0, "0 errors, 0 warnings, 0 notes in 2 files, 7 objects\n"));
    }

    #[test]
    fn problems_come_in_order_of_place_with_their_lines_and_exit_1() {
        let (code, text) = check("ways-in", CheckOutput::Text, false);
        assert_eq!(code, 1);
        assert!(text.ends_with("2 errors, 1 warning, 1 note in 1 file, 5 objects\n"), "{text}");
        let excerpt =
            " 36 |   - {name: taken, port: 8001, targetPort: 8080}\n    |                         ^^^^\n";
        assert!(text.contains(excerpt), "{text}");
        let line_of = |needle: &str| text.find(needle).unwrap();
        assert!(line_of("ways-in.yaml:8:11: error") < line_of("ways-in.yaml:36:25: error"));
    }

    #[test]
    fn colours_change_no_letter() {
        let (_, plain) = check("slips", CheckOutput::Text, false);
        let (_, coloured) = check("slips", CheckOutput::Text, true);
        assert_ne!(plain, coloured);
        let mut stripped = String::new();
        for (index, part) in coloured.split('\x1b').enumerate() {
            stripped.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
        }
        assert_eq!(stripped, plain);
    }

    #[test]
    fn json_has_every_part_of_a_problem_in_a_field_of_its_own() {
        let (code, text) = check("slips", CheckOutput::Json, false);
        assert_eq!(code, 1);
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&report["errors"], &report["warnings"]), (&0.into(), &12.into()));
        let first = &report["problems"][0];
        assert!(first["file"].as_str().unwrap().ends_with("slips.yaml"));
        let place = ["line", "column", "length"].map(|field| first[field].as_u64().unwrap());
        assert_eq!(place, [18, 21, 8]);
        assert_eq!(first["object"]["name"], "other");
        assert_eq!(first["field"], "spec.gatewayClassName");
        assert_eq!(first["help"], "did you mean `watershed`?");
    }

    #[test]
    fn a_path_that_is_not_there_is_a_usage_error() {
        let args = CheckArgs {
            paths: vec![PathBuf::from("tests/fixtures/nothing-here")],
            output: CheckOutput::Text,
            service_listener: Switchable(None),
        };
        assert_eq!(format!("{:?}", super::run(&args)), format!("{:?}", std::process::ExitCode::from(2)));
    }
}
