//! `{{...}}` in texts of analyses: `{{args.NAME}}` in a template, the facts of a rollout in either.

use crate::fields::{At, suggest};
use crate::model::Analyses;

/// The arguments that a template declares, `None` where there are none: in a Rollout.
pub(super) type Declared<'d> = Option<&'d [&'d str]>;

/// A text with its placeholders.
enum Part<'t> {
    Text(&'t str),
    Placeholder(&'t str),
    Unclosed,
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        parts.push(Part::Text(before));
        let Some((name, tail)) = after.split_once("}}") else {
            parts.push(Part::Unclosed);
            return parts;
        };
        parts.push(Part::Placeholder(name.trim()));
        rest = tail;
    }
    parts.push(Part::Text(rest));
    parts
}

/// Whether a text has placeholders, so that it is only known once they are filled in.
pub(super) fn has_any(text: &str) -> bool {
    text.contains("{{")
}

/// The text with a number in place of each placeholder, to check the syntax of what surrounds them.
pub(super) fn filled_in(text: &str) -> String {
    let shown = parts(text).into_iter().map(|part| if let Part::Text(text) = part { text } else { "1" });
    shown.collect()
}

/// Reports placeholders that nothing will fill in.
pub(super) fn check(at: &At<'_>, text: &str, declared: Declared<'_>) {
    for part in parts(text) {
        match part {
            Part::Text(_) => {}
            Part::Unclosed => at.error("`{{` is not closed", "write `}}` behind the name"),
            Part::Placeholder(name) if Analyses::GIVEN.contains(&name) => {}
            Part::Placeholder(name) => check_name(at, name, declared),
        }
    }
}

fn check_name(at: &At<'_>, name: &str, declared: Declared<'_>) {
    let Some(declared) = declared else {
        let what = format!("`{{{{{name}}}}}` is nothing that a rollout knows");
        at.error(what, suggest::help(name, Analyses::GIVEN));
        return;
    };
    let argument = name.strip_prefix("args.");
    if argument.is_some_and(|argument| declared.contains(&argument) || Analyses::GIVEN.contains(&argument)) {
        return;
    }
    let known = declared.iter().copied();
    let help = match (argument, suggest::nearest(argument.unwrap_or(name), known.clone())) {
        (_, Some(near)) => format!("did you mean `{{{{args.{near}}}}}`?"),
        (Some(argument), None) => format!("declare it under spec.args: `- name: {argument}`"),
        (None, None) => format!(
            "write {{{{args.NAME}}}} with an argument of spec.args, or one of {}",
            suggest::list(Analyses::GIVEN)
        ),
    };
    at.error(format!("`{{{{{name}}}}}` names no argument of the template"), help);
}

#[cfg(test)]
mod tests {
    use super::{filled_in, has_any};

    #[test]
    fn placeholders_are_found_and_everything_else_is_left() {
        for (text, filled) in [
            ("a", "a"),
            ("", ""),
            ("a{{args.x}}b{{ args.y }}", "a1b1"),
            ("{$.a}", "{$.a}"),
            ("{{}}", "1"),
            ("{{a", "1"),
            ("a}}b", "a}}b"),
        ] {
            assert_eq!(filled_in(text), filled, "{text}");
        }
        assert!(has_any("x{{a}}") && !has_any("{$.a}"));
    }
}
