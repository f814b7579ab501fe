//! The audit: do the client, the proxy and the pods tell the same story, and was anything lost?
//!
//! Each request has a number that its client, and the pod that ran it, wrote down independently. **Lost** is a request that did
//! not get exactly one complete answer made by a pod, or a POST that ran twice. One exception is counted by name: a request
//! that was in flight on a pod at the moment when that pod was killed. It must have been sent before the pod's sockets were gone and
//! have failed after the kill, with the proxy saying that the pod's connection ended (by a reason, or by breaking off an answer of
//! which the killed pod has a record), and no other pod may have run it. A GET
//! that ran on the killed pod and, its answer being gone, once more on another pod is no loss: it is shown as `repeated`. Nor is a
//! request whose pod answered 500 on purpose: that is a complete answer, which all three must have seen as a failure.
//!
//! Pure: what the three parties wrote comes in, a verdict goes out.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::exchange::{Exchange, Failure, Fate, is_post};
use super::manifests::VERSIONS;
use super::metrics::ProxyCounts;

/// After a killed pod's process is gone, its requests fail at once; this much is left for the proxy to be scheduled.
const SLACK: Duration = Duration::from_millis(100);

/// The reasons with which the proxy says that a pod's connection ended under a request.
const POD_GONE: [&str; 3] = ["upstream_closed", "upstream_reset", "closed_while_sending"];

/// What one pod wrote down, in the order in which it happened.
#[derive(Debug, Clone)]
pub(super) struct PodBook {
    /// The pod's name.
    pub(super) name: String,
    /// Index of its version.
    pub(super) version: usize,
    /// The numbers of the requests that it ran.
    pub(super) ran: Vec<usize>,
    /// Those of them that it answered 500.
    pub(super) failed: BTreeSet<usize>,
}

/// A pod that was killed on purpose.
#[derive(Debug, Clone)]
pub(super) struct Kill {
    /// Its name.
    pub(super) pod: String,
    /// Just before the signal was sent, since the load began.
    pub(super) at: Duration,
    /// When its process was gone.
    pub(super) gone: Duration,
}

/// Everything that the audit compares.
pub(super) struct Evidence<'a> {
    /// What the client saw.
    pub(super) exchanges: &'a [Exchange],
    /// The names of the pods that answered; [`Fate::Answered`] holds indexes into it.
    pub(super) answering_pods: &'a [String],
    /// What the pods wrote down.
    pub(super) books: &'a [PodBook],
    /// What the proxy counted.
    pub(super) proxy: &'a ProxyCounts,
    /// The pods that were killed.
    pub(super) kills: &'a [Kill],
}

/// One number as the three parties tell it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// By the client.
    pub(super) client: u64,
    /// By the proxy.
    pub(super) proxy: u64,
    /// By the pods.
    pub(super) pods: u64,
}

/// The verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Audit {
    /// Requests that got their one good answer, per version.
    pub(super) answered: [Tally; VERSIONS.len()],
    /// Requests that a version's own pods answered 500, per version: complete answers, and nothing lost.
    pub(super) failed_by: [Tally; VERSIONS.len()],
    /// Requests in flight on the killed pod at the kill. For the pods: those of them that the killed pod had begun to run.
    pub(super) in_flight_on_killed: Tally,
    /// GETs that ran more than once, which a proxy may let happen: their first pod took the answer with it when it died.
    pub(super) repeated: u64,
    /// POSTs that ran more than once.
    pub(super) posts_run_twice: u64,
    /// Failed requests by kind, those in flight on the killed pod included.
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests lost.
    pub(super) lost: u64,
    /// Every disagreement between the parties, as sentences; empty when the counts agree exactly.
    pub(super) disagreements: Vec<String>,
}

impl Audit {
    /// Compares the three stories.
    pub(super) fn of(evidence: &Evidence<'_>) -> Self {
        let mut audit = Self::default();
        let (ran, strangers) = runs(evidence);
        if strangers > 0 {
            audit.disagreements.push(format!("the pods ran {strangers} requests that the client never sent"));
        }
        let mut failed_at_proxy = 0;
        for (number, exchange) in evidence.exchanges.iter().enumerate() {
            failed_at_proxy += u64::from(matches!(&exchange.fate,
                Fate::Failed(failure) if failure.is_counted_by_proxy()));
            audit.take(evidence, number, exchange, &ran[number]);
        }
        audit.compare(evidence.proxy, failed_at_proxy);
        audit
    }

    /// True if nothing was lost and all counts agree.
    pub(super) fn is_good(&self) -> bool {
        self.lost == 0 && self.disagreements.is_empty()
    }

    fn take(&mut self, evidence: &Evidence<'_>, number: usize, exchange: &Exchange, ran: &[u16]) {
        let twice = is_post(number) && ran.len() > 1;
        self.posts_run_twice += u64::from(twice);
        match &exchange.fate {
            Fate::Answered { pod } | Fate::FailedBy { pod } => {
                let name = &evidence.answering_pods[usize::from(*pod)];
                let books = ran.iter().map(|book| &evidence.books[usize::from(*book)]);
                let Some(book) = books.into_iter().find(|book| book.name == *name) else {
                    self.lost += 1;
                    self.disagreements
                        .push(format!("{name} answered request {number} but has no record of it"));
                    return;
                };
                self.answer(number, book, matches!(exchange.fate, Fate::FailedBy { .. }));
                self.lost += u64::from(twice);
                self.repeated += if twice { 0 } else { ran.len() as u64 - 1 };
            }
            Fate::Pending => self.fail("never ended", 1),
            Fate::Failed(failure) => {
                let in_flight = in_flight_on_killed(evidence, exchange, failure, ran);
                self.fail(&failure.to_string(), u64::from(!in_flight));
                if in_flight {
                    self.in_flight_on_killed.client += 1;
                    self.in_flight_on_killed.pods += u64::from(!ran.is_empty());
                }
            }
        }
    }

    /// Counts a complete answer, which its pod must have seen as its client did.
    fn answer(&mut self, number: usize, book: &PodBook, failed: bool) {
        let pod_failed = book.failed.contains(&number);
        if pod_failed != failed {
            let word = |failed| if failed { "failed" } else { "good" };
            self.disagreements.push(format!(
                "{}'s answer to request {number} was {} for the client and {} for the pod",
                book.name,
                word(failed),
                word(pod_failed)
            ));
        }
        let version = book.version;
        let client = if failed { &mut self.failed_by } else { &mut self.answered };
        client[version].client += 1;
        let pods = if pod_failed { &mut self.failed_by } else { &mut self.answered };
        pods[version].pods += 1;
    }

    fn fail(&mut self, kind: &str, lost: u64) {
        *self.errors.entry(kind.to_owned()).or_default() += 1;
        self.lost += lost;
    }

    fn compare(&mut self, proxy: &ProxyCounts, failed_at_proxy: u64) {
        let kinds =
            [("good", &mut self.answered, proxy.good), ("failed", &mut self.failed_by, proxy.failed_by)];
        for (kind, tallies, counted) in kinds {
            for (tally, (version, counted)) in tallies.iter_mut().zip(VERSIONS.iter().zip(counted)) {
                tally.proxy = counted;
                if tally.client != counted {
                    self.disagreements.push(format!(
                        "{}: the client has {} {kind} answers, the proxy counted {counted}",
                        version.label, tally.client
                    ));
                }
            }
        }
        let others = proxy.others();
        self.in_flight_on_killed.proxy = self.in_flight_on_killed.client.min(others);
        if others != failed_at_proxy {
            self.disagreements.push(format!(
                "the client has {failed_at_proxy} requests without a good answer, the proxy counted {others}: {:?}",
                proxy.other
            ));
        }
    }
}

/// For each request, the books (by index) in which it stands, once per entry; and how many entries belong to no request.
fn runs(evidence: &Evidence<'_>) -> (Vec<Vec<u16>>, u64) {
    let mut ran = vec![Vec::new(); evidence.exchanges.len()];
    let mut strangers = 0;
    for (index, book) in evidence.books.iter().enumerate() {
        for number in &book.ran {
            match ran.get_mut(*number) {
                Some(books) => books.push(index as u16),
                None => strangers += 1,
            }
        }
    }
    (ran, strangers)
}

fn in_flight_on_killed(evidence: &Evidence<'_>, exchange: &Exchange, failure: &Failure, ran: &[u16]) -> bool {
    let pod_gone = match failure {
        Failure::Status { reason, .. } => POD_GONE.contains(&reason.as_str()),
        Failure::Broken => !ran.is_empty(),
        Failure::Connect | Failure::TimedOut | Failure::WrongAnswer => false,
    };
    pod_gone
        && ran.len() <= 1
        && evidence.kills.iter().any(|kill| {
            exchange.sent <= kill.gone + SLACK
                && exchange.ended >= kill.at
                && ran.iter().all(|book| evidence.books[usize::from(*book)].name == kill.pod)
        })
}
