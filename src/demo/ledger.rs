//! The audit: do the client, the proxy and the pods tell the same story, and was anything lost?
//!
//! Each request has a number that its client, and the pod that ran it, wrote down independently. **Lost** is a request that did
//! not get exactly one complete answer made by a pod, or a POST that ran twice. One exception is counted by name: a request
//! that was in flight on a pod at the moment when that pod was killed. It must have been sent before the pod's sockets were gone and
//! have failed after the kill, with the proxy saying that the pod's connection ended (by a reason, or by breaking off an answer of
//! which the killed pod has a record), and no other pod may have run it. A GET
//! that ran on the killed pod and, its answer being gone, once more on another pod is no loss: it is shown as `repeated`.
//!
//! Pure: what the three parties wrote comes in, a verdict goes out.

use std::collections::BTreeMap;
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
    /// Requests in flight on the killed pod at the kill. For the pods: those of them that the killed pod had begun to run.
    pub(super) in_flight_on_killed: Tally,
    /// GETs that ran once more on another pod because the killed pod took their first answer with it.
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
            Fate::Answered { pod } => {
                let name = &evidence.answering_pods[usize::from(*pod)];
                let by = ran.iter().find(|book| evidence.books[usize::from(**book)].name == *name);
                let Some(by) = by else {
                    self.lost += 1;
                    self.disagreements
                        .push(format!("{name} answered request {number} but has no record of it"));
                    return;
                };
                let tally = &mut self.answered[evidence.books[usize::from(*by)].version];
                tally.client += 1;
                tally.pods += 1;
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

    fn fail(&mut self, kind: &str, lost: u64) {
        *self.errors.entry(kind.to_owned()).or_default() += 1;
        self.lost += lost;
    }

    fn compare(&mut self, proxy: &ProxyCounts, failed_at_proxy: u64) {
        for (tally, (version, good)) in self.answered.iter_mut().zip(VERSIONS.iter().zip(proxy.good)) {
            tally.proxy = good;
            if tally.client != good {
                self.disagreements.push(format!(
                    "{}: the client has {} good answers, the proxy counted {good}",
                    version.service, tally.client
                ));
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn answered(pod: u16) -> Exchange {
        Exchange { sent: 10 * MS, ended: 11 * MS, fate: Fate::Answered { pod } }
    }

    fn failed(sent_ms: u32, ended_ms: u32, failure: Failure) -> Exchange {
        Exchange { sent: MS * sent_ms, ended: MS * ended_ms, fate: Fate::Failed(Box::new(failure)) }
    }

    fn gone(sent_ms: u32, ended_ms: u32) -> Exchange {
        failed(sent_ms, ended_ms, Failure::Status { code: 502, reason: "upstream_closed".into() })
    }

    /// Pods a (1.0.0), b and c (2.0.0); b is killed at 1,000 ms and gone at 1,002 ms. The proxy agrees with the client.
    fn audit(exchanges: &[Exchange], ran: [&[usize]; 3]) -> Audit {
        let answering_pods = ["a", "b", "c"].map(str::to_owned);
        let books: Vec<PodBook> = answering_pods
            .iter()
            .zip(ran)
            .enumerate()
            .map(|(index, (name, ran))| PodBook {
                name: name.clone(),
                version: index.min(1),
                ran: ran.to_vec(),
            })
            .collect();
        let mut proxy = ProxyCounts::default();
        for exchange in exchanges {
            match &exchange.fate {
                Fate::Answered { pod } => proxy.good[usize::from(*pod).min(1)] += 1,
                Fate::Failed(failure) if failure.is_counted_by_proxy() => {
                    *proxy.other.entry("5xx".into()).or_default() += 1;
                }
                _ => {}
            }
        }
        let kills = [Kill { pod: "b".into(), at: 1000 * MS, gone: 1002 * MS }];
        let evidence = Evidence {
            exchanges,
            answering_pods: &answering_pods,
            books: &books,
            proxy: &proxy,
            kills: &kills,
        };
        Audit::of(&evidence)
    }

    #[test]
    fn three_stories_that_agree_are_good() {
        let audit = audit(&[answered(0), answered(1), answered(2)], [&[0], &[1], &[2]]);
        assert!(audit.is_good(), "{audit:?}");
        assert_eq!(audit.answered[0], Tally { client: 1, proxy: 1, pods: 1 });
        assert_eq!(audit.answered[1], Tally { client: 2, proxy: 2, pods: 2 });
    }

    #[test]
    fn a_request_in_flight_on_the_killed_pod_is_counted_by_name_and_not_lost() {
        // Number 1 is a POST. The killed pod may have begun to run it, or may not have read it yet.
        for ran_at_b in [&[1][..], &[]] {
            let audit = audit(&[answered(0), gone(999, 1003)], [&[0], ran_at_b, &[]]);
            assert!(audit.is_good(), "{audit:?}");
            let pods = ran_at_b.len() as u64;
            assert_eq!(audit.in_flight_on_killed, Tally { client: 1, proxy: 1, pods });
        }
    }

    #[test]
    fn the_exception_is_narrow() {
        let other = Failure::Status { code: 503, reason: "no_ready_endpoint".into() };
        for (what, exchange, ran) in [
            ("sent long after the pod was gone", gone(1500, 1501), [&[][..], &[], &[]]),
            ("failed before the kill", gone(900, 950), [&[], &[], &[]]),
            ("for another reason", failed(999, 1001, other), [&[], &[], &[]]),
            ("broken off, unknown to the killed pod", failed(999, 1001, Failure::Broken), [&[], &[], &[]]),
            ("no answer at all", failed(999, 1001, Failure::TimedOut), [&[], &[0], &[]]),
            ("run by a pod that was not killed", gone(999, 1001), [&[], &[], &[0]]),
        ] {
            let audit = audit(&[exchange], ran);
            assert_eq!((audit.lost, audit.in_flight_on_killed.client), (1, 0), "{what}");
        }
    }

    #[test]
    fn a_post_that_ran_twice_is_lost_and_a_get_that_did_is_repeated() {
        let twice = audit(&[answered(0), answered(2)], [&[0], &[1], &[1]]);
        assert_eq!((twice.lost, twice.posts_run_twice, twice.repeated), (1, 1, 0));
        let repeated = audit(&[answered(2)], [&[], &[0], &[0]]);
        assert_eq!((repeated.lost, repeated.posts_run_twice, repeated.repeated), (0, 0, 1));
        assert!(repeated.is_good());
    }

    #[test]
    fn an_answer_that_its_pod_has_no_record_of_is_a_disagreement() {
        let audit = audit(&[answered(0)], [&[], &[], &[]]);
        assert_eq!(audit.lost, 1);
        assert!(audit.disagreements[0].contains("no record"), "{audit:?}");
    }

    #[test]
    fn what_nobody_answers_is_lost() {
        let pending = Exchange { sent: MS, ended: MS, fate: Fate::Pending };
        let broken = failed(1, 2, Failure::Broken);
        let audit = audit(&[pending, broken], [&[], &[], &[]]);
        assert_eq!(audit.lost, 2);
        assert_eq!(audit.errors.len(), 2);
    }

    #[test]
    fn a_proxy_that_counts_otherwise_is_a_disagreement_without_a_loss() {
        let exchanges = [answered(0)];
        let answering_pods = ["a".to_owned()];
        let books = [PodBook { name: "a".into(), version: 0, ran: vec![0, 9] }];
        let proxy = ProxyCounts { good: [2, 0], other: BTreeMap::from([("5xx".into(), 1)]) };
        let evidence = Evidence {
            exchanges: &exchanges,
            answering_pods: &answering_pods,
            books: &books,
            proxy: &proxy,
            kills: &[],
        };
        let audit = Audit::of(&evidence);
        assert_eq!((audit.lost, audit.disagreements.len()), (0, 3), "{audit:?}");
        assert!(!audit.is_good());
    }
}
