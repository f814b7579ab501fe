//! Who may know whom, and what may be done where (ARCHITECTURE.md, invariants 9 and 12), read from the manifests and sources.
//!
//! These rules are what keeps the pure parts testable without a machine and the traffic's path free of everything else. A change
//! that needs to break one argues for it in ARCHITECTURE.md first.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The packages of the workspace that have rules.
const PACKAGES: [&str; 3] = ["watershed-config", "watershed-control", "watershed-proxy"];

/// Anything that reads or writes YAML, or speaks to Kubernetes.
const YAML: [&str; 4] = ["serde_yaml", "yaml_serde", "granit-parser", "serde_norway"];
const KUBERNETES: [&str; 3] = ["kube", "kube-client", "k8s-openapi"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The dependencies that each of our packages is built with: its own, without those of its tests.
fn direct() -> HashMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let built_with = all.filter(|dependency| dependency["kind"] != "dev");
        (text(&package["name"]), built_with.map(|dependency| text(&dependency["name"])).collect())
    };
    packages.iter().map(of).collect()
}

/// What each package of Cargo.lock depends on. (For our own it cannot tell what only tests need; [`direct`] can.)
fn locked() -> HashMap<String, Vec<String>> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut packages: HashMap<String, Vec<String>> = HashMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
        let listed =
            package.split_once("dependencies = [").map_or("", |(_, rest)| rest.split(']').next().unwrap());
        // Two versions of a package are written `name version`.
        let names = listed.lines().filter_map(|line| line.trim().trim_matches([',', '"']).split(' ').next());
        let names = names.filter(|name| !name.is_empty()).map(|name| name.trim_matches('"').to_owned());
        packages.entry(name.to_owned()).or_default().extend(names);
    }
    packages
}

/// Everything that a package is built with, directly or not, except through the packages in `without`.
fn reachable(package: &str, without: &[&str]) -> HashSet<String> {
    let (direct, locked) = (direct(), locked());
    let mut found = HashSet::new();
    let mut left: Vec<String> = direct[package].clone();
    while let Some(name) = left.pop() {
        if without.contains(&name.as_str()) || !found.insert(name.clone()) {
            continue;
        }
        let next = direct.get(&name).or_else(|| locked.get(&name));
        left.extend(next.into_iter().flatten().cloned());
    }
    found
}

#[track_caller]
fn assert_unknown(package: &str, found: &HashSet<String>, forbidden: &[&str]) {
    let known: Vec<_> = forbidden.iter().filter(|name| found.contains(**name)).collect();
    assert!(known.is_empty(), "{package} must not know {known:?}");
}

#[test]
fn the_data_plane_knows_neither_control_nor_yaml_nor_kubernetes() {
    // YAML is inside config, whose types are all that the data plane sees of it.
    let found = reachable("watershed-proxy", &["watershed-config"]);
    assert!(found.contains("hyper") && found.contains("tokio"), "the look is broken: {found:?}");
    assert_unknown("watershed-proxy", &found, &["watershed-control", "watershed"]);
    assert_unknown("watershed-proxy", &found, &YAML);
    assert_unknown("watershed-proxy", &found, &KUBERNETES);
}

#[test]
fn control_does_not_know_the_data_plane() {
    let found = reachable("watershed-control", &[]);
    assert!(found.contains("watershed-config"), "the look is broken: {found:?}");
    assert_unknown("watershed-control", &found, &["watershed-proxy", "watershed", "arc-swap"]);
}

#[test]
fn config_is_built_without_runtime_sockets_or_randomness() {
    let found = reachable("watershed-config", &[]);
    assert!(found.contains("serde"), "the look is broken: {found:?}");
    assert_unknown("watershed-config", &found, &["watershed-control", "watershed-proxy", "watershed"]);
    let impure =
        ["tokio", "mio", "hyper", "socket2", "rustix", "notify", "rand", "fastrand", "getrandom", "reqwest"];
    assert_unknown("watershed-config", &found, &impure);
}

/// A source file.
struct Source {
    /// From the root of the repository.
    path: String,
    /// Without comments, and without what is only compiled for tests.
    code: String,
}

impl Source {
    fn names(&self, word: &str) -> bool {
        let is_part =
            |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        self.code.match_indices(word).any(|(at, _)| {
            let (before, after) = (&self.code[..at], &self.code[at + word.len()..]);
            !is_part(before.chars().next_back()) && !is_part(after.chars().next())
        })
    }
}

/// Every Rust file below a folder.
fn sources(folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in files(&root().join(folder)) {
        let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "rs") || relative.ends_with("/tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
        sources.push(Source { path: relative, code });
    }
    assert!(!sources.is_empty(), "no sources in {folder}");
    sources
}

/// All files below a folder that belong to the repository.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        if name == "target" || name == ".git" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// The files below these folders that name a word.
fn naming(folders: &[&str], word: &str) -> BTreeSet<String> {
    let all = folders.iter().flat_map(|folder| sources(folder));
    all.filter(|source| source.names(word)).map(|source| source.path).collect()
}

#[test]
fn config_touches_nothing_outside_itself() {
    let forbidden = [
        "std::fs",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "std::os",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "ToSocketAddrs",
        "SystemTime::now",
        "Instant::now",
        "println",
        "eprintln",
        "RandomState",
    ];
    for word in forbidden {
        assert_eq!(naming(&["config/src"], word), BTreeSet::new(), "config must not name {word}");
    }
    // So that the names above cannot hide in a list.
    for source in sources("config/src") {
        assert!(!source.code.contains("use std::{"), "{}: one `use` for each module of std", source.path);
    }
}

#[test]
fn packages_are_only_named_where_their_dependency_is_allowed() {
    let rules = [("proxy/src", "watershed_control"), ("control/src", "watershed_proxy")];
    for (folder, word) in rules.into_iter().chain(KUBERNETES.map(|name| ("proxy/src", name))) {
        assert_eq!(naming(&[folder], word), BTreeSet::new(), "{folder} must not name {word}");
    }
    let both: BTreeSet<String> = naming(&["src"], "watershed_control")
        .intersection(&naming(&["src"], "watershed_proxy"))
        .cloned()
        .collect();
    // The composition root, what it hands to the admin thread, and the same composition without a process: manifests
    // assembled and compiled to be asked about.
    let allowed = ["src/app.rs", "src/admin/state.rs", "src/cli/explain.rs"].map(str::to_owned);
    assert!(
        both.is_subset(&BTreeSet::from(allowed)),
        "only the composition root knows control and proxy: {both:?}"
    );
}

#[test]
fn the_yaml_crate_is_named_in_one_file() {
    let named = naming(&["config/src", "control/src", "proxy/src"], "serde_yaml");
    assert_eq!(named, BTreeSet::from(["config/src/yaml.rs".to_owned()]));
    // The demo's supervisor makes Pods of a Deployment's template, which is nothing that config could know; `-o yaml` writes; and
    // the profile of a simulation is no manifest.
    let named = naming(&["src"], "serde_yaml");
    let allowed = ["src/demo/deployment.rs", "src/cli/rollout/output.rs", "src/cli/simulate/settings.rs"];
    let allowed = allowed.map(str::to_owned);
    assert!(named.is_subset(&BTreeSet::from(allowed)), "{named:?}");
}

#[test]
fn the_table_is_replaced_in_one_place() {
    let stores = |source: &Source| {
        let ways = [".table.swap(", ".table.store(", ".rcu(", ".compare_and_swap("];
        ways.iter().map(|way| source.code.matches(way).count()).sum::<usize>()
    };
    let counts: Vec<(String, usize)> =
        sources("proxy/src").iter().map(|source| (source.path.clone(), stores(source))).collect();
    let replacing: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(replacing, [&("proxy/src/proxy.rs".to_owned(), 1)], "one pointer, one place that stores it");
    let holding: usize =
        sources("proxy/src").iter().map(|source| source.code.matches("pub table: Arc<ArcSwap").count()).sum();
    assert_eq!(holding, 1, "one ArcSwap");
}

#[test]
fn unsafe_code_is_only_where_it_is_argued_for() {
    let folders = ["config", "control", "proxy", "src", "tests"];
    let word = ["un", "safe"].concat();
    let named = naming(&folders, &word);
    // A descriptor's number borrowed from hyper; an allocator that counts, in a test.
    let allowed = ["proxy/src/socket.rs", "proxy/tests/allocations.rs"].map(str::to_owned);
    assert!(named.is_subset(&BTreeSet::from(allowed)), "{named:?}");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("{word}_code = \"deny\"")));
    for package in PACKAGES {
        let folder = package.trim_start_matches("watershed-");
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{package} does not take the workspace's lints"
        );
    }
}

#[test]
fn nothing_depends_on_one_machine() {
    // Put together here, so that this file is not found.
    let private =
        [["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"], ["/wo", "rk/"]].map(|parts| parts.concat());
    for path in files(root()) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let found = private.iter().find(|folder| line.contains(folder.as_str()));
            assert!(found.is_none(), "{}:{}: a path of one machine: {line}", path.display(), number + 1);
        }
    }
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for source in lock.lines().filter_map(|line| line.strip_prefix("source = ")) {
        assert_eq!(source, "\"registry+https://github.com/rust-lang/crates.io-index\"");
    }
}

#[test]
fn files_stay_short_enough_to_be_read() {
    for folder in ["config", "control", "proxy", "src", "tests"] {
        for path in files(&root().join(folder)) {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                assert!(lines <= 500, "{} has {lines} lines", path.display());
            }
        }
    }
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() <= 60, "main.rs only starts what is elsewhere");
}
