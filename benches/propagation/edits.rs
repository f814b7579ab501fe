//! The stream of edits, and when each was in force.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::finish;
use crate::observers::{Acknowledged, Sight, look, read_generations};
use crate::support::manifests::{route_file, route_text};
use crate::support::watershed::Watershed;
use crate::support::{Outcome, during};

/// Time before the first edit, and after the last for it to be seen.
const MARGIN: Duration = Duration::from_millis(500);

/// Edits and what was seen of them. Edit `n` is version `n + 1` of the route.
pub(crate) struct Edits {
    renamed: Vec<Instant>,
    sights: Vec<Sight>,
    notes: Vec<Acknowledged>,
}

impl Edits {
    /// Edits the weights of the first route at this rate for so long, under the eyes of both observers.
    pub(crate) fn make(watershed: &Watershed, rate: u32, lasting: Duration) -> Outcome<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (looking, reading) = (look(watershed.address, &stop), read_generations(watershed.admin, &stop));
        thread::sleep(MARGIN);
        let renamed = stream(&watershed.manifests(), rate, lasting);
        thread::sleep(MARGIN);
        stop.store(true, Relaxed);
        Ok(Self { sights: finish(looking)?, notes: finish(reading)?, renamed: renamed? })
    }

    /// For each edit the time until it was there, by this measure, in milliseconds; an edit that was never there is an error.
    fn delays(&self, there: impl Fn(u32, Instant) -> Option<Instant>) -> Outcome<Vec<f64>> {
        let delay = |(n, renamed): (usize, &Instant)| {
            let at = there(n as u32 + 1, *renamed).ok_or_else(|| format!("edit {n} was never seen"))?;
            Ok(at.saturating_duration_since(*renamed).as_secs_f64() * 1e3)
        };
        let mut delays = self.renamed.iter().enumerate().map(delay).collect::<Outcome<Vec<_>>>()?;
        delays.sort_by(f64::total_cmp);
        Ok(delays)
    }

    fn first_seen(&self, version: u32) -> Option<Instant> {
        self.sights.iter().find(|sight| sight.newest >= version).map(|sight| sight.at)
    }

    fn seen_by_all(&self, version: u32) -> Option<Instant> {
        // Of the last sight that was too old, the next one: a worker that fell back would show.
        let last_old = self.sights.iter().rposition(|sight| sight.oldest < version);
        self.sights.get(last_old.map_or(0, |index| index + 1)).map(|sight| sight.at)
    }

    /// The first answer, asked for after a request had seen the version, which says that all workers use the newest
    /// generation: a little later than the truth, never earlier.
    fn acknowledged(&self, version: u32) -> Option<Instant> {
        let seen = self.first_seen(version)?;
        let current = |note: &&Acknowledged| note.asked >= seen && note.workers >= note.generation;
        self.notes.iter().find(current).map(|note| note.answered)
    }

    /// Prints the distributions and returns them as JSON.
    pub(crate) fn report(
        &self,
        routes: usize,
        load: Option<usize>,
        swaps: u64,
        limit: Duration,
    ) -> Outcome<Value> {
        let measures = [
            ("first request that sees it", self.delays(|version, _| self.first_seen(version))?),
            ("every connection sees it", self.delays(|version, _| self.seen_by_all(version))?),
            ("all workers acknowledged it", self.delays(|version, _| self.acknowledged(version))?),
        ];
        let label = load.map_or("idle".to_owned(), |rate| format!("saturated, {rate} requests/s"));
        println!("{routes} routes, {label}: {} edits in {swaps} swaps", self.renamed.len());
        println!("  {:<28} {:>7} {:>7} {:>7} {:>7}", "", "p50", "p90", "p99", "max");
        let mut results = serde_json::Map::new();
        for (name, delays) in &measures {
            let at = |share: f64| delays[((delays.len() - 1) as f64 * share).round() as usize];
            println!("  {name:<28} {:>7.1} {:>7.1} {:>7.1} {:>7.1}", at(0.5), at(0.9), at(0.99), at(1.0));
            let value =
                json!({ "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "max_ms": at(1.0) });
            results.insert(name.replace(' ', "_"), value);
        }
        let limit_ms = limit.as_secs_f64() * 1e3;
        let held = measures[1].1.iter().filter(|delay| **delay <= limit_ms).count();
        println!("  in force everywhere within {limit_ms} ms: {held} of {} edits", self.renamed.len());
        Ok(json!({ "routes": routes, "load": load, "edits": self.renamed.len(), "swaps": swaps,
            "within_limit": held, "delays": results }))
    }
}

/// Renames a new version over the route's file at a fixed rate.
fn stream(manifests: &Path, rate: u32, lasting: Duration) -> Outcome<Vec<Instant>> {
    let every = Duration::from_secs(1) / rate.max(1);
    let count = (lasting.as_secs_f64() / every.as_secs_f64()) as u32;
    // A name that begins with a dot is not read.
    let (next, file) = (manifests.join(".next"), manifests.join(route_file(0)));
    let began = Instant::now();
    let mut renamed = Vec::new();
    for n in 0..count {
        let share = 1 + n % 99;
        during("writing an edit", std::fs::write(&next, route_text(0, [100 - share, share], Some(n + 1))))?;
        thread::sleep((began + every * n).saturating_duration_since(Instant::now()));
        renamed.push(Instant::now());
        during("renaming an edit", std::fs::rename(&next, &file))?;
    }
    Ok(renamed)
}

/// How many snapshots a process has applied, from its metrics.
pub(crate) fn applied(metrics: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix("watershed_config_apply_seconds_count "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
