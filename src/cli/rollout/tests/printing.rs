//! Golden files: every view in `tests/fixtures/rollouts` as `NAME.get`, `NAME.narrow`, `NAME.wide`, `NAME.why`, `NAME.history`.
//! `UPDATE_GOLDEN=1` rewrites them; read the diff as a user would.

use std::fs;
use std::path::{Path, PathBuf};

use watershed_control::rollout::view::RolloutView;

use crate::admin::fake::Fake;
use crate::cli::rollout::tree::{Detail, lines};
use crate::cli::rollout::{HistoryArgs, ListArgs, NamedArgs, Output, tables, why};
use crate::screen::{Style, wrap};

/// When the views are looked at: 100 s after the last thing happened in `canary.json`.
const NOW: u64 = 1_700_000_300_000;
const SAMPLES: [&str; 5] = ["canary", "healthy", "aborted", "degraded", "rolling"];

const PIPE: Style = Style { width: usize::MAX, colour: false, unicode: false };
const TERMINAL: Style = Style { width: 100, colour: false, unicode: true };
const NARROW: Style = Style { width: 40, colour: false, unicode: true };

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rollouts").join(name)
}

/// Compares with a golden file, or writes it.
fn check(name: &str, printed: &str, wrong: &mut Vec<String>) {
    let path = fixture(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, printed).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if printed != expected {
        wrong.push(format!("--- {name} expected\n{expected}\n--- printed\n{printed}"));
    }
}

fn joined(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

fn history(revision: Option<u64>) -> HistoryArgs {
    HistoryArgs { named: NamedArgs { name: String::new() }, revision, output: None }
}

#[test]
fn everything_is_printed_as_the_golden_files_say() {
    let mut wrong = Vec::new();
    for name in SAMPLES {
        let view = Fake::sample(name);
        let get = |detail, style| joined(&lines(&view, detail, NOW, style));
        check(&format!("{name}.get"), &get(Detail::Usual, TERMINAL), &mut wrong);
        check(&format!("{name}.narrow"), &get(Detail::Usual, NARROW), &mut wrong);
        check(&format!("{name}.wide"), &get(Detail::All, PIPE), &mut wrong);
        check(&format!("{name}.why"), &wrap(&why::text(&view, NOW), 99), &mut wrong);
        let runs = tables::history(&view, &history(None), NOW, TERMINAL).unwrap();
        let last = view.history.last().unwrap().number;
        let details = tables::history(&view, &history(Some(last)), NOW, TERMINAL).unwrap();
        check(&format!("{name}.history"), &format!("{runs}\n{details}"), &mut wrong);
    }
    let views: Vec<RolloutView> = SAMPLES.map(Fake::sample).into();
    let list = |all_namespaces, output, style| {
        tables::list(&views, "default", &ListArgs { all_namespaces, output }, NOW, style).unwrap()
    };
    let lists = [
        list(false, None, PIPE),
        list(true, Some(Output::Wide), TERMINAL),
        list(true, Some(Output::Name), PIPE),
    ];
    check("list", &lists.join("\n"), &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_line_reaches_the_last_column_of_any_terminal() {
    for name in SAMPLES {
        let view = Fake::sample(name);
        for unicode in [false, true] {
            for width in 60..200 {
                for line in lines(&view, Detail::All, NOW, Style { width, colour: false, unicode }) {
                    assert!(line.chars().count() < width, "{name} at {width}: {line}");
                }
            }
        }
    }
}

#[test]
fn colours_change_no_letter() {
    for name in SAMPLES {
        let view = Fake::sample(name);
        for width in [40, 100] {
            let of = |colour| joined(&lines(&view, Detail::All, NOW, Style { width, colour, unicode: true }));
            let (plain, coloured) = (of(false), of(true));
            assert_ne!(plain, coloured);
            let mut stripped = String::new();
            for (index, part) in coloured.split('\x1b').enumerate() {
                stripped.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
            }
            assert_eq!(stripped, plain, "{name} at {width}");
        }
    }
}

#[test]
fn a_revision_that_the_history_does_not_have_is_said_with_those_that_it_has() {
    let said = tables::history(&Fake::sample("canary"), &history(Some(7)), NOW, PIPE).unwrap_err();
    assert!(format!("{said:?}").contains("has no revision 7; there are 1, 2"), "{said:?}");
}
