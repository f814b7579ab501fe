//! The commands that look and do not serve.

use std::io::Read;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Manifests, Pod, PodFile, Watershed, free_port, gateway, route, service};

fn watershed(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watershed")).args(arguments).env_clear().output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A Gateway, a route and two versions of a Service.
fn manifests(pods: &[Pod; 2], port: u16) -> Manifests {
    let manifests = Manifests::new();
    for pod in pods {
        let name = pod.name();
        let labels = format!("app: hello, version: {name}");
        let text = service(&format!("hello-{name}"), &labels) + &PodFile::of(pod, &labels).text();
        manifests.write(&format!("{name}.yaml"), text);
    }
    let split = route("hello", "name: web", &[("hello-v1", 90), ("hello-v2", 10)]);
    manifests.write("route.yaml", gateway("web", port) + &split);
    manifests
}

#[test]
fn check_says_how_it_went_by_its_exit_code() {
    let pods = ["v1", "v2"].map(Pod::start);
    let manifests = manifests(&pods, free_port());
    let path = manifests.path().to_str().unwrap();
    let good = watershed(&["check", path]);
    assert_eq!(good.status.code(), Some(0), "{}", stdout(&good));
    // A warning: nothing is wrong with the text, but a share of the traffic would get 500.
    manifests.remove("v2.yaml");
    let warned = watershed(&["check", path]);
    assert_eq!(warned.status.code(), Some(1), "{}", stdout(&warned));
    assert!(
        stdout(&warned).contains("hello-v2") && stdout(&warned).contains("warning"),
        "{}",
        stdout(&warned)
    );
    let json: Value = serde_json::from_slice(&watershed(&["check", "-o", "json", path]).stdout).unwrap();
    assert_eq!(json["problems"][0]["severity"], "warning", "{json}");
    for usage in
        [vec!["check"], vec!["check", "/no/such/path"], vec!["check", "--nonsense", path], vec!["nonsense"]]
    {
        assert_eq!(watershed(&usage).status.code(), Some(2), "{usage:?}");
    }
    assert_eq!(watershed(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_ends_the_output_quietly() {
    let manifests = Manifests::new();
    for number in 0..2000 {
        let name = format!("s{number}");
        manifests.write(&format!("{name}.yaml"), service(&name, "app: nobody"));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_watershed"));
    command.arg("check").arg(manifests.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(1), "it still tells that there are warnings");
}

#[test]
fn explain_tells_the_same_of_manifests_and_of_a_running_process() {
    let pods = ["v1", "v2"].map(Pod::start);
    let port = free_port();
    let manifests = manifests(&pods, port);
    let running = Watershed::run(manifests.path());
    let (path, admin) = (manifests.path().to_str().unwrap(), running.admin_address().to_string());
    let url = format!("http://127.0.0.1:{port}/x");
    let question = ["-o", "json", "-H", "Host: hello.example", url.as_str()];
    let answers = [vec!["explain", "-f", path], vec!["explain", "--admin", &admin]].map(|to| {
        let output = watershed(&[to, question.to_vec()].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    });
    let shares = |answer: &Value| -> Vec<(Value, Value)> {
        let shares = answer["answer"]["shares"].as_array().unwrap().iter();
        shares.map(|share| (share["backend"].clone(), share["weight"].clone())).collect()
    };
    assert_eq!(shares(&answers[0]), shares(&answers[1]));
    assert_eq!(shares(&answers[0])[0], ("default/hello-v1:80".into(), 90.into()));
    assert_eq!(answers[0]["rule"], answers[1]["rule"]);
    // Where no rule is found, and where nobody can be asked.
    let nowhere = format!("http://127.0.0.1:{}/", free_port());
    assert_eq!(watershed(&["explain", "-f", path, &nowhere]).status.code(), Some(1));
    let silent = format!("127.0.0.1:{}", free_port());
    let unanswered = watershed(&["explain", "--admin", &silent, &url]);
    assert_eq!(unanswered.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unanswered.stderr).contains("-f PATH"), "{unanswered:?}");
    assert_eq!(watershed(&["explain", "-f", path, "::::"]).status.code(), Some(2));
}
