//! Writing to the terminal, or to whatever standard output is. An error means that nobody reads any more
//! (`watershed demo | head`): the run is over then.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::Frame;
use super::block::{Style, block, line};
use super::wrap::wrap;

/// How often a terminal is redrawn: often enough to look alive, seldom enough to read.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// How often a pipe gets a line.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// The width where the terminal does not say.
const WIDTH_UNKNOWN: usize = 80;

/// Where the demo shows itself.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
    blocks: bool,
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
        let blocks = locale.contains("utf-8") || locale.contains("utf8");
        Self { terminal, colour: terminal && !set("NO_COLOR"), blocks, rows: 0 }
    }

    /// How often to show a frame.
    pub(crate) fn every(&self) -> Duration {
        if self.terminal { REDRAW_EVERY } else { LINE_EVERY }
    }

    /// Shows a frame in the place of the one before.
    pub(crate) fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        if !self.terminal {
            return write(&format!("{}\n", line(frame)));
        }
        let lines = block(frame, Style { width: self.width(), colour: self.colour, blocks: self.blocks });
        let mut text = self.back_to_top();
        for line in &lines {
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
