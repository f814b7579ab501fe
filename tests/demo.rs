//! `watershed demo` as a newcomer runs it, only shorter. Its own audit is the judge; what is tested here is that it is heard.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::eventually;

fn demo(duration: &str, folder: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watershed"));
    command.args(["demo", "--rate", "300", "--workers", "2", "--duration", duration, "--dir"]).arg(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The ids of the processes that the demo said it had started.
fn started(text: &str) -> Vec<Pid> {
    let ids = text.lines().filter(|line| line.contains("started ")).filter_map(|line| {
        let (_, after) = line.split_once("(process ")?;
        Pid::from_raw(after.split(')').next()?.parse().ok()?)
    });
    ids.collect()
}

#[test]
fn the_demo_ends_with_nothing_lost_and_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo("3s", folder.path()).wait_with_output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().last(), Some("lost: 0"), "{text}");
    for said in ["counts agree exactly", "with SIGKILL", "weights edited to 0/100, in force after"] {
        assert!(stdout.contains(said), "{said}: {text}");
    }
    assert!(!stdout.contains('\x1b'), "escape sequences in a pipe: {text}");
    // Two pods of each version, one in the place of the killed one, and the proxy.
    let processes = started(&stdout);
    assert_eq!(processes.len(), 6, "{text}");
    for process in processes {
        assert!(test_kill_process(process).is_err(), "{process:?} is still there");
    }
}

#[test]
fn an_interrupted_demo_sums_up_what_it_has_and_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let child = demo("60s", folder.path());
    let records = folder.path().join("records");
    // Interrupted as soon as a pod has run something.
    let is_running = || {
        let files = std::fs::read_dir(&records).into_iter().flatten().flatten();
        files.into_iter().any(|file| file.metadata().is_ok_and(|data| data.len() > 0))
    };
    eventually("a pod has run something", is_running);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().last(), Some("lost: 0"), "{text}");
    for process in started(&text) {
        assert!(test_kill_process(process).is_err(), "{process:?} is still there");
    }
}
