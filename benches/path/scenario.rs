//! What is sent.

use crate::support::messages::{Exchange, Protocol, ROUTES};

/// One kind of traffic.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) exchange: Exchange,
    pub(crate) connections: usize,
    /// Requests that a connection has open at once.
    pub(crate) depth: usize,
    /// Whether each request has a connection of its own.
    pub(crate) fresh: bool,
    /// Requests for one measurement of CPU time, about half a second of them.
    pub(crate) requests: usize,
    /// Requests per second while latency is measured, about a tenth of what the path can carry; 0 measures none.
    pub(crate) rate: usize,
}

impl Scenario {
    const fn http1(name: &'static str, upload: usize, answer: usize) -> Self {
        let exchange = Exchange { protocol: Protocol::Http1, upload, answer, routes: ROUTES };
        Self { name, exchange, connections: 64, depth: 1, fresh: false, requests: 40_000, rate: 8_000 }
    }
}

/// All of them. The first two are what a quick run looks at.
pub(crate) const SCENARIOS: [Scenario; 5] = [
    Scenario::http1("http1-128B", 0, 128),
    Scenario {
        connections: 4,
        depth: 32,
        requests: 60_000,
        exchange: Exchange { protocol: Protocol::Http2, upload: 0, answer: 128, routes: ROUTES },
        ..Scenario::http1("http2-128B", 0, 128)
    },
    Scenario { requests: 30_000, ..Scenario::http1("http1-10kB", 0, 10_000) },
    Scenario { requests: 30_000, ..Scenario::http1("http1-post-10kB", 10_000, 128) },
    Scenario {
        fresh: true,
        connections: 32,
        requests: 10_000,
        rate: 0,
        ..Scenario::http1("http1-new-connection", 0, 128)
    },
];
