//! Manifests to messages: each folder `tests/fixtures/check-objects/NAME/` and, in `NAME.expected` beside it, what is said
//! about its objects together and what is then served. `UPDATE_GOLDEN=1 cargo test -p watershed-control --test assemble`
//! rewrites the expectations; read the diff as somebody on call would.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watershed_config::snapshot::Generation;
use watershed_config::{Problem, read};
use watershed_control::assemble::{AssembleOptions, assemble};
use watershed_control::catalog::Catalog;
use watershed_control::load::load_once;
use watershed_control::readiness::Readiness;

use crate::support::{assembled_with_service_listener, render};

fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Reads a folder's manifests as `check` would.
fn print(folder: &Path) -> String {
    let mut catalog = Catalog::default();
    let mut problems: Vec<Problem> = Vec::new();
    let mut texts = Vec::new();
    for path in sorted_entries(folder) {
        let text = fs::read_to_string(&path).unwrap();
        let name: Arc<Path> = Arc::from(Path::new(path.file_name().unwrap()));
        for document in read(&name, &text).documents {
            problems.extend(document.problems);
            if let Some(object) = document.object {
                catalog.apply(object);
            }
        }
        texts.push((name, text));
    }
    let assembled = assembled_with_service_listener(&catalog);
    problems.extend(assembled.problems.into_iter().map(|problem| {
        match texts.iter().find(|(name, _)| Some(name) == problem.file.as_ref()) {
            Some((_, text)) => problem.with_excerpt_from(text),
            None => problem,
        }
    }));
    problems.sort_by(Problem::order);
    let mut out = String::new();
    for problem in problems {
        writeln!(out, "{problem}\n").unwrap();
    }
    writeln!(out, "({} objects, of which is served:)\n{}", catalog.len(), render(&assembled.snapshot))
        .unwrap();
    out
}

#[test]
fn what_is_said_of_objects_together_is_as_the_golden_files_say() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/check-objects");
    let mut wrong = String::new();
    for folder in sorted_entries(&fixtures).into_iter().filter(|path| path.is_dir()) {
        let printed = print(&folder);
        let expected_path = folder.with_extension("expected");
        if update {
            fs::write(&expected_path, &printed).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if printed != expected {
            writeln!(wrong, "--- {} expected\n{expected}\n--- printed\n{printed}", folder.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// As `check` reads them: every probe is taken as passed.
#[test]
fn nothing_is_said_of_the_objects_of_an_example() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let folders: Vec<PathBuf> = sorted_entries(&examples).into_iter().filter(|path| path.is_dir()).collect();
    assert!(folders.len() >= 5, "{folders:?}");
    for folder in folders {
        let loaded = load_once(std::slice::from_ref(&folder));
        let options = AssembleOptions::default();
        let assembled = assemble(&loaded.catalog, &Readiness::assumed(), &options, Generation(1));
        let said: Vec<String> =
            loaded.problems.iter().chain(&assembled.problems).map(Problem::to_string).collect();
        assert!(said.is_empty(), "{}", said.join("\n"));
        assert!(!loaded.catalog.is_empty(), "{}", folder.display());
    }
}
