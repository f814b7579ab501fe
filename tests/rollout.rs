//! Rollouts of a running process: who may ask for what, and how.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Connection, Manifests, Pod, PodFile, Start, ask, request, service};

/// One Service with one pod.
fn hello(pod: &Pod) -> Manifests {
    let manifests = Manifests::new();
    manifests.write("service.yaml", service("hello", "app: hello"));
    manifests.write("pod.yaml", PodFile::of(pod, "app: hello").text());
    manifests
}

/// One request over a unix socket: the whole answer.
fn over_socket(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_socket_and_the_token_are_there_for_as_long_as_the_process_and_for_its_user_alone() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let state = TempDir::new().unwrap();
    let [socket, token] = ["admin.sock", "token"].map(|name| state.path().join(name));
    let start = || Start::over(manifests.path()).state_dir(state.path()).ready();
    let first = start();
    let first_token = std::fs::read_to_string(&token).unwrap();
    for file in [&socket, &token] {
        let permissions = std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!(permissions, 0o600, "{}", file.display());
    }
    first.kill();
    assert!(socket.exists(), "a killed process leaves it");
    let second = start();
    assert_ne!(std::fs::read_to_string(&token).unwrap(), first_token);
    let answer = over_socket(&socket, "GET /readyz HTTP/1.0\r\nhost: admin\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\nready\n"), "{answer}");
    assert_eq!(second.terminate().code, Some(0));
    assert!(!socket.exists() && !token.exists(), "they go with the process");
}

#[test]
fn a_change_over_tcp_is_refused_without_the_token() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let state = TempDir::new().unwrap();
    let watershed = Start::over(manifests.path()).state_dir(state.path()).ready();
    let here = watershed.admin_address();
    let token = std::fs::read_to_string(state.path().join("token")).unwrap();
    let target = "POST /api/v1/namespaces/default/rollouts/nothing/abort";
    let json_body = [("content-type", "application/json"), ("content-length", "0")];
    let refused = ask(here, &request("admin", target, &json_body));
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert!(refused.json()["message"].as_str().unwrap().contains("/token holds"), "{refused:?}");
    let bearer = format!("Bearer {token}");
    let headers = [&json_body[..], &[("authorization", &bearer)]].concat();
    let nothing = ask(here, &request("admin", target, &headers));
    assert_eq!(nothing.status, 404);
    assert_eq!(nothing.json(), json!({ "message": "there is no Rollout default/nothing" }));
    let list = watershed.admin("/api/v1/rollouts");
    assert_eq!((list.status, list.json()), (200, json!({ "items": [] })));
    // The answer to a refused request leaves the connection in order.
    let mut connection = Connection::open(here).unwrap();
    assert_eq!(connection.ask(request("admin", target, &json_body)).unwrap().status, 401);
    assert_eq!(connection.ask(request("admin", "/livez", &[])).unwrap().text(), "ok\n");
}

/// A command, without anything of this machine's environment but what is given.
fn watershed(arguments: &[&str], environment: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watershed"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn the_commands_find_the_process_that_runs() {
    let pod = Pod::start("hello-a");
    let manifests = hello(&pod);
    let home = TempDir::new().unwrap();
    let state = home.path().join("watershed/key");
    let running = Start::over(manifests.path()).state_dir(&state).ready();
    let admin = running.admin_address().to_string();
    let ways = [
        (vec![], vec![("XDG_STATE_HOME", home.path())]),
        (vec!["--state-dir", state.to_str().unwrap()], vec![]),
        (vec!["--admin", &admin], vec![]),
        (vec![], vec![("WATERSHED_ADMIN", Path::new(&admin))]),
    ];
    for (flags, environment) in ways {
        let output = watershed(&[&["rollout", "list"], &*flags].concat(), &environment);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(said, "No Rollouts found in namespace default.\n", "{flags:?}");
    }
    let output = watershed(&["rollout", "abort", "nothing"], &[("XDG_STATE_HOME", home.path())]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "watershed rollout: there is no Rollout default/nothing; there is none at all\n");
    assert_eq!(watershed(&["rollout"], &[]).status.code(), Some(2));
}

#[test]
fn shells_are_told_how_to_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = watershed(&["completion", shell], &[]);
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(script.contains("set-weight") && script.contains("to-revision"), "{shell}: {script}");
    }
    assert_eq!(watershed(&["completion", "tcsh"], &[]).status.code(), Some(2));
}
