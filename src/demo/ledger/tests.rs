//! The verdicts, story by story.

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
    audit_with_failures(exchanges, ran, &[])
}

/// The same where the pods say that they failed these requests.
fn audit_with_failures(exchanges: &[Exchange], ran: [&[usize]; 3], failed_by_pods: &[usize]) -> Audit {
    let answering_pods = ["a", "b", "c"].map(str::to_owned);
    let books: Vec<PodBook> = answering_pods
        .iter()
        .zip(ran)
        .enumerate()
        .map(|(index, (name, ran))| PodBook {
            name: name.clone(),
            version: index.min(1),
            ran: ran.to_vec(),
            failed: ran.iter().copied().filter(|number| failed_by_pods.contains(number)).collect(),
        })
        .collect();
    let mut proxy = ProxyCounts::default();
    for exchange in exchanges {
        match &exchange.fate {
            Fate::Answered { pod } => proxy.good[usize::from(*pod).min(1)] += 1,
            Fate::FailedBy { pod } => proxy.failed_by[usize::from(*pod).min(1)] += 1,
            Fate::Failed(failure) if failure.is_counted_by_proxy() => {
                *proxy.other.entry("5xx".into()).or_default() += 1;
            }
            _ => {}
        }
    }
    let kills = [Kill { pod: "b".into(), at: 1000 * MS, gone: 1002 * MS }];
    let evidence =
        Evidence { exchanges, answering_pods: &answering_pods, books: &books, proxy: &proxy, kills: &kills };
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
fn what_a_version_fails_is_counted_apart_and_not_lost() {
    let by_version = Exchange { fate: Fate::FailedBy { pod: 1 }, ..answered(1) };
    let audit = audit_with_failures(&[answered(0), by_version.clone()], [&[0], &[1], &[]], &[1]);
    assert!(audit.is_good(), "{audit:?}");
    assert_eq!(audit.answered[1], Tally::default());
    assert_eq!(audit.failed_by[1], Tally { client: 1, proxy: 1, pods: 1 });
    // A pod that knows nothing of the failure tells another story.
    let audit = audit_with_failures(&[answered(0), by_version], [&[0], &[1], &[]], &[]);
    assert!(audit.disagreements[0].contains("failed for the client and good for the pod"), "{audit:?}");
    assert_eq!(audit.lost, 0);
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
    let books = [PodBook { name: "a".into(), version: 0, ran: vec![0, 9], failed: BTreeSet::new() }];
    let proxy =
        ProxyCounts { good: [2, 0, 0], other: BTreeMap::from([("5xx".into(), 1)]), ..ProxyCounts::default() };
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
