//! Binding addresses and accepting connections.
//!
//! Every worker has a socket of its own for each address (`SO_REUSEPORT`), so that the kernel spreads connections and no
//! worker waits for another. The price of that option is that a second process could silently take half of the traffic;
//! therefore each address is first bound without it, which fails if anybody else listens there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;
use watershed_config::snapshot::BindAddress;

use crate::connection;
use crate::worker::Worker;

/// Connections that the kernel queues per socket; capped by `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;
/// Pause when file descriptors have run out: long enough not to spin, short enough not to be noticed.
const OUT_OF_FILES_PAUSE: Duration = Duration::from_millis(100);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", suffix(holder.as_deref()))]
pub struct BindError {
    /// The address.
    pub address: BindAddress,
    /// Why not.
    pub source: io::Error,
    /// The process that holds it, where that can be known.
    pub holder: Option<String>,
}

/// Binds an address once for each worker. Port 0 becomes the same free port for all.
///
/// `taken_by_us` says that this process listens on an overlapping address already, so that the look for others must be left
/// out: it would find ourselves.
pub(crate) fn bind(
    address: BindAddress,
    workers: usize,
    taken_by_us: bool,
) -> Result<Vec<TcpListener>, BindError> {
    let fail = |source: io::Error| {
        let holder = (source.kind() == io::ErrorKind::AddrInUse).then(|| holder_of(address.port)).flatten();
        BindError { address, source, holder }
    };
    let mut exact = None;
    for candidate in candidates(address) {
        match probe(candidate, taken_by_us) {
            Ok(bound) => {
                exact = Some(bound);
                break;
            }
            // A machine without IPv6.
            Err(error)
                if address.ip.is_none()
                    && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {}
            Err(error) => return Err(fail(error)),
        }
    }
    let exact = exact.ok_or_else(|| fail(io::ErrorKind::AddrNotAvailable.into()))?;
    (0..workers).map(|_| listen(exact, true).map(TcpListener::from)).collect::<io::Result<_>>().map_err(fail)
}

/// All addresses means IPv6 with IPv4 mapped into it; IPv4 alone where there is no IPv6.
fn candidates(address: BindAddress) -> Vec<SocketAddr> {
    match address.ip {
        Some(ip) => vec![SocketAddr::new(ip, address.port)],
        None => [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)]
            .map(|ip| SocketAddr::new(ip, address.port))
            .to_vec(),
    }
}

/// Finds out whether anybody else listens there, and which port 0 becomes.
fn probe(address: SocketAddr, taken_by_us: bool) -> io::Result<SocketAddr> {
    if taken_by_us && address.port() != 0 {
        return Ok(address);
    }
    let socket = listen(address, false)?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Allows binding while connections of an earlier process linger in TIME_WAIT; two listeners still collide.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Inherited by what is accepted, which saves a call for each connection. Nagle's algorithm would hold back the tail of a
    // response for a delayed acknowledgement.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// ` (held by NAME (pid N))` for a port that somebody listens on, where that can be known; else nothing.
pub fn holder_suffix(port: u16) -> String {
    suffix(holder_of(port).as_deref())
}

fn suffix(holder: Option<&str>) -> String {
    holder.map(|holder| format!(" (held by {holder})")).unwrap_or_default()
}

/// The process that listens on a port, as `name (pid N)`: from /proc, so only on Linux and only for processes that we may see.
fn holder_of(port: u16) -> Option<String> {
    let inodes: Vec<String> =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().flat_map(|table| listening_inodes(table, port)).collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find_map(|pid| {
        let mut files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let holds = files.any(|file| {
            let target = std::fs::read_link(file.path()).unwrap_or_default();
            wanted.iter().any(|socket| target.as_os_str() == socket.as_str())
        });
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        holds.then(|| format!("{} (pid {pid})", name.trim()))
    })
}

/// Inodes of sockets in state LISTEN (0A) on this port, from a /proc/net/tcp table.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let port = format!(":{port:04X}");
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&port) && *fields.get(3)? == "0A";
            listens.then(|| fields.get(9).map(ToString::to_string)).flatten()
        })
        .collect()
}

/// Accepts connections until told to close; then accepts what is queued and closes.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    slot: usize,
    listener: TcpListener,
    mut closed: oneshot::Receiver<oneshot::Sender<()>>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "listener cannot be registered");
            return;
        }
    };
    loop {
        tokio::select! {
            biased;
            done = &mut closed => {
                accept_queued(&worker, slot, listener);
                // The one who waits may have given up.
                let _ = done.map(|done| done.send(()));
                return;
            }
            accepted = listener.accept(), if worker.places.has_room() => match accepted {
                Ok((stream, peer)) => connection::serve(&worker, stream, peer, slot),
                Err(error) => pause_after(&worker, &error).await,
            },
            () = worker.places.freed(), if !worker.places.has_room() => {}
        }
    }
}

/// Closing a listening socket resets the connections that wait in its queue; so they are taken first.
fn accept_queued(worker: &Rc<Worker>, slot: usize, listener: tokio::net::TcpListener) {
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            connection::serve(worker, stream, peer, slot);
        }
    }
}

/// A connection that was reset while it was queued is nobody's trouble; no file descriptors are everybody's, and accepting
/// again at once would only spin.
async fn pause_after(worker: &Worker, error: &io::Error) {
    let out_of_files = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    if out_of_files.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
        if worker.cells().accept_paused.value().is_multiple_of(100) {
            tracing::error!(%error, "accepting pauses: raise the limit of open files (ulimit -n)");
        }
        worker.cells().accept_paused.add(1);
        tokio::time::sleep(OUT_OF_FILES_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_sends_without_delay() {
        let listener = TcpListener::from(listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true).unwrap());
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        assert!(listener.accept().unwrap().0.nodelay().unwrap());
    }
}
