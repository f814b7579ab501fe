//! Writing to the terminal, or to whatever standard output is. An error means that nobody reads any more
//! (`watershed demo | head`): the run is over then.

mod wrap;

use std::env;
use std::fmt;
use std::io::{self, IsTerminal, Write};

pub(crate) use wrap::wrap;

/// The width where the terminal does not say.
const WIDTH_UNKNOWN: usize = 80;

/// How text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Columns of the terminal; a pipe has no edge.
    pub width: usize,
    /// Whether to use colours.
    pub colour: bool,
    /// Whether the terminal shows more than plain ASCII.
    pub unicode: bool,
}

/// Where a command shows itself.
pub(crate) struct Screen {
    out: Box<dyn Write + Send>,
    terminal: bool,
    colour: bool,
    unicode: bool,
    /// Rows of the block that is on the terminal now.
    rows: usize,
}

impl Screen {
    /// Looks at what standard output is. A dumb terminal gets lines, `NO_COLOR` no colours (no-color.org).
    pub(crate) fn of_stdout() -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = io::stdout().is_terminal() && env::var("TERM").is_ok_and(|term| term != "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| env::var(name).ok());
        let locale = locale.unwrap_or_default().to_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        let colour = terminal && !set("NO_COLOR");
        Self { out: Box::new(io::stdout()), terminal, colour, unicode, rows: 0 }
    }

    /// No terminal, plain ASCII.
    #[cfg(test)]
    pub(crate) fn of_pipe(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), terminal: false, colour: false, unicode: false, rows: 0 }
    }

    /// Whether somebody looks at it, rather than a program.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// How text should look on it, now: terminals change their width.
    pub(crate) fn style(&self) -> Style {
        Style { width: self.width(), colour: self.colour, unicode: self.unicode }
    }

    /// Shows lines in the place of those before. What does not fit on the terminal is left out: it would break a line in two, or
    /// leave the screen, and could not be drawn over.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = self.back_to_top();
        let shown = if self.terminal { lines.len().min(height().saturating_sub(1)) } else { lines.len() };
        for line in &lines[..shown] {
            text.push_str(&clip(line, self.width().saturating_sub(1)));
            text.push('\n');
        }
        self.rows = shown;
        self.write(&text)
    }

    /// Says something that stays, above the block.
    pub(crate) fn say(&mut self, said: &str) -> io::Result<()> {
        self.say_verbatim(&wrap(said, self.width().saturating_sub(1)))
    }

    /// The same without breaking lines: what is to be copied must stay in one piece.
    pub(crate) fn say_verbatim(&mut self, said: &str) -> io::Result<()> {
        let text = format!("{}{said}\n", self.back_to_top());
        self.rows = 0;
        self.write(&text)
    }

    /// Columns; a pipe has no edge.
    pub(crate) fn width(&self) -> usize {
        if !self.terminal {
            return usize::MAX;
        }
        let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        if columns == 0 { WIDTH_UNKNOWN } else { columns }
    }

    /// Leaves the last frame where it is; what follows comes below it.
    pub(crate) fn keep_frame(&mut self) {
        self.rows = 0;
    }

    /// Up to the block's first row, and everything from there on cleared, a `^C` that the terminal echoed included.
    fn back_to_top(&self) -> String {
        match self.rows {
            _ if !self.terminal => String::new(),
            0 => "\r\x1b[J".to_owned(),
            rows => format!("\x1b[{rows}A\r\x1b[J"),
        }
    }

    /// Writes text as it is.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// At most so many columns of a line, and all of its colours.
fn clip(line: &str, room: usize) -> String {
    let mut used = 0;
    let mut in_escape = false;
    let fits = |letter: &char| {
        in_escape |= *letter == '\x1b';
        let is_shown = !in_escape;
        in_escape &= *letter != 'm';
        used += usize::from(is_shown);
        !is_shown || used <= room
    };
    line.chars().filter(fits).collect()
}

/// Rows of the terminal; endless where it does not say.
fn height() -> usize {
    let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    if rows == 0 { usize::MAX } else { rows }
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_clipped_between_its_colours() {
        assert_eq!(clip("abc \x1b[31mdef\x1b[0m", 5), "abc \x1b[31md\x1b[0m");
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("\x1b[1mabc\x1b[0m", 0), "\x1b[1m\x1b[0m");
    }
}
