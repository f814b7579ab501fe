//! One request's line in the books: counted exactly once, whichever way it ends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use watershed_config::snapshot::Generation;

use crate::connection::ConnState;
use crate::endpoint::Endpoint;
use crate::reason::Reason;
use crate::request_log::LogLine;
use crate::rollouts::{Ending, Stake};
use crate::table::{RevisionSplit, Rule};
use crate::telemetry::cells::{CodeClass, Series};
use crate::worker::Worker;

/// What is known of a request so far. Dropping it counts the request and gives back its place at the endpoint.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    conn: Rc<ConnState>,
    started: Instant,
    series: Option<Arc<Series>>,
    rule: Option<Arc<Rule>>,
    endpoint: Option<Arc<Endpoint>>,
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
    pub(crate) request_id: Option<HeaderValue>,
}

impl Record {
    pub(crate) fn new(worker: Rc<Worker>, conn: Rc<ConnState>, facts: Facts) -> Self {
        conn.begin_request();
        Self {
            worker,
            conn,
            started: Instant::now(),
            series: None,
            rule: None,
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

    pub(crate) fn set_rule(&mut self, rule: Arc<Rule>) {
        self.series = Some(Arc::clone(&rule.series));
        self.rule = Some(rule);
    }

    /// Under which labels the request is counted.
    pub(crate) fn set_series(&mut self, series: Arc<Series>) {
        self.series = Some(series);
    }

    pub(crate) fn set_request_id(&mut self, id: HeaderValue) {
        self.facts.request_id = Some(id);
    }

    pub(crate) fn conn(&self) -> &ConnState {
        &self.conn
    }

    pub(crate) fn request_id(&self) -> Option<&HeaderValue> {
        self.facts.request_id.as_ref()
    }

    /// Takes a place at an endpoint, giving back the one before.
    pub(crate) fn set_endpoint(&mut self, endpoint: &Arc<Endpoint>) {
        self.leave_endpoint();
        endpoint.begin(self.worker.index);
        self.endpoint = Some(Arc::clone(endpoint));
    }

    fn leave_endpoint(&mut self) {
        if let Some(before) = self.endpoint.take() {
            before.end(self.worker.index);
        }
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
        if let Some(split) = self.split_of(stake) {
            stake.issue_cookie(split, answer);
        }
    }

    /// The connection has become a tunnel, whose length says nothing about the endpoint.
    pub(crate) fn settle(&mut self) {
        let duration = self.started.elapsed();
        if let Some(mut stake) = self.stake
            && let Some(split) = self.split_of(&stake)
        {
            stake.settle(split, self.worker.index, duration);
            self.stake = Some(stake);
        }
    }

    fn split_of(&self, stake: &Stake) -> Option<&RevisionSplit> {
        self.rule.as_ref()?.rollout(stake.arm as usize).map(Arc::as_ref)
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
            series: self.series.as_deref().map(|series| &series.key),
            endpoint: self.endpoint.as_deref(),
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
        let series = self.series.as_ref().unwrap_or(&self.worker.shared.unrouted);
        let duration = self.started.elapsed();
        series.cells(self.worker.index).record(class, self.reason, duration);
        if let Some(stake) = self.stake.take()
            && let Some(split) = self.split_of(&stake)
        {
            let Self { status, reason, .. } = *self;
            stake.end(split, self.worker.index, Ending { status, reason, duration });
        }
        self.worker.log.request(&self.worker, || self.line(), self.status, self.reason);
        self.leave_endpoint();
        self.conn.end_request();
    }
}
