//! The data parser's complaints, translated: its words are those of a grammar, people need what to change.

use super::Broken;
use crate::problem::Spot;

/// A place that can be shown: the parser often stops at the beginning of the line after, or behind the last one.
fn nearest_text(text: &str, spot: Spot) -> Spot {
    let lines = text.lines().count().max(1) as u32;
    if spot.line <= lines {
        return spot;
    }
    let last = text.lines().last().map_or(0, |line| line.chars().count()) as u32;
    Spot { line: lines, column: last.max(1), length: 1 }
}

/// A part of the parser's message, what it means, and what to do.
const MESSAGES: [(&str, &str, &str); 14] = [
    (
        "mapping values are not allowed",
        "a second `:` on this line, or a line that is indented too far",
        "quote the value if it contains `: `, or indent the line like its neighbours",
    ),
    (
        "did not find expected key",
        "this line does not continue what was begun above",
        "indent it like the other fields at its level, and check that the quotes and brackets above are closed",
    ),
    (
        "did not find expected '-' indicator",
        "this line does not continue the list above",
        "begin it with `- ` at the list's indentation, or indent it like the field it belongs to",
    ),
    (
        "did not find expected ',' or",
        "the list or mapping in brackets goes on without a comma",
        "put a `,` between its entries, or the closing bracket after the last",
    ),
    (
        "could not find expected ':'",
        "this line has no `:` after its name",
        "write `name: value`, with a space after the colon",
    ),
    (
        "unexpected end of stream",
        "a quote is opened and never closed",
        "close it, and double (`''`) or escape (`\\\"`) the quotes inside",
    ),
    (
        "did not find expected alphabetic or numeric character",
        "a value that begins with `*` or `&` is taken for an alias or anchor",
        "put the value in quotes",
    ),
    (
        "did not find expected node content",
        "a value is missing here",
        "write one, or check the commas and brackets before it",
    ),
    ("cannot start any token", "a value cannot begin with this character", "put the value in quotes"),
    (
        "did not find expected <document start>",
        "the text goes on where the document should have ended",
        "check the indentation, or put a `---` line before the next document",
    ),
    (
        "unknown anchor",
        "this alias (`*name`) names no anchor (`&name`) before it",
        "define the anchor first, or quote a value that begins with `*`",
    ),
    (
        "recursion limit exceeded",
        "values are nested too deep, or an alias contains itself",
        "check the indentation, the brackets and the aliases",
    ),
    (
        "repetition limit exceeded",
        "aliases repeat each other too often",
        "write the values out instead of using aliases (`*name`)",
    ),
    (
        "control characters are not allowed",
        "the file contains a control character",
        "remove it; the file may not be text at all",
    ),
];

/// What is wrong, where, and what to do, from the parser's message and the place it stopped at.
pub(super) fn explain(message: &str, text: &str, spot: Spot) -> Broken {
    let spot = nearest_text(text, spot);
    let json = text.trim_start().starts_with(['{', '[']);
    let language = if json { "JSON" } else { "YAML" };
    if !json && is_tab(text, spot) {
        let help = "YAML allows only spaces there; replace the tab by spaces".to_owned();
        return Broken { spot, what: "not valid YAML: a tab is used for indentation".to_owned(), help };
    }
    let context = context(message);
    let Some((_, what, help)) = MESSAGES.iter().find(|(fragment, ..)| message.contains(fragment)) else {
        let words = message.split(" at line ").next().unwrap_or(message);
        let help = "mend the line, or the one before it".to_owned();
        return Broken { spot, what: format!("not valid {language}: {words}"), help };
    };
    let (spot, opened) = match context {
        // Where a quote was opened says more than where the text ended.
        Some(("while scanning a quoted scalar", line, column)) => (Spot { line, column, length: 1 }, None),
        Some((what, line, _)) if what.starts_with("while parsing a flow") && line != spot.line => {
            (spot, Some(line))
        }
        _ => (spot, None),
    };
    let opened = opened.map_or_else(String::new, |line| format!("; the bracket was opened in line {line}"));
    Broken { spot, what: format!("not valid {language}: {what}{opened}"), help: (*help).to_owned() }
}

/// Whether the parser stopped at a tab, or behind tabs at the beginning of a line.
fn is_tab(text: &str, spot: Spot) -> bool {
    let line = text.lines().nth(spot.line.max(1) as usize - 1).unwrap_or_default();
    let before: Vec<char> = line.chars().take(spot.column as usize).collect();
    let (last, indentation) = before.split_last().unwrap_or((&' ', &[]));
    *last == '\t' || (indentation.contains(&'\t') && indentation.iter().all(|c| c.is_whitespace()))
}

/// What the parser was doing, and where that began: `problem at line 4 column 5, while parsing X at line 3 column 11`.
fn context(message: &str) -> Option<(&str, u32, u32)> {
    let (_, context) = message.split_once(", while ")?;
    let (doing, place) = context.split_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    let start = message.len() - context.len() - "while ".len();
    let doing = &message[start..start + "while ".len() + doing.len()];
    Some((doing, line.parse().ok()?, column.parse().ok()?))
}
