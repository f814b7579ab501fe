//! Every limit of the data plane, with its unit and its reason.

use std::time::Duration;

/// Limits. The defaults are for a proxy that faces clients it does not know.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Client connections per worker; more wait in the kernel's accept queue. A connection costs about 25 KB while it is served,
    /// and 100 bytes while it is parked (what an allocator keeps for later comes on top).
    pub connections_per_worker: usize,
    /// Bytes of a request's head (line and headers); more is answered with 431. Also the size of the read buffer.
    pub head_bytes: usize,
    /// Headers in a request; more is answered with 431.
    pub headers: usize,
    /// Time for a complete head, from its first byte: a slow client must not hold a connection for free.
    pub head_timeout: Duration,
    /// How long a client's HTTP/1.1 connection is idle before it is parked: its buffers are freed, and making them again costs its
    /// next request some 50 us. Long enough that it is not noticed, short enough that most idle connections are parked.
    pub park_after: Duration,
    /// How long a client's connection may be idle between requests.
    pub idle_timeout: Duration,
    /// How long a client may send nothing while its request's body is awaited; then 408.
    pub body_stall: Duration,
    /// How long the body of a request with `Expect: 100-continue` is held back for an endpoint that says nothing. Some never
    /// do and wait for the body instead; as long as curl waits.
    pub continue_wait: Duration,
    /// How long a request goes on for a client that has closed its side of the connection. It may only have said that it will
    /// send nothing more and read the answer, or it may be gone: nobody can know before the answer is written.
    pub half_closed: Duration,
    /// How long an endpoint may send nothing while its response is awaited, where the rule has no timeout; then 504. Also how
    /// long a client may read nothing of a response that is ready.
    pub response_stall: Duration,
    /// Largest request body in bytes; `None` is no limit. More is answered with 413.
    pub request_body_bytes: Option<u64>,
    /// Concurrent streams on a client's HTTP/2 connection.
    pub streams_per_connection: u32,
    /// Time to connect to an endpoint: more than Linux waits before it repeats a lost SYN (1 s), and that once more (2 s).
    pub connect_timeout: Duration,
    /// Connections per endpoint and worker; more requests are answered with 503.
    pub upstream_connections: usize,
    /// Concurrent streams on a connection to an endpoint before another one is opened, if the endpoint allows that many.
    pub upstream_streams: usize,
    /// How long a connection to an endpoint may be idle. Shorter than common servers' own limits would cost reconnects, longer
    /// finds more connections closed; a request that may be repeated loses nothing by that.
    pub upstream_idle: Duration,
    /// A request that must not be repeated takes no connection that was idle for longer: the endpoint may be closing it (many
    /// servers do after 5 s).
    pub upstream_idle_unrepeatable: Duration,
    /// Age at which a connection to an endpoint is not used again, so that long-lived ones follow what changes below them.
    pub upstream_age: Duration,
    /// Endpoints tried for one request when connecting fails.
    pub connect_attempts: usize,
    /// Times that a request is sent again when it was provably not handled, or its reused connection was stale.
    pub send_attempts: usize,
    /// Bytes of a request body kept for sending again while an HTTP/2 endpoint may still refuse the stream.
    pub replay_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_worker: 32_768,
            head_bytes: 64 * 1024,
            headers: 100,
            head_timeout: Duration::from_secs(10),
            park_after: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            body_stall: Duration::from_secs(30),
            continue_wait: Duration::from_secs(1),
            half_closed: Duration::from_secs(3),
            response_stall: Duration::from_mins(5),
            request_body_bytes: None,
            streams_per_connection: 200,
            connect_timeout: Duration::from_secs(4),
            upstream_connections: 4_096,
            upstream_streams: 100,
            upstream_idle: Duration::from_secs(30),
            upstream_idle_unrepeatable: Duration::from_secs(3),
            upstream_age: Duration::from_mins(10),
            connect_attempts: 3,
            send_attempts: 3,
            replay_bytes: 64 * 1024,
        }
    }
}
