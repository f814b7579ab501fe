//! Frames as text.

use super::{Frame, Numbers, PhaseRow, Stage, millis, thousands};
use crate::screen::Style;

/// Below this width there is no room for bars.
pub(crate) const NARROW: usize = 60;

/// The longest bar; longer ones are no easier to read.
const BAR_MAX: usize = 40;

/// Columns of a phase's row before its bar.
const BEFORE_BAR: usize = 42;

/// A frame as lines of at most `width - 1` columns: a terminal may wrap a line that fills its last column.
pub(super) fn block(frame: &Frame, style: Style) -> Vec<String> {
    let mut lines = vec![(heading(frame, style), Stage::Done), (columns(style), Stage::Ahead)];
    lines.extend(frame.phases.iter().map(|row| (phase(row, style), row.stage)));
    lines.extend(numbers(&frame.numbers, style).into_iter().map(|line| (line, Stage::Done)));
    let room = style.width.saturating_sub(1);
    lines.into_iter().map(|(line, stage)| paint(&cut(line.trim_end(), room), stage, style.colour)).collect()
}

/// A frame as one line for a pipe or a log.
pub(super) fn line(frame: &Frame) -> String {
    let (weight, share) = match frame.phases.iter().find(|row| row.stage == Stage::Now) {
        Some(row) => (format!("{} %", row.weight), percent(row)),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let Numbers { elapsed, rate, p50, p99, errors, .. } = &frame.numbers;
    format!(
        "{:6.1} s  canary target {weight}, observed {share}  {} requests/s  p50 {}  p99 {}  errors {}",
        elapsed.as_secs_f64(),
        thousands(*rate),
        millis(*p50),
        millis(*p99),
        thousands(*errors),
    )
}

fn heading(frame: &Frame, style: Style) -> String {
    // Past its length the load only waits for its last answers.
    let elapsed = frame.numbers.elapsed.min(frame.length).as_secs_f64();
    let time = format!("{elapsed:.1} of {:.0} s", frame.length.as_secs_f64());
    if style.width < NARROW {
        return time;
    }
    format!("one Gateway, two versions, the canary's weight edited live   {time}")
}

fn columns(style: Style) -> String {
    if style.width < NARROW { "  target  observed  of" } else { "  canary   target   observed    requests" }
        .to_owned()
}

fn phase(row: &PhaseRow, style: Style) -> String {
    let mark = if row.stage == Stage::Now { '>' } else { ' ' };
    let requests = if row.stage == Stage::Ahead { String::new() } else { thousands(row.total()) };
    let share = if row.stage == Stage::Ahead { String::new() } else { percent(row) };
    if style.width < NARROW {
        return format!("{mark} {:>4} %  {share:>8}  {requests}", row.weight);
    }
    let text = format!("{mark}{:>14} %{share:>11}{requests:>12}", row.weight);
    let room = style.width.saturating_sub(BEFORE_BAR + 1).min(BAR_MAX);
    format!("{text:<BEFORE_BAR$}{}", bar(row, room, style.unicode))
}

fn percent(row: &PhaseRow) -> String {
    row.share().map_or("-".to_owned(), |share| format!("{share:.2} %"))
}

/// The canary's share of `room` columns.
fn bar(row: &PhaseRow, room: usize, unicode: bool) -> String {
    let Some(share) = row.share() else { return String::new() };
    let full = ((share / 100.0 * room as f64).round() as usize).min(room);
    let (on, off) = if unicode { ("█", "░") } else { ("#", ".") };
    format!("{}{}", on.repeat(full), off.repeat(room - full))
}

pub(super) fn numbers(numbers: &Numbers, style: Style) -> Vec<String> {
    let rate = format!("{} requests/s", thousands(numbers.rate));
    let latency = format!("p50 {}   p99 {}", millis(numbers.p50), millis(numbers.p99));
    let total = format!("{} requests", thousands(numbers.requests));
    let errors = format!("errors {}", thousands(numbers.errors));
    if style.width < NARROW {
        return vec![format!("  {rate}  {errors}"), format!("  {latency}"), format!("  {total}")];
    }
    vec![format!("  {rate}   {latency}   {errors}"), format!("  {total}, {} in flight", numbers.in_flight)]
}

/// At most `room` characters; all that is shown is one column wide.
pub(crate) fn cut(line: &str, room: usize) -> String {
    line.chars().take(room).collect()
}

/// Colour is put on whole lines after they are cut, so that no escape sequence is cut in two.
pub(super) fn paint(line: &str, stage: Stage, colour: bool) -> String {
    match stage {
        Stage::Now if colour => format!("\x1b[1;36m{line}\x1b[0m"),
        Stage::Ahead if colour => format!("\x1b[2m{line}\x1b[0m"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame() -> Frame {
        let row = |weight, stage, answered| PhaseRow { weight, stage, answered };
        Frame {
            numbers: Numbers {
                elapsed: Duration::from_millis(12_400),
                rate: 1000,
                requests: 12_398,
                p50: Some(Duration::from_micros(410)),
                p99: Some(Duration::from_micros(1200)),
                errors: 1,
                in_flight: 2,
            },
            length: Duration::from_secs(20),
            phases: [
                row(0, Stage::Done, [4850, 0, 0]),
                row(10, Stage::Done, [4364, 486, 0]),
                row(50, Stage::Now, [1201, 1199, 0]),
                row(100, Stage::Ahead, [0; 3]),
            ],
        }
    }

    fn plain(width: usize) -> Vec<String> {
        block(&frame(), Style { width, colour: false, unicode: false })
    }

    #[test]
    fn no_line_reaches_the_last_column_of_any_terminal_and_the_block_keeps_its_height() {
        for unicode in [false, true] {
            for width in 0..200 {
                let lines = block(&frame(), Style { width, colour: false, unicode });
                let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
                assert!(longest < width.max(1), "{width}: {longest}");
                assert_eq!(lines.len(), if width < NARROW { 9 } else { 8 });
            }
        }
    }

    #[test]
    fn a_wide_terminal_has_bars() {
        let lines = plain(80);
        assert_eq!(lines[1], "  canary   target   observed    requests");
        assert_eq!(
            lines[3],
            "             10 %    10.02 %       4,850  ####................................."
        );
        assert_eq!(
            lines[4],
            ">            50 %    49.96 %       2,400  ##################..................."
        );
        assert_eq!(lines[6], "  1,000 requests/s   p50 0.41 ms   p99 1.20 ms   errors 1");
    }

    #[test]
    fn a_narrow_terminal_has_none() {
        let lines = plain(30);
        assert_eq!(lines[4], ">   50 %   49.96 %  2,400");
        assert_eq!(lines[6], "  1,000 requests/s  errors 1");
    }

    #[test]
    fn a_pipe_gets_one_line_without_escapes() {
        let text = line(&frame());
        assert!(!text.contains(['\x1b', '\n', '\r']));
        assert_eq!(
            text,
            "  12.4 s  canary target 50 %, observed 49.96 %  1,000 requests/s  p50 0.41 ms  p99 1.20 ms  errors 1"
        );
    }

    #[test]
    fn colour_adds_escapes_only_where_it_is_wanted_and_closes_them() {
        assert!(plain(80).iter().all(|line| !line.contains('\x1b')));
        for line in block(&frame(), Style { width: 80, colour: true, unicode: true }) {
            assert_eq!(line.contains('\x1b'), line.ends_with("\x1b[0m"));
        }
    }
}
