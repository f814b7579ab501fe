//! How soon an edit is in force.
//!
//! Every version of the route marks its answers with its number, so that each answer says which version a worker used. The
//! bench prints the distribution on a quiet machine; here the assertion is generous, because CI machines are not quiet.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::{Connection, Manifests, Pod, PodFile, Start, Watershed, eventually, request, service};

/// Connections are spread over the workers by the kernel; with so many no worker is left out.
const CONNECTIONS: usize = 12;
/// The promise is 100 ms. The rest is for machines that are busy with other tests.
const IN_FORCE: Duration = Duration::from_secs(1);

struct Scene {
    manifests: Manifests,
    watershed: Watershed,
    _pod: Pod,
}

fn scene() -> Scene {
    let pod = Pod::start("hello-a");
    let manifests = Manifests::new();
    manifests.write("service.yaml", service("hello", "app: hello"));
    manifests.write("pod.yaml", PodFile::of(&pod, "app: hello").text());
    write(&manifests, 0);
    let watershed = Start::over(manifests.path()).args(&["--workers", "2"]).ready();
    Scene { manifests, watershed, _pod: pod }
}

/// Writes version `edit` of the route.
fn write(manifests: &Manifests, edit: usize) {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: hello}}\nspec:\n  \
         parentRefs: [{{kind: Service, group: \"\", name: hello}}]\n  rules:\n  - filters:\n    - type: \
         ResponseHeaderModifier\n      responseHeaderModifier: {{set: [{{name: x-edit, value: \"{edit}\"}}]}}\n    \
         backendRefs: [{{name: hello, port: 80, weight: {}}}, {{name: hello, port: 80, weight: 7}}]\n",
        edit + 1
    );
    manifests.write("route.yaml", text);
}

/// Which version a worker uses.
fn edit_seen(connection: &mut Connection) -> usize {
    let answer = connection.ask(request("hello", "/", &[])).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-edit").parse().unwrap()
}

fn connections(address: SocketAddr) -> Vec<Connection> {
    (0..CONNECTIONS).map(|_| Connection::open(address).unwrap()).collect()
}

#[test]
fn an_edit_is_soon_in_force_on_all_workers() {
    let scene = scene();
    let mut connections = connections(scene.watershed.services());
    let mut lags = Vec::new();
    for edit in 1..=10 {
        let written = Instant::now();
        write(&scene.manifests, edit);
        for connection in &mut connections {
            eventually("the edit is in force", || edit_seen(connection) == edit);
        }
        lags.push(written.elapsed());
    }
    report("single edits", lags);
}

#[test]
fn a_stream_of_edits_does_not_delay_them() {
    const EDITS: usize = 100;
    let scene = scene();
    let written = Mutex::new(vec![Instant::now()]);
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watchers: Vec<_> = connections(scene.watershed.services())
            .into_iter()
            .map(|connection| scope.spawn(|| watch(connection, &done, EDITS)))
            .collect();
        let mut due = Instant::now();
        for edit in 1..=EDITS {
            write(&scene.manifests, edit);
            written.lock().unwrap().push(Instant::now());
            due += Duration::from_millis(20);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        done.store(true, SeqCst);
        watchers.into_iter().map(|watcher| watcher.join().unwrap()).collect::<Vec<_>>()
    });
    let written = written.into_inner().unwrap();
    // An edit is in force when every connection has seen it or a later one.
    let in_force = |edit: usize| seen.iter().map(|firsts| firsts[edit]).max().unwrap();
    report("50 a second", (1..=EDITS).map(|edit| in_force(edit).duration_since(written[edit])).collect());
}

/// When each edit, or a later one, was first seen on this connection.
fn watch(mut connection: Connection, done: &AtomicBool, edits: usize) -> Vec<Instant> {
    let mut firsts = vec![Instant::now()];
    let mut after_done = 0;
    while firsts.len() <= edits {
        let edit = edit_seen(&mut connection);
        assert!(edit + 1 >= firsts.len(), "edit {edit} after {}", firsts.len() - 1);
        firsts.resize(edit + 1, Instant::now());
        after_done += u64::from(done.load(SeqCst));
        assert!(after_done < 10_000, "the last edit never came into force");
        std::thread::sleep(Duration::from_millis(2));
    }
    firsts
}

#[track_caller]
fn report(what: &str, mut lags: Vec<Duration>) {
    lags.sort();
    let (median, last) = (lags[lags.len() / 2], lags[lags.len() - 1]);
    println!("{what}: in force after {median:?} (median), {last:?} (latest)");
    assert!(last < IN_FORCE, "{what}: {lags:?}");
}
