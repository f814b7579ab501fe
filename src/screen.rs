//! Writing to the terminal, or to whatever standard output is. An error means that nobody reads any more
//! (`watershed demo | head`): the run is over then.

mod wrap;

use std::env;
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
#[derive(Debug)]
pub(crate) struct Screen {
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
        Self { terminal, colour: terminal && !set("NO_COLOR"), unicode, rows: 0 }
    }

    /// Whether somebody looks at it, rather than a program.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// How text should look on it, now: terminals change their width.
    pub(crate) fn style(&self) -> Style {
        Style { width: self.width(), colour: self.colour, unicode: self.unicode }
    }

    /// Shows lines in the place of those before. On a terminal none may be wider than it is.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = self.back_to_top();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.rows = lines.len();
        write(&text)
    }

    /// Says something that stays, above the block.
    pub(crate) fn say(&mut self, said: &str) -> io::Result<()> {
        self.say_verbatim(&wrap(said, self.width().saturating_sub(1)))
    }

    /// The same without breaking lines: what is to be copied must stay in one piece.
    pub(crate) fn say_verbatim(&mut self, said: &str) -> io::Result<()> {
        let text = format!("{}{said}\n", self.back_to_top());
        self.rows = 0;
        write(&text)
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
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
