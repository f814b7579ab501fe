//! One request of the load as its client saw it.

use std::fmt;
use std::time::Duration;

/// A request that was sent once, whatever came of it. Its place in the list of exchanges is its number.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// When it was handed to the connection, since the load began.
    pub(super) sent: Duration,
    /// When its answer was complete, or when it failed.
    pub(super) ended: Duration,
    /// What came of it.
    pub(super) fate: Fate,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Neither answered nor failed yet.
    Pending,
    /// Answered 200, completely, with its own id, by the pod with this index in the list of pods.
    Answered {
        /// Index of the pod.
        pod: u16,
    },
    /// Answered 500, completely, with its own id, by the pod with this index: the version failed it, and nothing was lost on the way.
    FailedBy {
        /// Index of the pod.
        pod: u16,
    },
    /// Everything else. Boxed because it is rare and a long run holds a million exchanges.
    Failed(Box<Failure>),
}

/// Why a request has no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The proxy did not take the connection: the request was not sent.
    Connect,
    /// An answer with another status than 200 that is not a pod's own failure.
    Status {
        /// The status.
        code: u16,
        /// The header `watershed-reason`, which an answer made by the proxy carries; empty for a pod's own answer.
        reason: String,
    },
    /// The connection ended before the answer was complete.
    Broken,
    /// No complete answer within the client's patience.
    TimedOut,
    /// A complete 200 that is not the answer to this request.
    WrongAnswer,
}

impl Failure {
    /// Whether the proxy took the request and knows that it did not get a good answer.
    pub(super) fn is_counted_by_proxy(&self) -> bool {
        match self {
            Self::Status { .. } | Self::Broken | Self::TimedOut => true,
            Self::Connect | Self::WrongAnswer => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connection not accepted"),
            Self::Status { code, reason } if reason.is_empty() => write!(f, "{code} from a pod"),
            Self::Status { code, reason } => write!(f, "{code} {reason}"),
            Self::Broken => f.write_str("connection ended before the answer did"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::WrongAnswer => f.write_str("not the answer to this request"),
        }
    }
}

/// How request numbers become ids and back.
///
/// The run's own prefix keeps ids of other clients (a curl beside the run) out of the audit. Every second request is a POST.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    run: String,
}

impl Ids {
    /// The ids of one run; `run` must not be used by another run against the same pods.
    pub(super) fn new(run: &str) -> Self {
        Self { run: format!("{run}-") }
    }

    /// The id of this request.
    pub(super) fn id(&self, number: usize) -> String {
        format!("{}{number}", self.run)
    }

    /// The number of the request with this id, or `None` if it is not one of this run.
    pub(super) fn number(&self, id: &str) -> Option<usize> {
        id.strip_prefix(&self.run)?.parse().ok()
    }
}

/// Whether the request with this number is a POST (else a GET).
pub(super) fn is_post(number: usize) -> bool {
    number % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_back_to_their_numbers_and_foreign_ones_do_not() {
        let ids = Ids::new("a1b2");
        assert_eq!(ids.number(&ids.id(77)), Some(77));
        for foreign in ["", "77", "a1b2-", "a1b2-x", "zzzz-77"] {
            assert_eq!(ids.number(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn half_of_the_requests_are_posts() {
        assert_eq!((0..1000).filter(|number| is_post(*number)).count(), 500);
    }
}
