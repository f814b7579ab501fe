//! What is said of Rollouts and the objects that they need, each manifest read as `check` reads it.

use std::path::Path;
use std::sync::Arc;

use watershed_config::{Problem, Severity, read};
use watershed_control::catalog::Catalog;

use crate::support::{assembled, check_text};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: hello}\nspec: {selector: {app: hello}, ports: [{port: 80}]}\n";

fn pod(name: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: hello, {labels}}}}}\nstatus: {{podIP: 10.0.0.1}}\n"
    )
}

fn pods(revisions: &[&str]) -> String {
    let pods =
        revisions.iter().map(|revision| pod(&format!("p-{revision}"), &format!("version: \"{revision}\"")));
    pods.collect::<Vec<_>>().join("---\n")
}

fn rollout(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: watershed.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

/// A Rollout of which nothing is said but for what `more` does.
fn moving(more: &str) -> String {
    rollout("r", &format!("serviceRef: {{name: hello}}, revisionLabel: version, {more}"))
}

fn template(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: watershed.dev/v1alpha1\nkind: AnalysisTemplate\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

fn metric(schedule: &str) -> String {
    format!("{{name: m, successCondition: result, provider: {{web: {{url: http://a}}}}, {schedule}}}")
}

const ROLLING: &str = "strategy: {rollingUpdate: {}}";

/// Each document is a file of its own, `0.yaml` and so on. What is said of other objects than Rollouts is left out.
fn said(documents: &[&str]) -> Vec<Problem> {
    let mut catalog = Catalog::default();
    for (number, text) in documents.iter().flat_map(|text| text.split("---\n")).enumerate() {
        let file: Arc<Path> = Arc::from(Path::new(&format!("{number}.yaml")));
        for document in read(&file, text).documents {
            assert!(document.problems.is_empty(), "{text}\n{:?}", document.problems);
            catalog.apply(document.object.expect("an object without problems"));
        }
    }
    let problems = assembled(&catalog).problems;
    problems
        .into_iter()
        .filter(|problem| problem.object.as_ref().is_some_and(|id| id.kind.as_str() == "Rollout"))
        .collect()
}

fn check(documents: &[&str], expected: &str) {
    let said: Vec<String> = said(documents).iter().map(ToString::to_string).collect();
    check_text(&said.join("\n"), expected);
}

#[test]
fn nothing_is_said_of_a_rollout_that_has_all_it_needs() {
    let canary = "strategy: {canary: {analysis: {templates: [{templateName: endless}]}, steps: [{setWeight: 10}, {pause: {duration: 1m}}, \
                  {analysis: {templates: [{templateName: t}], args: [{name: x, value: \"1\"}]}}]}}";
    let spec = format!("stableRevision: \"1.0\", targetRevision: \"2.0\", {canary}");
    let args = "args: [{name: x}, {name: y, value: z}, {name: service}, {name: canary-revision}]";
    let t = template("t", &format!("{args}, metrics: [{}]", metric("interval: 1s, count: 2")));
    let endless = template("endless", &format!("metrics: [{}]", metric("interval: 1s")));
    check(&[SERVICE, &pods(&["1.0", "2.0"]), &t, &endless, &moving(&spec)], "");
}

#[test]
fn a_service_that_cannot_be_moved_is_named() {
    let wrong = rollout("r", &format!("serviceRef: {{name: helo}}, {ROLLING}"));
    check(
        &[SERVICE, &wrong],
        "1.yaml:4:27: warning: Rollout default/r is not driven: there is no Service default/helo
           help: did you mean `hello`?",
    );
    let bare = "apiVersion: v1\nkind: Service\nmetadata: {name: hello}\nspec: {ports: [{port: 80}]}\n";
    check(
        &[bare, &moving(ROLLING)],
        "1.yaml:4:27: warning: Rollout default/r is not driven: Service default/hello has no selector, and only pods have revisions
           help: give the Service a selector",
    );
    check(
        &[SERVICE, &moving(ROLLING)],
        "1.yaml:4:27: warning: Rollout default/r has nothing to move: Service default/hello has no pods
           help: write Pods with the labels app=hello",
    );
}

#[test]
fn of_two_rollouts_for_one_service_the_first_by_name_moves_it() {
    let text =
        |name| rollout(name, &format!("serviceRef: {{name: hello}}, revisionLabel: version, {ROLLING}"));
    let (second, first) = (text("b"), text("a"));
    check(
        &[SERVICE, &pods(&["1.0"]), &second, &first],
        "2.yaml:4:27: error: Rollout default/b is not driven: Service default/hello is moved by Rollout default/a (3.yaml:1) already
           help: remove one of the two, or give each a Service of its own",
    );
}

#[test]
fn a_label_that_no_pod_has_is_named_with_those_they_have() {
    let hash = rollout("r", &format!("serviceRef: {{name: hello}}, {ROLLING}"));
    check(
        &[SERVICE, &pods(&["1.0"]), &hash],
        "2.yaml:1:1: warning: Rollout default/r has nothing to move: no pod of Service default/hello has the label pod-template-hash, whose values are the revisions
           help: write one of the pods' labels as revisionLabel; they have app, version",
    );
    let slip = rollout("r", &format!("serviceRef: {{name: hello}}, revisionLabel: verison, {ROLLING}"));
    check(
        &[SERVICE, &pods(&["1.0"]), &slip],
        "2.yaml:4:50: warning: Rollout default/r has nothing to move: no pod of Service default/hello has the label verison, whose values are the revisions
           help: did you mean `revisionLabel: version`?",
    );
}

#[test]
fn revisions_that_no_pod_has_are_named_with_those_there_are() {
    let both = moving(&format!("stableRevision: \"1.O\", targetRevision: \"3.0\", {ROLLING}"));
    check(
        &[SERVICE, &pods(&["1.0", "2.0"]), &both],
        "3.yaml:1:1: warning: stableRevision: no pod of Service default/hello has version=1.O
           help: the revisions there are 1.0, 2.0; correct it, or start its pods
         3.yaml:4:98: warning: targetRevision: no pod of Service default/hello has version=3.0
           help: the revisions there are 1.0, 2.0; correct it, or start its pods",
    );
    // What a finished rollout leaves behind.
    let both = moving(&format!("stableRevision: \"1.0\", targetRevision: \"2.0\", {ROLLING}"));
    check(&[SERVICE, &pods(&["2.0"]), &both], "");
    let stable = moving(&format!("stableRevision: \"1.0\", {ROLLING}"));
    check(&[SERVICE, &pods(&["2.0"]), &stable], "");
}

#[test]
fn an_analysis_that_cannot_run_or_end_is_named() {
    let analysis =
        |name: &str, args: &str| format!("{{templates: [{{templateName: {name}}}], args: [{args}]}}");
    let strategy =
        |analysis: &str| moving(&format!("strategy: {{blueGreen: {{prePromotionAnalysis: {analysis}}}}}"));
    let objects = [SERVICE, &pods(&["1.0"])];
    let t = template(
        "success-rate",
        &format!("args: [{{name: threshold}}], metrics: [{}]", metric("interval: 1s")),
    );
    let with =
        |analysis: &str, expected: &str| check(&[objects[0], objects[1], &t, &strategy(analysis)], expected);
    with(
        &analysis("sucess-rate", ""),
        "3.yaml:4:132: warning: the analysis cannot run: there is no AnalysisTemplate default/sucess-rate
           help: did you mean `success-rate`?",
    );
    with(
        &analysis("success-rate", "{name: treshold, value: a}"),
        "3.yaml:4:132: warning: the analysis cannot run: AnalysisTemplate default/success-rate needs a value for its argument threshold
           help: `treshold` is given, which the template does not have; write `threshold`
         3.yaml:4:132: warning: the analysis would be waited for without an end: metric \"m\" of AnalysisTemplate default/success-rate has an interval and no count
           help: give the metric a count, or run the template in the background: strategy.canary.analysis",
    );
    let elsewhere = t.replace("{name: success-rate}", "{name: success-rate, namespace: other}");
    check(
        &[objects[0], objects[1], &elsewhere, &strategy(&analysis("success-rate", ""))],
        "3.yaml:4:132: warning: the analysis cannot run: there is no AnalysisTemplate default/success-rate
           help: an AnalysisTemplate of this name is in namespace other: a Rollout uses templates of its own namespace",
    );
}

#[test]
fn steps_that_leave_the_judge_no_time_are_found() {
    let analysis = "{analysis: {templates: [{templateName: t}]}}";
    let t = template("t", &format!("metrics: [{}]", metric("interval: 30s, count: 3")));
    for (steps, more, seconds) in [
        ("{setWeight: 1}, {pause: {duration: 30s}}, {setWeight: 50}, {pause: {duration: 29}}", "", Some(59)),
        ("{setWeight: 1}, {pause: {duration: 30s}}, {setWeight: 50}, {pause: {duration: 30s}}", "", None),
        ("{setWeight: 1}, {pause: {}}, {setWeight: 50}", "", None),
        ("{setWeight: 1}, {setWeight: 100}, {pause: {duration: 1h}}", "", Some(0)),
        ("{pause: {}}, {setWeight: 50}", "", Some(0)),
        ("{setWeight: 100}, {pause: {}}", "", Some(0)),
        ("{setWeight: 50}", "judge: {enabled: false}, ", None),
        ("{setWeight: 50}", "sticky: {cookie: a}, ", None),
        (&format!("{{setWeight: 50}}, {analysis}"), "", None),
        (&format!("{analysis}, {{setWeight: 50}}, {{pause: {{duration: 5}}}}"), "", Some(5)),
    ] {
        let text = moving(&format!("{more}strategy: {{canary: {{steps: [{steps}]}}}}"));
        let said = said(&[SERVICE, &pods(&["1.0"]), &t, &text]);
        let wanted = seconds.map(|seconds| {
            format!("the steps leave the judge {seconds} s with traffic on both revisions, too little to see a difference")
        });
        assert_eq!(
            said.iter().map(|problem| &problem.what).collect::<Vec<_>>(),
            wanted.iter().collect::<Vec<_>>(),
            "{steps}"
        );
        assert!(said.iter().all(|problem| problem.severity == Severity::Warning));
    }
}
