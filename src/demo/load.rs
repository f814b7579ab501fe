//! An open-loop load: requests are due on a fixed schedule, whatever became of the earlier ones.
//!
//! Latency counts from the moment at which a request was *due*, so a stall of the proxy shows in every request that it held up,
//! also in those that could not even be sent. A thread of its own wakes at each due time (tokio's timers round up to whole
//! milliseconds, which would drown what is measured), and the load's runtime has a thread of its own too, so that neither the
//! view nor the starting of processes disturbs it.
//!
//! Clients keep their connections, take turns over them (all workers of the proxy get some), and never retry.

mod client;
mod progress;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hyper::header;
use tokio::sync::{Semaphore, mpsc};

use super::exchange::{Failure, Ids};
use client::Client;
pub(super) use progress::{Answer, Progress, Tally};

/// Requests that may be waiting at once, for a connection or an answer. When so many do, further ones are sent late,
/// and their latency says so.
const IN_FLIGHT_MAX: usize = 1024;

/// Due requests that the sender has not taken up yet; more than it can fall behind within any stall that matters.
const BACKLOG_MAX: usize = 4096;

/// What load to make.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Where to.
    pub(super) target: SocketAddr,
    /// Requests per second.
    pub(super) rate: u32,
    /// For how long.
    pub(super) length: Duration,
    /// The ids of the requests.
    pub(super) ids: Ids,
}

/// A load that is running or has ended.
#[derive(Debug)]
pub(super) struct Load {
    progress: Arc<Mutex<Progress>>,
    stop: Arc<AtomicBool>,
    began: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts it. `progress` may have been told the first phase.
    pub(super) fn start(plan: Plan, progress: Progress) -> std::io::Result<Self> {
        let progress = Arc::new(Mutex::new(progress));
        let stop = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("demo-load".into()).spawn({
            let (progress, stop) = (Arc::clone(&progress), Arc::clone(&stop));
            move || {
                let (due, taken) = mpsc::channel(BACKLOG_MAX);
                thread::scope(|scope| {
                    let (plan, stop) = (&plan, &stop);
                    // Owned there: the channel closes, and with it the load, when nothing more becomes due.
                    scope.spawn(move || pace(plan, began, stop, &{ due }));
                    runtime.block_on(send(plan, began, taken, &progress));
                });
                lock(&progress).finish();
            }
        })?;
        Ok(Self { progress, stop, began, thread: Some(thread) })
    }

    /// Time since the first request was due.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// This moment as time since the first request was due.
    pub(super) fn since_begin(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.began)
    }

    /// What the clients saw so far. Hold it shortly: requests wait for it.
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    /// Sends one request beside the schedule, with a header, on a connection of its own; gives its number and what came of it. It
    /// stands in the book as all others do.
    pub(super) async fn probe(
        &self,
        plan: &Plan,
        header: (header::HeaderName, header::HeaderValue),
    ) -> (usize, Result<Answer, Failure>) {
        let client = Client::new(plan.target, plan.ids.clone()).with_header(header);
        let due = self.elapsed();
        let number = self.progress().offer(due);
        let mut tag = None;
        let outcome = client.exchange(number, || tag = self.progress().send(number, self.elapsed())).await;
        self.progress().end(number, tag, due, self.elapsed(), outcome.clone());
        (number, outcome)
    }

    /// No further request becomes due; those in flight go on.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its thread; the audit finds the requests that never ended.
            let _ = thread.join();
        }
    }
}

/// A panic while the lock was held leaves counts that the audit will find wrong; nothing is worse for reading them.
fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the request with this number is due.
fn due_at(number: u64, rate: u32) -> Duration {
    Duration::from_nanos(number * 1_000_000_000 / u64::from(rate.max(1)))
}

fn pace(plan: &Plan, began: Instant, stop: &AtomicBool, due: &mpsc::Sender<Duration>) {
    for number in 0.. {
        let at = due_at(number, plan.rate);
        if at >= plan.length || stop.load(Ordering::Relaxed) {
            return;
        }
        if let Some(early) = at.checked_sub(began.elapsed()) {
            thread::sleep(early);
        }
        if due.blocking_send(at).is_err() {
            return;
        }
    }
}

async fn send(
    plan: &Plan,
    began: Instant,
    mut due: mpsc::Receiver<Duration>,
    progress: &Arc<Mutex<Progress>>,
) {
    let client = Arc::new(Client::new(plan.target, plan.ids.clone()));
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    while let Some(at) = due.recv().await {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (client, progress) = (Arc::clone(&client), Arc::clone(progress));
        let number = lock(&progress).offer(began.elapsed());
        tokio::spawn(async move {
            let mut tag = None;
            let sent = || tag = lock(&progress).send(number, began.elapsed());
            let outcome = client.exchange(number, sent).await;
            lock(&progress).end(number, tag, at, began.elapsed(), outcome);
            drop(permit);
        });
    }
    // All permits are free again when the last request has ended; each one ends by its own deadline.
    let _ = room.acquire_many(IN_FLIGHT_MAX as u32).await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::ledger::{Audit, Evidence, PodBook};
    use super::super::metrics::ProxyCounts;
    use super::super::pod::{self, tests::InProcess};
    use super::*;

    fn run(target: SocketAddr, rate: u32, length: Duration) -> Load {
        let mut progress = Progress::default();
        progress.enter(Some(0));
        let plan = Plan { target, rate, length, ids: Ids::new("test") };
        let load = Load::start(plan, progress).unwrap();
        while !load.progress().is_over() {
            assert!(load.elapsed() < Duration::from_mins(1), "the load never ends");
            thread::sleep(Duration::from_millis(5));
        }
        load
    }

    #[test]
    fn the_schedule_does_not_drift() {
        assert_eq!(due_at(0, 1000), Duration::ZERO);
        assert_eq!(due_at(3, 3), Duration::from_secs(1));
        assert_eq!(due_at(3_000_000, 3000), Duration::from_secs(1000));
    }

    #[test]
    fn every_request_of_the_schedule_is_sent_once_and_the_pods_own_book_agrees() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("a.ids");
        let pod = InProcess::start(pod::Options { record: Some(record.clone()), ..pod::tests::options("a") });
        let load = run(pod.addr, 2000, Duration::from_millis(250));
        let progress = load.progress();
        assert_eq!(progress.exchanges().len(), 500);
        assert_eq!(progress.phase(0).answered, [500, 0, 0]);
        let text = std::fs::read_to_string(record).unwrap();
        let ran = pod::entries(&text).map(|entry| Ids::new("test").number(entry.id).unwrap()).collect();
        let books = [PodBook { name: "a".into(), version: 0, ran, failed: BTreeSet::new() }];
        let proxy = ProxyCounts { good: [500, 0, 0], ..ProxyCounts::default() };
        let (exchanges, answering_pods) = (progress.exchanges(), progress.pods());
        let evidence = Evidence { exchanges, answering_pods, books: &books, proxy: &proxy, kills: &[] };
        let audit = Audit::of(&evidence);
        assert!(audit.is_good(), "{audit:?}");
    }

    #[test]
    fn answers_that_the_pod_failed_and_connections_that_fail_are_told_apart() {
        let pod = InProcess::start(pod::Options { fail_ratio: 0.5, ..pod::tests::options("a") });
        let load = run(pod.addr, 1000, Duration::from_millis(100));
        assert_eq!(load.progress().whole().answered, [50, 0, 0]);
        assert_eq!(load.progress().whole().failed_by, [50, 0, 0]);
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let load = run(nobody, 100, Duration::from_millis(50));
        let kinds: Vec<_> =
            load.progress().exchanges().iter().map(|exchange| exchange.fate.clone()).collect();
        let connect =
            super::super::exchange::Fate::Failed(Box::new(super::super::exchange::Failure::Connect));
        assert_eq!(kinds, vec![connect; 5]);
    }
}
