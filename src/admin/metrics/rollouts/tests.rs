//! What a scrape says of rollouts, read by the same strict reader as the scrapes of the whole process.

#[allow(dead_code, reason = "the tests of the process use the rest")]
#[path = "../../../../tests/support/exposition.rs"]
mod exposition;

use std::process::{Command, Stdio};

use exposition::Exposition;

use super::*;
use crate::admin::fake::Fake;
use crate::cli::exchange::{Ask, ask_tcp};

const SAMPLES: [&str; 3] = ["canary", "rolling", "degraded"];

/// What `/metrics` says of the samples.
fn scrape() -> String {
    let fake = Fake::of(SAMPLES.map(Fake::sample).into());
    let directory = tempfile::tempdir().unwrap();
    let admin = fake.serve(directory.path());
    let answer = ask_tcp(admin.address, &Ask::get("/metrics"), std::time::Duration::from_secs(30)).unwrap();
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn a_scrape_tells_where_every_rollout_stands() {
    let metrics = Exposition::parse(&scrape());
    let hello = [("namespace", "default"), ("rollout", "hello")];
    let of = |name: &str, more: &[(&str, &str)]| metrics.sum(name, &[&hello[..], more].concat());
    let info = [("service", "hello"), ("strategy", "Canary"), ("stable", "1.0.0"), ("target", "2.0.0")];
    assert!((of("rollout_info", &info) - 1.0).abs() < 1e-9);
    for phase in Phase::ALL {
        let wanted = if phase == Phase::Paused { 1.0 } else { 0.0 };
        assert!((of("rollout_phase", &[("phase", phase.as_str())]) - wanted).abs() < 1e-9, "{phase:?}");
    }
    assert_eq!(metrics.values("rollout_phase", "phase").len(), Phase::ALL.len());
    for (name, more, wanted) in [
        ("rollout_step", &[][..], 3.0),
        ("rollout_steps", &[], 6.0),
        ("rollout_weight", &[("revision", "2.0.0"), ("kind", "target")], 0.1),
        ("rollout_weight", &[("revision", "2.0.0"), ("kind", "applied")], 0.1),
        ("rollout_weight", &[("revision", "2.0.0"), ("kind", "observed")], 0.0998),
        ("rollout_judge_evidence", &[], 2.43),
        ("rollout_judge_limit", &[], 100.0),
        ("rollout_aborts_total", &[("reason", "operator")], 1.0),
    ] {
        assert!((of(name, more) - wanted).abs() < 1e-9, "{name} {more:?}: {}", of(name, more));
    }
    // A clamped revision has no measured share, a judge that is off no evidence, and a rolling update no steps.
    let degraded = [("namespace", "shop"), ("kind", "observed")];
    assert!(
        metrics.families["watershed_rollout_weight"]
            .samples
            .iter()
            .all(|sample| { !degraded.iter().all(|(name, value)| sample.labels[*name] == *value) })
    );
    assert_eq!(metrics.values("rollout_judge_evidence", "rollout").len(), 2);
    assert_eq!(metrics.values("rollout_step", "rollout").len(), 2);
}

#[test]
fn ages_are_of_the_oldest_pause_of_each_kind_and_never_of_words() {
    let mut view = Fake::sample("rolling");
    view.pauses.push(view.pauses[1].clone());
    view.pauses[2].since += 5000;
    view.pauses[2].reason = "paused by bob: me too".to_owned();
    let now = view.phase_since.unwrap() + 60_000;
    let mut values = BTreeMap::new();
    for family in families(&[view], now) {
        for metric in family.get_metric() {
            let label = |name: &str| {
                let label = metric.get_label().iter().find(|label| label.name() == name);
                label.map(|label| label.value().to_owned())
            };
            let which = label("reason").or_else(|| label("rollout")).unwrap();
            values.insert((family.name().to_owned(), which), metric.get_gauge().get_value());
        }
    }
    let age = |name: &str, which: &str| values[&(format!("watershed_rollout_{name}"), which.to_owned())];
    assert!((age("pause_seconds", "manifest") - 70.0).abs() < 1e-9, "{values:?}");
    assert!((age("pause_seconds", "operator") - 60.0).abs() < 1e-9, "{values:?}");
    assert!((age("phase_seconds", "api") - 60.0).abs() < 1e-9, "{values:?}");
    assert!(values.keys().all(|(_, label)| !label.contains("bob")), "{values:?}");
}

/// Where Prometheus' own linter is installed, it has the last word.
#[test]
fn promtool_finds_nothing() {
    let text = scrape();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let input = Stdio::from(std::fs::File::open(file.path()).unwrap());
    let Ok(output) = Command::new("promtool").args(["check", "metrics"]).stdin(input).output() else {
        println!("promtool is not installed; only our own reader has looked");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
