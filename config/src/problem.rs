//! What is wrong, where, and how to mend it.
//!
//! A problem is written for somebody who has never seen the code: the place in their file, one sentence on what is wrong, and
//! one on what to do. How it is printed (`file:line:column`, the line and a caret) is [`Problem`]'s `Display`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::ObjectId;

/// A place in a file: one-based line and column (in characters), and how many characters to underline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// One-based line; 0 where the source has no lines (an object from an API server).
    pub line: u32,
    /// One-based column, counted in characters.
    pub column: u32,
    /// How many characters the caret underlines; at least 1 where there is a line.
    pub length: u32,
}

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The object cannot be taken; its last good version, if any, keeps serving.
    Error,
    /// The object is taken and served as the Gateway API says, but part of it will not work.
    Warning,
    /// Worth knowing; changes nothing and does not fail a check.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One thing that is wrong with what somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// The file, as the user named it; `None` for an object that came from an API server.
    pub file: Option<Arc<Path>>,
    /// Where in the file.
    pub spot: Spot,
    /// The object it belongs to, where one could be made out.
    pub object: Option<ObjectId>,
    /// The path of the field inside the object (`spec.rules[0].matches`); empty for the object as a whole.
    pub field: String,
    /// What is wrong: one sentence without a full stop.
    pub what: String,
    /// How to mend it: one sentence without a full stop.
    pub help: Option<String>,
    /// The offending line, where the text was at hand, clipped to a readable width around the place.
    pub excerpt: Option<String>,
    /// How many characters of the line were cut away to the left of `excerpt`.
    pub excerpt_start: u32,
}

impl Problem {
    /// A problem with a place, to be refined by the `with_` methods.
    pub fn new(severity: Severity, file: Option<Arc<Path>>, spot: Spot, what: impl Into<String>) -> Self {
        let what = what.into();
        let field = String::new();
        Self { severity, file, spot, object: None, field, what, help: None, excerpt: None, excerpt_start: 0 }
    }

    /// Says how to mend it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says which object it belongs to.
    #[must_use]
    pub fn with_object(mut self, object: ObjectId) -> Self {
        self.object = Some(object);
        self
    }

    /// Says which field of the object it is about.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// Cuts the offending line out of the file's text, so that it can be shown with a caret.
    #[must_use]
    pub fn with_excerpt_from(self, text: &str) -> Self {
        let line = (self.spot.line as usize).checked_sub(1).and_then(|index| text.lines().nth(index));
        match line {
            Some(line) => self.with_line(line),
            None => self,
        }
    }

    /// Shows this line, which must be the one at its place, clipped to a window around it.
    #[must_use]
    pub fn with_line(mut self, line: &str) -> Self {
        let column = self.spot.column.max(1) as usize - 1;
        let line = line.trim_end();
        let fits = line.len() <= EXCERPT_WIDTH || line.chars().nth(EXCERPT_WIDTH).is_none();
        let start = if fits { 0 } else { column.saturating_sub(EXCERPT_WIDTH / 2) };
        let shown = line.chars().skip(start).take(EXCERPT_WIDTH);
        self.excerpt = Some(shown.map(|c| if c.is_control() { ' ' } else { c }).collect());
        self.excerpt_start = start as u32;
        self
    }

    /// The order in which problems are shown: by file, then by place, then the worst first.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        (&self.file, self.spot, self.severity, &self.what).cmp(&(
            &other.file,
            other.spot,
            other.severity,
            &other.what,
        ))
    }

    /// `file:line:column`, as editors and terminals make it clickable.
    pub fn place(&self) -> String {
        let file = self.file.as_deref().map_or_else(|| PathBuf::from("(no file)"), Path::to_path_buf);
        if self.spot.line == 0 {
            return file.display().to_string();
        }
        format!("{}:{}:{}", file.display(), self.spot.line, self.spot.column)
    }
}

/// Longest part of an offending line that is shown, in characters: a minified JSON file is one line.
const EXCERPT_WIDTH: usize = 120;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place(), self.severity, self.what)?;
        if let Some(excerpt) = &self.excerpt {
            let start = self.excerpt_start;
            let column = self.spot.column.max(1).saturating_sub(1).saturating_sub(start) as usize;
            write_excerpt(f, excerpt, Spot { column: column as u32, ..self.spot })?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// Prints the line with a caret below; here the column counts from 0 and within `shown`.
fn write_excerpt(f: &mut fmt::Formatter<'_>, shown: &str, spot: Spot) -> fmt::Result {
    let width = shown.chars().count();
    let column = (spot.column as usize).min(width);
    let carets = (spot.length.max(1) as usize).min((width - column).max(1));
    let number = spot.line.to_string();
    let gutter = " ".repeat(number.len());
    write!(f, "\n {gutter} |\n {number} | {shown}\n {gutter} | {}{}", " ".repeat(column), "^".repeat(carets))
}

#[cfg(test)]
mod tests {
    use super::{EXCERPT_WIDTH, Problem, Severity, Spot};

    fn shown(line: &str, column: u32, length: u32) -> (String, String) {
        let spot = Spot { line: 1, column, length };
        let text = Problem::new(Severity::Error, None, spot, "wrong").with_line(line).to_string();
        let mut lines = text.lines().skip(2);
        let mut next = || lines.next().unwrap_or_default().get(5..).unwrap_or_default().to_owned();
        (next(), next())
    }

    #[test]
    fn the_caret_stands_below_what_is_wrong_also_in_a_line_that_is_clipped() {
        for (before, after) in
            [(0, 0), (10, 10), (60, 60), (119, 0), (500, 0), (500, 500), (0, 500), (100_000, 7)]
        {
            let line = format!("{}\u{e9}!{}", "a".repeat(before), "b".repeat(after));
            let (excerpt, carets) = shown(&line, before as u32 + 1, 2);
            assert!(excerpt.chars().count() <= EXCERPT_WIDTH, "{before} {after}");
            let place = carets.find('^').expect("a caret");
            assert_eq!(excerpt.chars().nth(place), Some('\u{e9}'), "{before} {after}: {excerpt}");
            assert_eq!(carets.trim(), "^^", "{before} {after}");
        }
    }

    #[test]
    fn a_caret_behind_the_end_of_the_line_or_without_a_line_is_no_harm() {
        assert_eq!(shown("ab", 9, 3), ("ab".to_owned(), "  ^".to_owned()));
        assert_eq!(shown("", 1, 0), (String::new(), "^".to_owned()));
        let nowhere = Problem::new(Severity::Note, None, Spot::default(), "wrong").with_excerpt_from("text");
        assert_eq!(nowhere.to_string(), "(no file): note: wrong");
    }
}
