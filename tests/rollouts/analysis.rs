//! Analyses as steps: one that succeeds, one that fails, and one whose source is not there.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::stage::{Stage, applied, view, wait};

const STEPS: &str = "{canary: {steps: [{setWeight: 10}, {analysis: {templates: [{templateName: rate}], args: \
                     [{name: pods, value: '{{service}}-{{canary-revision}}'}]}}, {setWeight: 50}, {pause: {}}]}}";

/// Whether a revision has this share in percent.
fn has(view: &serde_json::Value, revision: &str, percent: f64) -> bool {
    (applied(view, revision) - percent).abs() < 1e-6
}

/// Something that answers every query with one series of this value, and remembers the last.
struct Metrics {
    address: String,
    asked: Arc<Mutex<String>>,
}

impl Metrics {
    fn start(value: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<String>>::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                log.lock().unwrap().clone_from(&head[0]);
                let series = format!(r#"[{{"metric":{{}},"value":[1,"{value}"]}}]"#);
                let body =
                    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{series}}}}}"#);
                let length = body.len();
                // The other side may have been stopped meanwhile.
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            }
        });
        Self { address, asked }
    }
}

fn template(address: &str) -> String {
    format!(
        "apiVersion: watershed.dev/v1alpha1\nkind: AnalysisTemplate\nmetadata: {{name: rate}}\nspec:\n  args: [{{name: pods}}]\n  \
         metrics:\n  - name: success-rate\n    interval: 1s\n    count: 2\n    consecutiveErrorLimit: 0\n    \
         successCondition: 'result[0] >= 0.95'\n    \
         provider: {{prometheus: {{address: 'http://{address}', query: 'rate(ok{{job=\"{{{{args.pods}}}}\"}}[1m])'}}}}\n"
    )
}

/// A canary whose analysis asks this address, watched until it says so.
#[track_caller]
fn roll(address: &str, what: &str, holds: impl FnMut(&serde_json::Value) -> bool) -> serde_json::Value {
    let mut stage = Stage::new(STEPS, 1);
    stage.manifests.write("template.yaml", template(address));
    let watershed = stage.start().ready();
    wait(&watershed, "v1 is stable", |view| view["phase"] == "Healthy");
    stage.add("v2", 1);
    stage.write_rollout("v2", STEPS);
    wait(&watershed, what, holds);
    view(&watershed)
}

#[test]
fn a_step_waits_for_an_analysis_and_goes_on_when_it_has_succeeded() {
    let metrics = Metrics::start("0.97");
    let shown = roll(&metrics.address, "the second weight", |view| has(view, "v2", 50.0));
    let analysis = &shown["analyses"][0];
    assert_eq!(
        (&analysis["phase"], &analysis["metrics"][0]["successful"]),
        (&"Successful".into(), &2.into())
    );
    let asked = metrics.asked.lock().unwrap();
    assert!(asked.starts_with("GET /api/v1/query?query=rate%28ok%7Bjob%3D%22hello%2Dv2%22%7D"), "{asked}");
}

#[test]
fn a_failed_analysis_aborts() {
    let metrics = Metrics::start("0.5");
    let shown =
        roll(&metrics.address, "aborted", |view| view["phase"] == "Aborted" && has(view, "v1", 100.0));
    let message = shown["message"].as_str().unwrap();
    assert!(
        message.contains("success-rate failed 1 of 1 measurements, 0 may; the last was [0.5]"),
        "{message}"
    );
}

#[test]
fn an_analysis_that_cannot_measure_pauses_and_passes_nothing() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let shown = roll(&nobody, "paused", |view| view["phase"] == "Paused");
    assert!(has(&shown, "v2", 10.0), "{shown}");
    let message = shown["message"].as_str().unwrap();
    assert!(message.contains("could not be measured") && message.contains("cannot connect"), "{message}");
}
