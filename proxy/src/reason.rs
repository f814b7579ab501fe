//! Why a request was not answered by a pod, or not to its end, in one word.
//!
//! The same word stands in the answer's body, in its `watershed-reason` header, in the metric label `reason` and in the log,
//! so that a search for one finds the others.

use http::StatusCode;

/// Every reason there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The head is HTTP but makes no sense to a proxy: no or two `Host`s, a host that is none, `CONNECT`.
    BadRequest,
    /// A transfer coding other than `chunked`, which would have to be undone before the body could be forwarded.
    UnsupportedTransferEncoding,
    /// No listener or route matches the host and request.
    NoRoute,
    /// The client stopped sending the request's body.
    RequestBodyTimeout,
    /// The body is larger than `--max-request-body`.
    BodyTooLarge,
    /// A bug: a request handler panicked.
    Internal,
    /// The rule has no backends.
    NoBackend,
    /// The chosen backend's reference cannot be followed.
    InvalidBackend,
    /// All of the rule's weights are zero.
    ZeroWeights,
    /// The rule has a filter that is not supported, without which the request must not be sent on.
    UnsupportedFilter,
    /// The chosen backend has no ready endpoint.
    NoReadyEndpoint,
    /// The Rollout's stable revision, whose share this is, has no ready endpoint.
    StableUnavailable,
    /// The revision that a Rollout's header or preview route leads to has no ready endpoint.
    RevisionUnavailable,
    /// No endpoint that was tried could be connected to.
    ConnectFailed,
    /// As many connections or requests to the endpoint as are allowed.
    Overloaded,
    /// The endpoint closed the connection before the head of its response was complete.
    UpstreamClosed,
    /// The endpoint's response is not valid HTTP.
    UpstreamProtocol,
    /// The endpoint reset the stream.
    UpstreamReset,
    /// A reused connection was closed while a request that must not be repeated was being written: whether the pod handled
    /// it cannot be known.
    ClosedWhileSending,
    /// The rule's `timeouts.request` ran out.
    RequestTimeout,
    /// The rule's `timeouts.backendRequest` ran out.
    BackendTimeout,
    /// Nothing came from the endpoint for longer than the stall limit.
    UpstreamStalled,
    /// The endpoint broke off in the middle of its response's body: the client saw it end early.
    UpstreamTruncated,
    /// The client went away before the response was complete.
    ClientAborted,
    /// The drain deadline cut the request.
    DrainDeadline,
    /// Refused by the HTTP library: the head does not parse.
    MalformedRequest,
    /// Refused by the HTTP library: the head is larger than the limit.
    HeadTooLarge,
    /// Refused by the HTTP library: the request target is larger than the limit.
    UriTooLong,
    /// The head did not arrive in time: the connection was closed.
    HeadTimeout,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 29] = [
        Self::BadRequest,
        Self::UnsupportedTransferEncoding,
        Self::NoRoute,
        Self::RequestBodyTimeout,
        Self::BodyTooLarge,
        Self::Internal,
        Self::NoBackend,
        Self::InvalidBackend,
        Self::ZeroWeights,
        Self::UnsupportedFilter,
        Self::NoReadyEndpoint,
        Self::StableUnavailable,
        Self::RevisionUnavailable,
        Self::ConnectFailed,
        Self::Overloaded,
        Self::UpstreamClosed,
        Self::UpstreamProtocol,
        Self::UpstreamReset,
        Self::ClosedWhileSending,
        Self::RequestTimeout,
        Self::BackendTimeout,
        Self::UpstreamStalled,
        Self::UpstreamTruncated,
        Self::ClientAborted,
        Self::DrainDeadline,
        Self::MalformedRequest,
        Self::HeadTooLarge,
        Self::UriTooLong,
        Self::HeadTimeout,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnsupportedTransferEncoding => "unsupported_transfer_encoding",
            Self::NoRoute => "no_route",
            Self::RequestBodyTimeout => "request_body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::Internal => "internal",
            Self::NoBackend => "no_backend",
            Self::InvalidBackend => "invalid_backend",
            Self::ZeroWeights => "zero_weights",
            Self::UnsupportedFilter => "unsupported_filter",
            Self::NoReadyEndpoint => "no_ready_endpoint",
            Self::StableUnavailable => "stable_unavailable",
            Self::RevisionUnavailable => "revision_unavailable",
            Self::ConnectFailed => "connect_failed",
            Self::Overloaded => "overloaded",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::UpstreamReset => "upstream_reset",
            Self::ClosedWhileSending => "closed_while_sending",
            Self::RequestTimeout => "request_timeout",
            Self::BackendTimeout => "backend_timeout",
            Self::UpstreamStalled => "upstream_stalled",
            Self::UpstreamTruncated => "upstream_truncated",
            Self::ClientAborted => "client_aborted",
            Self::DrainDeadline => "drain_deadline",
            Self::MalformedRequest => "malformed_request",
            Self::HeadTooLarge => "head_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::HeadTimeout => "head_timeout",
        }
    }

    /// Whether the pods that should have answered are the reason: they were not there, broke off, or were too slow.
    pub fn blames_upstream(self) -> bool {
        match self {
            Self::NoReadyEndpoint
            | Self::StableUnavailable
            | Self::RevisionUnavailable
            | Self::ConnectFailed
            | Self::Overloaded
            | Self::UpstreamClosed
            | Self::UpstreamProtocol
            | Self::UpstreamReset
            | Self::ClosedWhileSending
            | Self::RequestTimeout
            | Self::BackendTimeout
            | Self::UpstreamStalled
            | Self::UpstreamTruncated => true,
            Self::BadRequest
            | Self::UnsupportedTransferEncoding
            | Self::NoRoute
            | Self::RequestBodyTimeout
            | Self::BodyTooLarge
            | Self::Internal
            | Self::NoBackend
            | Self::InvalidBackend
            | Self::ZeroWeights
            | Self::UnsupportedFilter
            | Self::ClientAborted
            | Self::DrainDeadline
            | Self::MalformedRequest
            | Self::HeadTooLarge
            | Self::UriTooLong
            | Self::HeadTimeout => false,
        }
    }

    /// The status of the answer that we make for it; for what cannot be answered any more, the one it would have had.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::MalformedRequest | Self::UnsupportedTransferEncoding => {
                StatusCode::BAD_REQUEST
            }
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::RequestBodyTimeout | Self::HeadTimeout | Self::ClientAborted => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::Internal
            | Self::NoBackend
            | Self::InvalidBackend
            | Self::ZeroWeights
            | Self::UnsupportedFilter => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoReadyEndpoint
            | Self::StableUnavailable
            | Self::RevisionUnavailable
            | Self::ConnectFailed
            | Self::Overloaded
            | Self::DrainDeadline => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamClosed
            | Self::UpstreamProtocol
            | Self::UpstreamReset
            | Self::UpstreamTruncated
            | Self::ClosedWhileSending => StatusCode::BAD_GATEWAY,
            Self::RequestTimeout | Self::BackendTimeout | Self::UpstreamStalled => {
                StatusCode::GATEWAY_TIMEOUT
            }
        }
    }
}
