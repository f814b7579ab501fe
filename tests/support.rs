//! What every test here needs: a directory of manifests, the process under test, pods, and a client that never retries.

mod exposition;
mod http;
mod manifests;
mod pod;
mod pod_runtime;
mod ports;
mod process;

use std::time::{Duration, Instant};

pub(crate) use exposition::Exposition;
pub(crate) use http::{Answer, Connection, ask, get, request};
pub(crate) use manifests::{Manifests, PodFile, gateway, route, service};
pub(crate) use pod::{Pod, Speaks};
pub(crate) use ports::{free_node_port, free_port};
pub(crate) use process::{Start, Watershed};

/// How long anything may take before a test gives up. Generous, because the machine may be busy; nothing waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until something holds, looking every few milliseconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_some(what, || holds().then_some(()));
}

/// Waits for a value; returns it and how long it took.
#[track_caller]
pub(crate) fn eventually_some<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(LOOK);
    }
}

/// How long a test that can run longer runs: `WATERSHED_TEST_SECONDS`, else this.
pub(crate) fn test_duration(default: Duration) -> Duration {
    let seconds = std::env::var("WATERSHED_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(default, Duration::from_secs)
}

/// The seed of a random test: `WATERSHED_TEST_SEED`, else a new one. Printed, so that a failure can be repeated.
pub(crate) fn test_seed() -> u64 {
    let seed = std::env::var("WATERSHED_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("WATERSHED_TEST_SEED={seed}");
    seed
}
