//! The process that serves: the data plane with one worker, and a thread that swaps as often as it is told.
//!
//! It prints the address of a socket, on which it takes one command in a line and answers with one:
//! `address`, `rate N` (swaps per second; tells how many were made since the last command), `acknowledge N` (publishes so often
//! and waits for the worker each time; tells the nanoseconds), `compile N` (compiles, publishes and drops so many tables).

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use watershed_config::snapshot::{Generation, Snapshot};
use watershed_proxy::table::RoutingTable;
use watershed_proxy::{Limits, Marks, Proxy, Settings};

use crate::routes::{Routes, address};
use crate::support::messages::Protocol;
use crate::support::{Outcome, during};

/// A worker that has not taken up a table after this long never will.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    proxy: Proxy,
    versions: [Snapshot; 2],
    tables: [Arc<RoutingTable>; 2],
    /// Counts publications; each is the next generation where it is compiled for it.
    published: u64,
    /// Time between two swaps.
    every: Option<Duration>,
    next_at: Instant,
}

/// The life of the process: the number of routes and the ports of the pods.
pub(crate) fn run(arguments: &[OsString]) -> Outcome<()> {
    let number = |index: usize| -> Outcome<usize> {
        let text = arguments.get(index).and_then(|text| text.to_str()).unwrap_or_default();
        during("an argument", text.parse())
    };
    let mut server = Server::start(number(0)?, [number(1)? as u16, number(2)? as u16])?;
    let listener = during("listening", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    println!("{}", during("listening", listener.local_addr())?);
    let (mut stream, _) = during("being told", listener.accept())?;
    let commands = read_commands(&stream)?;
    while let Some(command) = server.swap_until_told(&commands) {
        let answer = server.obey(&command)?;
        during("answering", writeln!(stream, "{answer}"))?;
    }
    Ok(())
}

/// Lines of the socket; ends with it.
fn read_commands(stream: &TcpStream) -> Outcome<Receiver<String>> {
    let lines = BufReader::new(during("being told", stream.try_clone())?).lines();
    let (send, commands) = channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
    Ok(commands)
}

impl Server {
    fn start(count: usize, ports: [u16; 2]) -> Outcome<Self> {
        let settings =
            Settings { workers: 1, limits: Limits::default(), marks: Marks::default(), access_log: false };
        let mut proxy = during("starting the worker", Proxy::start(&settings))?;
        // Every rule is another one after a swap: no two tables have less in common.
        let version = |(weights, generation)| {
            let routes = Routes {
                count,
                weights,
                ports,
                protocol: Protocol::Http1,
                filters: Vec::new(),
                by_rollout: false,
            };
            routes.snapshot(generation)
        };
        let versions = [([90, 10], 1), ([80, 20], 2)].map(version);
        if let Some(error) = proxy.apply(&versions[0]).first() {
            return Err(error.to_string());
        }
        let tables = [0, 1].map(|index| Arc::new(proxy.compile(&versions[index])));
        Ok(Self { proxy, versions, tables, published: 0, every: None, next_at: Instant::now() })
    }

    /// Swaps at the current rate until there is a command; `None` once there will be none.
    fn swap_until_told(&mut self, commands: &Receiver<String>) -> Option<String> {
        loop {
            let Some(every) = self.every else { return commands.recv().ok() };
            let now = Instant::now();
            if self.next_at <= now {
                self.publish();
                // What could not be done in time is left out, and missing in the count.
                self.next_at = (self.next_at + every).max(now);
                continue;
            }
            match commands.recv_timeout(self.next_at - now) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// The other table; returns its generation.
    fn publish(&mut self) -> Generation {
        self.published += 1;
        let table = &self.tables[(self.published % 2) as usize];
        self.proxy.publish(Arc::clone(table));
        table.generation
    }

    fn obey(&mut self, command: &str) -> Outcome<String> {
        let (word, argument) = command.split_once(' ').unwrap_or((command, "0"));
        let number: u32 = during("a command's number", argument.parse())?;
        match word {
            "address" => Ok(self.proxy.bound(address()).ok_or("the proxy does not listen")?.to_string()),
            "rate" => {
                (self.every, self.next_at) = (Duration::from_secs(1).checked_div(number), Instant::now());
                Ok(std::mem::take(&mut self.published).to_string())
            }
            "acknowledge" => self.acknowledge(number),
            "compile" => {
                (0..number).for_each(|_| self.compile());
                Ok("done".to_owned())
            }
            other => Err(format!("unknown command {other}")),
        }
    }

    /// Nanoseconds from each publication until the worker uses the table for new requests.
    fn acknowledge(&mut self, times: u32) -> Outcome<String> {
        let mut took = Vec::new();
        for _ in 0..times {
            std::thread::sleep(Duration::from_millis(1));
            let began = Instant::now();
            let generation = self.publish();
            while self.proxy.acknowledged() != generation {
                if began.elapsed() > PATIENCE {
                    return Err("the worker does not take up a table".to_owned());
                }
                std::thread::yield_now();
            }
            took.push(began.elapsed().as_nanos().to_string());
        }
        self.published = 0;
        Ok(took.join(" "))
    }

    /// The other version, compiled for the occasion.
    fn compile(&mut self) {
        self.published += 1;
        let version = &mut self.versions[(self.published % 2) as usize];
        version.generation.0 += 2;
        let table = Arc::new(self.proxy.compile(version));
        self.proxy.publish(table);
    }
}
