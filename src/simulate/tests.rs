//! What a simulation promises: it is the production engine's own course, it is quick, and the same seed gives the same.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use watershed_control::load::load_once;

use super::profile::{Answer, Behaviour, Conditions, Profile};
use super::report::Report;
use super::simulate;
use super::statistics::{quantile, rate_at_most};
use super::subject::Subject;

/// A Rollout of `hello` from 1 to 2 with this strategy and these other fields.
fn subject(strategy: &str, more: &str) -> Subject {
    let text = format!(
        "apiVersion: watershed.dev/v1alpha1
kind: Rollout
metadata: {{name: hello}}
spec:
  serviceRef: {{name: hello}}
  stableRevision: '1'
  targetRevision: '2'
  strategy: {strategy}
  {more}
---
apiVersion: watershed.dev/v1alpha1
kind: AnalysisTemplate
metadata: {{name: outside}}
spec:
  metrics:
  - name: rate
    initialDelay: 5s
    interval: 10s
    count: 3
    successCondition: result[0] > 0
    provider: {{prometheus: {{address: 'http://prometheus', query: up}}}}
"
    );
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("rollout.yaml"), text).unwrap();
    let loaded = load_once(&[directory.path().to_owned()]);
    let rollout = loaded.catalog.rollouts().next().unwrap_or_else(|| panic!("{:?}", loaded.problems));
    Subject::new(&loaded.catalog, rollout)
}

const FINE: Behaviour = Behaviour { errors: 0.001, latency: Duration::from_millis(20), spread: 0.5 };

fn profile(canary: Behaviour) -> Profile {
    Profile {
        pods: 3,
        workers: 2,
        seeds: 5,
        seed: 1,
        promote_after: 0,
        limit: 48 * 3_600_000,
        onset: 0,
        analysis: Answer::Pass,
        conditions: vec![Conditions { from: 0, rps: 100.0, stable: FINE, canary }],
    }
}

const HALF_BROKEN: Behaviour = Behaviour { errors: 0.5, ..FINE };

/// In which second each event came, and the weight from then on.
fn course(report: &Report) -> Vec<(u64, &str, f64)> {
    report.timeline.iter().map(|now| (now.at_ms / 1000, &*now.reason, now.weight)).collect()
}

#[test]
fn a_healthy_canary_completes_and_takes_as_long_as_its_steps() {
    let steps = "{canary: {steps: [{setWeight: 5}, {pause: {duration: 30s}}, {setWeight: 50}, {pause: {duration: 1m}}]}}";
    let report = simulate(&subject(steps, ""), &profile(FINE));
    assert_eq!(
        course(&report),
        [
            (0, "StableFound", 5.0),
            (0, "RolloutStarted", 5.0),
            (0, "RolloutStepCompleted", 5.0),
            (30, "RolloutStepCompleted", 50.0),
            (30, "RolloutStepCompleted", 50.0),
            (90, "RolloutStepCompleted", 100.0),
            (90, "RolloutCompleted", 100.0),
        ]
    );
    assert_eq!(report.outcomes.completed, 5, "{:?}", report.outcomes);
    assert!((90_000..91_000).contains(&report.duration_ms.unwrap().max));
    // 30 s at 5 % and 60 s at 50 % of 100 a second; the Poisson process is off by some 60 a standard deviation.
    let requests = report.requests.unwrap().median;
    assert!((2_900..3_400).contains(&requests), "{requests}");
    assert_eq!(report.detection, None, "there was nothing to detect");
}

#[test]
fn a_half_broken_canary_is_aborted_within_seconds_from_its_onset() {
    let steps = "{canary: {steps: [{setWeight: 10}, {pause: {duration: 10m}}]}}";
    let sound = profile(FINE).conditions[0];
    let conditions = vec![sound, Conditions { from: 60_000, canary: HALF_BROKEN, ..sound }];
    let report = simulate(&subject(steps, ""), &Profile { conditions, onset: 60_000, ..profile(FINE) });
    assert_eq!(report.outcomes.aborted.get("judge"), Some(&5), "{:?}", report.outcomes);
    let detection = report.detection.unwrap();
    assert_eq!((detection.exposed, detection.stopped), (5, 5));
    let (time, failed) = (detection.time_ms.unwrap(), detection.failed_of_canary.unwrap());
    assert!(time.max <= 10_000, "{time:?}");
    // Ten canary requests a second, half of which fail.
    assert!((1..=60).contains(&failed.max), "{failed:?}");
    assert_eq!(report.false_alarms.alarms, 0);
}

#[test]
fn a_slow_canary_is_found_by_its_durations() {
    let steps = "{canary: {steps: [{setWeight: 20}, {pause: {duration: 10m}}]}}";
    let slow = Behaviour { latency: Duration::from_millis(60), ..FINE };
    let report = simulate(&subject(steps, ""), &profile(slow));
    assert_eq!(report.outcomes.aborted.get("judge"), Some(&5), "{:?}", report.outcomes);
    let aborted = report.timeline.last().unwrap();
    assert!(aborted.message.contains("was slower than"), "{aborted:?}");
}

#[test]
fn the_same_seed_gives_the_same_and_another_seed_another() {
    let steps = "{canary: {steps: [{setWeight: 10}, {pause: {duration: 20s}}]}}";
    let subject = subject(steps, "");
    let profile = profile(Behaviour { errors: 0.05, ..FINE });
    let first = simulate(&subject, &profile);
    assert_eq!(first, simulate(&subject, &profile));
    assert_ne!(first, simulate(&subject, &Profile { seed: 77, ..profile }));
}

#[test]
fn days_of_a_quiet_service_pass_while_one_waits_and_an_endless_pause_is_promoted() {
    let steps =
        "{canary: {steps: [{setWeight: 10}, {pause: {}}, {setWeight: 50}, {pause: {duration: 20m}}]}}";
    let sound = Conditions { rps: 0.5, ..profile(FINE).conditions[0] };
    let quiet = Profile { seeds: 1, promote_after: 2 * 3_600_000, conditions: vec![sound], ..profile(FINE) };
    let report = simulate(&subject(steps, ""), &quiet);
    let took = report.duration_ms.unwrap().max;
    // A quarter of an hour more than that would be a step that waits for something.
    assert!((8_400_000..8_500_000).contains(&took), "{took}");
    assert!(report.timeline.iter().any(|now| now.reason == "RolloutPromoted" && now.at_ms / 1000 == 7_200));
    let limited = simulate(&subject(steps, ""), &Profile { limit: 60_000, ..quiet });
    assert_eq!((limited.outcomes.not_over, limited.outcomes.completed), (1, 0));
    assert!(limited.outcomes.waiting_for.unwrap().contains("waits for `promote`"));
}

#[test]
fn analyses_answer_what_they_are_told_from_the_onset_on() {
    let steps = "{canary: {steps: [{setWeight: 10}, {analysis: {templates: [{templateName: outside}]}}, {setWeight: 50}]}}";
    let subject = subject(steps, "");
    let told = |analysis| simulate(&subject, &Profile { analysis, seeds: 1, ..profile(FINE) });
    assert_eq!(told(Answer::Pass).outcomes.completed, 1);
    let failed = told(Answer::Fail);
    assert_eq!(failed.outcomes.aborted.get("analysis"), Some(&1), "{:?}", failed.outcomes);
    assert_eq!(failed.timeline.last().unwrap().at_ms / 1000, 5, "after the metric's initial delay");
    let unsure = told(Answer::Inconclusive).outcomes;
    assert!(unsure.paused == 1 && unsure.waiting_for.unwrap().contains("inconclusive"));
    let late = Profile { analysis: Answer::Fail, onset: 3_600_000, seeds: 1, ..profile(FINE) };
    assert_eq!(simulate(&subject, &late).outcomes.completed, 1, "before the onset they pass");
}

#[test]
fn the_other_strategies_and_sticky_traffic_say_that_no_judge_compares() {
    let half = profile(HALF_BROKEN);
    let blue_green = simulate(&subject("{blueGreen: {autoPromotionSeconds: 60}}", ""), &half);
    assert_eq!(blue_green.outcomes.completed, 5);
    let why = blue_green.false_alarms.no_comparison.unwrap();
    assert!(why.contains("blue-green moves all requests at once"), "{why}");
    let steps = "{canary: {steps: [{setWeight: 10}, {pause: {duration: 1m}}]}}";
    let sticky = simulate(&subject(steps, "sticky: {header: x-user}"), &half);
    assert_eq!(sticky.outcomes.completed, 5);
    assert!(sticky.false_alarms.no_comparison.unwrap().contains("sticky"));
    let budget = subject(steps, "judge: {enabled: true, maxFailedRequests: 20}\n  sticky: {header: x-user}");
    let budget = simulate(&budget, &half);
    assert_eq!(budget.outcomes.aborted.get("budget"), Some(&5), "{:?}", budget.outcomes);
    let rolling = simulate(
        &subject("{rollingUpdate: {maxSurge: 1, maxUnavailable: 0, minReadySeconds: 10}}", ""),
        &profile(FINE),
    );
    assert_eq!(rolling.outcomes.completed, 5);
    let weights: Vec<f64> = rolling.timeline.iter().map(|now| now.weight.round()).collect();
    assert!(weights.contains(&25.0) && weights.contains(&100.0), "{weights:?}");
}

#[test]
fn a_rollout_that_is_paused_in_its_file_waits_for_that() {
    let steps = "{canary: {steps: [{setWeight: 10}]}}";
    let report = simulate(&subject(steps, "paused: true"), &profile(FINE));
    assert_eq!(report.outcomes.paused, 5);
    assert!(report.outcomes.waiting_for.unwrap().contains("spec.paused"));
}

#[test]
fn no_event_in_a_hundred_trials_excludes_three_per_cent() {
    // 0.05^(1/100) = 0.9705: the rule of three.
    assert!((rate_at_most(0, 100) - 0.0295).abs() < 1e-4);
    // From the tables of the binomial distribution.
    assert!((rate_at_most(1, 100) - 0.0466).abs() < 1e-4);
    assert!(rate_at_most(3, 3) > 0.999);
}

#[test]
fn a_quantile_is_missing_where_its_value_is_endless() {
    let of = |all, part| quantile([3, 1, 2].into_iter(), all, part);
    assert_eq!((of(3, 0.5), of(3, 0.9), of(4, 0.9), of(3, 0.0)), (Some(2), Some(3), None, Some(1)));
}
