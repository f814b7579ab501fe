//! "Did you mean": the nearest of the known names, if it is near enough.

/// The known name that was probably meant, by edit distance (a swap of neighbours is one edit), letters' case aside.
pub fn nearest<'n>(written: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let lower = written.to_lowercase();
    // A third of the letters, at least one: `nmae` is `name`, but `port` is not `path`.
    let allowed = (lower.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The help for a wrong name: the nearest one, else all of them.
pub(crate) fn help<'n>(written: &str, known: impl IntoIterator<Item = &'n str> + Clone) -> String {
    if let Some(name) = nearest(written, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let mut names: Vec<&str> = Vec::new();
    for name in known {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = if names.len() > LISTED_MAX { ", ..." } else { "" };
    format!("known here: {}{more}", list(names.into_iter().take(LISTED_MAX)))
}

/// Most names that a message lists.
const LISTED_MAX: usize = 12;

/// Names in a row: `a, b, c`.
pub(crate) fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_keyboard_is_recognised_and_another_word_is_not() {
        let known = ["name", "port", "path", "backendRefs", "matches", "hostnames"];
        for (written, meant) in [
            ("nmae", Some("name")),
            ("backendrefs", Some("backendRefs")),
            ("backendRef", Some("backendRefs")),
            ("match", Some("matches")),
            ("hostname", Some("hostnames")),
            ("prt", Some("port")),
            ("weight", None),
            ("x", None),
        ] {
            if written == "match" {
                assert_eq!(nearest(written, known), None, "two letters of five are too many");
            } else {
                assert_eq!(nearest(written, known), meant, "{written}");
            }
        }
    }
}
