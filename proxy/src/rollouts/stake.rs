//! One request's part in a Rollout.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::blocks::Place;
use crate::reason::Reason;
use crate::table::{Decision, RevisionSplit};

/// What a request's record holds for the Rollout that decided about it. Without a pointer: the split is found through the
/// record's rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stake {
    /// Index of the revision in the arm's backend.
    revision: u16,
    /// Whether a ticket decided.
    by_weight: bool,
    /// Whether an attempt failed because of the revision, be it that another one succeeded.
    failed: bool,
    place: Option<Place>,
    /// Key of the cookie that the answer sets.
    cookie: Option<u64>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) status: Option<StatusCode>,
    pub(crate) reason: Option<Reason>,
    pub(crate) duration: Duration,
}

impl Stake {
    /// Counts the request in.
    pub(crate) fn begin(split: &RevisionSplit, worker: usize, decision: &Decision) -> Option<Self> {
        let revision = decision.goal.revision?;
        split.cells(revision).begin(worker);
        let Decision { by_weight, place, cookie, .. } = *decision;
        Some(Self { revision, by_weight, failed: false, place, cookie })
    }

    /// Adds what the user is to be known by to the answer.
    pub(crate) fn issue_cookie(&self, split: &RevisionSplit, answer: &mut HeaderMap) {
        if let Some(key) = self.cookie {
            split.issue(key, answer);
        }
    }

    /// An attempt failed because of the revision.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// What the judge wants to know is known: all that comes after says nothing about the revision.
    pub(crate) fn settle(&mut self, split: &RevisionSplit, worker: usize, duration: Duration) {
        if let Some(place) = self.place.take() {
            split.leave(worker, place, self.failed, duration);
        }
    }

    /// Counts the request out.
    pub(crate) fn end(mut self, split: &RevisionSplit, worker: usize, ending: Ending) {
        self.failed |= ending.is_failure();
        self.settle(split, worker, ending.duration);
        // How long a tunnel lives is its users' choice.
        let is_telling = self.by_weight && ending.status != Some(StatusCode::SWITCHING_PROTOCOLS);
        split.cells(self.revision).end(worker, self.failed, is_telling.then_some(ending.duration));
    }
}

impl Ending {
    /// Whether the revision is to blame: for what it answered, or because it did not answer.
    fn is_failure(self) -> bool {
        match self.reason {
            // Whatever status there is, a pod has sent it.
            None | Some(Reason::ClientAborted | Reason::DrainDeadline) => {
                self.status.is_some_and(|status| status.is_server_error())
            }
            Some(reason) => reason.blames_upstream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::Ending;
    use crate::reason::Reason;

    #[test]
    fn a_request_fails_because_of_its_revision_or_not_at_all() {
        let is_failure = |status: Option<u16>, reason| {
            let status = status.map(|status| StatusCode::from_u16(status).unwrap());
            Ending { status, reason, duration: std::time::Duration::ZERO }.is_failure()
        };
        for (status, reason, failure) in [
            (Some(200), None, false),
            (Some(404), None, false),
            (Some(500), None, true),
            (Some(200), Some(Reason::UpstreamTruncated), true),
            (Some(503), Some(Reason::StableUnavailable), true),
            (Some(504), Some(Reason::BackendTimeout), true),
            (None, Some(Reason::ClientAborted), false),
            (Some(200), Some(Reason::ClientAborted), false),
            (Some(500), Some(Reason::ClientAborted), true),
            (Some(500), Some(Reason::Internal), false),
            (Some(413), Some(Reason::BodyTooLarge), false),
            (None, Some(Reason::DrainDeadline), false),
        ] {
            assert_eq!(is_failure(status, reason), failure, "{status:?} {reason:?}");
        }
    }
}
