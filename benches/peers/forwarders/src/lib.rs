//! What the binaries share: arguments and listeners.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; nginx and HAProxy are told the same.
const BACKLOG: i32 = 4096;

/// Either a value or a sentence for people.
pub type Outcome<T> = Result<T, String>;

/// The command line, read from left to right.
pub struct Arguments(std::vec::IntoIter<String>);

impl Arguments {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self(std::env::args().skip(1).collect::<Vec<_>>().into_iter())
    }

    /// Whether there is no other one.
    pub fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    /// The next one; `name` is for the error.
    pub fn next<T: FromStr>(&mut self, name: &str) -> Outcome<T> {
        let text = self.0.next().ok_or_else(|| format!("missing argument {name}"))?;
        text.parse().map_err(|_| format!("{name}: {text}?"))
    }
}

/// A listener on this loopback port. Several may share it: the kernel spreads connections over them.
pub fn listen(port: u16) -> Outcome<TcpListener> {
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(BACKLOG)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    open().map_err(|error| format!("listening on port {port}: {error}"))
}

/// Runs `work` on this many threads, for ever; the first error ends the process.
pub fn on_threads(count: usize, work: impl Fn() -> Outcome<()> + Send + Sync) -> Outcome<()> {
    let work = || {
        if let Err(error) = work() {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..count {
            scope.spawn(work);
        }
        work();
    });
    Ok(())
}
