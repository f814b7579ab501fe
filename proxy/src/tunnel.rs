//! Upgraded connections (WebSocket): bytes both ways until one side is done.
//!
//! A tunnel may live for days. It holds its record, hence its rule and with that its endpoint, but no table.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

use crate::io::Io;
use crate::record::Record;
use crate::worker::Worker;

/// Bytes buffered in each direction.
const BUFFER: usize = 16 * 1024;
/// A peer that has vanished without a word is noticed after about this long, doubled by the kernel's own tries.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_mins(1);

/// Starts the tunnel as soon as the client's side has switched; the endpoint's has, and this much was read from it.
pub(crate) fn spawn(
    worker: &Rc<Worker>,
    client: OnUpgrade,
    endpoint: (TcpStream, Bytes),
    record: Box<Record>,
) {
    // Counted before the connection that it comes from is no longer: who waits for the last one must not miss it.
    let open = Open::new(worker);
    tokio::task::spawn_local(async move {
        let mut running = Running { record, ended: false };
        if let Err(error) = run(client, endpoint).await {
            tracing::debug!(%error, "tunnel broke off");
        }
        running.ended = true;
        drop((running, open));
    });
}

/// A tunnel's record, which says so if something else ended it than its two sides.
struct Running {
    record: Box<Record>,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.record.abandon();
        }
    }
}

/// Counts a tunnel, so that draining waits for it.
struct Open(Rc<Worker>);

impl Open {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.cells().upgrades.add(1);
        worker.shared.open.fetch_add(1, Relaxed);
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.cells().upgrades_ended.add(1);
        self.0.shared.open.fetch_sub(1, Relaxed);
    }
}

async fn run(client: OnUpgrade, endpoint: (TcpStream, Bytes)) -> io::Result<()> {
    let (mut endpoint, from_endpoint) = endpoint;
    keep_alive(&endpoint)?;
    let (mut client, from_client) = parts(client.await.map_err(io::Error::other)?)?;
    keep_alive(&client)?;
    endpoint.write_all(&from_client).await?;
    client.write_all(&from_endpoint).await?;
    copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER, BUFFER).await?;
    Ok(())
}

/// The socket under an upgraded connection, and what was read from it ahead.
fn parts(upgraded: Upgraded) -> io::Result<(TcpStream, Vec<u8>)> {
    let parts = upgraded.downcast::<Io>().map_err(|_| io::Error::other("not a connection of ours"))?;
    let (stream, ahead) = parts.io.into_parts();
    let mut read = parts.read_buf.to_vec();
    read.extend(ahead);
    Ok((stream, read))
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keep_alive)
}
