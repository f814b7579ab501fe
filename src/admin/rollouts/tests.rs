//! The API as its users meet it: the real server, over TCP and over the socket.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::admin::access::{SOCKET_FILE, TOKEN_FILE};
use crate::admin::fake::Fake;
use crate::admin::server;
use crate::cli::exchange::{Answer, Ask, ask_tcp, exchange};

const PATIENCE: Duration = Duration::from_secs(30);

struct Scene {
    fake: Arc<Fake>,
    admin: server::Admin,
    directory: TempDir,
}

fn scene() -> Scene {
    let hello = Fake::sample("canary");
    let other = RolloutView { namespace: "shop".to_owned(), ..hello.clone() };
    let fake = Fake::of(vec![other, hello]);
    let directory = tempfile::tempdir().unwrap();
    let admin = fake.serve(directory.path());
    Scene { fake, admin, directory }
}

impl Scene {
    fn token(&self) -> String {
        std::fs::read_to_string(self.directory.path().join(TOKEN_FILE)).unwrap()
    }

    fn post(&self, target: &str, body: &Value) -> (u16, Value) {
        over_socket(self.directory.path(), "POST", target, Some(body.to_string().as_bytes()))
    }

    fn get(&self, target: &str) -> (u16, Value) {
        parts(&tcp(self.admin.address, &Ask::get(target)))
    }
}

fn tcp(address: SocketAddr, ask: &Ask<'_>) -> Answer {
    ask_tcp(address, ask, PATIENCE).unwrap()
}

fn over_socket(directory: &Path, method: &str, target: &str, body: Option<&[u8]>) -> (u16, Value) {
    let stream = UnixStream::connect(directory.join(SOCKET_FILE)).unwrap();
    parts(&exchange(stream, "localhost", &Ask { method, target, headers: &[], body }).unwrap())
}

#[track_caller]
fn parts(answer: &Answer) -> (u16, Value) {
    let body = serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    (answer.status, body)
}

const HELLO: &str = "/api/v1/namespaces/default/rollouts/hello";

#[test]
fn rollouts_are_read_over_either_way_in() {
    let scene = scene();
    let (status, all) = scene.get("/api/v1/rollouts");
    let names: Vec<&str> =
        all["items"].as_array().unwrap().iter().map(|view| view["namespace"].as_str().unwrap()).collect();
    assert_eq!((status, names), (200, vec!["default", "shop"]));
    let (_, some) = scene.get("/api/v1/namespaces/shop/rollouts");
    assert_eq!(some["items"].as_array().unwrap().len(), 1);
    assert_eq!(scene.get("/api/v1/namespaces/none/rollouts"), (200, json!({ "items": [] })));
    let (status, one) = scene.get(HELLO);
    let view: RolloutView = serde_json::from_value(one.clone()).unwrap();
    assert_eq!((status, view), (200, Fake::sample("canary")));
    assert_eq!(over_socket(scene.directory.path(), "GET", HELLO, None), (200, one));
    let (_, events) = scene.get(&format!("{HELLO}/events"));
    assert_eq!(events["items"][0]["reason"], "RolloutStarted");
    let (_, history) = scene.get(&format!("{HELLO}/history"));
    assert_eq!(history["items"][1]["outcome"], "progressing");
}

#[test]
fn every_verb_is_handed_over_as_it_was_asked() {
    let scene = scene();
    for verb in Verb::ALL {
        let mut body = json!({ "journalVersion": 41, "by": "ann@host", "reason": "why not" });
        match verb {
            Verb::SetWeight => body["weight"] = json!(12.5),
            Verb::Undo => body["toRevision"] = json!(1),
            Verb::Promote => body["full"] = json!(true),
            _ => {}
        }
        let (status, answer) = scene.post(&format!("{HELLO}/{}", verb.as_str()), &body);
        assert_eq!((status, &answer["journalVersion"]), (200, &json!(42)), "{answer}");
        let asked: VerbRequest = serde_json::from_value(body).unwrap();
        assert_eq!(scene.fake.submitted(), [("default".to_owned(), "hello".to_owned(), verb, asked)]);
    }
}

#[test]
fn what_comes_of_a_verb_is_told_by_the_status() {
    let scene = scene();
    let seen = json!({ "journalVersion": 41 });
    let (status, answer) = scene.post(&format!("{HELLO}/pause"), &json!({ "journalVersion": 40 }));
    assert_eq!((status, &answer["journalVersion"]), (409, &json!(41)));
    assert!(answer["message"].as_str().unwrap().contains("version 41"), "{answer}");
    let nowhere = "/api/v1/namespaces/default/rollouts/helo/pause";
    assert_eq!(scene.post(nowhere, &seen), (404, json!({ "message": "there is no Rollout default/helo" })));
    let said = json!({ "message": "no" });
    scene.fake.will_answer(Err(Refused::Refused("no".to_owned())));
    assert_eq!(scene.post(&format!("{HELLO}/undo"), &seen), (422, said.clone()));
    scene.fake.will_answer(Err(Refused::Unwritable("no".to_owned())));
    assert_eq!(scene.post(&format!("{HELLO}/abort"), &seen), (503, said));
}

#[test]
fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
    let scene = scene();
    let post = |target: &str, body: &[u8]| {
        over_socket(scene.directory.path(), "POST", &format!("{HELLO}{target}"), Some(body))
    };
    let long = " ".repeat(BODY_BYTES_MAX + 1);
    let bad: [(&str, &[u8], u16, &str); 9] = [
        ("/pause", b"{", 400, "cannot be read"),
        ("/pause", b"7", 400, "cannot be read"),
        ("/pause", b"{\"colour\": 1}", 400, "unknown field `colour`"),
        ("/pause", b"{}", 400, "journalVersion"),
        ("/set-weight", b"{\"journalVersion\": 41, \"weight\": 101}", 400, "0 to 100"),
        ("/dance", b"{}", 400, "`dance` is no verb of a rollout; there are: pause, resume"),
        ("", b"{}", 405, "only GET, HEAD"),
        ("/events", b"{}", 405, "only GET, HEAD"),
        ("/pause", long.as_bytes(), 413, "longer than 65536 bytes"),
    ];
    for (target, body, status, what) in bad {
        let (got, answer) = post(target, body);
        assert_eq!(got, status, "{target}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(what), "{target}: {answer}");
    }
    for (target, status) in [("/pause", 405), ("/dance", 404), ("/pause/now", 404), ("/events", 200)] {
        let answer = tcp(scene.admin.address, &Ask::get(&format!("{HELLO}{target}")));
        assert_eq!(answer.status, status, "{target}");
    }
    assert_eq!(scene.fake.submitted(), []);
    // Nothing at all is enough to abort.
    assert_eq!(post("/abort", b"").0, 200);
}

#[test]
fn over_tcp_a_change_needs_the_token_and_json() {
    let scene = scene();
    let target = format!("{HELLO}/abort");
    let bearer = format!("Bearer {}", scene.token());
    let post = |headers: &[(&str, &str)], body: Option<&[u8]>| {
        parts(&tcp(scene.admin.address, &Ask { method: "POST", target: &target, headers, body }))
    };
    let body: Option<&[u8]> = Some(b"{}");
    let (status, answer) = post(&[], body);
    assert_eq!(status, 401, "{answer}");
    let socket = scene.directory.path().join(SOCKET_FILE);
    assert!(answer["message"].as_str().unwrap().contains(socket.to_str().unwrap()), "{answer}");
    assert_eq!(post(&[("Authorization", "Bearer 00")], body).0, 401);
    // What a form in a page could send.
    let form = [("Authorization", &*bearer), ("Content-Type", "text/plain"), ("Content-Length", "0")];
    assert_eq!(post(&form, None).0, 415);
    assert_eq!(scene.fake.submitted(), []);
    assert_eq!(post(&[("Authorization", &bearer)], body).0, 200);
    assert_eq!(scene.fake.submitted().len(), 1);
}

#[test]
fn where_nobody_drives_rollouts_there_are_none() {
    let state = Arc::new(AdminState::new());
    let admin = server::start(([127, 0, 0, 1], 0).into(), state, Access::over(None)).unwrap();
    let get = |target| parts(&tcp(admin.address, &Ask::get(target)));
    assert_eq!(get("/api/v1/rollouts"), (200, json!({ "items": [] })));
    assert_eq!(get(HELLO), (404, json!({ "message": "there is no Rollout default/hello" })));
    let target = format!("{HELLO}/abort");
    let ask = Ask { method: "POST", target: &target, headers: &[], body: Some(b"{}") };
    let (status, answer) = parts(&tcp(admin.address, &ask));
    assert_eq!(status, 403, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("has no state directory"), "{answer}");
}
