//! Rows of the tree: guides, columns, and what to do where they do not fit.

use super::super::words::{State, paint};
use crate::screen::{Style, wrap};

/// Between columns.
const GAP: usize = 2;
/// What moves below its row is not broken into shorter lines than this.
const INFO_MIN: usize = 16;

/// One row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) guide: Guide,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) state: Option<State>,
    pub(super) age: String,
    pub(super) info: String,
}

impl Row {
    /// Nothing but its place in the tree.
    pub(super) fn new(guide: Guide) -> Self {
        Self { guide, name: String::new(), kind: "", state: None, age: String::new(), info: String::new() }
    }
}

/// A place in the tree: for each level, whether it is the last one there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guide(Vec<bool>);

impl Guide {
    pub(super) fn root() -> Self {
        Self(Vec::new())
    }

    pub(super) fn child(&self, is_last: bool) -> Self {
        Self([&*self.0, &[is_last]].concat())
    }

    /// The lines that lead to it.
    fn before(&self, style: Style) -> String {
        let Some((last, above)) = self.0.split_last() else { return String::new() };
        let own = match (last, style.unicode) {
            (true, true) => "└──",
            (true, false) => "`--",
            (false, true) => "├──",
            (false, false) => "|--",
        };
        trunk(above, style) + own
    }

    /// The lines that pass by what stands below its row.
    fn below(&self, style: Style) -> String {
        trunk(&self.0, style) + "  "
    }
}

fn trunk(levels: &[bool], style: Style) -> String {
    let pass = if style.unicode { "│  " } else { "|  " };
    levels.iter().map(|is_last| if *is_last { "   " } else { pass }).collect()
}

/// Which columns there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Columns {
    /// Everything in its column.
    All,
    /// Neither kinds nor ages.
    Few,
    /// Names and states, with the rest below.
    Stacked,
    /// Names, with everything else below.
    Outline,
}

struct Widths {
    name: usize,
    kind: usize,
    state: usize,
    age: usize,
    info: usize,
}

impl Widths {
    fn of(rows: &[Row], style: Style) -> Self {
        let widest = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or_default();
        Self {
            name: widest(&|row| length(&row.guide.before(style)) + length(&row.name)).max("NAME".len()),
            kind: widest(&|row| length(row.kind)).max("KIND".len()),
            state: widest(&|row| row.state.map_or(0, |state| length(&state.text(style)))).max("STATUS".len()),
            age: widest(&|row| length(&row.age)).max("AGE".len()),
            info: widest(&|row| length(&row.info)),
        }
    }

    fn columns(&self, room: usize) -> Columns {
        let few = self.name + self.state + self.info + 2 * GAP;
        if few + self.kind + self.age + 2 * GAP <= room {
            Columns::All
        } else if few <= room {
            Columns::Few
        } else if self.name + self.state + GAP <= room {
            Columns::Stacked
        } else {
            Columns::Outline
        }
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// The rows under their heading. A terminal may break a line that fills its last column, so none does.
pub(super) fn draw(rows: &[Row], style: Style) -> Vec<String> {
    let room = style.width.saturating_sub(1);
    let widths = Widths::of(rows, style);
    let columns = widths.columns(room);
    let mut lines =
        vec![cells(["NAME", "KIND", "STATUS", "AGE", "INFO"].map(plain), &widths, columns, room, style)];
    for row in rows {
        let name = row.guide.before(style) + &row.name;
        let state = row.state.map_or_else(|| plain(""), |state| (state.text(style), state.colour));
        let below = match columns {
            Columns::All | Columns::Few => String::new(),
            Columns::Stacked => row.info.clone(),
            Columns::Outline if row.info.is_empty() => state.0.clone(),
            Columns::Outline => format!("{}: {}", state.0, row.info),
        };
        let info = if below.is_empty() { &*row.info } else { "" };
        let row_cells = [plain(&name), plain(row.kind), state, plain(&row.age), plain(info)];
        lines.push(cells(row_cells, &widths, columns, room, style));
        let before = row.guide.below(style);
        let folded = wrap(&below, room.saturating_sub(length(&before)).max(INFO_MIN));
        lines.extend(folded.lines().map(|line| cut(&format!("{before}{line}"), room)));
    }
    lines
}

fn plain(text: &str) -> (String, &'static str) {
    (text.to_owned(), "")
}

/// One line of cells and their colours: cut before it is painted, so that no colour is cut in two.
fn cells(
    [name, kind, state, age, info]: [(String, &'static str); 5],
    widths: &Widths,
    columns: Columns,
    room: usize,
    style: Style,
) -> String {
    let shown = match columns {
        Columns::All => {
            vec![
                (name, widths.name),
                (kind, widths.kind),
                (state, widths.state),
                (age, widths.age),
                (info, 0),
            ]
        }
        Columns::Few => vec![(name, widths.name), (state, widths.state), (info, 0)],
        Columns::Stacked => vec![(name, widths.name), (state, 0)],
        Columns::Outline => vec![(name, 0)],
    };
    let mut line = String::new();
    let mut used = 0;
    let last = shown.iter().rposition(|((text, _), _)| !text.is_empty());
    for (index, ((text, colour), width)) in shown.into_iter().enumerate() {
        if last.is_none_or(|last| index > last) {
            break;
        }
        let text = cut(&text, if width > 0 { width } else { room.saturating_sub(used) });
        line.push_str(&paint(&text, colour, style));
        if Some(index) != last {
            let padding = width.saturating_sub(length(&text)) + GAP;
            line.push_str(&" ".repeat(padding));
            used += length(&text) + padding;
        }
    }
    line
}

/// At most `room` columns. What is missing is marked, and is in the middle: pods differ at the end of their names.
fn cut(text: &str, room: usize) -> String {
    let all = length(text);
    if all <= room {
        return text.to_owned();
    }
    let tail = room.saturating_sub(1) / 3;
    let head: String = text.chars().take(room.saturating_sub(tail + 1)).collect();
    let tail: String = text.chars().skip(all - tail).collect();
    if room == 0 { head } else { head + "~" + &tail }
}
