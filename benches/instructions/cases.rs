//! What is counted.

use crate::support::Outcome;
use crate::support::messages::Protocol;
use crate::{requests, tables};

/// One thing whose instructions are counted.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// How often it is done between the ends of the window.
    pub(crate) repeats: usize,
    pub(crate) thread: Thread,
    /// Prepares, warms up, and does it so often in [`window`](crate::callgrind::window).
    pub(crate) run: fn(usize) -> Outcome<()>,
}

/// Whose instructions count.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Thread {
    Main,
    /// All threads of the proxy; the main thread plays client and pod.
    Others,
}

/// A promise that one case takes hardly more than another.
pub(crate) struct Promise {
    pub(crate) name: &'static str,
    pub(crate) with: &'static str,
    pub(crate) without: &'static str,
    /// The most that it may take, as a multiple of what it takes without.
    pub(crate) most: f64,
}

pub(crate) const PROMISES: [Promise; 2] = [
    Promise {
        name: "a Rollout, HTTP/1.1",
        with: "get_http1_128B_under_rollout",
        without: "get_http1_128B",
        most: 1.03,
    },
    Promise {
        name: "a Rollout, HTTP/2",
        with: "get_http2_128B_under_rollout",
        without: "get_http2_128B",
        most: 1.03,
    },
];

/// What one case takes more than another.
pub(crate) struct Difference {
    pub(crate) name: &'static str,
    pub(crate) with: &'static str,
    pub(crate) without: &'static str,
}

const fn table(name: &'static str, repeats: usize, run: fn(usize) -> Outcome<()>) -> Case {
    Case { name, repeats, thread: Thread::Main, run }
}

const fn request(name: &'static str, repeats: usize, run: fn(usize) -> Outcome<()>) -> Case {
    Case { name, repeats, thread: Thread::Others, run }
}

pub(crate) const CASES: [Case; 13] = [
    table("route_1000_routes", 8 * 1024, tables::route),
    table("pick", 8 * 1024, tables::pick),
    table("route_and_pick_1000_routes", 8 * 1024, tables::route_and_pick),
    table("compile_edit_1000_routes", 10, tables::compile_edit),
    table("swap_and_load", 4 * 1024, tables::swap_and_load),
    table("count_a_finished_request", 8 * 1024, tables::count),
    request("get_http1_128B", 1000, |repeats| requests::get(Protocol::Http1, false, repeats)),
    request("get_http1_128B_with_header_filters", 1000, |repeats| {
        requests::get(Protocol::Http1, true, repeats)
    }),
    request("get_http1_128B_under_rollout", 1000, |repeats| {
        requests::get_under_rollout(Protocol::Http1, repeats)
    }),
    request("post_http1_10kB", 500, |repeats| requests::post(Protocol::Http1, repeats)),
    request("get_http2_128B", 1000, |repeats| requests::get(Protocol::Http2, false, repeats)),
    request("get_http2_128B_under_rollout", 1000, |repeats| {
        requests::get_under_rollout(Protocol::Http2, repeats)
    }),
    request("post_http2_10kB", 500, |repeats| requests::post(Protocol::Http2, repeats)),
];

pub(crate) const DIFFERENCES: [Difference; 1] = [Difference {
    name: "rewrite_headers",
    with: "get_http1_128B_with_header_filters",
    without: "get_http1_128B",
}];
