//! `watershed demo` as a newcomer runs it, only shorter. Its own audit is the judge; what is tested here is that it is heard.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::eventually;

fn demo(scenario: &str, duration: &str, folder: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watershed"));
    command.args(["demo", "--scenario", scenario, "--rate", "300", "--workers", "2"]);
    command.args(["--duration", duration, "--dir"]).arg(folder);
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
fn edited_weights_end_with_nothing_lost_and_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo("split", "3s", folder.path()).wait_with_output().unwrap();
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

/// Tells a story to its end. What it found is its own audit's business; here it must have shown all of this, and lost nothing.
fn tell(scenario: &str, duration: &str, shown: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(scenario, duration, folder.path()).wait_with_output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().last(), Some("lost: 0"), "{text}");
    for said in [&["counts agree exactly", "POSTs run twice: 0"], shown].concat() {
        assert!(stdout.contains(said), "{said}: {text}");
    }
    assert!(!stdout.contains('\x1b'), "escape sequences in a pipe: {text}");
    for process in started(&stdout) {
        assert!(test_kill_process(process).is_err(), "{process:?} is still there");
    }
    stdout
}

/// Three rows of books: what the client saw is what the proxy counted and what the pods wrote down.
#[track_caller]
fn row(stdout: &str, what: &str) -> u64 {
    let line = stdout.lines().find(|line| line.starts_with(what)).unwrap_or_default();
    let counts: Vec<u64> = line[what.len().min(line.len())..]
        .split_whitespace()
        .map(|count| count.replace(',', "").parse().unwrap())
        .collect();
    assert!(counts.len() == 3 && counts[0] == counts[1] && counts[1] == counts[2], "{what}: {line}");
    counts[0]
}

#[test]
fn a_canary_is_promoted_and_a_bad_one_aborted_and_its_failures_stand_in_all_books() {
    let stdout = tell(
        "canary",
        "8s",
        &["RolloutCompleted: 2.0.0", "RolloutAborted: canary 3.0.0 failed", "\naborted: 3.0.0, "],
    );
    assert!(row(&stdout, "answered by 2.0.0") > 0 && row(&stdout, "answered by 3.0.0") > 0, "{stdout}");
    assert!(row(&stdout, "failed by the version 3.0.0") > 0, "{stdout}");
    assert!(!stdout.contains("failed by the version 2.0.0"), "{stdout}");
}

#[test]
fn a_preview_is_seen_by_its_header_alone_and_a_switch_and_the_way_back_lose_nothing() {
    let shown = [
        "`x-preview: 1` was answered by 2.0.0",
        "others 0 were",
        "rollout \"hello\" promoted",
        "RolloutCompleted: 2.0.0",
        "rollout \"hello\" rolled back",
        "undone: everything back to 1.0.0",
    ];
    let stdout = tell("bluegreen", "8s", &shown);
    assert!(row(&stdout, "answered by 1.0.0") > 0 && row(&stdout, "answered by 2.0.0") > 1, "{stdout}");
}

#[test]
fn a_rolling_update_is_paused_resumed_and_undone_and_survives_a_killed_pod() {
    let shown = [
        "PodsExchanged: 1 pods of 2.0.0 come in",
        "rollout \"hello\" paused",
        "Status:          ",
        "rollout \"hello\" resumed",
        "with SIGKILL",
        "RolloutCompleted: 2.0.0",
        "rollout \"hello\" rolled back",
        "undo by ",
    ];
    let stdout = tell("rolling", "8s", &shown);
    assert!(row(&stdout, "answered by 1.0.0") > 0 && row(&stdout, "answered by 2.0.0") > 0, "{stdout}");
}

#[test]
fn an_interrupted_demo_sums_up_what_it_has_and_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let child = demo("canary", "60s", folder.path());
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
