//! The directory's rules: what an edit does, what a mistake does, and what survives it.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Connection, Manifests, Pod, PodFile, Start, Watershed, eventually, get, request, route, service,
};

/// The route of the tests below: everything to this version.
fn to(version: &str) -> String {
    route("hello", r#"kind: Service, group: "", name: hello"#, &[(&format!("hello-{version}"), 1)])
}

/// A mistake that no API server would take, and that says which object it is in.
fn broken() -> String {
    to("v1").replace("weight: 1", "weight: many")
}

struct Scene {
    manifests: Manifests,
    _pods: [Pod; 2],
}

impl Scene {
    /// Two versions of a Service; all traffic goes to v1.
    fn new() -> Self {
        let pods = ["v1", "v2"].map(Pod::start);
        let manifests = Manifests::new();
        for name in ["v1", "v2"] {
            manifests.write(
                &format!("{name}.yaml"),
                service(&format!("hello-{name}"), &format!("version: {name}")),
            );
        }
        for pod in &pods {
            let labels = format!("app: hello, version: {}", pod.name());
            manifests.write(&format!("pods/{}.yml", pod.name()), PodFile::of(pod, &labels).text());
        }
        manifests.write("hello.yaml", service("hello", "app: hello"));
        manifests.write("route.yaml", to("v1"));
        Self { manifests, _pods: pods }
    }

    fn run(&self) -> Watershed {
        Watershed::run(self.manifests.path())
    }
}

/// Who answers now.
#[track_caller]
fn answering(watershed: &Watershed) -> String {
    let answer = get(watershed.services(), "hello", "/");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.pod().to_owned()
}

#[track_caller]
fn wait_for_answers_of(watershed: &Watershed, pod: &str) {
    eventually(&format!("{pod} answers"), || answering(watershed) == pod);
}

#[test]
fn a_file_that_is_replaced_is_in_force() {
    let scene = Scene::new();
    let watershed = scene.run();
    assert_eq!(answering(&watershed), "v1");
    scene.manifests.write("route.yaml", to("v2"));
    wait_for_answers_of(&watershed, "v2");
    // And one that is written over in place.
    fs::write(scene.manifests.file("route.yaml"), to("v1")).unwrap();
    wait_for_answers_of(&watershed, "v1");
    // JSON is YAML, in a directory that is new.
    scene.manifests.remove("route.yaml");
    let json = r#"{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "hello"},
        "spec": {"parentRefs": [{"kind": "Service", "group": "", "name": "hello"}],
                 "rules": [{"backendRefs": [{"name": "hello-v2", "port": 80}]}]}}"#;
    scene.manifests.write("new/deeper/route.json", json);
    wait_for_answers_of(&watershed, "v2");
}

#[test]
fn a_config_map_volume_is_switched_over_as_a_whole() {
    let scene = Scene::new();
    let volume = TempDir::new().unwrap();
    let place = |version: &str, text: &str| {
        fs::create_dir(volume.path().join(format!("..{version}"))).unwrap();
        fs::write(volume.path().join(format!("..{version}/route.yaml")), text).unwrap();
    };
    place("first", &to("v1"));
    symlink("..first", volume.path().join("..data")).unwrap();
    symlink("..data/route.yaml", volume.path().join("route.yaml")).unwrap();
    scene.manifests.remove("route.yaml");
    let path = volume.path().to_str().unwrap();
    let watershed = Start::over(scene.manifests.path()).args(&["-f", path]).ready();
    assert_eq!(watershed.config()["problems"], Value::Array(vec![]), "the hidden copies are not read");
    assert_eq!(answering(&watershed), "v1");
    for version in ["v2", "v1", "v2"] {
        let directory = format!("{version}-{}", watershed.generation());
        place(&directory, &to(version));
        // As the kubelet does: a new link, renamed over the old one.
        symlink(format!("..{directory}"), volume.path().join("..data_tmp")).unwrap();
        fs::rename(volume.path().join("..data_tmp"), volume.path().join("..data")).unwrap();
        wait_for_answers_of(&watershed, version);
    }
}

#[test]
fn a_burst_of_writes_becomes_few_generations() {
    let scene = Scene::new();
    let watershed = scene.run();
    let (before, begun) = (watershed.generation(), Instant::now());
    for number in 0..500 {
        let name = format!("more-{}", number % 100);
        scene.manifests.write(&format!("{name}.yaml"), service(&name, &format!("number: n{number}")));
    }
    scene.manifests.write("route.yaml", to("v2"));
    let written = begun.elapsed();
    wait_for_answers_of(&watershed, "v2");
    let generations = watershed.generation() - before;
    // One for every 50 ms of writing, one for what is left, and one for luck.
    let most = written.as_millis() as u64 / 50 + 2;
    assert!(generations <= most, "{generations} generations for 500 writes in {written:?}");
}

#[test]
fn a_mistake_keeps_what_was_good_and_is_said_everywhere_until_it_is_mended() {
    let scene = Scene::new();
    let watershed = scene.run();
    scene.manifests.write("route.yaml", broken());
    watershed.wait_for_log(&["ERROR", "route.yaml:8:", "weight"]);
    eventually("/readyz?verbose lists it", || {
        let readyz = watershed.admin("/readyz?verbose");
        let text = readyz.text();
        readyz.status == 200
            && text.contains("last good: HTTPRoute default/hello")
            && text.contains("route.yaml:8:")
    });
    let config = watershed.config();
    assert_eq!(config["last_good"].as_array().unwrap().len(), 1, "{config}");
    let problem = &config["problems"][0];
    assert_eq!(problem["severity"], "error");
    assert!(problem["place"].as_str().unwrap().contains("route.yaml:8:"), "{problem}");
    let metrics = watershed.metrics();
    assert_eq!(metrics.count("config_rejected_total", &[("kind", "HTTPRoute")]), 1);
    assert_eq!(metrics.count("config_problems", &[("severity", "error")]), 1);
    assert_eq!(answering(&watershed), "v1");
    // Other objects are followed all the same.
    scene.manifests.write("hello-v1.yaml", "# nothing\n");
    scene.manifests.write("route.yaml", to("v2"));
    wait_for_answers_of(&watershed, "v2");
    eventually("it is forgotten", || watershed.config()["problems"] == Value::Array(vec![]));
    assert_eq!(watershed.metrics().count("config_problems", &[("severity", "error")]), 0);
    assert_eq!(watershed.metrics().count("config_rejected_total", &[("kind", "HTTPRoute")]), 1);
}

#[test]
fn after_a_restart_the_last_good_version_of_a_broken_object_is_served() {
    let scene = Scene::new();
    let state = TempDir::new().unwrap();
    let watershed = Start::over(scene.manifests.path()).state_dir(state.path()).ready();
    scene.manifests.write("route.yaml", to("v2"));
    wait_for_answers_of(&watershed, "v2");
    assert_eq!(watershed.terminate().code, Some(0));
    scene.manifests.write("route.yaml", broken());
    let watershed = Start::over(scene.manifests.path()).state_dir(state.path()).ready();
    assert_eq!(answering(&watershed), "v2");
    assert!(watershed.admin("/readyz?verbose").text().contains("last good: HTTPRoute default/hello"));
}

#[test]
fn a_broken_object_without_a_last_good_version_refuses_the_start_unless_lenient() {
    let scene = Scene::new();
    scene.manifests.write("route.yaml", broken());
    let ended = Start::over(scene.manifests.path()).end();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    for part in ["route.yaml:8:", "weight: many", "^^^^", "--lenient"] {
        assert!(ended.log.contains(part), "{part} in {}", ended.log);
    }
    let watershed = Start::over(scene.manifests.path()).arg("--lenient").ready();
    // Without the route the Service's own pods answer.
    assert!(["v1", "v2"].contains(&answering(&watershed).as_str()));
    scene.manifests.write("route.yaml", to("v2"));
    wait_for_answers_of(&watershed, "v2");
}

#[test]
fn a_directory_that_disappears_is_served_from_memory_until_it_is_back() {
    let scene = Scene::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("manifests");
    // A real directory that can be removed as a whole.
    copy(scene.manifests.path(), &path);
    let watershed = Watershed::run(&path);
    fs::remove_dir_all(&path).unwrap();
    eventually("source_lost is shown", || {
        watershed.admin("/readyz?verbose").text().contains("source_lost:")
            && watershed.metrics().count("config_source_lost", &[]) == 1
    });
    watershed.wait_for_log(&["ERROR", "source lost"]);
    assert_eq!(watershed.admin("/readyz").status, 200);
    assert_eq!(answering(&watershed), "v1");
    watershed.signal(Signal::HUP);
    assert_eq!(answering(&watershed), "v1");
    scene.manifests.write("route.yaml", to("v2"));
    copy(scene.manifests.path(), &path);
    wait_for_answers_of(&watershed, "v2");
    eventually("source_lost is over", || watershed.metrics().count("config_source_lost", &[]) == 0);
}

/// Copies a directory of directories and files.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_storm_of_sighups_changes_nothing_and_loses_nothing() {
    let scene = Scene::new();
    let watershed = scene.run();
    let before = watershed.generation();
    let mut connection = Connection::open(watershed.services()).unwrap();
    for _ in 0..300 {
        watershed.signal(Signal::HUP);
        assert_eq!(connection.ask(request("hello", "/", &[])).unwrap().pod(), "v1");
    }
    scene.manifests.write("route.yaml", to("v2"));
    watershed.signal(Signal::HUP);
    wait_for_answers_of(&watershed, "v2");
    assert_eq!(watershed.generation(), before + 1, "only the edit is a change");
}

#[test]
fn a_file_that_is_half_written_does_no_harm() {
    let scene = Scene::new();
    let watershed = scene.run();
    let file = scene.manifests.file("route.yaml");
    let text = to("v2");
    // Cut where the rest is no YAML, as an editor or a full disk does: the last good version stays.
    for cut in ["parentRefs: [{", "backendRefs: [", "name: hello-v2, po", "port: 80, weight"] {
        let length = text.find(cut).unwrap() + cut.len();
        fs::write(&file, &text[..length]).unwrap();
        eventually("the cut is an error", || watershed.config()["problems"][0]["severity"] == "error");
        assert_eq!(answering(&watershed), "v1", "cut after {cut}");
        fs::write(&file, to("v1")).unwrap();
        eventually("nothing is wrong", || watershed.config()["problems"] == Value::Array(vec![]));
    }
    // Cut anywhere. A prefix that is a whole object is taken by its word; every request has its answer all the same.
    for length in (0..text.len()).step_by(7) {
        fs::write(&file, &text[..length]).unwrap();
        let answer = get(watershed.services(), "hello", "/");
        let by_its_word = answer.status == 500 && answer.reason() == "no_backend";
        assert!(answer.status == 200 || by_its_word, "{answer:?} after {}", &text[..length]);
    }
    fs::write(&file, &text).unwrap();
    eventually("the whole file is in force", || get(watershed.services(), "hello", "/").pod() == "v2");
    eventually("nothing is wrong", || watershed.config()["problems"] == Value::Array(vec![]));
}

#[test]
fn of_two_objects_with_one_name_the_one_being_served_stays() {
    let scene = Scene::new();
    let watershed = scene.run();
    scene.manifests.write("a-earlier.yaml", to("v2"));
    eventually("the second one is an error", || {
        watershed.config()["problems"].as_array().unwrap().iter().any(|problem| {
            problem["severity"] == "error" && problem["place"].as_str().unwrap().contains("a-earlier.yaml")
        })
    });
    assert_eq!(answering(&watershed), "v1");
    // It takes over when the other one goes.
    scene.manifests.remove("route.yaml");
    wait_for_answers_of(&watershed, "v2");
}
