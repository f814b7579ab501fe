//! How every request ended, and the audit of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::support::{Pod, Watershed};

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) is_post: bool,
    pub(crate) end: End,
}

#[derive(Debug)]
pub(crate) enum End {
    /// A complete answer made by this pod.
    Pod(String),
    /// A complete answer made by this pod that says 500: the version's doing, and nothing is lost.
    FailedBy(String),
    /// 502 `closed_while_sending`.
    ClosedWhileSending,
    /// Anything else.
    Lost(String),
}

/// What came of it all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    outcomes: Vec<Outcome>,
    pub(crate) answered: usize,
    /// Answered 500 by a pod.
    pub(crate) failed: usize,
    pub(crate) closed_while_sending: usize,
    pub(crate) lost: BTreeMap<String, usize>,
    pub(crate) edits: usize,
    pub(crate) generations: u64,
    pub(crate) restarts: usize,
    pub(crate) sheds: usize,
    pods: String,
}

impl Tally {
    pub(crate) fn new(outcomes: Vec<Outcome>) -> Self {
        let mut tally = Self::default();
        for outcome in &outcomes {
            match &outcome.end {
                End::Pod(_) => tally.answered += 1,
                End::FailedBy(_) => tally.failed += 1,
                End::ClosedWhileSending => tally.closed_while_sending += 1,
                End::Lost(how) => {
                    let method = if outcome.is_post { "POST" } else { "GET" };
                    *tally.lost.entry(format!("{method}: {how}")).or_default() += 1;
                }
            }
        }
        tally.outcomes = outcomes;
        tally
    }

    /// Compares with the pods' books: an answered POST ran once, at the pod that answered, and no POST ran twice.
    pub(crate) fn audit(&mut self, pods: Vec<&Pod>) {
        self.pods = super::names(&pods);
        let mut ran: HashMap<String, Vec<String>> = HashMap::new();
        for pod in pods {
            for (id, times) in pod.ids() {
                let at = ran.entry(id).or_default();
                at.extend(std::iter::repeat_n(pod.name().to_owned(), times));
            }
        }
        for Outcome { id, is_post, end } in &self.outcomes {
            let at = ran.get(id).map(Vec::as_slice).unwrap_or_default();
            let wrong = match end {
                End::Pod(pod) | End::FailedBy(pod) if !at.contains(pod) => {
                    Some("answered by a pod that never saw it")
                }
                // These pods answer whatever they have read, also when they close afterwards.
                End::ClosedWhileSending if !at.is_empty() => Some("answered 502 though a pod ran it"),
                _ if *is_post && at.len() > 1 => Some("a POST that ran twice"),
                _ => None,
            };
            if let Some(wrong) = wrong {
                *self.lost.entry(format!("{wrong} (first: {id} at {at:?})")).or_default() += 1;
            }
        }
    }

    /// Compares with the proxy's books.
    pub(crate) fn compare(&self, watershed: &Watershed) {
        let metrics = watershed.metrics();
        assert_eq!(metrics.count("requests_total", &[]), self.outcomes.len() as u64, "{self}");
        let named = metrics.count("requests_total", &[("reason", "closed_while_sending")]);
        assert_eq!(named, self.closed_while_sending as u64, "{self}");
        assert_eq!(metrics.count("requests_total", &[("reason", "")]), self.answered as u64, "{self}");
    }

    pub(crate) fn assert_nothing_lost(&self) {
        assert!(self.lost.is_empty() && self.failed == 0, "{self}");
        assert!(
            self.answered > 100 && self.edits > 50 && self.generations > 10 && self.restarts > 0,
            "too little happened: {self}"
        );
        // Rare by nature: a moment before a pod closes its idle connections. Many of them would be a bug by that name.
        assert!(self.closed_while_sending <= self.sheds / 4 + 2, "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, failed, .. } = self;
        writeln!(f, "requests {}, answered {answered}, failed by their pods {failed}", self.outcomes.len())?;
        writeln!(f, "closed_while_sending {}, lost {:?}", self.closed_while_sending, self.lost)?;
        let Self { edits, generations, restarts, sheds, .. } = self;
        writeln!(
            f,
            "edits {edits}, generations {generations}, restarts {restarts}, idle connections closed {sheds} times"
        )?;
        write!(f, "{}", self.pods)
    }
}
