//! One request's line in the books: counted exactly once, whichever way it ends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use watershed_config::snapshot::Generation;

use crate::connection::ConnState;
use crate::endpoint::Endpoint;
use crate::headers::RequestId;
use crate::reason::Reason;
use crate::request_log::LogLine;
use crate::rollouts::{Ending, Stake};
use crate::table::{Arm, RevisionSplit, Rule};
use crate::telemetry::cells::{CodeClass, Series};
use crate::worker::Worker;

/// What is known of a request so far. Dropping it counts the request and gives back its place at the endpoint.
///
/// Of the table it holds the rule alone (or, without one, a series), and the rest by index: each reference to what workers share costs two atomic
/// operations per request.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    conn: Rc<ConnState>,
    started: Instant,
    /// Where it is counted if no rule was found.
    unmatched: Option<Arc<Series>>,
    rule: Option<Arc<Rule>>,
    /// Index of the rule's arm.
    arm: Option<usize>,
    /// Index of the revision in the arm's backend.
    revision: Option<u16>,
    /// Index of the endpoint there, at which the request has a place.
    endpoint: Option<usize>,
    status: Option<StatusCode>,
    reason: Option<Reason>,
    facts: Facts,
    bytes: u64,
    retries: u8,
    generation: Generation,
    /// Its part in a Rollout, if one decided about it.
    stake: Option<Stake>,
}

/// What of the head is kept for the log. Cheap to keep: methods are inline, the rest shares the head's own buffer.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) request_id: Option<RequestId>,
}

impl Record {
    pub(crate) fn new(worker: Rc<Worker>, conn: Rc<ConnState>, facts: Facts) -> Self {
        conn.begin_request();
        Self {
            worker,
            conn,
            started: Instant::now(),
            unmatched: None,
            rule: None,
            arm: None,
            revision: None,
            endpoint: None,
            status: None,
            reason: None,
            facts,
            bytes: 0,
            retries: 0,
            generation: Generation(0),
            stake: None,
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn set_generation(&mut self, generation: Generation) {
        self.generation = generation;
    }

    /// No rule is for the request; where that is counted.
    pub(crate) fn set_unmatched(&mut self, series: Arc<Series>) {
        self.unmatched = Some(series);
    }

    pub(crate) fn set_rule(&mut self, rule: Arc<Rule>) {
        self.rule = Some(rule);
    }

    /// The share of the rule that it belongs to.
    pub(crate) fn set_arm(&mut self, arm: usize) {
        self.arm = Some(arm);
    }

    /// The revision that is to answer, whether or not one of its endpoints can be asked.
    pub(crate) fn set_revision(&mut self, revision: u16) {
        self.revision = Some(revision);
    }

    fn arm(&self) -> Option<&Arm> {
        self.rule.as_ref()?.arm(self.arm?)
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        let (endpoint, _) = self.arm()?.backend()?.endpoints.get(self.endpoint?)?;
        Some(endpoint)
    }

    /// Under which labels the request is counted, if it came as far as having some; `arm` is its own.
    fn series<'a>(&'a self, arm: Option<&'a Arm>) -> Option<&'a Series> {
        match (arm, &self.rule) {
            (Some(arm), _) => Some(arm.series_of(self.revision)),
            (None, Some(rule)) => Some(&rule.series),
            (None, None) => self.unmatched.as_deref(),
        }
    }

    pub(crate) fn set_request_id(&mut self, id: RequestId) {
        self.facts.request_id = Some(id);
    }

    pub(crate) fn conn(&self) -> &Rc<ConnState> {
        &self.conn
    }

    pub(crate) fn request_id(&self) -> Option<&RequestId> {
        self.facts.request_id.as_ref()
    }

    /// The request's `Host` header.
    pub(crate) fn host(&self) -> Option<&HeaderValue> {
        self.facts.host.as_ref()
    }

    /// Takes a place at an endpoint of the arm's backend, giving back the one before.
    pub(crate) fn set_endpoint(&mut self, endpoint: usize) {
        self.leave_endpoint();
        self.endpoint = Some(endpoint);
        if let Some(endpoint) = self.endpoint() {
            endpoint.begin(self.worker.index);
        }
    }

    fn leave_endpoint(&mut self) {
        if let Some(before) = self.endpoint() {
            before.end(self.worker.index);
        }
        self.endpoint = None;
    }

    /// What was decided by a Rollout of the rule.
    pub(crate) fn set_stake(&mut self, stake: Option<Stake>) {
        self.stake = stake;
    }

    /// An attempt failed because of the endpoint, and is made up for by another one.
    pub(crate) fn blame_endpoint(&mut self) {
        if let Some(stake) = &mut self.stake {
            stake.fail();
        }
    }

    /// Adds what a Rollout wants the user to be known by to the answer of a pod.
    #[inline] // Most requests have no stake, and only that is to be seen.
    pub(crate) fn issue_cookie(&self, answer: &mut HeaderMap) {
        if let Some(stake) = &self.stake {
            self.issue_cookie_of(stake, answer);
        }
    }

    #[inline(never)]
    fn issue_cookie_of(&self, stake: &Stake, answer: &mut HeaderMap) {
        if let Some(split) = self.rollout() {
            stake.issue_cookie(split, answer);
        }
    }

    /// The connection has become a tunnel, whose length says nothing about the endpoint.
    pub(crate) fn settle(&mut self) {
        let duration = self.started.elapsed();
        if let Some(mut stake) = self.stake
            && let Some(split) = self.rollout()
        {
            stake.settle(split, self.worker.index, duration);
            self.stake = Some(stake);
        }
    }

    fn rollout(&self) -> Option<&RevisionSplit> {
        self.arm()?.rollout().map(Arc::as_ref)
    }

    pub(crate) fn add_retry(&mut self) {
        self.retries = self.retries.saturating_add(1);
    }

    pub(crate) fn set_status(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The first thing that went wrong is the reason.
    pub(crate) fn fail(&mut self, reason: Reason) {
        self.reason.get_or_insert(reason);
    }

    /// Nobody waits for the rest of the response any more.
    pub(crate) fn abandon(&mut self) {
        self.fail(self.worker.why_abandoned());
    }

    /// The client's connection cannot be used after this response: the request's body was not read to its end.
    pub(crate) fn make_last(&self) {
        self.conn.make_last();
    }

    pub(crate) fn add_bytes(&mut self, count: usize) {
        self.bytes += count as u64;
    }

    fn line(&self) -> LogLine<'_> {
        LogLine {
            facts: &self.facts,
            client: self.conn.peer,
            status: self.status,
            reason: self.reason,
            rule: self.rule.as_deref(),
            series: self.series(self.arm()).map(|series| &series.key),
            endpoint: self.endpoint(),
            generation: self.generation,
            retries: self.retries,
            bytes: self.bytes,
            duration: self.started.elapsed(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.status.is_none() && self.reason.is_none() {
            if std::thread::panicking() {
                self.fail(Reason::Internal);
                self.status = Some(Reason::Internal.status());
            } else {
                // The handler was dropped before it had an answer: hyper does that when the client is gone.
                self.abandon();
                self.conn.give_up();
            }
        }
        let class = self.status.map_or(CodeClass::None, CodeClass::of);
        let arm = self.arm();
        let series = self.series(arm).unwrap_or(&self.worker.shared.unrouted);
        let duration = self.started.elapsed();
        series.cells(self.worker.index).record(class, self.reason, duration);
        if let Some(stake) = self.stake
            && let Some(split) = arm.and_then(Arm::rollout)
        {
            let Self { status, reason, .. } = *self;
            stake.end(split, self.worker.index, Ending { status, reason, duration });
        }
        self.worker.log.request(&self.worker, || self.line(), self.status, self.reason);
        self.leave_endpoint();
        self.conn.end_request();
    }
}
