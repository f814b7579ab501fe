//! `Proxy::apply` alone, in this process: compiling a snapshot and publishing it, without the directory and the debounce.

use std::time::Instant;

use watershed_config::snapshot::{Generation, Snapshot};
use watershed_control::assemble::{AssembleOptions, assemble};
use watershed_control::load::load_once;
use watershed_control::readiness::Readiness;
use watershed_proxy::{Limits, Marks, Proxy, Settings};

use crate::support::manifests::{Manifests, route_file, route_text};
use crate::support::messages::Protocol;
use crate::support::watershed::free_port;
use crate::support::{Outcome, during};

const WARM_UP: usize = 20;
const APPLIES: usize = 200;

/// Applies two versions of the manifests in turn; tells the distribution.
pub(crate) fn measure(routes: usize) -> Outcome<String> {
    let directory = during("making a directory", tempfile::tempdir())?;
    // Nobody connects to these: only the table matters.
    Manifests { routes, pods: [9, 9], protocol: Protocol::Http1 }.write(directory.path(), free_port()?)?;
    let edited = directory.path().join(route_file(0));
    let versions = [[90, 10], [80, 20]].map(|weights| -> Outcome<Snapshot> {
        during("editing", std::fs::write(&edited, route_text(0, weights, None)))?;
        let loaded = load_once(&[directory.path().to_owned()]);
        let options = AssembleOptions::default();
        Ok(assemble(&loaded.catalog, &Readiness::default(), &options, Generation(0)).snapshot)
    });
    let mut versions = versions.into_iter().collect::<Outcome<Vec<_>>>()?;
    let settings =
        Settings { workers: 2, limits: Limits::default(), marks: Marks::default(), access_log: false };
    let mut proxy = during("starting workers", Proxy::start(&settings))?;
    let mut took = Vec::with_capacity(APPLIES);
    for n in 0..WARM_UP + APPLIES {
        let snapshot = &mut versions[n % 2];
        snapshot.generation = Generation(n as u64 + 1);
        let began = Instant::now();
        proxy.apply(snapshot);
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let mut took = took.split_off(WARM_UP);
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    Ok(format!("p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms", at(0.5), at(0.99), at(1.0)))
}
