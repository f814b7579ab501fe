//! Whole requests through the real data plane with one worker: listener, runtime, both connections, routing, split, counting.

use http::{HeaderName, HeaderValue};
use watershed_config::model::{Filter, HeaderEdits};
use watershed_proxy::{Limits, Marks, Proxy, Settings};

use crate::callgrind::window;
use crate::lockstep::Lockstep;
use crate::routes::{Routes, address};
use crate::support::messages::{Exchange, Protocol};
use crate::support::{Outcome, during};

const ROUTES: usize = 100;
/// Bytes of a small answer, and of a body.
const SMALL: usize = 128;
const BODY: usize = 10_000;
/// Before the window: every connection is open and every route has its counters.
const WARM_UP: usize = 2 * ROUTES;

/// GETs that are answered with 128 bytes; with `filters` each message has headers set, added and removed.
pub(crate) fn get(protocol: Protocol, filters: bool, repeats: usize) -> Outcome<()> {
    measure(Exchange { protocol, upload: 0, answer: SMALL, routes: ROUTES }, filters, false, repeats)
}

/// The same GETs where the shares are those of two revisions of a Service under a Rollout.
pub(crate) fn get_under_rollout(protocol: Protocol, repeats: usize) -> Outcome<()> {
    measure(Exchange { protocol, upload: 0, answer: SMALL, routes: ROUTES }, false, true, repeats)
}

/// POSTs of 10 kB that are answered with 128 bytes.
pub(crate) fn post(protocol: Protocol, repeats: usize) -> Outcome<()> {
    measure(Exchange { protocol, upload: BODY, answer: SMALL, routes: ROUTES }, false, false, repeats)
}

fn measure(exchange: Exchange, filters: bool, by_rollout: bool, repeats: usize) -> Outcome<()> {
    let settings =
        Settings { workers: 1, limits: Limits::default(), marks: Marks::default(), access_log: false };
    let mut proxy = during("starting the worker", Proxy::start(&settings))?;
    let mut lockstep = Lockstep::open(exchange)?;
    // All pods are one listener: identities, pools and picks are theirs, the work of answering is not.
    let port = lockstep.pod_port()?;
    let filters = if filters { header_filters() } else { Vec::new() };
    let protocol = exchange.protocol;
    let routes =
        Routes { count: ROUTES, weights: [90, 10], ports: [port, port], protocol, filters, by_rollout };
    let snapshot = routes.snapshot(1);
    if let Some(error) = proxy.apply(&snapshot).first() {
        return Err(error.to_string());
    }
    lockstep.connect(proxy.bound(address()).ok_or("the proxy does not listen")?)?;
    (0..WARM_UP).try_for_each(|turn| lockstep.exchange(turn))?;
    window(&mut || (0..repeats).try_for_each(|turn| lockstep.exchange(turn)))
}

fn header_filters() -> Vec<Filter> {
    let (request, response) = (edits("user-agent", "accept"), edits("content-type", "date"));
    vec![Filter::RequestHeaders(request), Filter::ResponseHeaders(response)]
}

/// One of each: replaces a header that is there, adds one, removes one that is there and one that is not.
fn edits(there: &'static str, gone: &'static str) -> HeaderEdits {
    let header = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    HeaderEdits {
        set: vec![header(there, "watershed"), header("x-environment", "canary")],
        add: vec![header("x-team", "shop")],
        remove: vec![HeaderName::from_static(gone), HeaderName::from_static("x-internal")],
    }
}
