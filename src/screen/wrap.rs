//! Text that stays on the screen, broken at spaces rather than wherever the terminal's edge happens to be.

/// Breaks every line that is longer than `width`; what follows in the same line is indented by two columns more than its beginning.
///
/// A word that is longer than a line, such as a path, is left to the terminal, so that it can be copied.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let lines = text
        .split('\n')
        .map(|line| if line.chars().count() > width { fold(line, width) } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n")
}

fn fold(line: &str, width: usize) -> String {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let mut folded = " ".repeat(indent);
    let mut column = indent;
    for (place, word) in line.split_whitespace().enumerate() {
        let length = word.chars().count();
        if place > 0 && column + 1 + length > width {
            folded.push('\n');
            folded.push_str(&" ".repeat(indent + 2));
            column = indent + 2;
        } else if place > 0 {
            folded.push(' ');
            column += 1;
        }
        folded.push_str(word);
        column += length;
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_break_at_spaces_and_short_ones_stay_as_they_are() {
        let text = "  1.0 s  weights edited to 90/10, in force\na    table   row\n";
        let expected = "  1.0 s weights\n    edited to\n    90/10, in\n    force\na    table   row\n";
        assert_eq!(wrap(text, 16), expected);
        assert_eq!(wrap(text, 80), text);
    }

    #[test]
    fn a_word_longer_than_the_line_is_left_whole() {
        assert_eq!(wrap("see /a/very/long/path now", 10), "see\n  /a/very/long/path\n  now");
        assert_eq!(wrap("word", 0), "word");
    }
}
