//! The syntax of names, as Kubernetes has it.

use crate::fields::{At, quoted};

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// A DNS-1123 label: at most 63 lower case letters, digits and hyphens, with a letter or digit at both ends.
pub(super) fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends =
        bytes.first().is_some_and(|b| alphanumeric(*b)) && bytes.last().is_some_and(|b| alphanumeric(*b));
    ends && bytes.len() <= 63 && bytes.iter().all(|b| alphanumeric(*b) || *b == b'-')
}

/// A DNS-1123 subdomain: labels with dots between them, at most 253 characters.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// The part of a label's key behind the `/`, and (or empty) a label's value.
fn is_label_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// A label's key: an optional DNS prefix and `/`, then a name.
pub(super) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_name(name),
        None => is_label_name(text),
    }
}

/// A label's value: empty, or up to 63 letters, digits, `-`, `_` and `.` with a letter or digit at both ends.
pub(super) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_name(text)
}

/// A port's name (RFC 6335 service name): up to 15 characters, with at least one letter.
pub(super) fn is_port_name(text: &str) -> bool {
    is_dns_label(text)
        && text.len() <= 15
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.contains("--")
}

/// The value as an object's name.
pub(super) fn object_name<'a>(at: &At<'a>) -> Option<&'a str> {
    let text = at.string()?;
    if is_dns_subdomain(text) {
        return Some(text);
    }
    let rule =
        "use lower case letters, digits, `-` and `.`, with a letter or digit at both ends, at most 253";
    at.error(format!("{} is not a valid name", quoted(text)), with_example(rule, text, is_dns_subdomain));
    None
}

/// The value as a namespace's name, or any other single DNS label.
pub(super) fn label<'a>(at: &At<'a>) -> Option<&'a str> {
    let text = at.string()?;
    if is_dns_label(text) {
        return Some(text);
    }
    let rule = "use lower case letters, digits and `-`, with a letter or digit at both ends, at most 63";
    at.error(format!("{} is not a valid name", quoted(text)), with_example(rule, text, is_dns_label));
    None
}

/// A rule with the valid name that is nearest to what was written, where there is one.
fn with_example(rule: &str, text: &str, is_valid: fn(&str) -> bool) -> String {
    let near = text.to_ascii_lowercase().replace(['_', ' '], "-");
    let near = if is_valid(&near) { near } else { near.replace('.', "-") };
    if is_valid(&near) { format!("{rule}, for example {near}") } else { rule.to_owned() }
}

/// The value as the name of a port.
pub(super) fn port_name<'a>(at: &At<'a>) -> Option<&'a str> {
    let text = at.string()?;
    if is_port_name(text) {
        return Some(text);
    }
    let help = match text.parse::<u16>() {
        Ok(number) => format!("for the port number write {number} without quotes"),
        Err(_) => {
            "use at most 15 lower case letters, digits and single `-`, with at least one letter".to_owned()
        }
    };
    at.error(format!("{} is not a valid port name", quoted(text)), help);
    None
}

/// Whether wildcards may stand in a hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wildcard {
    Allowed,
    Forbidden,
}

/// The value as a hostname (Gateway API `Hostname` and `PreciseHostname`).
pub(super) fn hostname<'a>(at: &At<'a>, wildcard: Wildcard) -> Option<&'a str> {
    let text = at.text(253)?;
    let name = match (wildcard, text.strip_prefix("*.")) {
        (Wildcard::Allowed, Some(rest)) => rest,
        _ => text,
    };
    // Redirects and rewrites may name an address, what is served may not.
    let address = wildcard == Wildcard::Allowed && name.parse::<std::net::IpAddr>().is_ok();
    if is_dns_subdomain(name) && !address {
        return Some(text);
    }
    at.error(format!("{} is not a valid hostname", quoted(text)), hostname_help(text, wildcard));
    None
}

fn hostname_help(text: &str, wildcard: Wildcard) -> String {
    let host = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    if text.parse::<std::net::IpAddr>().is_ok() {
        return "write a name; addresses are not allowed here, leave the field out to serve every host"
            .to_owned();
    }
    if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) {
        return format!("leave the port out: {host}");
    }
    if host != text {
        return format!("write only the host: {host}");
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return format!("write it in lower case: {}", text.to_ascii_lowercase());
    }
    if text.contains('*') {
        return match wildcard {
            Wildcard::Allowed => {
                "a `*` may only be the whole first label, as in *.example.com; leave the field out to serve every host"
                    .to_owned()
            }
            Wildcard::Forbidden => "write the exact name, without `*`".to_owned(),
        };
    }
    "use lower case letters, digits, `-` and `.`, for example www.example.com".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_kubernetes() {
        let long = "a".repeat(64);
        for (text, label, subdomain, key, value, port) in [
            ("a", true, true, true, true, true),
            ("a-b", true, true, true, true, true),
            ("a--b", true, true, true, true, false),
            ("a.b", false, true, true, true, false),
            ("A_b", false, false, true, true, false),
            ("", false, false, false, true, false),
            ("-a", false, false, false, false, false),
            ("example.com/a", false, false, true, false, false),
            ("8080", true, true, true, true, false),
            (&long, false, false, false, false, false),
            ("\u{e9}", false, false, false, false, false),
        ] {
            let got = (
                is_dns_label(text),
                is_dns_subdomain(text),
                is_label_key(text),
                is_label_value(text),
                is_port_name(text),
            );
            assert_eq!(got, (label, subdomain, key, value, port), "{text:?}");
        }
    }
}
