//! Every problem as it is printed, kept in files: `tests/fixtures/check/NAME.yaml` and what is said about it in
//! `NAME.expected`. `UPDATE_GOLDEN=1 cargo test -p watershed-config --test golden` rewrites the expectations; read the diff as
//! somebody on call would.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watershed_config::{Document, Reading, read};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/check");
    let entries = fs::read_dir(&folder).expect("the folder of fixtures");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension != "expected"));
    files.sort();
    files
}

fn read_as_named(path: &Path) -> (String, Reading) {
    let text = fs::read_to_string(path).expect("a fixture");
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
    let reading = read(&Arc::from(Path::new(name)), &text);
    (text, reading)
}

fn render(reading: &Reading) -> String {
    let mut out = String::new();
    let problems = reading.documents.iter().flat_map(|document| &document.problems);
    for problem in reading.problems.iter().chain(problems) {
        writeln!(out, "{problem}\n").expect("writing to a string");
    }
    let count =
        |what: fn(&Document) -> bool| reading.documents.iter().filter(|document| what(document)).count();
    let (read, refused) =
        (count(|document| document.object.is_some()), count(|document| document.object.is_none()));
    let broken = if reading.broken { ", file broken" } else { "" };
    writeln!(out, "({read} objects, {refused} documents without{broken})").expect("writing to a string");
    out
}

#[test]
fn problems_are_printed_as_the_golden_files_say() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = String::new();
    for path in fixtures() {
        let (_, reading) = read_as_named(&path);
        let printed = render(&reading);
        let expected_path = path.with_extension("expected");
        if update {
            fs::write(&expected_path, &printed).expect("writing the expectation");
            continue;
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if printed != expected {
            writeln!(wrong, "--- {} expected\n{expected}\n--- printed\n{printed}", path.display())
                .expect("writing to a string");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_last_good_text_reads_as_the_same_object() {
    let mut compared = 0;
    for path in fixtures() {
        let (_, reading) = read_as_named(&path);
        for document in reading.documents.iter().filter(|document| document.object.is_some()) {
            let again = read(&Arc::from(Path::new("last-good.json")), &document.source);
            let [one] = again.documents.as_slice() else { panic!("one document in {}", document.source) };
            assert_eq!(one.id, document.id);
            // Places differ, so the meaning is compared by reading the text once more.
            assert_eq!(one.source, document.source, "{}", path.display());
            assert!(one.object.is_some(), "{:?}", one.problems);
            compared += 1;
        }
    }
    assert!(compared > 10, "only {compared} objects in the fixtures");
}

/// All manifests below a folder.
fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            manifests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn nothing_is_said_about_the_examples() {
    let mut paths = Vec::new();
    manifests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"), &mut paths);
    assert!(!paths.is_empty(), "there are examples");
    for path in paths {
        let (_, reading) = read_as_named(&path);
        let said: Vec<String> = reading
            .documents
            .iter()
            .flat_map(|document| &document.problems)
            .chain(&reading.problems)
            .map(ToString::to_string)
            .collect();
        assert!(said.is_empty(), "{}:\n{}", path.display(), said.join("\n"));
    }
}
