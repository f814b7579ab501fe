//! Text in columns.

use std::fmt::Write;

use crate::screen::wrap;

/// Between columns.
const GAP: usize = 3;
/// A last column that is narrower than this is not broken into lines: the terminal may do that.
const LAST_MIN: usize = 24;

/// Rows of cells under a heading, the columns as wide as they need to be. The last one is broken into lines where the terminal
/// ends.
pub(in crate::cli) fn table(heading: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let heading: Vec<String> = heading.iter().map(|title| (*title).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&heading).chain(rows).collect();
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    let before: usize = widths[..widths.len() - 1].iter().map(|width| width + GAP).sum();
    let room = width.saturating_sub(before + 1);
    let mut text = String::new();
    for row in all {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).take(widths.len() - 1) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}{:GAP$}", "");
        }
        let last = row.last().map_or("", String::as_str);
        let folded = if room < LAST_MIN { last.to_owned() } else { wrap(last, room) };
        for (index, part) in folded.lines().enumerate() {
            if index > 0 {
                line.push('\n');
                line.push_str(&" ".repeat(before));
            }
            line.push_str(part);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_stand_under_their_headings_and_the_last_is_broken() {
        let rows = [
            vec!["hello".to_owned(), "1".to_owned(), "a reason of several words that is long".to_owned()],
            vec!["a-longer-name".to_owned(), "22".to_owned(), String::new()],
        ];
        let expected = "\
NAME            N    CAUSE
hello           1    a reason of several
                       words that is long
a-longer-name   22
";
        assert_eq!(table(&["NAME", "N", "CAUSE"], &rows, 46), expected);
        let wide = table(&["NAME", "N", "CAUSE"], &rows, usize::MAX);
        assert!(wide.contains("1    a reason of several words that is long\n"), "{wide}");
    }
}
