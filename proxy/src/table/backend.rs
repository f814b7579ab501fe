//! The ready endpoints of a Service, and which of them a request goes to.

use std::ops::Range;
use std::sync::Arc;

use watershed_config::snapshot;

use crate::endpoint::Endpoint;
use crate::reason::Reason;

/// The ready endpoints of one Service port.
#[derive(Debug)]
pub struct Backend {
    /// `namespace/name:port`, for people.
    pub name: Arc<str>,
    /// Ready endpoints and the index of their revision; those of one revision stand together.
    pub endpoints: Box<[(Arc<Endpoint>, u16)]>,
    /// The distinct revisions of all endpoints, and those that a Rollout names beside them.
    pub revisions: Box<[Revision]>,
    /// What it was compiled from, for people; no request looks here.
    pub written: Arc<snapshot::Backend>,
    /// All endpoints, ready or not, in the order of those in `written`.
    pub known: Box<[Arc<Endpoint>]>,
}

/// A revision of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// As the endpoints' pods have it; may be empty.
    pub name: Arc<str>,
    /// Where its ready ones are in [`Backend::endpoints`].
    pub ready: Range<usize>,
}

/// Which endpoints of a backend a request may go to. Its retries stay among them, so that they do not change the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    first: u32,
    end: u32,
    /// Index of the only revision; `None` is any.
    pub revision: Option<u16>,
    /// What is answered if none of them can be asked.
    pub nobody: Reason,
}

impl Goal {
    /// Whether nobody was ready when the table was made.
    pub fn is_empty(&self) -> bool {
        self.first == self.end
    }
}

impl Backend {
    /// The place of a revision in [`Backend::revisions`]; the first if it is not known.
    pub(super) fn index_of(&self, revision: &str) -> u16 {
        let place = self.revisions.iter().position(|known| *known.name == *revision);
        place.map_or(0, |place| place as u16)
    }

    /// Any endpoint.
    pub fn anybody(&self) -> Goal {
        Goal { first: 0, end: self.endpoints.len() as u32, revision: None, nobody: Reason::NoReadyEndpoint }
    }

    /// Any endpoint of one revision.
    ///
    /// # Panics
    /// If there is no revision with this index.
    pub fn only(&self, revision: u16, nobody: Reason) -> Goal {
        let Range { start, end } = self.revisions[usize::from(revision)].ready;
        Goal { first: start as u32, end: end as u32, revision: Some(revision), nobody }
    }

    /// [`Backend::choose_of`] all endpoints.
    pub fn choose(&self, worker: usize, random: u64, tried: &[u64]) -> Option<usize> {
        self.choose_of(&self.anybody(), worker, random, tried)
    }

    /// Least requests of two random choices (P2C; Mitzenmacher 2001), of this worker's own requests. Endpoints that refuse
    /// connections and those in `tried` are left out; `None` if nobody is left.
    pub fn choose_of(&self, goal: &Goal, worker: usize, random: u64, tried: &[u64]) -> Option<usize> {
        let first = goal.first as usize;
        let endpoints = &self.endpoints[first..goal.end as usize];
        choose(endpoints, worker, random, tried).map(|index| first + index)
    }
}

fn choose(endpoints: &[(Arc<Endpoint>, u16)], worker: usize, random: u64, tried: &[u64]) -> Option<usize> {
    let count = endpoints.len();
    let usable = |index: usize| {
        let endpoint = &endpoints[index].0;
        !endpoint.is_refused() && !tried.contains(&endpoint.key)
    };
    if count < 2 {
        return (count == 1 && usable(0)).then_some(0);
    }
    let first = (((random & 0xFFFF_FFFF) * count as u64) >> 32) as usize;
    let second = (first + 1 + (((random >> 32) * (count as u64 - 1)) >> 32) as usize) % count;
    match (usable(first), usable(second)) {
        (true, true) => {
            let load = |index: usize| endpoints[index].0.in_flight(worker);
            Some(if load(second) < load(first) { second } else { first })
        }
        (true, false) => Some(first),
        (false, true) => Some(second),
        (false, false) => (0..count).map(|offset| (first + offset) % count).find(|index| usable(*index)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use watershed_config::model::{AppProtocol, ObjectName};
    use watershed_config::snapshot::{self, EndpointId};

    use super::{Backend, Goal, Revision};
    use crate::endpoint::Endpoint;
    use crate::reason::Reason;

    const WORKERS: usize = 2;

    /// One endpoint for each load on worker 0, with the keys 1, 2, 3 and so on; every other one is busy on worker 1.
    fn backend(loads: &[u32]) -> Backend {
        let endpoint = |(index, load): (usize, &u32)| {
            let id = EndpointId {
                uid: format!("pod-{index}").into(),
                address: ([10, 0, 0, 1], 8000 + index as u16).into(),
                protocol: AppProtocol::Http1,
            };
            let endpoint = Endpoint::new(index as u64 + 1, id, WORKERS);
            for (worker, load) in [*load, 50 * (index as u32 % 2)].into_iter().enumerate() {
                for _ in 0..load {
                    endpoint.begin(worker);
                }
            }
            (Arc::new(endpoint), 0)
        };
        Backend {
            name: "default/hello:80".into(),
            endpoints: loads.iter().enumerate().map(endpoint).collect(),
            revisions: Box::new([Revision { name: "1".into(), ready: 0..loads.len() }]),
            written: Arc::new(snapshot::Backend {
                service: ObjectName::new("default", "hello"),
                port: 80,
                endpoints: vec![],
                rollout: None,
            }),
            known: Box::new([]),
        }
    }

    fn cases() -> impl Strategy<Value = (Vec<u32>, Vec<bool>, Vec<bool>, u64)> {
        (0usize..6).prop_flat_map(|count| {
            let flags = || prop::collection::vec(any::<bool>(), count);
            (prop::collection::vec(0u32..4, count), flags(), flags(), any::<u64>())
        })
    }

    proptest! {
        #[test]
        fn a_refused_or_tried_endpoint_is_never_chosen_and_a_usable_one_always_found(
            (loads, refused, tried, random) in cases(),
        ) {
            let backend = backend(&loads);
            for ((endpoint, _), refused) in backend.endpoints.iter().zip(&refused) {
                if *refused {
                    endpoint.refuse();
                }
            }
            let tried_keys: Vec<u64> =
                tried.iter().enumerate().filter(|(_, tried)| **tried).map(|(index, _)| index as u64 + 1).collect();
            let usable: Vec<usize> = (0..loads.len()).filter(|index| !refused[*index] && !tried[*index]).collect();
            let chosen = backend.choose(0, random, &tried_keys);
            prop_assert_eq!(chosen.is_some(), !usable.is_empty());
            prop_assert!(chosen.is_none_or(|chosen| usable.contains(&chosen)), "{:?} of {:?}", chosen, usable);
        }

        #[test]
        fn who_is_not_of_the_wanted_revision_is_never_chosen(
            (loads, refused, _, random) in cases(), ends: (prop::sample::Index, prop::sample::Index),
        ) {
            let backend = backend(&loads);
            for ((endpoint, _), refused) in backend.endpoints.iter().zip(&refused) {
                if *refused {
                    endpoint.refuse();
                }
            }
            let (a, b) = (ends.0.index(loads.len() + 1), ends.1.index(loads.len() + 1));
            let (first, end) = (a.min(b), a.max(b));
            let goal = Goal { first: first as u32, end: end as u32, revision: Some(0), nobody: Reason::NoReadyEndpoint };
            let chosen = backend.choose_of(&goal, 0, random, &[]);
            prop_assert_eq!(chosen.is_some(), (first..end).any(|index| !refused[index]));
            prop_assert!(chosen.is_none_or(|chosen| (first..end).contains(&chosen)));
        }

        #[test]
        fn the_most_loaded_of_several_is_never_chosen(rest in 1usize..6, place: prop::sample::Index, random: u64) {
            let mut loads = vec![1; rest];
            let place = place.index(rest + 1);
            loads.insert(place, 2);
            prop_assert_ne!(backend(&loads).choose(0, random, &[]), Some(place));
        }
    }

    #[test]
    fn of_two_the_less_loaded_on_this_worker_is_chosen_whatever_other_workers_do() {
        let two = backend(&[3, 2]);
        for random in [0, 1, u64::MAX, u64::MAX << 32, 0xDEAD_BEEF_0BAD_CAFE] {
            assert_eq!(two.choose(0, random, &[]), Some(1));
            assert_eq!(two.choose(1, random, &[]), Some(0));
        }
    }

    #[test]
    fn equally_loaded_endpoints_get_equal_shares() {
        let three = backend(&[1, 1, 1]);
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = [0u32; 3];
        for _ in 0..30_000 {
            counts[three.choose(0, random.u64(..), &[]).unwrap()] += 1;
        }
        // Five standard deviations of a binomial draw of 30,000 with a third are 410.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 410), "{counts:?}");
    }

    #[test]
    fn nobody_is_chosen_where_nobody_is() {
        assert_eq!(backend(&[]).choose(0, 12345, &[]), None);
        assert_eq!(backend(&[0]).choose(0, 12345, &[1]), None);
        assert_eq!(backend(&[0]).choose(0, 12345, &[2]), Some(0));
    }
}
