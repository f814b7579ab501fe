//! Hostile texts: nothing panics, and nothing takes much time or memory.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::{DEPTH_MAX, NODES_MAX, TEXT_MAX, parse};

/// Generous for an unoptimised build on a busy machine; what these texts cost without limits is minutes to ages.
const PATIENCE: Duration = Duration::from_secs(20);

fn refused(name: &str, text: &str) -> String {
    let begin = Instant::now();
    let result = parse(text);
    assert!(begin.elapsed() < PATIENCE, "{name} took {:?}", begin.elapsed());
    result.err().unwrap_or_else(|| panic!("{name} should be refused")).what
}

#[test]
fn a_text_that_would_cost_too_much_is_refused_quickly() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ('b'..='z').zip('a'..='y') {
        let aliases = format!("*{before}, ").repeat(10);
        writeln!(bomb, "{name}: &{name} [{aliases}]").expect("writing to a string");
    }
    // Few jumps, each to a large part: stays below the data parser's own limit on repetition.
    let wide = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(10_000), "*a, ".repeat(1_000));
    let cases = [
        ("an alias bomb", bomb),
        ("a wide alias bomb", wide),
        ("an alias of itself", "a: &a [*a]\n".to_owned()),
        ("too many bytes", "# comment\n".repeat(TEXT_MAX / 10 + 1)),
        ("too many values", "- 1\n".repeat(NODES_MAX + 1)),
        ("too many values in brackets", format!("[{}1]", "1,".repeat(NODES_MAX + 1))),
        ("too many values in one line", "- ".repeat(NODES_MAX + 1)),
        ("too many documents", "---\na\n".repeat(NODES_MAX)),
        ("deep brackets", "[".repeat(1_000_000)),
        ("deep braces", "{a: ".repeat(1_000_000)),
        ("deep lists", "- ".repeat(100_000)),
        ("deep enough to refuse", format!("{}1{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1))),
        ("deep JSON keys", "{\"a\":".repeat(900)),
        ("many directives", "%TAG !a! b\n".repeat(100_000)),
        ("many questions", "? ".repeat(NODES_MAX + 1)),
    ];
    for (name, text) in cases {
        refused(name, &text);
    }
}

#[test]
fn a_text_within_the_limits_is_read_however_odd() {
    let long = "x".repeat(TEXT_MAX - 10);
    let mut keys = String::new();
    for key in 0..200_000 {
        writeln!(keys, "k{key}: 1").expect("writing to a string");
    }
    let deep = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    let cases = [
        ("a huge plain scalar", format!("a: {long}\n")),
        ("a huge quoted scalar", format!("a: \"{}\"\n", &long[..TEXT_MAX - 20])),
        ("many lines in one scalar", format!("a: |\n{}", "  x\n".repeat(500_000))),
        ("many comments", "# x\n".repeat(500_000)),
        ("many keys", keys),
        ("as deep as allowed", deep),
        ("a long JSON key", format!("{{\"{}\": 1}}", "k".repeat(5_000))),
        ("nothing", String::new()),
        ("a byte order mark", "\u{feff}a: 1\n".to_owned()),
        ("old line ends", "a: 1\r\nb: 2\r\n".to_owned()),
    ];
    for (name, text) in cases {
        let begin = Instant::now();
        let result = parse(&text);
        assert!(result.is_ok(), "{name}: {:?}", result.err());
        assert!(begin.elapsed() < PATIENCE, "{name} took {:?}", begin.elapsed());
    }
}
