//! Regular expressions, within what a file may spend on them.

use crate::fields::{At, quoted};
use crate::model::Pattern;

/// Compiles a regular expression, within the file's allowance of memory.
pub(super) fn pattern(at: &At<'_>, source: &str) -> Option<Pattern> {
    if !at.sink.may_compile() {
        at.error(
            "the regular expressions of this file need too much memory together",
            "use Exact or PathPrefix, smaller repetitions, or several files",
        );
        return None;
    }
    match Pattern::new(source) {
        Ok(pattern) => {
            at.sink.charge(pattern.memory());
            Some(pattern)
        }
        Err(error) => {
            at.sink.charge(Pattern::SIZE_MAX);
            // The compiler's message draws the expression; its last line says what is wrong.
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            at.error(
                format!("the regular expression {} is wrong: {reason}", quoted(source)),
                "the syntax is RE2's: no look-around, no backreferences; the whole value must match",
            );
            None
        }
    }
}

/// The expression that any value with this beginning matches.
pub(super) fn beginning_with(prefix: &str) -> String {
    let mut source = String::with_capacity(prefix.len() + 8);
    for letter in prefix.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(letter) {
            source.push('\\');
        }
        source.push(letter);
    }
    source.push_str("(?s:.*)");
    source
}

#[cfg(test)]
mod tests {
    use super::beginning_with;
    use crate::model::Pattern;

    #[test]
    fn a_prefix_is_taken_letter_by_letter() {
        for prefix in ["a", "a.b", r"\.+*?()|[]{}^$#&-~", "<x>", "\u{e9}", "a b", "%/=@!\"';:,`_"] {
            let pattern = Pattern::new(&beginning_with(prefix)).unwrap();
            assert!(pattern.matches(prefix.as_bytes()), "{prefix}");
            assert!(pattern.matches(format!("{prefix} and more").as_bytes()), "{prefix}");
            assert!(!pattern.matches(format!("x{prefix}").as_bytes()), "{prefix}");
        }
        assert!(!Pattern::new(&beginning_with("a.b")).unwrap().matches(b"axb"));
    }
}
