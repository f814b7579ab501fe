//! Which revision a request would get where a Rollout divides a share, and why.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use watershed_config::model::Sticky;

use super::text::percent;
use crate::reason::Reason;
use crate::table::{Backend, Goal, Head, RevisionSplit};

/// How a Rollout divides a share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    /// `namespace/name`.
    pub rollout: String,
    /// The revision that the request gets, if that is certain.
    pub revision: Option<String>,
    /// What decides: a route, the user whom the request names, the client's address, or the weights.
    pub why: String,
    /// In the order in which they own tickets, the stable one last.
    pub revisions: Vec<RevisionView>,
}

/// One revision's share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionView {
    /// Its name; may be empty.
    pub revision: String,
    /// What it gets, from 0 to 1.
    pub target: f64,
    /// What it should get: more than it gets where it has no ready endpoint.
    pub wanted: f64,
    /// What it got by weight since the shares came into force; `None` before the first request.
    pub observed: Option<f64>,
    /// Requests that it got by weight since then.
    pub picked: u64,
    /// Requests of all revisions by weight since then.
    pub requests: u64,
    /// What its requests are answered with, if no endpoint gets them.
    pub answer: Option<String>,
}

impl RolloutView {
    /// What the request gets, and the answer to it if nobody is there to give one.
    pub(super) fn of(split: &RevisionSplit, backend: &Backend, head: &Head<'_>) -> (Self, Option<String>) {
        let written = &split.written;
        let (goal, why) = decided(split, backend, head);
        let name = |goal: Goal| {
            goal.revision.map(|revision| backend.revisions[usize::from(revision)].name.to_string())
        };
        let picks = split.picks.sums();
        let requests: u64 = picks.iter().sum();
        let revision = |(index, picked): (usize, u64)| {
            let share = &written.shares[index];
            RevisionView {
                revision: share.revision.to_string(),
                target: f64::from(share.millionths) / 1e6,
                wanted: f64::from(share.wanted) / 1e6,
                observed: (requests > 0).then(|| picked as f64 / requests as f64),
                picked,
                requests,
                answer: (share.millionths > 0).then(|| answer(split.goal_of_share(backend, index))).flatten(),
            }
        };
        let view = Self {
            rollout: written.rollout.to_string(),
            revision: goal.and_then(name),
            why,
            revisions: picks.into_iter().enumerate().map(revision).collect(),
        };
        (view, goal.and_then(answer))
    }
}

/// Where the request goes if that is certain, and what decides.
fn decided(split: &RevisionSplit, backend: &Backend, head: &Head<'_>) -> (Option<Goal>, String) {
    if let Some(route) = split.route(head) {
        let name = &split.written.routes[route].name;
        return (Some(split.goal_of_route(backend, route)), format!("route {name}"));
    }
    // Nobody says where the request that is asked about comes from.
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let user = |why: String| match split.user(head, unknown) {
        Some(ticket) => {
            (Some(split.goal_of_share(backend, split.pick(ticket))), format!("the user in {why}"))
        }
        None => (None, format!("weight, as it has no {why}")),
    };
    match &split.written.sticky {
        None => (None, "weight".to_owned()),
        Some(Sticky::ClientAddress) => (None, "the client's address".to_owned()),
        Some(Sticky::Header(name)) => user(format!("header {name}")),
        Some(Sticky::Cookie(name)) => user(format!("cookie {name}")),
    }
}

/// What is answered where nobody is ready.
fn answer(goal: Goal) -> Option<String> {
    let why = match goal.nobody {
        Reason::StableUnavailable => "no endpoint of the stable revision is ready",
        _ => "no endpoint of that revision is ready",
    };
    goal.is_empty().then(|| format!("{} {}: {why}", goal.nobody.status().as_u16(), goal.nobody.as_str()))
}

impl fmt::Display for RolloutView {
    /// Lines below those of the share that is divided.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => {
                writeln!(f, "               Rollout {}: revision {revision}, by {}", self.rollout, self.why)?;
            }
            None => writeln!(f, "               Rollout {}: by {}", self.rollout, self.why)?,
        }
        for one in &self.revisions {
            write!(f, "               {:8} revision {}", percent(one.target), one.revision)?;
            if one.wanted > one.target {
                write!(f, "; {} when it has ready endpoints", percent(one.wanted))?;
            }
            if let Some(observed) = one.observed {
                write!(f, "; got {} ({} of {})", percent(observed), one.picked, one.requests)?;
            }
            match &one.answer {
                Some(answer) => writeln!(f, "; answers {answer}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
