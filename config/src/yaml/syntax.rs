//! The data parser's complaints, translated: its words are those of a grammar, people need what to change.

use crate::problem::Spot;

/// A place that can be shown: the parser often stops at the beginning of the line after, or behind the last one.
pub(super) fn nearest_text(text: &str, spot: Spot) -> Spot {
    let lines = text.lines().count().max(1) as u32;
    if spot.line <= lines {
        return spot;
    }
    let last = text.lines().last().map_or(0, |line| line.chars().count()) as u32;
    Spot { line: lines, column: last.max(1), length: 1 }
}

/// A part of the parser's message, what it means, and what to do.
const MESSAGES: [(&str, &str, &str); 13] = [
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

/// What is wrong and what to do, from the parser's message and the character it stopped at.
pub(super) fn explain(message: &str, text: &str, spot: Spot) -> (String, String) {
    let line = text.lines().nth(spot.line.max(1) as usize - 1).unwrap_or_default();
    let before = line.chars().take(spot.column.max(1) as usize - 1);
    let tab = line.chars().nth(spot.column.max(1) as usize - 1) == Some('\t')
        || (line.starts_with([' ', '\t'])
            && before.clone().all(char::is_whitespace)
            && before.clone().any(|c| c == '\t'));
    if tab {
        return known(
            "a tab is used for indentation",
            "YAML allows only spaces there; replace the tab by spaces",
        );
    }
    for (fragment, what, help) in MESSAGES {
        if message.contains(fragment) {
            return known(what, help);
        }
    }
    let words = message.split(" at line ").next().unwrap_or(message);
    (format!("not valid YAML: {words}"), "mend the line, or the one before it".to_owned())
}

fn known(what: &str, help: &str) -> (String, String) {
    (format!("not valid YAML: {what}"), help.to_owned())
}
