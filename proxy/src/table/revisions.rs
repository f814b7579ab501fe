//! How a Rollout divides a Service's traffic between the revisions of its pods.
//!
//! It stands behind an arm of a rule, once for each place where rules lead to the Service, and each has a sequence of its own: a
//! share of 1 % is 1 % of every rule's requests. What is picked here is a revision; which of its endpoints gets the request is
//! the [`Backend`]'s business, and so is what is answered if there is none: no share is moved because of that.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use watershed_config::model::{ObjectName, Sticky};
use watershed_config::snapshot::{self, RevisionCondition, SplitKey};

use super::Head;
use super::backend::{Backend, Goal};
use super::paths::header_matches;
use crate::reason::Reason;
use crate::split::{Picks, SplitState, Thresholds};
use crate::sticky;

/// The shares of revisions in one arm of one rule.
#[derive(Debug)]
pub struct RevisionSplit {
    /// Which one.
    pub id: RevisionSplitId,
    /// What it was compiled from.
    pub written: Arc<snapshot::RevisionSplit>,
    /// The sequence, which outlives the table.
    pub state: Arc<SplitState>,
    /// Which shares were picked by weight since the present ones are in force; survives swaps that do not touch them.
    pub picks: Arc<Picks>,
    thresholds: Thresholds,
    /// In the order written, which is that of the thresholds.
    shares: Box<[Share]>,
    /// Index of the revision in the backend for each route, in the order written.
    routes: Box<[u16]>,
    /// Whether who has drawn a ticket is given it in a cookie.
    issues: bool,
}

/// Identity of a [`RevisionSplit`]'s sequence: it survives table swaps and changes of the shares.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RevisionSplitId {
    /// The rule that leads there.
    pub rule: SplitKey,
    /// The Service.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
}

/// A revision's share.
#[derive(Debug, Clone, Copy)]
struct Share {
    /// Index of the revision in the backend.
    revision: u16,
    /// What is answered if none of its endpoints can be asked.
    nobody: Reason,
}

/// Where a request goes, and what its answer has to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Who may answer.
    pub(crate) goal: Goal,
    /// Key of the cookie that keeps the user where they are, if they have none yet.
    pub(crate) cookie: Option<u64>,
}

impl RevisionSplit {
    pub(super) fn new(
        id: RevisionSplitId,
        written: Arc<snapshot::RevisionSplit>,
        (state, picks): (Arc<SplitState>, Arc<Picks>),
        backend: &Backend,
    ) -> Option<Self> {
        // The stable revision is the last, and gets everything if nothing else was said.
        let stable = written.shares.len().checked_sub(1)?;
        let mut weights: Vec<u32> = written.shares.iter().map(|share| share.millionths).collect();
        if weights.iter().all(|weight| *weight == 0) {
            weights[stable] = 1;
        }
        // While one revision has everything there is nothing to stay on.
        let is_divided = weights.iter().filter(|weight| **weight > 0).nth(1).is_some();
        let issues = is_divided && matches!(written.sticky, Some(Sticky::Cookie(_)));
        let share = |(index, share): (usize, &snapshot::RevisionShare)| Share {
            revision: backend.index_of(&share.revision),
            nobody: if index == stable { Reason::StableUnavailable } else { Reason::NoReadyEndpoint },
        };
        let shares = written.shares.iter().enumerate().map(share).collect();
        let routes = written.routes.iter().map(|route| backend.index_of(&route.revision)).collect();
        Some(Self {
            thresholds: Thresholds::new(&weights)?,
            id,
            written,
            state,
            picks,
            shares,
            routes,
            issues,
        })
    }

    /// Index of the first route whose condition holds.
    pub fn route(&self, head: &Head<'_>) -> Option<usize> {
        let holds = |condition: &RevisionCondition| match condition {
            RevisionCondition::Headers(all) => all.iter().all(|wanted| header_matches(wanted, head)),
            RevisionCondition::Host(host) => host.matches(head.host),
        };
        self.written.routes.iter().position(|route| holds(&route.condition))
    }

    /// The ticket of the user that a request names, where users stay on one revision.
    pub fn user(&self, head: &Head<'_>, client: IpAddr) -> Option<u64> {
        sticky::ticket(self.written.sticky.as_ref()?, self.written.salt, head.headers, client)
    }

    /// Index of the share that owns this ticket. The first share begins at ticket 0: raising it takes tickets from its
    /// neighbour and from nobody else.
    pub fn pick(&self, ticket: u64) -> usize {
        self.thresholds.pick(ticket)
    }

    /// Where a request of this worker goes: by a route, else as its user's earlier ones, else by weight. Only the last draws a
    /// ticket and is counted as a decision.
    pub(crate) fn decide(
        &self,
        backend: &Backend,
        worker: usize,
        head: &Head<'_>,
        client: IpAddr,
    ) -> Decision {
        if let Some(route) = self.route(head) {
            let goal = backend.only(self.routes[route], Reason::RevisionUnavailable);
            return Decision { goal, cookie: None };
        }
        if let Some(ticket) = self.user(head, client) {
            return Decision { goal: self.goal(backend, self.pick(ticket)), cookie: None };
        }
        let ticket = self.state.draw(worker);
        let share = self.pick(ticket);
        self.picks.count(worker, share);
        let cookie = self.issues.then(|| sticky::key_of(ticket, self.written.salt));
        Decision { goal: self.goal(backend, share), cookie }
    }

    fn goal(&self, backend: &Backend, share: usize) -> Goal {
        let Share { revision, nobody } = self.shares[share];
        backend.only(revision, nobody)
    }

    /// Sets the cookie of a [`Decision`].
    pub(crate) fn issue(&self, key: u64, answer: &mut HeaderMap) {
        if let Some(Sticky::Cookie(name)) = &self.written.sticky {
            sticky::issue(answer, name, key);
        }
    }

    /// Name, millionths in force and weighted decisions since then of every revision with a share.
    pub fn decisions(&self) -> Vec<(Arc<str>, u32, u64)> {
        let shares = self.written.shares.iter().zip(self.picks.sums());
        shares.map(|(share, picked)| (Arc::clone(&share.revision), share.millionths, picked)).collect()
    }
}
