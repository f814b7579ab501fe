//! How a Rollout divides a Service's traffic between the revisions of its pods.
//!
//! It stands behind an arm of a rule, once for each place where rules lead to the Service, and each has a sequence of its own: a
//! share of 1 % is 1 % of every rule's requests. What is picked here is a revision; which of its endpoints gets the request is
//! the [`Backend`]'s business, and so is what is answered if there is none: no share is moved because of that.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use watershed_config::model::{ObjectName, Sticky};
use watershed_config::observation::{DURATION_BOUNDS_US, SLOW_BOUNDS};
use watershed_config::snapshot::{self, Compared, RevisionCondition, SplitKey};

use super::Head;
use super::backend::{Backend, Goal};
use super::paths::header_matches;
use crate::coarse;
use crate::reason::Reason;
use crate::rollouts::blocks::{Evidence, Outcome, Place, Side, Tables, Terms};
use crate::rollouts::cells::RevisionCells;
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
    /// What the judge has of the present run.
    pub tables: Arc<Tables>,
    thresholds: Thresholds,
    /// In the order written, which is that of the thresholds.
    shares: Box<[Share]>,
    /// Index of the revision in the backend for each route, in the order written.
    routes: Box<[u16]>,
    /// By revision of the backend.
    counted: Box<[(Arc<str>, Arc<RevisionCells>)]>,
    /// Whether who has drawn a ticket is given it in a cookie.
    issues: bool,
    comparison: Option<Comparison>,
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
    side: Side,
}

/// What weighted requests leave for the judge.
#[derive(Debug)]
struct Comparison {
    evidence: Arc<Evidence>,
    terms: Terms,
    /// What is not measured is never exceeded.
    slow_bounds_us: [u64; SLOW_BOUNDS],
}

impl Comparison {
    fn new(compared: &Compared, epoch: u64, evidence: Arc<Evidence>) -> Self {
        let (mut bounds, mut slow_bounds_us) = (0, [u64::MAX; SLOW_BOUNDS]);
        for (bit, (place, bound_us)) in compared.slow.iter().zip(&mut slow_bounds_us).enumerate() {
            let Some(place) = place else { continue };
            *bound_us = DURATION_BOUNDS_US.get(usize::from(*place)).copied().unwrap_or(u64::MAX);
            bounds |= 1 << bit;
        }
        Self { evidence, terms: Terms { epoch, bounds }, slow_bounds_us }
    }
}

/// What outlives the table of a split.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) state: Arc<SplitState>,
    pub(super) picks: Arc<Picks>,
    pub(super) counted: Box<[(Arc<str>, Arc<RevisionCells>)]>,
    pub(super) tables: Arc<Tables>,
    /// Where there is something to compare.
    pub(super) evidence: Option<Arc<Evidence>>,
}

/// Where a request goes, and what follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Who may answer.
    pub(crate) goal: Goal,
    /// Key of the cookie that keeps the user where they are, if they have none yet.
    pub(crate) cookie: Option<u64>,
    /// Whether a ticket decided.
    pub(crate) by_weight: bool,
    /// Where the judge's evidence waits for its end.
    pub(crate) place: Option<Place>,
}

impl Decision {
    /// One for which no ticket of a Rollout was drawn.
    pub(crate) fn plain(goal: Goal) -> Self {
        Self { goal, cookie: None, by_weight: false, place: None }
    }
}

impl RevisionSplit {
    /// `None` where nobody has a share.
    pub(super) fn new(
        id: RevisionSplitId,
        written: Arc<snapshot::RevisionSplit>,
        parts: Parts,
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
        let compared = written.compared.as_ref();
        let share = |(index, share): (usize, &snapshot::RevisionShare)| Share {
            revision: backend.index_of(&share.revision),
            nobody: if index == stable { Reason::StableUnavailable } else { Reason::NoReadyEndpoint },
            side: match compared {
                Some(compared) if compared.canary == share.revision => Side::Canary,
                Some(compared) if compared.stable == share.revision => Side::Stable,
                _ => Side::Other,
            },
        };
        let Parts { state, picks, counted, tables, evidence } = parts;
        Some(Self {
            thresholds: Thresholds::new(&weights)?,
            shares: written.shares.iter().enumerate().map(share).collect(),
            routes: written.routes.iter().map(|route| backend.index_of(&route.revision)).collect(),
            issues: is_divided && matches!(written.sticky, Some(Sticky::Cookie(_))),
            comparison: compared
                .zip(evidence)
                .map(|(compared, evidence)| Comparison::new(compared, written.epoch, evidence)),
            id,
            written,
            state,
            picks,
            tables,
            counted,
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
            return Decision::plain(self.goal_of_route(backend, route));
        }
        if let Some(ticket) = self.user(head, client) {
            return Decision::plain(self.goal_of_share(backend, self.pick(ticket)));
        }
        let drawn = self.state.draw_in_block(worker);
        let share = self.pick(drawn.ticket);
        self.picks.count(worker, share);
        let cookie = self.issues.then(|| sticky::key_of(drawn.ticket, self.written.salt));
        let place = self.comparison.as_ref().and_then(|Comparison { evidence, terms, .. }| {
            evidence.enter(worker, drawn, *terms, self.shares[share].side, coarse::now())
        });
        Decision { goal: self.goal_of_share(backend, share), cookie, by_weight: true, place }
    }

    /// Who answers the requests of a route.
    pub(super) fn goal_of_route(&self, backend: &Backend, route: usize) -> Goal {
        backend.only(self.routes[route], Reason::RevisionUnavailable)
    }

    /// Who answers the requests of a share.
    pub(super) fn goal_of_share(&self, backend: &Backend, share: usize) -> Goal {
        let Share { revision, nobody, .. } = self.shares[share];
        backend.only(revision, nobody)
    }

    /// Sets the cookie of a [`Decision`].
    pub(crate) fn issue(&self, key: u64, answer: &mut HeaderMap) {
        if let Some(Sticky::Cookie(name)) = &self.written.sticky {
            sticky::issue(answer, name, key);
        }
    }

    /// Tells the judge of a request that has ended on this worker.
    pub(crate) fn leave(&self, worker: usize, place: Place, failed: bool, duration: Duration) {
        let Some(Comparison { evidence, slow_bounds_us, .. }) = &self.comparison else { return };
        let us =
            duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()));
        evidence.leave(worker, place, Outcome::new(failed, slow_bounds_us.map(|bound| us > bound)));
    }

    /// Where requests of a revision of the backend are counted.
    pub(crate) fn cells(&self, revision: u16) -> &RevisionCells {
        &self.counted[usize::from(revision)].1
    }

    /// Revisions of the backend with what is counted for them.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (&Arc<str>, &RevisionCells)> {
        self.counted.iter().map(|(revision, cells)| (revision, &**cells))
    }

    /// Name, millionths in force and weighted decisions since then of every revision with a share.
    pub fn decisions(&self) -> Vec<(Arc<str>, u32, u64)> {
        let shares = self.written.shares.iter().zip(self.picks.sums());
        shares.map(|(share, picked)| (Arc::clone(&share.revision), share.millionths, picked)).collect()
    }
}
