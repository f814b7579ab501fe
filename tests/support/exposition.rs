//! A strict reader of Prometheus' text format: what it accepts, `promtool check metrics` accepts.
//!
//! Rules from <https://prometheus.io/docs/instrumenting/exposition_formats/> and promtool's linter: one HELP and one TYPE per
//! family, before its samples; samples of a family together; no series twice; counters end in `_total` and nothing else does;
//! histograms have ascending buckets that end with `+Inf` and agree with `_count`.

use std::collections::{BTreeMap, BTreeSet};

/// Everything that `/metrics` said.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    pub(crate) families: BTreeMap<String, Family>,
}

/// One metric with all its series.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Sample {
    fn has(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|is| is == value))
    }
}

impl Exposition {
    /// Reads it, and panics at the first thing that is wrong.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line does not end");
        let mut exposition = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            exposition.take(line, &mut current);
        }
        for (name, family) in &exposition.families {
            family.check(name);
        }
        exposition
    }

    #[track_caller]
    fn take(&mut self, line: &str, current: &mut String) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("HELP without text: {line}"));
            assert!(!self.families.contains_key(name), "{name} comes twice");
            assert!(is_name(name), "{name} is no metric name");
            self.families.insert(name.to_owned(), Family { help: help.to_owned(), ..Family::default() });
            name.clone_into(current);
            return;
        }
        let family = self.families.get_mut(current).unwrap_or_else(|| panic!("no HELP before: {line}"));
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("TYPE of nothing: {line}"));
            assert_eq!(name, current, "TYPE of another metric");
            assert!(family.kind.is_empty() && family.samples.is_empty(), "a late TYPE: {line}");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "unknown type: {line}");
            kind.clone_into(&mut family.kind);
            return;
        }
        assert!(!line.starts_with('#') && !line.is_empty(), "unexpected line: {line}");
        assert!(!family.kind.is_empty(), "a sample without a TYPE: {line}");
        let sample = sample(line);
        let suffix = sample.name.strip_prefix(current.as_str());
        let allowed: &[&str] =
            if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(
            suffix.is_some_and(|suffix| allowed.contains(&suffix)),
            "{line} is not a sample of {current}"
        );
        family.samples.push(sample);
    }

    /// The sum of a metric (without `watershed_`) over the series with these labels; of a histogram the number of samples.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let name = format!("watershed_{name}");
        let Some(family) = self.families.get(&name) else { return 0.0 };
        let wanted = if family.kind == "histogram" { format!("{name}_count") } else { name };
        let samples = family.samples.iter().filter(|sample| sample.name == wanted && sample.has(labels));
        samples.map(|sample| sample.value).sum()
    }

    /// The same as a whole number.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels).round() as u64
    }

    /// All values that a label has in a metric (without `watershed_`).
    pub(crate) fn values(&self, name: &str, label: &str) -> BTreeSet<String> {
        let family = self.families.get(&format!("watershed_{name}"));
        let samples = family.map(|family| family.samples.as_slice()).unwrap_or_default();
        samples.iter().filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }
}

impl Family {
    #[track_caller]
    fn check(&self, name: &str) {
        assert!(!self.kind.is_empty(), "{name} has no TYPE");
        assert!(!self.help.trim().is_empty(), "{name} has no help");
        assert!(!self.samples.is_empty(), "{name} has no samples");
        assert_eq!(
            self.kind == "counter",
            name.ends_with("_total"),
            "counters, and only they, end in _total: {name}"
        );
        for bad in ["_count", "_sum", "_bucket", "_milliseconds", "_ms", "_kilobytes", "_percent"] {
            assert!(!name.ends_with(bad), "{name} must not end in {bad}");
        }
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            let series = (sample.name.clone(), format!("{:?}", sample.labels));
            assert!(seen.insert(series), "{name} has a series twice: {sample:?}");
            assert!(self.kind != "counter" || sample.value >= 0.0, "a negative counter: {sample:?}");
            let is_bucket = sample.name.ends_with("_bucket") && self.kind == "histogram";
            assert_eq!(sample.labels.contains_key("le"), is_bucket, "`le` belongs to buckets: {sample:?}");
        }
        if self.kind == "histogram" {
            self.check_buckets(name);
        }
    }

    #[track_caller]
    fn check_buckets(&self, name: &str) {
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le");
            let key = format!("{labels:?}");
            if let Some(bound) = bound {
                series.entry(key).or_default().push((number(&bound), sample.value));
            } else if sample.name.ends_with("_count") {
                counts.insert(key, sample.value);
            }
        }
        assert_eq!(series.len(), counts.len(), "{name} lacks buckets or counts");
        for (key, buckets) in series {
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {key}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, counts[&key])), "{name} {key}");
        }
    }
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => {
            (name, labels(rest.strip_suffix('}').unwrap_or_else(|| panic!("labels do not end: {line}"))))
        }
    };
    assert!(is_name(name), "{name} is no metric name");
    Sample { name: name.to_owned(), labels, value: number(value) }
}

/// `a="b",c="d"`, with backslash, quote and line end escaped.
#[track_caller]
fn labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {rest}"));
        assert!(is_name(name) && !name.contains(':') && !name.starts_with("__"), "{name} is no label name");
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) => value.push(match letters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, letter @ ('\\' | '"'))) => letter,
                    other => panic!("a wrong escape in {text}: {other:?}"),
                }),
                Some((_, letter)) => value.push(letter),
                None => panic!("a label value does not end: {text}"),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} comes twice in {text}");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    labels
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    let starts = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
    starts && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':')
}

#[track_caller]
fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        _ => text.parse().unwrap_or_else(|_| panic!("{text} is no number")),
    }
}

#[test]
fn the_reader_refuses_what_promtool_refuses() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\\\"\"} 3\na_total{x=\"2\"} 4\n";
    let parsed = Exposition::parse(good);
    assert_eq!(parsed.families["a_total"].samples[0].labels["x"], "1\"");
    for bad in [
        "a_total 3\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total 3\na_total 4\n",
        "# HELP a A.\n# TYPE a counter\na 3\n",
        "# HELP a_total A.\n# TYPE a_total gauge\na_total 3\n",
        "# HELP a A.\n# TYPE a gauge\na{b=\"c} 3\n",
        "# HELP a A.\n# TYPE a gauge\na 3\n# HELP a A.\n",
        "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 3\na_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 2\n",
        "# HELP a A.\n# TYPE a gauge\na 3",
    ] {
        assert!(std::panic::catch_unwind(|| Exposition::parse(bad)).is_err(), "accepted: {bad}");
    }
}
