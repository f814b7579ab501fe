//! The serving process from outside, in front of pods of the same rig as its clients.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::CORE;
use crate::support::messages::{Exchange, Protocol};
use crate::support::process::Process;
use crate::support::rig::Rig;
use crate::support::{Outcome, during};

const CONNECTIONS: usize = 32;
/// Requests before anything is measured: pools are filled.
const WARM_UP: usize = 10_000;

/// What is asked and answered.
pub(crate) fn exchange(routes: usize) -> Exchange {
    Exchange { protocol: Protocol::Http1, upload: 0, answer: 128, routes }
}

/// A started process, told what to do through its socket.
pub(crate) struct Server {
    pub(crate) process: Process,
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Server {
    /// Starts it in front of two new pods of the rig, and connects the rig's clients.
    pub(crate) fn start(rig: &mut Rig, routes: usize) -> Outcome<Self> {
        let ports = [rig.open_pod()?.to_string(), rig.open_pod()?.to_string()];
        let arguments = ["serve", &CORE.to_string(), &routes.to_string(), &ports[0], &ports[1]];
        let mut process = Process::role(&arguments)?;
        let stream = during("connecting to the server", TcpStream::connect(process.address()?))?;
        let answers = BufReader::new(during("connecting to the server", stream.try_clone())?);
        let mut server = Self { process, stream, answers };
        let address = during("the server's address", server.tell("address")?.parse())?;
        connect(rig, address)?;
        Ok(server)
    }

    /// Gives a command and waits for its answer.
    pub(crate) fn tell(&mut self, command: &str) -> Outcome<String> {
        self.begin(command)?;
        self.answer()
    }

    /// Gives a command without waiting; [`Self::answer`] does.
    pub(crate) fn begin(&mut self, command: &str) -> Outcome<()> {
        during("telling the server", writeln!(self.stream, "{command}"))
    }

    /// The answer to the oldest command without one.
    pub(crate) fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        match during("hearing from the server", self.answers.read_line(&mut line))? {
            0 => Err("the server ended".to_owned()),
            _ => Ok(line.trim().to_owned()),
        }
    }

    /// Whether there is an answer already.
    pub(crate) fn has_answered(&self) -> Outcome<bool> {
        during("listening to the server", self.stream.set_nonblocking(true))?;
        let looked = self.stream.peek(&mut [0]);
        during("listening to the server", self.stream.set_nonblocking(false))?;
        match looked {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(format!("listening to the server: {error}")),
        }
    }
}

/// Opens the clients' connections and warms everything up.
pub(crate) fn connect(rig: &mut Rig, address: std::net::SocketAddr) -> Outcome<()> {
    rig.connect(address, CONNECTIONS, 1, false)?;
    rig.closed_loop(WARM_UP, CONNECTIONS).map(drop)
}
