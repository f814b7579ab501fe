//! Carries traffic.
//!
//! The life of a request: [`listener`] accepts its connection on one of the workers; [`connection`] tells HTTP/1.1 from HTTP/2
//! and lets hyper parse the head; [`request`] looks up the rule in the current [`table`], once, and draws a ticket from the
//! rule's [`split`]; [`forward`] makes the message ready for the next hop and chooses the least loaded ready endpoint of the arm
//! that owns the ticket (where a Rollout divides the arm, a second ticket or the [`sticky`] key of a user picks the revision
//! first); [`upstream`] exchanges it on a pooled connection; the response's [`body`] streams back at the pace of
//! the slower side; and when its last byte has gone, or whatever else ended it, its [`record`] counts and logs it, exactly once.
//! Where no pod can answer, [`respond`] does, with one of the [`reason`]s.
//!
//! The owner ([`Proxy`]) lives on the control thread: it compiles snapshots, binds addresses and publishes tables. What workers
//! count for [`rollouts`] goes back through its [`Observer`].
//!
//! Deliberately absent: manifests, Kubernetes, and what a rollout does next. All that is known here is a
//! [`Snapshot`](watershed_config::snapshot::Snapshot), and nothing in it can be invalid.

mod body;
mod coarse;
mod connection;
mod endpoint;
mod forward;
mod headers;
mod io;
mod limits;
mod listener;
mod proxy;
mod reason;
mod record;
mod request;
mod request_log;
mod respond;
mod rewrite;
pub mod rollouts;
mod socket;
pub mod split;
pub mod sticky;
pub mod table;
pub mod telemetry;
mod tunnel;
mod upstream;
mod worker;

/// The pure parts of the HTTP/1.1 codec for endpoints. Public for its fuzz targets and differential tests only.
#[doc(hidden)]
pub mod codec {
    pub use crate::upstream::http1::chunks::{Chunks, Piece};
    pub use crate::upstream::http1::framing::{Framing, Malformed, content_length};
    pub use crate::upstream::http1::request_head::write as write_request_head;
    pub use crate::upstream::http1::response_head::{Found, Head, parse as parse_response_head};
}

pub use endpoint::Endpoint;
pub use limits::Limits;
pub use listener::{BindError, holder_suffix};
pub use proxy::{Drained, Proxy, Settings};
pub use reason::Reason;
pub use respond::REASON_HEADER;
pub use rollouts::Observer;
pub use worker::Marks;
