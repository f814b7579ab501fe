//! A pod of the demo: a small HTTP server that says who it is and remembers which requests it ran.
//!
//! It is a process of its own (hidden subcommand `demo-pod`), so that it can be killed like any pod. HTTP/1.1 and, by its
//! preface, prior-knowledge HTTP/2 are spoken on one port. SIGTERM makes it unready, ends keep-alive connections after their
//! next answer, and ends the process once nothing is in flight.
//!
//! Deliberately absent: everything that a real service does. `--latency`, `--latency-spread`,
//! `--fail-ratio` and `--fail-chance` pretend.

mod book;
mod serve;

use std::cell::RefCell;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::leash;
use book::Book;
pub(super) use book::{Entry, read as entries};

/// How long a pod that was told to end goes on accepting: a proxy may not have heard yet.
const LINGER: Duration = Duration::from_millis(300);

/// How long a pod that was told to end waits for requests in flight.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Options of `watershed demo-pod`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The name it answers with
    #[arg(long, default_value = "pod")]
    pub(crate) name: String,
    /// The version it answers with
    #[arg(long = "app-version", default_value = "1.0.0")]
    pub(crate) version: String,
    /// The port on 127.0.0.1; 0 takes a free one. It is printed once the pod listens
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Append the method and id of every request it runs to this file
    #[arg(long)]
    pub(crate) record: Option<PathBuf>,
    /// How long each answer takes
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    pub(crate) latency: Duration,
    /// How much longer than that it may take, by chance
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    pub(crate) latency_spread: Duration,
    /// The share of requests answered 500, from 0 to 1
    #[arg(long, default_value_t = 0.0)]
    pub(crate) fail_ratio: f64,
    /// The chance of each request to be answered 500, from 0 to 1, decided by chance alone
    #[arg(long, default_value_t = 0.0)]
    pub(crate) fail_chance: f64,
    /// End when the process with this id, its parent, ends
    #[arg(long)]
    pub(crate) parent: Option<u32>,
}

/// Runs one pod until it is told to end.
pub(crate) fn run(options: &Options) -> ExitCode {
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pod {}: {error:#}", options.name);
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> anyhow::Result<()> {
    leash::end_with_parent(options.parent).context("cannot tie this process to its parent")?;
    let book = Book::open(options.record.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listener =
            TcpListener::bind(wanted).await.with_context(|| format!("cannot listen on {wanted}"))?;
        announce(listener.local_addr()?)?;
        let pod = Rc::new(serve::Pod::new(options, RefCell::new(book)));
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let told = async {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        };
        serve::until(listener, pod, told, LINGER, DRAIN_MAX).await;
        Ok(())
    })
}

/// Tells the supervisor the address, on standard output. Nobody listening is no error: a person may run a pod by hand.
fn announce(addr: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "listening on {addr}")?;
    out.flush()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc;
    use std::thread::{self, JoinHandle};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::super::net::fetch;
    use super::*;

    /// A pod on a thread of this process, ended by dropping it.
    pub(crate) struct InProcess {
        pub(crate) addr: SocketAddr,
        end: Option<oneshot::Sender<()>>,
        thread: Option<JoinHandle<()>>,
    }

    impl InProcess {
        pub(crate) fn start(options: Options) -> Self {
            let (say, said) = mpsc::channel();
            let (end, ending) = oneshot::channel();
            let thread = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                tokio::task::LocalSet::new().block_on(&runtime, async {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await.unwrap();
                    say.send(listener.local_addr().unwrap()).unwrap();
                    let book = Book::open(options.record.as_deref()).unwrap();
                    let pod = Rc::new(serve::Pod::new(&options, RefCell::new(book)));
                    let told = async { drop(ending.await) };
                    serve::until(listener, pod, told, Duration::from_millis(50), DRAIN_MAX).await;
                });
            });
            Self { addr: said.recv().unwrap(), end: Some(end), thread: Some(thread) }
        }

        fn tell_to_end(&mut self) {
            self.end.take();
        }
    }

    impl Drop for InProcess {
        fn drop(&mut self) {
            self.tell_to_end();
            let ended = self.thread.take().unwrap().join();
            assert!(ended.is_ok() || thread::panicking());
        }
    }

    pub(crate) fn options(name: &str) -> Options {
        Options {
            name: name.into(),
            version: "1.0.0".into(),
            port: 0,
            record: None,
            latency: Duration::ZERO,
            latency_spread: Duration::ZERO,
            fail_ratio: 0.0,
            fail_chance: 0.0,
            parent: None,
        }
    }

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_pod_says_who_it_is_and_what_it_ran() {
        let pod = InProcess::start(options("hello-v1-abcde"));
        let (status, text) = fetch(pod.addr, "/anything?at=all", PATIENCE).await.unwrap();
        assert_eq!(status, 200);
        let said: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&said["pod"], &said["version"]), (&"hello-v1-abcde".into(), &"1.0.0".into()));
        let (_, told) = fetch(pod.addr, "/demo/stats", PATIENCE).await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&told["total"], &told["withoutId"]), (&1.into(), &1.into()));
    }

    #[tokio::test]
    async fn a_fail_ratio_holds_in_every_stretch() {
        let pod = InProcess::start(Options { fail_ratio: 0.25, ..options("a") });
        let mut failed = Vec::new();
        for number in 1..=8 {
            let (status, _) = fetch(pod.addr, "/", PATIENCE).await.unwrap();
            failed.extend((status == 500).then_some(number));
        }
        assert_eq!(failed, [4, 8]);
    }

    #[tokio::test]
    async fn a_request_that_fails_by_chance_stands_in_the_book_as_failed() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("a.ids");
        let pod =
            InProcess::start(Options { fail_chance: 1.0, record: Some(record.clone()), ..options("a") });
        let request = "POST / HTTP/1.1\r\nhost: a\r\nx-demo-id: run-1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let mut stream = TcpStream::connect(pod.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("\"id\":\"run-1\""), "{answer}");
        let text = std::fs::read_to_string(record).unwrap();
        let entry = Entry { id: "run-1", failed: true };
        assert_eq!(entries(&text).collect::<Vec<_>>(), [entry]);
    }

    #[tokio::test]
    async fn a_pod_told_to_end_finishes_what_is_in_flight_and_closes_the_connection_after_it() {
        let mut pod = InProcess::start(Options { latency: Duration::from_millis(100), ..options("a") });
        let mut stream = TcpStream::connect(pod.addr).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbo").await.unwrap();
        // The pod has the head and half of the body when it is told.
        assert_eq!(fetch(pod.addr, "/healthz", PATIENCE).await.unwrap().0, 200);
        pod.tell_to_end();
        stream.write_all(b"dy").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close\r\n"),
            "{answer}"
        );
        assert!(answer.contains("\"received\":4"), "{answer}");
    }

    #[tokio::test]
    async fn prior_knowledge_http2_is_spoken_on_the_same_port() {
        let pod = InProcess::start(options("a"));
        let stream = TcpStream::connect(pod.addr).await.unwrap();
        let local = tokio::task::LocalSet::new();
        let exchange = async {
            let handshake = hyper::client::conn::http2::handshake(
                super::super::net::Spawn,
                super::super::net::Io(stream),
            );
            let (mut sender, connection) = handshake.await.unwrap();
            tokio::task::spawn_local(connection);
            let request =
                http::Request::get("http://a/healthz").body(http_body_util::Empty::<bytes::Bytes>::new());
            sender.send_request(request.unwrap()).await.unwrap().status()
        };
        assert_eq!(local.run_until(exchange).await, 200);
    }
}
