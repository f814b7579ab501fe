//! Reads what the proxy says of itself: the Prometheus text format, as far as counters and gauges need it.

use std::collections::BTreeMap;

use super::manifests::VERSIONS;

/// One sample of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Its labels.
    pub(super) labels: BTreeMap<String, String>,
    /// Its value.
    pub(super) value: f64,
}

impl Sample {
    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// All samples of the metric with exactly this name; lines that are not samples are skipped.
pub(super) fn samples(text: &str, metric: &str) -> Vec<Sample> {
    let of_metric = text.lines().filter_map(|line| line.strip_prefix(metric));
    of_metric.filter_map(sample).collect()
}

fn sample(rest: &str) -> Option<Sample> {
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest.strip_prefix(' ')?),
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some(Sample { labels, value })
}

/// Reads `name="value",...}` and gives what follows the brace. A value may hold `\\`, `\"` and `\n`.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match letters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, letter) => value.push(letter),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = &quoted[end..];
    }
}

/// How many requests the proxy says that it has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ProxyCounts {
    /// Answered with a whole 2xx, per version.
    pub(super) good: [u64; VERSIONS.len()],
    /// Answered with a whole 5xx that a pod of this version made, per version.
    pub(super) failed_by: [u64; VERSIONS.len()],
    /// Everything else, by code class and reason (`5xx upstream_closed`).
    pub(super) other: BTreeMap<String, u64>,
}

impl ProxyCounts {
    /// Sums `watershed_requests_total` of one scrape.
    pub(super) fn read(text: &str) -> Self {
        let mut counts = Self::default();
        for sample in samples(text, "watershed_requests_total") {
            let value = sample.value as u64;
            // A Service of each version, or one Service whose pods' revisions they are.
            let (service, revision) = (sample.label("service"), sample.label("revision"));
            let version =
                VERSIONS.iter().position(|version| version.service == service || version.label == revision);
            match version {
                Some(version) if is_whole(&sample, "2xx") => counts.good[version] += value,
                Some(version) if is_whole(&sample, "5xx") => counts.failed_by[version] += value,
                _ if value == 0 => {}
                _ => {
                    let what = format!("{} {}", sample.label("code_class"), sample.label("reason"));
                    *counts.other.entry(what.trim().to_owned()).or_default() += value;
                }
            }
        }
        counts
    }

    /// All requests that it has answered.
    pub(super) fn all(&self) -> u64 {
        self.good.iter().chain(&self.failed_by).sum::<u64>() + self.others()
    }

    /// All requests that no pod of a known version answered completely.
    pub(super) fn others(&self) -> u64 {
        self.other.values().sum()
    }
}

/// A reason beside a class means that the answer was not whole, or not a pod's.
fn is_whole(sample: &Sample, code_class: &str) -> bool {
    sample.label("code_class") == code_class && sample.label("reason").is_empty()
}

/// The canary's target share in percent as the proxy has it in force, or `None` if it does not say yet.
pub(super) fn target_percent(text: &str, service: &str) -> Option<f64> {
    let samples = samples(text, "watershed_split_target_ratio");
    let of_service = samples.iter().find(|sample| sample.label("service") == service)?;
    Some(of_service.value * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = r#"# HELP watershed_requests_total Requests answered.
# TYPE watershed_requests_total counter
watershed_requests_total{namespace="default",service="hello-v1",revision="",code_class="2xx",reason=""} 90
watershed_requests_total{namespace="default",service="hello-v1",revision="",code_class="2xx",reason="",route="b"} 3
watershed_requests_total{namespace="default",service="hello-v2",code_class="2xx",reason=""} 10
watershed_requests_total{namespace="default",service="hello-v2",code_class="5xx",reason="upstream_closed"} 2
watershed_requests_total{service="hello-v2",code_class="2xx",reason="upstream_truncated"} 1
watershed_requests_total{service="hello-v2",code_class="5xx",reason="timeout"} 0
watershed_requests_total{service="hello",revision="3.0.0",code_class="2xx",reason=""} 5
watershed_requests_total{service="hello",revision="3.0.0",code_class="5xx",reason=""} 4
watershed_requests_total_created 7
watershed_split_target_ratio{route="hello",service="hello-v2"} 0.1
watershed_config_generation 12
"#;

    #[test]
    fn requests_are_summed_by_version_and_everything_else_by_reason() {
        let counts = ProxyCounts::read(SCRAPE);
        assert_eq!((counts.good, counts.failed_by), ([93, 10, 5], [0, 0, 4]));
        let other = [("2xx upstream_truncated".to_owned(), 1), ("5xx upstream_closed".to_owned(), 2)];
        assert_eq!(counts.other, BTreeMap::from(other));
        assert_eq!((counts.others(), counts.all()), (3, 115));
    }

    #[test]
    fn only_the_exact_name_counts() {
        assert_eq!(samples(SCRAPE, "watershed_config_generation")[0].value.to_string(), "12");
        assert_eq!(samples(SCRAPE, "watershed_config").len(), 0);
        assert_eq!(samples(SCRAPE, "watershed_requests_total").len(), 8);
    }

    #[test]
    fn targets_are_read_per_service() {
        assert_eq!(target_percent(SCRAPE, "hello-v2"), Some(10.0));
        assert_eq!(target_percent(SCRAPE, "hello-v1"), None);
    }

    #[test]
    fn escapes_and_broken_lines_do_no_harm() {
        let read =
            samples("m{a=\"x\\\"y\\\\z\\n\"} 1\nm{a=\"never ends 3\nm{} nan?\nm\nm 4 1700000000\n", "m");
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].labels["a"], "x\"y\\z\n");
        assert_eq!(read[1].value.to_string(), "4");
    }
}
