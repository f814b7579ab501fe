//! What is printed. `UPDATE_GOLDEN=1` rewrites the expected table; read the diff as somebody who plans a rollout.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::Value;

use super::{Failure, SimulateArgs, json, prepare, table};
use crate::simulate::simulate;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: SimulateArgs,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/simulate").join(name)
}

fn args(manifest: &str, more: &[&str]) -> SimulateArgs {
    let path = fixture(manifest);
    let words = ["simulate", "-f", path.to_str().unwrap()];
    Command::try_parse_from(words.iter().chain(more)).unwrap().args
}

#[test]
fn the_table_says_what_somebody_who_plans_asks() {
    let words = "--seeds 6 --rps 40 --canary-errors 3 --onset 7m --promote-after 10m".split(' ');
    let words: Vec<&str> = words.collect();
    let (subject, profile) = prepare(args("checkout.yaml", &words)).unwrap();
    let printed = table::table(&simulate(&subject, &profile), &subject, &profile, 120);
    let path = fixture("checkout.expected");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, printed).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap();
    assert!(printed == expected, "--- expected\n{expected}\n--- printed\n{printed}");
}

#[test]
fn json_has_the_same_for_programs() {
    let (subject, profile) = prepare(args("checkout.yaml", &["--seeds", "2"])).unwrap();
    let report: Value = serde_json::from_str(&json(&simulate(&subject, &profile)).unwrap()).unwrap();
    assert_eq!(report["outcomes"]["completed"], 2, "{report:#}");
    assert_eq!(report["timeline"][1]["reason"], "RolloutStarted");
    assert_eq!(report["falseAlarms"]["falseAlarmRate"], 0.01);
    assert!(report["durationMs"]["median"].as_u64().unwrap() >= 60_000, "{report:#}");
}

#[test]
fn a_profile_is_read_from_its_file_and_what_is_wrong_there_is_said_with_its_name() {
    let with =
        |file: &str| args("checkout.yaml", &["--rps", "10", "--profile", fixture(file).to_str().unwrap()]);
    let (_, profile) = prepare(with("outage.yaml")).unwrap();
    let seen: Vec<(u64, f64, f64, f64)> = profile
        .conditions
        .iter()
        .map(|now| (now.from / 60_000, now.rps, now.stable.errors, now.canary.errors))
        .collect();
    let expected = [
        // What a flag says, the file may still change later.
        (0, 10.0, 0.002, 0.002),
        (5, 200.0, 0.002, 0.002),
        // Shared by both, as the canary is not different before its onset.
        (8, 200.0, 0.2, 0.2),
        (9, 200.0, 0.002, 0.002),
        (15, 200.0, 0.002, 0.02),
    ];
    assert_eq!(seen, expected);
    let Failure::Usage(wrong) = prepare(with("checkout.yaml")).unwrap_err() else {
        panic!("it is no profile")
    };
    assert!(wrong.contains("checkout.yaml: ") && wrong.contains("line "), "{wrong}");
}

#[test]
fn what_cannot_be_simulated_says_why() {
    let refused = |args| prepare(args).map(|_| ()).unwrap_err();
    let broken = refused(args("broken.yaml", &[]));
    assert_eq!(broken, Failure::Refused("the Rollout default/checkout is in error".to_owned()));
    let unknown = refused(args("checkout.yaml", &["chekout"]));
    assert_eq!(unknown, Failure::Refused("there is no such Rollout; there is default/checkout".to_owned()));
    let absent = refused(args("no-such-file.yaml", &[]));
    assert!(matches!(absent, Failure::Usage(_)), "{absent:?}");
    let twice =
        SimulateArgs { paths: vec![fixture("../check/rollout-good.yaml")], ..args("broken.yaml", &[]) };
    let Failure::Usage(why) = refused(twice) else { panic!("there are several") };
    assert!(why.starts_with("name one of the Rollouts (-n NS NAME): default/hello, "), "{why}");
    let endless = refused(args("checkout.yaml", &["--limit", "31d"]));
    assert_eq!(endless, Failure::Usage("the limit is too far away: write at most 30d".to_owned()));
}

#[test]
fn a_flag_that_makes_no_sense_is_refused_with_what_to_write() {
    for (flag, value, expected) in [
        ("--canary-errors", "101", "101 is out of range: write a percentage from 0 to 100"),
        ("--onset", "10", "`10` is no time: write a time with its unit"),
        ("--pods", "1001", "write a whole number from 1 on, at most 1000"),
        ("--rps", "many", "`many` is no number: write requests per second"),
    ] {
        let words = ["simulate", "-f", "x", flag, value];
        let error = Command::try_parse_from(words).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
