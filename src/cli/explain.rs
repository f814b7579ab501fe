//! `watershed explain`: which rule, share and endpoints a request would get, and why.
//!
//! Offline (`-f`) the manifests are read as `run` reads them and compiled as it compiles them; nothing is listened on and no pod is
//! asked anything. Without `-f` a running process is asked, which also knows what its probes say and what it has counted. Both
//! go through the very table that routes requests.
//!
//! Exit codes: 0 if a rule was found, 1 if not or if nobody could be asked, 2 for a question that makes no sense.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use watershed_config::snapshot::Generation;
use watershed_config::{Problem, Severity};
use watershed_control::assemble::{AssembleOptions, assemble};
use watershed_control::load::load_once;
use watershed_control::readiness::Readiness;
use watershed_control::rollout::plans_without_memory;
use watershed_proxy::table::Compiler;
use watershed_proxy::table::explain::{Explanation, Question};
use watershed_proxy::telemetry::cells::SeriesSet;

use super::Switchable;
use super::exchange::{Ask, ask_tcp};

/// How long a running process may take for each step of answering.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);

/// `watershed explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// What to ask about; `http://` may be left out
    #[arg(value_name = "URL")]
    pub url: String,
    /// The method
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// A header; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Ask these manifests, or directories of them, instead of a running process
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The admin address of the process to ask
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901", env = "WATERSHED_ADMIN")]
    pub admin: SocketAddr,
    /// With -f: the address that `run` is given
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:8000")]
    pub service_listener: Switchable,
    /// How the explanation is printed
    #[arg(short = 'o', long, value_enum, default_value_t = ExplainOutput::Text)]
    pub output: ExplainOutput,
}

/// How the explanation is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainOutput {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Why there is no explanation.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The question makes no sense.
    Usage(String),
    /// Nobody could be asked.
    Unanswered(String),
}

/// Runs the command on standard output.
pub(crate) fn run(args: &ExplainArgs) -> ExitCode {
    let told = match explain(args) {
        Ok(told) => told,
        Err(Failure::Usage(what)) => {
            eprintln!("watershed explain: {what}");
            return ExitCode::from(2);
        }
        Err(Failure::Unanswered(what)) => {
            eprintln!("watershed explain: {what}");
            return ExitCode::FAILURE;
        }
    };
    match print(&told, args.output, &mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("watershed explain: cannot write: {error}");
            ExitCode::FAILURE
        }
        _ if told.rule.is_some() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn print(told: &Explanation, output: ExplainOutput, out: &mut impl Write) -> io::Result<()> {
    match output {
        ExplainOutput::Text => write!(out, "{told}")?,
        ExplainOutput::Json => {
            serde_json::to_writer_pretty(&mut *out, told)?;
            writeln!(out)?;
        }
    }
    out.flush()
}

fn explain(args: &ExplainArgs) -> Result<Explanation, Failure> {
    let headers = args.headers.iter().map(String::as_str);
    let question = Question::new(&args.method, &args.url, headers).map_err(Failure::Usage)?;
    if args.paths.is_empty() { ask(args) } else { look(args, &question) }
}

/// Reads the manifests and asks the table that they make.
fn look(args: &ExplainArgs, question: &Question) -> Result<Explanation, Failure> {
    if let Some(path) = args.paths.iter().find(|path| path.symlink_metadata().is_err()) {
        return Err(Failure::Usage(format!("there is no file or directory {}", path.display())));
    }
    let loaded = load_once(&args.paths);
    let mut readiness = Readiness::default();
    for pod in loaded.catalog.pods() {
        readiness.set(&pod.meta.uid, true);
    }
    let plans = plans_without_memory(&loaded.catalog, &readiness);
    let options = AssembleOptions { service_listener: args.service_listener.0, plans };
    let assembled = assemble(&loaded.catalog, &readiness, &options, Generation(1));
    let mut compiler = Compiler::new(1, Arc::new(SeriesSet::new(1)));
    let mut told = compiler.compile(&assembled.snapshot).explain(question);
    if loaded.catalog.pods().any(|pod| !pod.probes.is_empty()) {
        told.notes.push("no readiness probe was run: every pod with one counts as passing it".to_owned());
    }
    let bad = |problem: &&Problem| problem.severity != Severity::Note;
    let problems = loaded.problems.iter().chain(&assembled.problems).filter(bad).count();
    if problems > 0 {
        told.notes.push(format!(
            "the manifests have problems ({problems}): `watershed check` tells them; what is in error is left out here"
        ));
    }
    Ok(told)
}

/// Asks a running process.
fn ask(args: &ExplainArgs) -> Result<Explanation, Failure> {
    let query = Question::to_query(&args.method, &args.url, &args.headers);
    let target = format!("/api/v1/explain?{query}");
    let answer = ask_tcp(args.admin, &Ask::get(&target), ADMIN_TIMEOUT).map_err(|error| {
        Failure::Unanswered(format!(
            "no answer from {}: {error}; is `watershed run` running there? To ask manifests instead, use -f PATH",
            args.admin
        ))
    })?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::Unanswered(format!(
                "{} does not answer like this version of watershed: {error}",
                args.admin
            ))
        }),
        400 => Err(Failure::Usage(answer.text())),
        status => Err(Failure::Unanswered(format!("{} answers {status}: {}", args.admin, answer.text()))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::path::Path;

    use clap::Parser;

    use super::{ExplainArgs, ExplainOutput, Explanation, Failure, explain, print};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ExplainArgs,
    }

    fn args(line: &[&str]) -> ExplainArgs {
        Line::parse_from([&["explain"], line].concat()).args
    }

    fn offline(line: &[&str]) -> Explanation {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/split");
        explain(&args(&[&["-f", examples.to_str().unwrap()], line].concat())).unwrap()
    }

    #[test]
    fn manifests_are_asked_without_a_running_process() {
        let told = offline(&["http://127.0.0.1:8080/", "-H", "Host: anything.example"]);
        let mut text = Vec::new();
        print(&told, ExplainOutput::Text, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("HTTPRoute default/hello rule 0"), "{text}");
        assert!(text.contains("90 %       default/hello-v1:80, weight 90"), "{text}");
        assert!(text.contains("127.0.0.1:9001  ready, 0 in flight"), "{text}");
        assert!(told.notes.iter().any(|note| note.contains("no readiness probe was run")), "{text}");
    }

    #[test]
    fn a_forgotten_port_is_pointed_out() {
        let told = offline(&["hello.example/"]);
        assert_eq!(told.rule, None);
        assert!(told.notes.iter().any(|note| note.contains("127.0.0.1:8080 would get")), "{told}");
        let by_name = offline(&["hello-v1:8000/"]);
        assert_eq!(by_name.rule.unwrap().kind, "Service");
    }

    /// Answers one request with this, and gives the head of the request.
    fn server(answer: String) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(head[..length].to_vec()).unwrap()
        };
        (address, std::thread::spawn(serve))
    }

    #[test]
    fn a_running_process_is_asked_with_method_and_headers() {
        let told = offline(&["http://127.0.0.1:8080/x"]);
        let body = serde_json::to_string(&told).unwrap();
        let (address, asked) = server(format!("HTTP/1.0 200 OK\r\ncontent-type: x\r\n\r\n{body}"));
        let address = address.to_string();
        let line = ["--admin", &address, "-X", "POST", "-H", "x-a: 1 & 2", "http://127.0.0.1:8080/x"];
        assert_eq!(explain(&args(&line)).unwrap(), told);
        let head = asked.join().unwrap();
        let target = "GET /api/v1/explain?method=POST&url=http://127.0.0.1:8080/x&header=x-a:%201%20%26%202 HTTP/1.0\r\n";
        assert!(head.starts_with(target), "{head}");
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let of = |line: &[&str]| explain(&args(line)).unwrap_err();
        assert!(matches!(of(&["http://"]), Failure::Usage(_)));
        assert!(matches!(of(&["-f", "/no/such/path", "a"]), Failure::Usage(_)));
        let (address, _) = server("HTTP/1.1 404 Not Found\r\n\r\nnot here".to_owned());
        let told = of(&["--admin", &address.to_string(), "a"]);
        assert_eq!(told, Failure::Unanswered(format!("{address} answers 404: not here")));
        let (address, _) = server("SSH-2.0-OpenSSH\r\n".to_owned());
        let told = of(&["--admin", &address.to_string(), "a"]);
        assert!(matches!(told, Failure::Unanswered(what) if what.contains("that is not HTTP")));
    }
}
