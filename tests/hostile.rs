//! Bad input while traffic flows: nothing of it stops what is being served, and each costs bounded memory and time.

use std::fmt::Write;
use std::fs::File;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::support::{Manifests, Pod, PodFile, Watershed, eventually, get, route, service, test_seed};

/// Most memory in MiB that the process may ever hold over any of these. A file is read up to 16 MiB and 20,000 files are read
/// at all; text, tree and model of what is read are what it takes.
const RESIDENT_MIB: u64 = 300;
/// How soon an edit of another file is in force, however bad its neighbours are. Debug build, busy machine.
const IN_FORCE: Duration = Duration::from_secs(20);

struct Scene {
    manifests: Manifests,
    watershed: Watershed,
    edits: usize,
    _pod: Pod,
}

impl Scene {
    fn new() -> Self {
        let pod = Pod::start("hello-a");
        let manifests = Manifests::new();
        manifests.write("service.yaml", service("hello", "app: hello"));
        manifests.write("pod.yaml", PodFile::of(&pod, "app: hello").text());
        let watershed = Watershed::run(manifests.path());
        Self { manifests, watershed, edits: 0, _pod: pod }
    }

    /// It serves, it follows an edit, and it has not grown.
    #[track_caller]
    fn assert_unharmed(&mut self, after: &str) {
        let begun = Instant::now();
        self.edits += 1;
        let mark = format!("mark-{}", self.edits);
        let filter = format!(
            "  - filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-mark, value: \
             {mark}}}]}}}}]\n    name: main"
        );
        let parent = r#"kind: Service, group: "", name: hello"#;
        let text = route("hello", parent, &[("hello", 1)]).replace("  - name: main", &filter);
        self.manifests.write("route.yaml", text);
        eventually(&format!("an edit is in force after {after}"), || {
            let answer = get(self.watershed.services(), "hello", "/");
            assert_eq!(answer.status, 200, "after {after}: {answer:?}");
            answer.header("x-mark") == mark
        });
        let (took, peak) = (begun.elapsed(), self.watershed.peak_mib());
        println!(
            "{after}: the next edit was in force after {took:?}, {} MiB, peak {peak} MiB",
            self.watershed.resident_mib()
        );
        assert!(took < IN_FORCE, "after {after} an edit took {took:?}");
        assert!(peak < RESIDENT_MIB, "after {after}: {peak} MiB");
        self.watershed.assert_running();
    }

    /// A file is reported as an error at its place.
    #[track_caller]
    fn assert_error(&self, file: &str) {
        eventually(&format!("{file} is an error"), || {
            let config = self.watershed.config();
            config["problems"].as_array().unwrap().iter().any(|problem| {
                problem["severity"] == "error" && problem["place"].as_str().unwrap().contains(file)
            })
        });
    }
}

#[test]
fn random_bytes_and_truncated_texts_do_no_harm() {
    let mut scene = Scene::new();
    let mut random = Rng::with_seed(test_seed());
    for round in 0..20 {
        let length = random.usize(..100_000);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        scene.manifests.write(&format!("random-{round}.yaml"), bytes);
        let text = route("other", "name: web", &[("hello", 1)]);
        scene.manifests.write(&format!("cut-{round}.yaml"), &text[..random.usize(..text.len())]);
    }
    scene.assert_unharmed("random bytes");
    scene.assert_error("random-");
}

#[test]
fn a_file_of_100_megabytes_is_not_read() {
    let mut scene = Scene::new();
    // A hole: it takes no space on the disk, and reads as zeros.
    let name = scene.manifests.file("huge.yaml");
    File::create(&name).unwrap().set_len(100 << 20).unwrap();
    scene.assert_error("huge.yaml");
    scene.assert_unharmed("a file of 100 MB");
    assert!(scene.watershed.peak_mib() < 100, "{} MiB: it was read", scene.watershed.peak_mib());
}

#[test]
fn bombs_are_defused() {
    let mut scene = Scene::new();
    let mut aliases = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 'b'..='k' {
        let before = (level as u8 - 1) as char;
        let nine = vec![format!("*{before}"); 9].join(", ");
        writeln!(aliases, "{level}: &{level} [{nine}]").unwrap();
    }
    scene.manifests.write("aliases.yaml", aliases);
    scene.assert_error("aliases.yaml");
    scene.assert_unharmed("an alias bomb");
    let deep = "[".repeat(1_000_000);
    scene.manifests.write("deep.yaml", deep);
    scene.assert_error("deep.yaml");
    scene.assert_unharmed("deep nesting");
    let regular = route("bomb", r#"kind: Service, group: "", name: hello"#, &[("hello", 1)]).replace(
        "  - name: main",
        "  - matches: [{path: {type: RegularExpression, value: \"/(((a{100}){100}){100}){100}\"}}]\n    name: main",
    );
    scene.manifests.write("regular.yaml", regular);
    scene.assert_error("regular.yaml");
    scene.assert_unharmed("a bomb of a regular expression");
    let scalar = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: \"{}\"}}\n", "x".repeat(15 << 20));
    scene.manifests.write("scalar.yaml", scalar);
    scene.assert_error("scalar.yaml");
    scene.assert_unharmed("a huge scalar");
}

#[test]
fn ten_thousand_files_are_followed() {
    let mut scene = Scene::new();
    for number in 0..10_000 {
        let name = format!("s{number}");
        scene.manifests.write(
            &format!("many/{}/{name}.yaml", number / 1000),
            service(&name, &format!("n: \"{number}\"")),
        );
    }
    scene.assert_unharmed("10,000 files");
    eventually("all are served", || scene.watershed.config()["objects"]["Service"] == 10_001);
    let answer = get(scene.watershed.services(), "s9999", "/");
    assert_eq!((answer.status, answer.reason()), (503, "no_ready_endpoint"), "{answer:?}");
    scene.assert_unharmed("10,000 Services");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let mut scene = Scene::new();
    // Opening a named pipe for reading would wait for a writer that never comes.
    let pipe = scene.manifests.file("pipe.yaml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    std::os::unix::fs::symlink("loop.yaml", scene.manifests.file("loop.yaml")).unwrap();
    std::os::unix::fs::symlink(".", scene.manifests.file("self")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", scene.manifests.file("zero.yaml")).unwrap();
    scene.assert_unharmed("a pipe, loops and a device");
}
