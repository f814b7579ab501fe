//! The end of a run, as text.

use std::fmt::Write as _;
use std::time::Duration;

use super::ledger::{Audit, Tally};
use super::view::{PhaseRow, Stage, millis, thousands};

/// One phase at the end.
#[derive(Debug, Clone)]
pub(super) struct PhaseEnd {
    /// Its counts.
    pub(super) row: PhaseRow,
    /// Median latency.
    pub(super) p50: Option<Duration>,
    /// 99th percentile.
    pub(super) p99: Option<Duration>,
}

/// Columns that the tables need; where there are fewer, each number has a line.
const TABLE_WIDTH: usize = 66;

/// How numbers are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Table,
    List,
}

impl Layout {
    fn of(width: usize) -> Self {
        if width < TABLE_WIDTH { Self::List } else { Self::Table }
    }
}

/// Phases and books; `names` are those of the versions. The last line is [`last_line`].
pub(super) fn text(phases: &[PhaseEnd], audit: &Audit, names: &[String], width: usize) -> String {
    let layout = Layout::of(width);
    let mut text = String::new();
    if layout == Layout::Table {
        text.push_str("canary target   observed   requests   off by       p50       p99\n");
    }
    for phase in phases.iter().filter(|phase| phase.row.stage != Stage::Ahead) {
        text.push_str(&phase_line(phase, layout));
    }
    text.push_str("(exact up to 9 requests per worker: a phase begins somewhere in a worker's sequence)\n\n");
    text + &books(audit, names, width)
}

/// The three books.
pub(super) fn books(audit: &Audit, names: &[String], width: usize) -> String {
    let layout = Layout::of(width);
    let mut text = String::new();
    if layout == Layout::Table {
        text.push_str("requests                            client      proxy       pods\n");
    }
    for (name, tally) in names.iter().zip(&audit.answered) {
        row(&mut text, &format!("answered by {name}"), *tally, layout);
    }
    let failing = names.iter().zip(&audit.failed_by).filter(|(_, tally)| **tally != Tally::default());
    for (name, tally) in failing {
        row(&mut text, &format!("failed by the version {name}"), *tally, layout);
    }
    row(&mut text, "in flight on the killed pod", audit.in_flight_on_killed, layout);
    let _ = writeln!(text, "GETs that the proxy repeated: {}", thousands(audit.repeated));
    let _ = writeln!(text, "POSTs run twice: {}", thousands(audit.posts_run_twice));
    for (kind, count) in &audit.errors {
        let _ = writeln!(text, "error: {kind}: {}", thousands(*count));
    }
    if audit.disagreements.is_empty() {
        text.push_str("the client's, the proxy's and the pods' counts agree exactly\n");
    }
    for disagreement in audit.disagreements.iter().take(DISAGREEMENTS_SHOWN) {
        let _ = writeln!(text, "the counts disagree: {disagreement}");
    }
    if audit.disagreements.len() > DISAGREEMENTS_SHOWN {
        let _ = writeln!(text, "and {} disagreements more", audit.disagreements.len() - DISAGREEMENTS_SHOWN);
    }
    text
}

/// More of them would only bury the first.
const DISAGREEMENTS_SHOWN: usize = 10;

/// The last line of every run.
pub(super) fn last_line(audit: &Audit) -> String {
    format!("lost: {}", audit.lost)
}

fn phase_line(phase: &PhaseEnd, layout: Layout) -> String {
    let PhaseEnd { row, p50, p99 } = phase;
    let share = row.share().map_or("-".to_owned(), |share| format!("{share:.2} %"));
    // Adding zero turns a rounded -0.0 into 0.0.
    let off = if row.total() == 0 { "-".to_owned() } else { format!("{:+.1}", row.off_by() + 0.0) };
    let (weight, total, p50, p99) = (row.weight, thousands(row.total()), millis(*p50), millis(*p99));
    match layout {
        Layout::Table => {
            format!("{weight:>11} %   {share:>8}   {total:>8}   {off:>6}   {p50:>7}   {p99:>7}\n")
        }
        Layout::List => {
            format!("{weight:>3} %: {share} of {total}\n  off by {off}\n  p50 {p50}\n  p99 {p99}\n")
        }
    }
}

fn row(text: &mut String, what: &str, tally: Tally, layout: Layout) {
    let [client, proxy, pods] = [tally.client, tally.proxy, tally.pods].map(thousands);
    let _ = match layout {
        Layout::Table => writeln!(text, "{what:<31} {client:>10} {proxy:>10} {pods:>10}"),
        Layout::List => writeln!(text, "{what}\n  client {client}\n  proxy {proxy}\n  pods {pods}"),
    };
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Scenario;
    use super::*;

    fn phase(weight: u32, stage: Stage, answered: [u64; 3]) -> PhaseEnd {
        let ms = |us| Some(Duration::from_micros(us));
        PhaseEnd { row: PhaseRow { weight, stage, answered }, p50: ms(412), p99: ms(1280) }
    }

    #[test]
    fn a_good_run_reads_as_one() {
        let audit = Audit {
            answered: [
                Tally { client: 11_998, proxy: 11_998, pods: 11_998 },
                Tally { client: 8001, proxy: 8001, pods: 8001 },
                Tally::default(),
            ],
            in_flight_on_killed: Tally { client: 1, proxy: 1, pods: 0 },
            errors: [("502 upstream_closed".to_owned(), 1)].into(),
            ..Audit::default()
        };
        let phases = [
            phase(0, Stage::Done, [4850, 0, 0]),
            phase(10, Stage::Done, [4363, 487, 0]),
            phase(50, Stage::Ahead, [0; 3]),
        ];
        let expected = "\
canary target   observed   requests   off by       p50       p99
          0 %     0.00 %      4,850     +0.0   0.41 ms   1.28 ms
         10 %    10.04 %      4,850     +2.0   0.41 ms   1.28 ms
(exact up to 9 requests per worker: a phase begins somewhere in a worker's sequence)

requests                            client      proxy       pods
answered by hello-v1 (1.0.0)        11,998     11,998     11,998
answered by hello-v2 (2.0.0)         8,001      8,001      8,001
in flight on the killed pod              1          1          0
GETs that the proxy repeated: 0
POSTs run twice: 0
error: 502 upstream_closed: 1
the client's, the proxy's and the pods' counts agree exactly
";
        let names = Scenario::Split.names();
        assert_eq!(text(&phases, &audit, &names, 80), expected);
        let narrow = text(&phases, &audit, &names, 40);
        assert!(narrow.contains("10 %: 10.04 % of 4,850\n  off by +2.0\n"), "{narrow}");
        assert!(narrow.contains("(2.0.0)\n  client 8,001\n  proxy 8,001\n  pods 8,001\n"), "{narrow}");
        assert_eq!(last_line(&audit), "lost: 0");
    }

    #[test]
    fn what_a_version_failed_has_a_row_where_there_is_some() {
        let mut audit = Audit::default();
        audit.failed_by[2] = Tally { client: 7, proxy: 7, pods: 7 };
        let text = books(&audit, &Scenario::Canary.names(), 80);
        assert!(
            text.contains("\nfailed by the version 3.0.0              7          7          7\n"),
            "{text}"
        );
        assert_eq!(text.matches("failed by").count(), 1);
        assert_eq!(last_line(&audit), "lost: 0");
    }

    #[test]
    fn many_disagreements_are_counted_rather_than_listed() {
        let disagreements = (0..40).map(|number| format!("number {number}")).collect();
        let audit = Audit { disagreements, lost: 3, ..Audit::default() };
        let text = text(&[], &audit, &[], 80);
        assert!(text.contains("the counts disagree: number 9\nand 30 disagreements more\n"), "{text}");
        assert!(!text.contains("agree exactly"));
        assert_eq!(last_line(&audit), "lost: 3");
    }
}
