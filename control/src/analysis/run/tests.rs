use std::num::NonZeroU32;
use std::time::Duration;

use watershed_config::model::{AnalysisMetric, Kind, Labels, Meta, ObjectId, ObjectName, Origin, Provider};
use watershed_config::problem::Spot;

use super::*;

fn metric(name: &str) -> AnalysisMetric {
    AnalysisMetric {
        name: name.into(),
        spot: Spot::default(),
        interval: Some(Duration::from_mins(1)),
        initial_delay: Duration::ZERO,
        count: NonZeroU32::new(3),
        success_condition: Some("result[0] >= 0.95".into()),
        failure_condition: None,
        failure_limit: 0,
        inconclusive_limit: 0,
        consecutive_error_limit: 4,
        dry_run: false,
        provider: Provider::Prometheus { address: "http://prometheus:9090".into(), query: "up".into() },
    }
}

fn run(metrics: Vec<AnalysisMetric>) -> Run {
    let id = ObjectId { kind: Kind::AnalysisTemplate, name: ObjectName::new("shop", "rate") };
    let meta =
        Meta { id, uid: "".into(), created: None, labels: Labels::default(), origin: Origin::default() };
    let template = AnalysisTemplate { meta, args: Vec::new(), metrics };
    Run::start(&[Arc::new(template)], &BTreeMap::new(), 1_000_000)
}

/// `s`, `f`, `i`, `e`: what is measured, a minute apart; and what the analysis comes to.
#[track_caller]
fn check(metric: AnalysisMetric, measured: &str, wanted: Phase) -> Run {
    let mut run = run(vec![metric]);
    for (minute, letter) in measured.chars().enumerate() {
        assert_eq!(run.phase(), Phase::Running, "over before measurement {minute} of {measured}");
        let text = "x".to_owned();
        let one = match letter {
            's' => Measured::Success(text),
            'f' => Measured::Failure(text),
            'i' => Measured::Inconclusive(text),
            _ => Measured::Error(text),
        };
        run.record(0, one, 1_000_000 + 60_000 * minute as u64);
    }
    assert_eq!(run.phase(), wanted, "{measured}: {}", run.sentence());
    run
}

#[test]
fn limits_are_exceeded_and_not_reached() {
    use Phase::{Failed, Inconclusive, Running, Successful};
    let limits = |failure, inconclusive, count| AnalysisMetric {
        failure_limit: failure,
        inconclusive_limit: inconclusive,
        count: NonZeroU32::new(count),
        ..metric("rate")
    };
    check(limits(0, 0, 3), "sss", Successful);
    check(limits(0, 0, 3), "ss", Running);
    check(limits(0, 0, 3), "sf", Failed);
    check(limits(0, 0, 3), "i", Inconclusive);
    // Argo's documents say the third; its code, and this, the fourth.
    check(limits(3, 0, 10), "fff", Running);
    check(limits(3, 0, 10), "ffsff", Failed);
    check(limits(3, 2, 10), "iisi", Inconclusive);
    check(limits(3, 2, 5), "fffii", Successful);
    // Errors are no measurements: only five in a row end it, without a verdict.
    check(limits(0, 0, 3), "eeee", Running);
    check(limits(0, 0, 3), "eeeee", Inconclusive);
    check(limits(0, 0, 3), "eeeeseeees", Running);
    check(limits(0, 0, 3), "eseseees", Successful);
}

#[test]
fn what_was_stopped_has_succeeded_only_if_it_was_measured() {
    let endless = AnalysisMetric { count: None, ..metric("rate") };
    for (measured, wanted) in [
        ("", Phase::Inconclusive),
        ("eee", Phase::Inconclusive),
        ("sss", Phase::Successful),
        ("se", Phase::Successful),
    ] {
        let mut run = check(endless.clone(), measured, Phase::Running);
        run.stop();
        assert_eq!(run.phase(), wanted, "{measured}: {}", run.sentence());
        run.record(0, Measured::Failure("late".to_owned()), 2_000_000);
        assert_eq!(run.phase(), wanted, "what comes later changes nothing");
    }
}

#[test]
fn the_worst_metric_counts_and_the_first_bad_one_ends_it() {
    let success = || Measured::Success("[1.0]".to_owned());
    let mut all = run(vec![metric("a"), metric("b")]);
    for minute in 0..3 {
        all.record(0, success(), minute);
    }
    assert_eq!(all.phase(), Phase::Running);
    all.record(1, success(), 0);
    let mut failed = all.clone();
    failed.record(1, Measured::Failure("[0.5]".to_owned()), 1);
    assert_eq!(failed.phase(), Phase::Failed);
    assert_eq!(failed.sentence(), "b failed 1 of 2 measurements, 0 may; the last was [0.5]");
    all.record(1, success(), 1);
    all.record(1, success(), 2);
    assert_eq!(all.phase(), Phase::Successful);

    let mut unmeasured = run(vec![metric("a"), metric("b"), metric("c")]);
    unmeasured.record(0, success(), 0);
    for minute in 0..5 {
        unmeasured.record(1, Measured::Error("cannot connect".to_owned()), minute);
    }
    assert_eq!(unmeasured.phase(), Phase::Inconclusive);
    assert_eq!(unmeasured.due(u64::MAX).count(), 0);
    assert_eq!(
        unmeasured.sentence(),
        "b could not be measured 5 times in a row, 4 may be; the last time: cannot connect; c was never measured"
    );
}

#[test]
fn dry_runs_are_shown_and_have_no_effect() {
    let dry = AnalysisMetric { dry_run: true, ..metric("dry") };
    let mut run_of_both = run(vec![dry.clone(), metric("real")]);
    run_of_both.record(0, Measured::Failure("[0.1]".to_owned()), 0);
    assert_eq!(run_of_both.phase(), Phase::Running);
    for minute in 0..3 {
        run_of_both.record(1, Measured::Success("[1.0]".to_owned()), minute);
    }
    assert_eq!(run_of_both.phase(), Phase::Successful);
    let view = run_of_both.view("step 3");
    let shown: Vec<_> =
        view.metrics.iter().map(|metric| (&*metric.name, &*metric.phase, metric.dry_run)).collect();
    assert_eq!(shown, [("dry", "Failed", true), ("real", "Successful", false)]);
    let mut only_dry = run(vec![dry]);
    only_dry.record(0, Measured::Failure("[0.1]".to_owned()), 0);
    assert_eq!(only_dry.phase(), Phase::Successful);
}

#[test]
fn it_is_measured_at_intervals_after_its_delay_and_soon_after_an_error() {
    let slow = AnalysisMetric { initial_delay: Duration::from_secs(30), ..metric("slow") };
    let once = AnalysisMetric { interval: None, count: None, ..metric("once") };
    let mut run = run(vec![slow, once]);
    let due = |run: &Run, seconds: u64| run.due(1_000_000 + 1_000 * seconds).collect::<Vec<_>>();
    let success = || Measured::Success(String::new());
    let at = |seconds: u64| 1_000_000 + 1_000 * seconds;
    assert_eq!(due(&run, 0), [1]);
    run.record(1, success(), at(1));
    assert_eq!(due(&run, 29), [0; 0]);
    assert_eq!(due(&run, 30), [0]);
    run.record(0, success(), at(31));
    assert_eq!(due(&run, 90), [0; 0]);
    assert_eq!(due(&run, 91), [0]);
    run.record(0, Measured::Error(String::new()), at(92));
    assert_eq!(due(&run, 101), [0; 0]);
    assert_eq!(due(&run, 102), [0]);
    run.record(0, success(), at(103));
    assert_eq!(due(&run, 162), [0; 0]);
    // The clock was set back by ten minutes.
    assert_eq!(run.due(at(163) - 600_000).collect::<Vec<_>>(), [0]);
}

#[test]
fn an_argument_without_a_value_cannot_be_measured() {
    let provider =
        Provider::Prometheus { address: "http://x".into(), query: "up{job='{{args.job}}'}".into() };
    let run = run(vec![AnalysisMetric { provider, ..metric("rate") }]);
    assert_eq!(run.question(0), Some(&Question::Missing("args.job".to_owned())));
}

#[test]
fn it_goes_on_from_the_journal_and_forgets_what_decides_nothing() {
    let web = Provider::Web {
        url: "http://x/{{service}}".into(),
        method: http::Method::POST,
        headers: vec![(http::header::ACCEPT, "text/plain".into())],
        body: Some("{}".into()),
        json_path: Some("{$.ok}".into()),
        timeout: Duration::from_secs(1),
    };
    let mut run = run(vec![metric("a"), AnalysisMetric { provider: web, ..metric("b") }]);
    run.record(0, Measured::Success("[1.0]".to_owned()), 1_000_000);
    let read: Run = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
    assert_eq!(read, run);
    let (mut before, mut after) = (run.clone(), run);
    after.record(0, Measured::Success("[0.99]".to_owned()), 1_060_000);
    before.forget_measurements();
    after.forget_measurements();
    assert_eq!(before, after);
    after.record(1, Measured::Failure(String::new()), 1_060_000);
    after.forget_measurements();
    assert_ne!(before, after);
}
