//! Cheap limits that are checked before the text is parsed: the parser itself keeps all events of a document in memory and
//! takes quadratic time on some texts, long before anything can be counted.

use super::{Broken, NODES_MAX, TEXT_MAX};
use crate::problem::Spot;

/// Most brackets open at a time, those inside quotes included. The parser takes time in proportion to their number for every
/// token; [`super::DEPTH_MAX`] is the limit that matters, this one only bounds the time until it is reached.
const BRACKETS_MAX: usize = 1_000;
/// Most directives (`%YAML`, `%TAG`); the parser compares each new one with all before it.
const DIRECTIVES_MAX: usize = 64;

/// Refuses a text that would take too much memory or time to parse.
pub(super) fn check(text: &str) -> Result<(), Broken> {
    if text.len() > TEXT_MAX {
        return Err(refuse(
            Spot { line: 1, column: 1, length: 1 },
            format!("the file has {} bytes, more than the {} MiB that are read", text.len(), TEXT_MAX >> 20),
            "split it into several files",
        ));
    }
    let mut scan = Scan::default();
    for (index, line) in text.lines().enumerate() {
        scan.line(line).map_err(|(what, help)| {
            refuse(Spot { line: index as u32 + 1, column: 1, length: 1 }, what, help)
        })?;
    }
    Ok(())
}

fn refuse(spot: Spot, what: String, help: &str) -> Broken {
    Broken { spot, what, help: help.to_owned() }
}

#[derive(Default)]
struct Scan {
    values: usize,
    brackets: usize,
    directives: usize,
}

impl Scan {
    /// Counts what may begin a value or a bracket on this line. Too high where text is quoted, never too low by more than a
    /// factor of two (`key: value` is one here).
    fn line(&mut self, line: &str) -> Result<(), (String, &'static str)> {
        self.values += 1;
        if line.starts_with("---") {
            self.brackets = 0;
        }
        self.directives += usize::from(line.starts_with('%'));
        let bytes = line.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'[' | b'{' => {
                    self.values += 1;
                    self.brackets += 1;
                    if self.brackets > BRACKETS_MAX {
                        return Err((
                            format!("more than {BRACKETS_MAX} brackets are opened and not closed"),
                            "close them, or put a `---` line between the documents",
                        ));
                    }
                }
                b']' | b'}' => self.brackets = self.brackets.saturating_sub(1),
                b',' => self.values += 1,
                b'-' | b'?' if bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace) => self.values += 1,
                _ => {}
            }
        }
        if self.values > NODES_MAX {
            return Err((
                format!("the file holds more than {NODES_MAX} values"),
                "split it into several files",
            ));
        }
        if self.directives > DIRECTIVES_MAX {
            return Err((
                format!("more than {DIRECTIVES_MAX} lines begin with `%`"),
                "remove the YAML directives, no manifest needs them",
            ));
        }
        Ok(())
    }
}
