//! Opening connections, and remembering endpoints that refuse them.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::TcpStream;

use super::pool::Pool;
use crate::endpoint::Endpoint;
use crate::reason::Reason;
use crate::worker::Worker;

/// Waits between two looks at an endpoint that refused a connection: at first, and at most.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// Opens a TCP connection to the pool's endpoint within the limits. The caller has counted it as open.
pub(super) async fn connect(worker: &Rc<Worker>, pool: &Rc<Pool>) -> Result<TcpStream, Reason> {
    let limits = &worker.shared.limits;
    if pool.open() > limits.upstream_connections {
        return Err(Reason::Overloaded);
    }
    let attempt = TcpStream::connect(pool.endpoint.id.address);
    let result = match tokio::time::timeout(limits.connect_timeout, attempt).await {
        Ok(result) => result,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    };
    match result {
        Ok(stream) => {
            // Nagle's algorithm would hold back the tail of a request for a delayed acknowledgement.
            let _ = stream.set_nodelay(true);
            worker.cells().upstream_connects.add(1);
            pool.endpoint.accept();
            Ok(stream)
        }
        Err(error) => {
            worker.cells().upstream_connect_failures.add(1);
            note_failure(&pool.endpoint, &error);
            Err(Reason::ConnectFailed)
        }
    }
}

/// An endpoint that cannot be reached gets no requests until a connection to it succeeds.
fn note_failure(endpoint: &Arc<Endpoint>, error: &io::Error) {
    // A timeout may be one lost packet of an endpoint under load; taking it out would load the others more.
    if error.kind() == io::ErrorKind::TimedOut || is_ours(error) || !endpoint.refuse() {
        return;
    }
    tracing::warn!(endpoint = %endpoint.id.address, uid = %endpoint.id.uid, %error, "endpoint cannot be connected to");
    tokio::task::spawn_local(look_again(Arc::downgrade(endpoint)));
}

/// Failures that say nothing about the endpoint: no file descriptors, no local ports, no memory.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    ours.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Tries to connect until it works or nobody knows the endpoint any more.
async fn look_again(endpoint: Weak<Endpoint>) {
    let mut wait = LOOK_AGAIN;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK_AGAIN_MAX);
        let Some(endpoint) = endpoint.upgrade() else { return };
        if !endpoint.is_refused() {
            return;
        }
        let attempt = TcpStream::connect(endpoint.id.address);
        if let Ok(Ok(_)) = tokio::time::timeout(LOOK_AGAIN_MAX, attempt).await {
            endpoint.accept();
            tracing::info!(endpoint = %endpoint.id.address, uid = %endpoint.id.uid, "endpoint accepts connections again");
            return;
        }
    }
}
