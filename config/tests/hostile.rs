//! Whatever the bytes, reading returns: no panic, and always either objects or the reasons why not.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use watershed_config::{Reading, Severity, read};

fn read_text(text: &str) -> Reading {
    read(&Arc::from(Path::new("test.yaml")), text)
}

/// What must hold of every reading.
fn check(text: &str) {
    let reading = read_text(text);
    let has_error = |problems: &[watershed_config::Problem]| {
        problems.iter().any(|problem| problem.severity == Severity::Error)
    };
    if reading.broken {
        assert!(reading.documents.is_empty() && has_error(&reading.problems), "{text:?}");
    }
    for document in &reading.documents {
        if let Some(object) = &document.object {
            assert_eq!(Some(object.id()), document.id.as_ref());
            assert!(!has_error(&document.problems), "{text:?}");
        } else {
            let said = !document.problems.is_empty() || !reading.problems.is_empty();
            assert!(said, "refused without a word: {text:?}");
        }
        for problem in &document.problems {
            assert!(!problem.what.is_empty() && problem.help.is_some());
            assert!(!problem.what.contains("cannot be read"), "{problem} in {text:?}");
            assert!(problem.to_string().chars().count() < 2_000, "{problem}");
        }
    }
}

fn seeds() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/check");
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension != "expected"));
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).expect("a fixture")).collect()
}

/// Pieces that mean something in YAML, more likely to reach odd corners than random letters.
const PIECES: [&str; 33] = [
    "\n",
    "\n  ",
    "\n- ",
    ": ",
    "- ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "<<: *a\n",
    "!x ",
    "!!int ",
    "|\n",
    ">-\n",
    "'",
    "\"",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "\t",
    "\u{feff}",
    "\u{0}",
    "\u{e9}",
    "null",
    "1.0",
    "-0x1",
    "true",
    ".nan",
];

fn mutated() -> impl Strategy<Value = String> {
    let seeds = seeds();
    let edit = (any::<prop::sample::Index>(), 0..4u8, 0..PIECES.len(), 0..40usize);
    (0..seeds.len(), prop::collection::vec(edit, 1..6)).prop_map(move |(seed, edits)| {
        let mut text: Vec<char> = seeds[seed].chars().collect();
        for (place, what, piece, length) in edits {
            let at = place.index(text.len() + 1);
            let end = (at + length).min(text.len());
            match what {
                0 => text.truncate(at),
                1 => drop(text.drain(at..end)),
                2 => drop(text.splice(at..at, PIECES[piece].chars())),
                _ => {
                    let copy: Vec<char> = text[at..end].to_vec();
                    drop(text.splice(at..at, copy));
                }
            }
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutations_of_manifests_never_panic(text in mutated()) {
        check(&text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_pieces_of_yaml_never_panic(pieces in prop::collection::vec(0..PIECES.len(), 0..40)) {
        check(&pieces.into_iter().map(|piece| PIECES[piece]).collect::<String>());
    }
}

#[test]
fn every_truncation_of_a_manifest_is_read_or_refused() {
    for seed in seeds() {
        let step = (seed.len() / 150).max(1);
        for end in (0..seed.len()).step_by(step).filter(|end| seed.is_char_boundary(*end)) {
            check(&seed[..end]);
        }
    }
}

#[test]
fn a_regular_expression_cannot_take_all_memory() {
    let mut text = String::new();
    for route in 0..60 {
        let mut matches = String::new();
        for index in 0..64 {
            writeln!(matches, "    - path: {{type: RegularExpression, value: '/{index}[^x]{{900}}'}}")
                .expect("writing to a string");
        }
        write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{route}}}\n\
             spec:\n  parentRefs: [{{name: g}}]\n  rules:\n  - matches:\n{matches}    backendRefs: [{{name: a, port: 80}}]\n"
        )
        .expect("writing to a string");
    }
    let begin = Instant::now();
    let reading = read_text(&text);
    assert!(begin.elapsed() < Duration::from_secs(50), "took {:?}", begin.elapsed());
    let refused = reading.documents.iter().filter(|document| document.object.is_none()).count();
    assert!(refused > 0, "none of the routes was refused");
    let words = reading.documents.iter().flat_map(|document| &document.problems).map(|problem| &problem.what);
    assert!(words.into_iter().any(|what| what.contains("regular expression")));
}

#[test]
fn a_file_of_nothing_but_mistakes_keeps_a_bounded_number_of_problems() {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n";
    let reading = read_text(&service.repeat(3_000));
    assert_eq!(reading.documents.len(), 3_000);
    assert!(reading.documents.iter().all(|document| document.object.is_none()));
    let kept: usize = reading.documents.iter().map(|document| document.problems.len()).sum();
    assert_eq!(kept, 1_000);
    assert_eq!(reading.problems.len(), 1, "the file says that there were more");
}

#[test]
fn ten_thousand_pods_in_one_file_are_read_in_reasonable_time() {
    let mut text = String::new();
    for pod in 0..10_000 {
        write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: pod-{pod}\n  labels: {{app: hello, version: \"1.0\"}}\n\
             spec:\n  containers:\n  - name: app\n    ports: [{{name: http, containerPort: 8080}}]\nstatus:\n  podIP: 10.0.0.1\n"
        )
        .expect("writing to a string");
    }
    let begin = Instant::now();
    let reading = read_text(&text);
    assert_eq!(reading.documents.iter().filter(|document| document.object.is_some()).count(), 10_000);
    assert!(begin.elapsed() < Duration::from_secs(30), "took {:?}", begin.elapsed());
}
