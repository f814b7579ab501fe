//! What becomes of valid Rollouts, `AnalysisTemplate`s and workloads: defaults included, in the model's own words.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use proptest::prelude::*;
use watershed_config::model::{
    Amount, AnalysisTemplate, BlueGreen, Canary, CanaryScale, Hostname, JudgeSpec, Object, Preview, Provider,
    Reaction, RollingUpdate, Rollout, Share, StepAction, Sticky, Strategy as Moves, ValueMatch, Workload,
};
use watershed_config::{Document, Severity, Spot, read};

fn document(text: &str) -> Document {
    let mut reading = read(&Arc::from(Path::new("test.yaml")), text);
    assert!(!reading.broken && reading.documents.len() == 1, "{text}: {:?}", reading.problems);
    reading.documents.remove(0)
}

/// The object, of which nothing may be said.
fn object(text: &str) -> Object {
    let document = document(text);
    assert!(document.problems.is_empty(), "{text}\n{:#?}", document.problems);
    document.object.expect("without a problem there is an object")
}

fn own(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: watershed.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a, namespace: n}}\nspec: {spec}\n"
    )
}

fn rollout(spec: &str) -> Rollout {
    match object(&own("Rollout", spec)) {
        Object::Rollout(rollout) => *rollout,
        other => panic!("{other:?}"),
    }
}

fn template(spec: &str) -> AnalysisTemplate {
    match object(&own("AnalysisTemplate", spec)) {
        Object::AnalysisTemplate(template) => template,
        other => panic!("{other:?}"),
    }
}

fn canary(canary: &str) -> Canary {
    match rollout(&format!("{{serviceRef: {{name: s}}, strategy: {{canary: {canary}}}}}")).strategy {
        Moves::Canary(canary) => canary,
        other => panic!("{other:?}"),
    }
}

fn action(step: &str) -> StepAction {
    canary(&format!("{{steps: [{step}]}}")).steps.remove(0).action
}

fn blue_green(text: &str) -> BlueGreen {
    match rollout(&format!("{{serviceRef: {{name: s}}, strategy: {{blueGreen: {text}}}}}")).strategy {
        Moves::BlueGreen(blue_green) => blue_green,
        other => panic!("{other:?}"),
    }
}

fn workload(text: &str) -> Workload {
    match object(text) {
        Object::Workload(workload) => workload,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_said_of_a_rollout_has_its_default() {
    let rollout = rollout("{serviceRef: {name: s}, strategy: {rollingUpdate: {}}}");
    let here = Spot { line: 1, column: 1, length: 10 };
    assert_eq!((rollout.service.to_string(), rollout.service_spot.line), ("n/s".to_owned(), 4));
    assert_eq!((&*rollout.revision_label, rollout.revision_label_spot), ("pod-template-hash", here));
    assert_eq!((rollout.stable_revision, rollout.target_revision, rollout.target_spot), (None, None, here));
    assert_eq!((rollout.paused, rollout.sticky, rollout.history_limit), (None, None, 10));
    assert_eq!((rollout.progress_deadline, rollout.on_deadline), (Duration::from_mins(10), Reaction::Abort));
    let percent = Amount::Percent(25);
    let update = RollingUpdate { max_surge: percent, max_unavailable: percent, min_ready: Duration::ZERO };
    assert_eq!(rollout.strategy, Moves::RollingUpdate(update));
    let judge = JudgeSpec {
        enabled: true,
        false_alarm_rate: 0.01,
        minimum_effect: 1.1,
        on_failure: Reaction::Abort,
        max_failed_requests: None,
    };
    assert_eq!(rollout.judge, judge);
}

#[test]
fn a_rollouts_fields_are_taken_as_written() {
    let rollout = rollout(
        "\n  serviceRef: {name: s}\n  revisionLabel: app.example.com/version\n  stableRevision: \"1.0\"\n  targetRevision: \"1.0\"\n  \
         paused: true\n  progressDeadlineSeconds: 90\n  revisionHistoryLimit: 0\n  sticky: {cookie: user}\n  \
         strategy: {blueGreen: {}}\n  onDeadline: proceed\n  \
         judge: {enabled: false, falseAlarmRate: 0.5, minimumEffect: 1, onFailure: pause, maxFailedRequests: 0}\n",
    );
    assert_eq!((&*rollout.revision_label, rollout.revision_label_spot.line), ("app.example.com/version", 6));
    assert_eq!(rollout.stable_revision, rollout.target_revision);
    assert_eq!(rollout.target_spot, Spot { line: 8, column: 19, length: 5 });
    assert_eq!(rollout.paused, Some(Spot { line: 9, column: 11, length: 4 }));
    assert_eq!((rollout.progress_deadline.as_secs(), rollout.history_limit), (90, 0));
    assert_eq!(rollout.sticky, Some(Sticky::Cookie("user".into())));
    assert_eq!((rollout.on_deadline, rollout.judge.on_failure), (Reaction::Proceed, Reaction::Pause));
    assert_eq!((rollout.judge.enabled, rollout.judge.max_failed_requests), (false, Some(0)));
    assert_eq!((rollout.strategy_spot.line, rollout.strategy.name()), (13, "BlueGreen"));
}

#[test]
fn weights_are_exact_to_the_millionth() {
    for (written, millionths) in [
        ("0", 0),
        ("0.0001", 1),
        ("0.5", 5_000),
        ("1", 10_000),
        ("1.0", 10_000),
        ("33.3333", 333_333),
        ("99.9999", 999_999),
        ("100", 1_000_000),
    ] {
        let action = action(&format!("{{setWeight: {written}}}"));
        assert_eq!(action, StepAction::SetWeight(Share::from_millionths(millionths)), "{written}");
    }
}

#[test]
fn pauses_are_waited_as_argo_waits() {
    for (written, wanted) in [
        ("{}", None),
        ("{duration: null}", None),
        ("{duration: 0}", Some(0)),
        ("{duration: 30s}", Some(30)),
        ("{duration: 5m}", Some(300)),
        ("{duration: 1h}", Some(3600)),
        ("{duration: 1h30m}", Some(5400)),
        ("{duration: 90}", Some(90)),
        ("{duration: \"90\"}", Some(90)),
        ("{duration: 8760h}", Some(365 * 86_400)),
    ] {
        let wanted = StepAction::Pause(wanted.map(Duration::from_secs));
        assert_eq!(action(&format!("{{pause: {written}}}")), wanted, "{written}");
    }
}

#[test]
fn header_routes_match_exactly_by_prefix_or_by_expression() {
    let step = "{setHeaderRoute: {name: qa, match: [{headerName: X-A, headerValue: {exact: \"yes\"}}, \
                {headerName: x-b, headerValue: {prefix: \"a.b\"}}, {headerName: x-c, headerValue: {regex: \"[0-9]+\"}}]}}";
    let StepAction::SetHeaderRoute(route) = action(step) else { panic!("a header route") };
    let names: Vec<&str> = route.headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!((&*route.name, names), ("qa", vec!["x-a", "x-b", "x-c"]));
    assert_eq!(route.headers[0].value, ValueMatch::Exact("yes".into()));
    let prefix = &route.headers[1].value;
    assert!(
        prefix.matches(b"a.b")
            && prefix.matches(b"a.bc")
            && !prefix.matches(b"axb")
            && !prefix.matches(b"xa.b")
    );
    let regex = &route.headers[2].value;
    assert!(regex.matches(b"42") && !regex.matches(b"42a"));
    let twice = "{setHeaderRoute: {name: qa, match: [{headerName: a, headerValue: {exact: b}}]}}";
    let canary = canary(&format!("{{steps: [{twice}, {twice}, {{setHeaderRoute: {{name: qa}}}}]}}"));
    let StepAction::SetHeaderRoute(removed) = &canary.steps[2].action else { panic!("a header route") };
    assert!(removed.headers.is_empty());
}

#[test]
fn the_scale_of_a_canary_is_one_of_three() {
    for (written, wanted) in [
        ("{weight: 12.5}", CanaryScale::Weight(Share::from_millionths(125_000))),
        ("{replicas: 0}", CanaryScale::Replicas(0)),
        ("{matchTrafficWeight: true}", CanaryScale::MatchTrafficWeight),
    ] {
        assert_eq!(action(&format!("{{setCanaryScale: {written}}}")), StepAction::SetCanaryScale(wanted));
    }
}

#[test]
fn analyses_name_templates_and_arguments() {
    let canary = canary(
        "{analysis: {templates: [{templateName: t}], args: [{name: x, value: \"\"}, \
         {name: hash, valueFrom: {podTemplateHashValue: Latest}}]}, steps: [{setWeight: 1}, {analysis: {templates: [{templateName: u}, {templateName: v}]}}]}",
    );
    let background = canary.analysis.expect("an analysis");
    assert_eq!((background.starting_step, &*background.analyses.templates[0].name), (0, "t"));
    let args: Vec<(&str, &str)> =
        background.analyses.args.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(args, [("hash", "{{canary-revision}}"), ("x", "")]);
    let StepAction::Analysis(step) = &canary.steps[1].action else { panic!("an analysis") };
    assert_eq!(step.templates.iter().map(|template| &*template.name).collect::<Vec<_>>(), ["u", "v"]);
    assert_eq!(canary.steps[1].spot.line, 4);
}

#[test]
fn a_blue_green_strategy_has_defaults_and_previews() {
    let plain = blue_green("{}");
    assert_eq!((plain.preview, plain.auto_promotion, plain.auto_promotion_after), (None, true, None));
    assert_eq!(plain.scale_down_delay, Duration::from_secs(30));
    assert_eq!((plain.pre_promotion, plain.post_promotion), (None, None));
    let full = blue_green(
        "{preview: {hostname: preview.example.com}, autoPromotionSeconds: 60, scaleDownDelaySeconds: 0, \
         postPromotionAnalysis: {templates: [{templateName: t}]}}",
    );
    assert_eq!(full.preview, Some(Preview::Hostname(Hostname::parse("preview.example.com"))));
    assert_eq!(
        (full.auto_promotion_after, full.scale_down_delay),
        (Some(Duration::from_mins(1)), Duration::ZERO)
    );
    assert!(full.post_promotion.is_some_and(|analyses| analyses.templates.len() == 1));
    let header =
        blue_green("{preview: {header: {name: X-Preview, value: \"1\"}}, autoPromotionEnabled: false}");
    assert!(
        matches!(header.preview, Some(Preview::Header { name, value }) if name == "x-preview" && value == "1")
    );
    assert!(!header.auto_promotion);
}

#[test]
fn what_is_waited_for_after_a_switch_that_never_comes_by_itself_is_dropped() {
    let text = own(
        "Rollout",
        "{serviceRef: {name: s}, strategy: {blueGreen: {autoPromotionEnabled: false, autoPromotionSeconds: 60}}}",
    );
    let document = document(&text);
    assert_eq!(
        document.problems.iter().map(|problem| problem.severity).collect::<Vec<_>>(),
        [Severity::Warning]
    );
    let Some(Object::Rollout(rollout)) = document.object else { panic!("a rollout") };
    let Moves::BlueGreen(blue_green) = rollout.strategy else { panic!("a blue-green rollout") };
    assert_eq!((blue_green.auto_promotion, blue_green.auto_promotion_after), (false, None));
}

#[test]
fn a_template_has_defaults() {
    let template = template(
        "{args: [{name: x}, {name: y, value: z}], metrics: [\
         {name: once, successCondition: \"result[0] >= 0.95\", provider: {prometheus: {address: http://p:9090, query: up}}}, \
         {name: on, interval: 1m, failureCondition: \"!result\", provider: {web: {url: \"http://a/{{args.x}}\"}}}]}",
    );
    assert_eq!(template.args, [("x".into(), None), ("y".into(), Some("z".into()))]);
    let [once, on] = template.metrics.as_slice() else { panic!("two metrics") };
    assert_eq!(
        (once.interval, once.initial_delay, once.count.map(u32::from)),
        (None, Duration::ZERO, Some(1))
    );
    assert_eq!((once.failure_limit, once.inconclusive_limit, once.consecutive_error_limit), (0, 0, 4));
    assert_eq!(once.success_condition.as_deref(), Some("result[0] >= 0.95"));
    assert_eq!((once.dry_run, once.failure_condition.as_deref()), (false, None));
    let wanted = Provider::Prometheus { address: "http://p:9090".into(), query: "up".into() };
    assert_eq!(once.provider, wanted);
    assert_eq!((on.interval, on.count), (Some(Duration::from_mins(1)), None));
    let Provider::Web { method, headers, body, json_path, timeout, .. } = &on.provider else { panic!("web") };
    assert_eq!((method, timeout.as_secs()), (&Method::GET, 10));
    assert!(headers.is_empty() && body.is_none() && json_path.is_none());
}

#[test]
fn a_json_body_says_what_it_is() {
    let template = template(
        "{metrics: [{name: a, successCondition: result.ok, provider: {web: {url: http://a, method: PUT, \
         jsonBody: {b: [1, \"x\"]}, jsonPath: \"{$.data}\"}}}]}",
    );
    let Provider::Web { headers, body, json_path, .. } = &template.metrics[0].provider else { panic!("web") };
    assert_eq!((body.as_deref(), json_path.as_deref()), (Some("{\"b\":[1,\"x\"]}"), Some("{$.data}")));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
    assert_eq!(headers, [("content-type", "application/json")]);
}

#[test]
fn a_dry_run_finds_metrics_by_a_part_of_their_name() {
    let metric = |name: &str| format!("{{name: {name}, provider: {{web: {{url: http://a}}}}}}");
    let template = template(&format!(
        "{{dryRun: [{{metricName: \"^lat\"}}, {{metricName: rate}}], metrics: [{}, {}]}}",
        metric("latency"),
        metric("success-rate")
    ));
    assert!(template.metrics.iter().all(|metric| metric.dry_run));
}

#[test]
fn a_workload_is_read_for_facts_about_revisions() {
    let full = workload(
        "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: a, annotations: {deployment.kubernetes.io/revision: \"7\", \
         kubernetes.io/change-cause: why, other: \"\"}}\nspec: {replicas: 0, anything: 1, template: {spec: {x: 1}, metadata: {labels: {v: \"1\"}}}}\n",
    );
    assert_eq!(
        (full.replicas, full.revision_number, full.change_cause.as_deref()),
        (0, Some(7), Some("why"))
    );
    assert_eq!(full.pod_labels.get("v").map(|value| &**value), Some("1"));
    let empty = workload("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n");
    assert_eq!((empty.replicas, empty.revision_number, empty.change_cause), (1, None, None));
    assert!(empty.pod_labels.is_empty());
}

/// What a condition over numbers is made of.
const PIECES: [&str; 34] = [
    "result",
    "[0]",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ".",
    ",",
    "?",
    ":",
    " && ",
    " || ",
    "!",
    "-",
    " == ",
    " >= ",
    " in ",
    "1",
    "0.5",
    "1u",
    "'a'",
    "\"",
    "r'\\'",
    "b'\\xff'",
    "size",
    "has(",
    ".all(x, x > 0)",
    ".map(",
    "x",
    "null",
    "{{args.a}}",
    "\u{e9}",
];

fn condition(text: &str) -> Document {
    let mut quoted = String::new();
    write!(quoted, "{text:?}").expect("writing to a string");
    // What is not of JSON's escapes is not tried.
    let quoted = if quoted.contains("\\u{") { format!("'{}'", text.replace('\'', "''")) } else { quoted };
    let provider = "provider: {prometheus: {address: http://p, query: up}}";
    document(&own(
        "AnalysisTemplate",
        &format!("{{args: [{{name: a}}], metrics: [{{name: m, {provider}, successCondition: {quoted}}}]}}"),
    ))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conditions_of_whatever_pieces_are_read_or_refused(pieces in prop::collection::vec(0..PIECES.len(), 1..12)) {
        let text: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        let document = condition(&text);
        prop_assert!(document.object.is_some() != document.problems.iter().any(|p| p.severity == Severity::Error));
    }
}

#[test]
fn a_condition_cannot_take_all_time_or_all_stack() {
    let begin = Instant::now();
    for piece in
        ["(", "[", "-", "!", "{", "a.", "1+", "1?", "x[", "(1)+", "f(", "[1].map(x,", "'a'==", "true?1:"]
    {
        for text in [piece.repeat(900 / piece.len()), format!("{}1", piece.repeat(899 / piece.len()))] {
            let document = condition(&text);
            assert!(document.object.is_some() || !document.problems.is_empty(), "{piece}");
        }
    }
    let nested = format!("{}result[0] > 0.5{}", "(".repeat(90), ")".repeat(90));
    assert!(condition(&nested).object.is_some(), "as deep as anybody writes");
    assert!(begin.elapsed() < Duration::from_secs(30), "took {:?}", begin.elapsed());
}
