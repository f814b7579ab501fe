//! Commands as they are typed, against the real admin server over rollouts that only say that they obey.

use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use tempfile::TempDir;
use watershed_control::rollout::port::{Refused, Verb};
use watershed_control::rollout::view::{Phase, RolloutView, VerbAnswer, VerbRequest};
use watershed_control::state_dir::StateEnvironment;

use crate::admin::TOKEN_FILE;
use crate::admin::fake::{Admin, Fake};
use crate::cli::rollout::{Failure, RolloutArgs, execute};
use crate::screen::Screen;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: RolloutArgs,
}

/// What a command prints, readable while it runs.
#[derive(Debug, Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, what: &str) {
        eventually(what, || self.text().contains(what));
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A command's end.
#[derive(Debug)]
struct Ended {
    code: u8,
    out: String,
    /// What would be said on standard error.
    error: String,
}

/// Runs a line without what belongs to this machine.
fn run_into(printed: &Printed, line: &[&str]) -> Ended {
    let result = match Line::try_parse_from([&["rollout"], line].concat()) {
        Ok(line) => execute(&line.args, &StateEnvironment::default(), &mut Screen::of_pipe(printed.clone())),
        Err(error) => Err(Failure::Usage(error.to_string())),
    };
    let (code, error) = match result {
        Ok(()) => (0, String::new()),
        Err(failure) => {
            let code = failure.exit_code();
            let (Failure::Usage(said) | Failure::Failed(said)) = failure else { panic!("nobody reads") };
            (code, said)
        }
    };
    Ended { code, out: printed.text(), error }
}

struct Scene {
    fake: Arc<Fake>,
    admin: Admin,
    directory: TempDir,
}

fn scene_of(views: Vec<RolloutView>) -> Scene {
    let fake = Fake::of(views);
    let directory = tempfile::tempdir().unwrap();
    let admin = fake.serve(directory.path());
    Scene { fake, admin, directory }
}

fn scene(sample: &str) -> Scene {
    scene_of(vec![Fake::sample(sample)])
}

impl Scene {
    /// Runs a line that asks over the socket.
    fn run(&self, line: &[&str]) -> Ended {
        self.run_into(&Printed::default(), line)
    }

    fn run_into(&self, printed: &Printed, line: &[&str]) -> Ended {
        let directory = self.directory.path().to_str().unwrap();
        run_into(printed, &[line, &["--state-dir", directory]].concat())
    }

    /// Runs a line that asks over TCP.
    fn run_over_tcp(&self, line: &[&str]) -> Ended {
        run_into(&Printed::default(), &[line, &["--admin", &self.admin.address.to_string()]].concat())
    }

    /// What was asked for, without who asked.
    fn asked(&self) -> Vec<(Verb, VerbRequest)> {
        let submitted = self.fake.submitted();
        submitted.into_iter().map(|(_, _, verb, request)| (verb, request)).collect()
    }
}

fn seen(version: u64) -> VerbRequest {
    VerbRequest { journal_version: Some(version), by: "ann".to_owned(), ..VerbRequest::default() }
}

#[test]
fn every_verb_asks_for_what_was_typed_and_says_what_was_done() {
    let scene = scene("canary");
    let cases: [(&[&str], Verb, VerbRequest, &str); 11] = [
        (&["pause", "hello"], Verb::Pause, seen(41), "paused"),
        (&["resume", "rollout/hello"], Verb::Resume, seen(41), "resumed"),
        (&["promote", "hello"], Verb::Promote, seen(41), "promoted"),
        (
            &["promote", "hello", "--full"],
            Verb::Promote,
            VerbRequest { full: true, ..seen(41) },
            "fully promoted",
        ),
        (&["abort", "hello"], Verb::Abort, VerbRequest { journal_version: None, ..seen(0) }, "aborted"),
        (&["retry", "hello"], Verb::Retry, seen(41), "retried"),
        (&["undo", "hello"], Verb::Undo, seen(41), "rolled back"),
        (
            &["undo", "hello", "--to-revision=1"],
            Verb::Undo,
            VerbRequest { to_revision: Some(1), ..seen(41) },
            "rolled back",
        ),
        (&["restart", "hello"], Verb::Restart, seen(41), "restarted"),
        (
            &["set-weight", "hello", "12.5"],
            Verb::SetWeight,
            VerbRequest { weight: Some(12.5), ..seen(41) },
            "weight set to 12.5 %",
        ),
        (
            &["pause", "hello", "--reason", "the graphs"],
            Verb::Pause,
            VerbRequest { reason: "the graphs".to_owned(), ..seen(41) },
            "paused",
        ),
    ];
    for (line, verb, request, done) in cases {
        let ended = scene.run(&[line, &["--by", "ann"]].concat());
        assert_eq!((ended.code, ended.out), (0, format!("rollout \"hello\" {done}\n")), "{line:?}");
        assert_eq!(scene.asked(), [(verb, request)], "{line:?}");
    }
    // Who asks is known without being said.
    assert_eq!(scene.run(&["pause", "hello"]).code, 0);
    let by = &scene.asked()[0].1.by;
    assert!(by.contains('@') && by.len() > 2, "{by}");
}

#[test]
fn what_the_process_has_to_say_is_printed() {
    let scene = scene("canary");
    let still = "it is still paused by spec.paused (hello.yaml:12:3)";
    let answer = VerbAnswer { message: format!("{still}\x1b[2J"), journal_version: 42 };
    scene.fake.will_answer(Ok(answer));
    let ended = scene.run(&["resume", "hello"]);
    assert_eq!((ended.code, &*ended.out), (0, &*format!("rollout \"hello\" resumed\n{still} [2J\n")));
    scene.fake.will_answer(Err(Refused::Refused("nothing here can restart pods".to_owned())));
    let ended = scene.run(&["restart", "hello"]);
    assert_eq!((ended.code, &*ended.out, &*ended.error), (1, "", "nothing here can restart pods"));
    scene.fake.will_answer(Err(Refused::Unwritable("the journal cannot be written".to_owned())));
    let ended = scene.run(&["abort", "hello"]);
    assert_eq!((ended.code, &*ended.error), (1, "the journal cannot be written"));
}

#[test]
fn over_tcp_a_change_needs_the_token_and_a_look_does_not() {
    let scene = scene("canary");
    assert_eq!(scene.run_over_tcp(&["get", "hello"]).code, 0);
    let refused = scene.run_over_tcp(&["pause", "hello"]);
    assert_eq!(refused.code, 1);
    assert!(refused.error.contains("/token holds") && refused.error.ends_with("--token-file"), "{refused:?}");
    assert_eq!(scene.asked(), []);
    let token = scene.directory.path().join(TOKEN_FILE);
    let line = ["pause", "hello", "--token-file", token.to_str().unwrap()];
    assert_eq!(scene.run_over_tcp(&line).code, 0);
    assert_eq!(scene.asked().len(), 1);
    let wrong = scene.directory.path().join("wrong");
    std::fs::write(&wrong, "0123").unwrap();
    let refused = scene.run_over_tcp(&["pause", "hello", "--token-file", wrong.to_str().unwrap()]);
    assert!(refused.error.starts_with("the token is not that of the process on 127.0.0.1:"), "{refused:?}");
}

#[test]
fn what_moved_on_the_way_is_looked_at_again_and_asked_for_once_more() {
    let scene = scene("canary");
    let at = |journal_version: u64| vec![RolloutView { journal_version, ..Fake::sample("canary") }];
    let versions =
        || -> Vec<Option<u64>> { scene.asked().iter().map(|(_, request)| request.journal_version).collect() };
    scene.fake.will_move_to(at(45));
    assert_eq!(scene.run(&["pause", "hello"]).code, 0);
    assert_eq!(versions(), [Some(41), Some(45)]);
    scene.fake.will_move_to(at(46));
    scene.fake.will_move_to(at(47));
    let ended = scene.run(&["pause", "hello"]);
    assert_eq!(ended.code, 1);
    assert!(ended.error.contains("changes faster"), "{ended:?}");
    assert_eq!(versions(), [Some(45), Some(46)]);
    // Whoever aborts has seen enough.
    scene.fake.will_move_to(at(48));
    assert_eq!(scene.run(&["abort", "hello"]).code, 0);
    assert_eq!(versions(), [None]);
}

#[test]
fn a_step_that_nobody_has_seen_is_not_promoted() {
    let scene = scene("canary");
    let next = || vec![RolloutView { journal_version: 50, step: Some(4), ..Fake::sample("canary") }];
    scene.fake.will_move_to(next());
    let ended = scene.run(&["promote", "hello"]);
    assert_eq!(ended.code, 1);
    assert!(ended.error.contains("moved on by itself and is at step 5; nothing was promoted"), "{ended:?}");
    assert_eq!(scene.asked().len(), 1);
    scene.fake.publish(vec![Fake::sample("canary")]);
    scene.fake.will_move_to(next());
    assert_eq!(scene.run(&["promote", "hello", "--full"]).code, 0, "all steps are all steps");
}

#[test]
fn a_name_that_is_not_there_is_answered_with_one_that_could_be_meant() {
    let shop =
        RolloutView { namespace: "shop".to_owned(), name: "cart".to_owned(), ..Fake::sample("canary") };
    let scene = scene_of(vec![Fake::sample("canary"), Fake::sample("rolling"), shop]);
    let cases: [(&[&str], &str); 5] = [
        (&["get", "helo"], "there is no Rollout default/helo; did you mean `hello`?"),
        (&["abort", "helo"], "there is no Rollout default/helo; did you mean `hello`?"),
        (&["pause", "something"], "there is no Rollout default/something; there are: api, hello"),
        (&["status", "cart"], "there is no Rollout default/cart; there is one in shop: use -n"),
        (
            &["why", "x", "-n", "none"],
            "there is no Rollout none/x; none is in none, but there is default/api",
        ),
    ];
    for (line, said) in cases {
        let ended = scene.run(line);
        assert_eq!((ended.code, &*ended.error), (1, said), "{line:?}");
    }
    assert_eq!(scene.run(&["get", "cart", "-n", "shop"]).code, 0);
    let empty = scene_of(Vec::new());
    assert_eq!(empty.run(&["get", "x"]).error, "there is no Rollout default/x; there is none at all");
    assert_eq!(empty.run(&["list"]).out, "No Rollouts found in namespace default.\n");
    assert_eq!(empty.run(&["list", "-A"]).out, "No Rollouts found.\n");
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let scene = scene("canary");
    let lines: [&[&str]; 9] = [
        &["set-weight", "hello", "101"],
        &["set-weight", "hello", "-1"],
        &["set-weight", "hello", "nan"],
        &["set-weight", "hello"],
        &["get"],
        &["get", "shop/hello"],
        &["get", "Hello"],
        &["dance", "hello"],
        &["status", "hello", "--timeout", "soon"],
    ];
    for line in lines {
        assert_eq!(scene.run(line).code, 2, "{line:?}");
    }
    let long = "x".repeat(2000);
    assert_eq!(scene.run(&["pause", "hello", "--reason", &long]).code, 2);
    assert_eq!(scene.asked(), []);
    assert_eq!(scene.run(&["set-weight", "hello", "100%"]).code, 0);
}

#[test]
fn status_tells_by_its_exit_code() {
    for (sample, line, code, out) in [
        ("healthy", vec!["status", "hello"], 0, "Healthy\n"),
        ("healthy", vec!["status", "hello", "--revision", "2.0.0"], 0, "Healthy\n"),
        ("aborted", vec!["status", "hello"], 1, "Aborted - the judge found"),
        (
            "degraded",
            vec!["status", "checkout-service-with-a-long-name", "-n", "shop"],
            1,
            "Degraded - the journal",
        ),
        ("canary", vec!["status", "hello", "--watch=false"], 1, "Paused - step 4 is a pause of 10 minutes\n"),
        ("aborted", vec!["status", "hello", "--watch=false"], 1, "Aborted - "),
        ("canary", vec!["status", "hello", "--timeout", "50ms"], 1, "Paused - step 4"),
        (
            "healthy",
            vec!["status", "hello", "--revision", "3.0.0", "-t", "50ms"],
            1,
            "Waiting - 2.0.0 is stable",
        ),
    ] {
        let ended = scene(sample).run(&line);
        assert_eq!(ended.code, code, "{line:?}: {ended:?}");
        assert!(ended.out.starts_with(out), "{line:?}: {ended:?}");
    }
    let late = scene("canary").run(&["status", "hello", "--timeout", "50ms"]);
    assert!(late.error.starts_with("rollout \"hello\" is not complete after 50ms: Paused"), "{late:?}");
}

#[test]
fn status_waits_and_says_what_changes() {
    let scene = scene("canary");
    let printed = Printed::default();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| scene.run_into(&printed, &["status", "hello"]));
        printed.wait_for("Paused - step 4 is a pause of 10 minutes\n");
        let message = "step 6 of 6".to_owned();
        scene.fake.publish(vec![RolloutView {
            phase: Phase::Progressing,
            message,
            ..Fake::sample("canary")
        }]);
        printed.wait_for("Progressing - step 6 of 6\n");
        scene.fake.publish(vec![Fake::sample("healthy")]);
        let ended = waiting.join().unwrap();
        assert_eq!((ended.code, ended.out.lines().count()), (0, 3), "{ended:?}");
    });
    let printed = Printed::default();
    scene.fake.publish(vec![Fake::sample("canary")]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| scene.run_into(&printed, &["status", "hello"]));
        printed.wait_for("Paused");
        scene.fake.publish(Vec::new());
        let ended = waiting.join().unwrap();
        assert_eq!((ended.code, &*ended.error), (1, "rollout \"hello\" is no longer there"));
    });
}

#[test]
fn a_watch_into_a_pipe_prints_what_changes_and_nothing_else() {
    let scene = scene("canary");
    let printed = Printed::default();
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| scene.run_into(&printed, &["get", "hello", "-w"]));
        printed.wait_for("Status:          Paused\n");
        let mut busy = Fake::sample("canary");
        busy.revisions[0].requests += 100;
        scene.fake.publish(vec![busy]);
        let looks = scene.fake.looks();
        eventually("it looks twice", || scene.fake.looks() >= looks + 2);
        scene.fake.publish(vec![Fake::sample("healthy")]);
        printed.wait_for("Status:          Healthy\n");
        scene.fake.publish(Vec::new());
        let ended = watching.join().unwrap();
        assert_eq!(ended.code, 1);
        assert_eq!(ended.out.matches("Name:").count(), 2, "{}", ended.out);
        assert!(!ended.out.contains('\x1b'), "{}", ended.out);
    });
}

#[test]
fn programs_get_objects() {
    let scene = scene("canary");
    let yaml = scene.run(&["get", "hello", "-o", "yaml"]).out;
    let head = "apiVersion: watershed.dev/v1alpha1\nkind: Rollout\nmetadata:\n  name: hello\n  namespace: default\nstatus:\n";
    assert!(yaml.starts_with(head) && yaml.contains("\n  phase: Paused\n"), "{yaml}");
    let json: serde_json::Value =
        serde_json::from_str(&scene.run(&["get", "hello", "-o", "json"]).out).unwrap();
    let view: RolloutView = serde_json::from_value(json["status"].clone()).unwrap();
    assert_eq!((view, &json["metadata"]["name"]), (Fake::sample("canary"), &"hello".into()));
    assert_eq!(scene.run(&["get", "hello", "-o", "name"]).out, "rollout.watershed.dev/hello\n");
    let list: serde_json::Value =
        serde_json::from_str(&scene.run(&["list", "-A", "-o", "json"]).out).unwrap();
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&"List".into(), &"Rollout".into()));
    let runs: serde_json::Value =
        serde_json::from_str(&scene.run(&["history", "hello", "-o", "json"]).out).unwrap();
    assert_eq!(runs[1]["revision"], "2.0.0");
    // What one command prints, another takes.
    assert_eq!(scene.run(&["get", "rollout.watershed.dev/hello"]).code, 0);
}

#[test]
fn where_nobody_answers_it_is_said_who_was_asked_and_what_would_help() {
    let directory = tempfile::tempdir().unwrap();
    let line = |place: &[&str]| {
        let ended = run_into(&Printed::default(), &[&["get", "hello"], place].concat());
        assert_eq!(ended.code, 1, "{ended:?}");
        ended.error
    };
    let path = directory.path().to_str().unwrap();
    let missing = line(&["--state-dir", path]);
    assert!(
        missing.contains(&format!("there is no {path}/admin.sock")) && missing.contains("--admin"),
        "{missing}"
    );
    drop(UnixListener::bind(Path::new(path).join("admin.sock")).unwrap());
    let stale = line(&["--state-dir", path]);
    assert!(stale.contains("is left from one that was killed"), "{stale}");
    let nobody = line(&["--admin", "127.0.0.1:1"]);
    assert!(nobody.starts_with("nobody listens on 127.0.0.1:1; is `watershed run` running?"), "{nobody}");
}
