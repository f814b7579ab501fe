//! What a request would get, and why: the routing table read aloud.
//!
//! The winner is what [`RoutingTable::route`] says, so that this can never tell another story than the traffic. Why it won is
//! found by reading what the table was compiled from in order, as the Gateway API describes it: which listener, which host,
//! which candidate, which others would have matched too, and which were passed over because of which condition. Where nothing
//! matches, the nearest misses are told with what keeps them from matching.
//!
//! It is slow and allocates, which no request ever sees.

mod question;
mod rollout;
mod search;
mod text;
mod view;

use std::net::IpAddr;

use watershed_config::model::{Filter, Redirect};
use watershed_config::snapshot::BindAddress;

use super::{Action, Arm, ArmTarget, Backend, BindTable, Head, Routed, RoutingTable, Rule, Split};
use crate::headers::HOST_LENGTH_MAX;
use crate::reason::Reason;
use crate::rewrite;
pub use question::Question;
pub use rollout::{RevisionView, RolloutView};
use search::Search;
pub use view::{
    AddressView, Answer, EndpointView, Explanation, ListenerView, Miss, Other, RequestView, RuleView,
    ShareView,
};

/// Explains one request to a running table. `query` is the query string of the question, not yet decoded: `url`, and optionally
/// `method` and any number of `header=NAME: VALUE`. The error says what is wrong with the question.
pub fn explain_request(table: &RoutingTable, query: &str) -> Result<Explanation, String> {
    Ok(table.explain(&Question::from_query(query)?))
}

impl RoutingTable {
    /// What this request would get, and why.
    pub fn explain(&self, question: &Question) -> Explanation {
        let mut buffer = [0; HOST_LENGTH_MAX];
        let head = question.head(&mut buffer);
        let mut told = Explanation::new(self.generation.0, question.view(&head));
        let Some((slot, bind)) = self.address_for(question, &head, &mut told.notes) else {
            told.answer = Answer::Unreachable;
            told.addresses = self.reachable().map(|(_, bind)| AddressView::of(bind)).collect();
            self.suggest_addresses(&head, &mut told.notes);
            return told;
        };
        told.address = Some(bind.address.to_string());
        let search = Search::new(&bind.written, &head);
        search.tell_listener(&mut told);
        match self.route(slot, &head) {
            Routed::Rule(rule) => {
                search.tell_winner(&mut told);
                told.answer = answer(rule, question, &head);
            }
            Routed::NoRoute(_) | Routed::Gone => {
                search.tell_misses(&mut told);
                told.answer = Answer::error(Reason::NoRoute);
            }
        }
        told
    }

    fn reachable(&self) -> impl Iterator<Item = (usize, &BindTable)> {
        self.binds.iter().enumerate().filter_map(|(slot, bind)| Some((slot, bind.as_ref()?)))
    }

    /// Where a request to the URL's host and port arrives.
    fn address_for(
        &self,
        question: &Question,
        head: &Head<'_>,
        notes: &mut Vec<String>,
    ) -> Option<(usize, &BindTable)> {
        let arrives = |address: BindAddress| {
            address.port == question.port()
                && question.ip().is_none_or(|ip: IpAddr| address.ip.is_none_or(|own| own == ip))
        };
        let mut all: Vec<_> = self.reachable().filter(|(_, bind)| arrives(bind.address)).collect();
        // Where a name could mean several addresses, the one that has an answer is meant.
        all.sort_by_key(|(slot, bind)| {
            (!matches!(self.route(*slot, head), Routed::Rule(_)), bind.address.ip.is_none())
        });
        let mut all = all.into_iter();
        let first = all.next()?;
        for (_, other) in all {
            notes.push(format!(
                "port {} is also listened on at {}: put that address into the URL and the host into -H 'Host: ...' to ask about it",
                question.port(), other.address
            ));
        }
        Some(first)
    }

    /// Says where else this very request would find a rule: usually only the port was forgotten.
    fn suggest_addresses(&self, head: &Head<'_>, notes: &mut Vec<String>) {
        for (slot, bind) in self.reachable() {
            if let Routed::Rule(rule) = self.route(slot, head) {
                notes.push(format!("the same request to {} would get {}", bind.address, rule.id));
            }
        }
    }
}

/// What a rule does with the request.
fn answer(rule: &Rule, question: &Question, head: &Head<'_>) -> Answer {
    match &rule.action {
        Action::Split(split) => Answer::Split {
            filters: rule.filters.iter().map(filter_name).collect(),
            request_timeout_ms: rule.timeouts.request.map(|limit| limit.as_millis() as u64),
            backend_timeout_ms: rule.timeouts.backend_request.map(|limit| limit.as_millis() as u64),
            shares: shares(split, rule, question, head),
        },
        Action::Redirect(redirect) => Answer::Redirect {
            status: redirect.status.as_u16(),
            location: location(redirect, rule, question, head),
        },
        Action::Reject(reason) => Answer::error(*reason),
    }
}

fn location(redirect: &Redirect, rule: &Rule, question: &Question, head: &Head<'_>) -> Option<String> {
    let location = rewrite::location(redirect, rule, head.host, question.uri())?;
    Some(location.to_str().ok()?.to_owned())
}

/// The filter's `type`, as a manifest writes it.
fn filter_name(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(_) => "RequestHeaderModifier",
        Filter::ResponseHeaders(_) => "ResponseHeaderModifier",
        Filter::Redirect(_) => "RequestRedirect",
        Filter::Rewrite(_) => "URLRewrite",
        Filter::Unsupported(name) => name,
    }
    .to_owned()
}

fn shares(split: &Split, rule: &Rule, question: &Question, head: &Head<'_>) -> Vec<ShareView> {
    let picks = split.picks.sums();
    let requests: u64 = picks.iter().sum();
    let weights: u64 = split.arms.iter().map(|arm| u64::from(arm.weight)).sum();
    let share = |(arm, picked): (&Arm, u64)| {
        let Told { backend, endpoints, answer, rollout } = target(arm, rule, question, head);
        ShareView {
            weight: arm.weight,
            target: f64::from(arm.weight) / weights as f64,
            picked,
            observed: (requests > 0).then(|| picked as f64 / requests as f64),
            requests,
            backend,
            filters: arm.filters.iter().map(filter_name).collect(),
            answer,
            rollout,
            endpoints,
        }
    };
    split.arms.iter().zip(picks).map(share).collect()
}

/// Who answers a share.
#[derive(Debug, Default)]
struct Told {
    backend: String,
    endpoints: Vec<EndpointView>,
    /// If the proxy itself gives it.
    answer: Option<String>,
    rollout: Option<RolloutView>,
}

fn target(arm: &Arm, rule: &Rule, question: &Question, head: &Head<'_>) -> Told {
    let error =
        |reason: Reason, why: &str| Some(format!("{} {}: {why}", reason.status().as_u16(), reason.as_str()));
    let service = || arm.series.key.service.to_string();
    match &arm.target {
        ArmTarget::Backend { backend, rollout, .. } => {
            let nobody = || {
                backend.endpoints.is_empty().then(|| error(Reason::NoReadyEndpoint, "no endpoint is ready"))
            };
            let (rollout, answer) = match rollout {
                Some(split) => {
                    let (view, answer) = RolloutView::of(split, backend, head);
                    (Some(view), answer)
                }
                None => (None, nobody().flatten()),
            };
            Told { backend: backend.name.to_string(), endpoints: endpoints(backend), answer, rollout }
        }
        ArmTarget::Invalid { reference, why } => Told {
            backend: reference.to_string(),
            answer: error(Reason::InvalidBackend, why.as_str()),
            ..Told::default()
        },
        ArmTarget::Redirect(redirect) => {
            let answer = match location(redirect, rule, question, head) {
                Some(location) => format!("{}, Location: {location}", redirect.status.as_u16()),
                None => format!("{}: the new location cannot be written", Reason::BadRequest.as_str()),
            };
            Told { backend: service(), answer: Some(answer), ..Told::default() }
        }
        ArmTarget::Reject(reason) => Told {
            backend: service(),
            answer: error(*reason, "it has a filter that is not supported yet"),
            ..Told::default()
        },
    }
}

fn endpoints(backend: &Backend) -> Vec<EndpointView> {
    let all = backend.written.endpoints.iter().zip(&backend.known);
    all.map(|(written, known)| EndpointView::of(written, known)).collect()
}
