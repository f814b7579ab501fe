//! Latency at a fixed rate of requests while precompiled tables are swapped.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Plan;
use crate::server::{Server, exchange};
use crate::support::rig::Rig;
use crate::support::stats::Spread;
use crate::support::{Outcome, during};

/// Swaps per second. The second is the first again: how far the two are apart is what the run cannot resolve.
pub(crate) const RATES: [u32; 4] = [0, 0, 10, 1_000];
/// Publications of which the time until the worker uses them is taken, in each round.
const ACKNOWLEDGED: u32 = 100;
/// After a change of the rate, and not looked at.
const SETTLE: Duration = Duration::from_millis(100);
/// Slices of a sample, each with a p99 of its own.
const SLICES: u32 = 10;

/// One rate of swapping in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) swaps_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// The p99 of the median slice: the host takes a core away now and then, for longer than all that is measured here, but not
    /// in every slice; swaps are made in every one.
    pub(crate) calm_p99_us: f64,
}

/// All rates, in the order of [`RATES`], one after the other in a random order.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) samples: [Sample; RATES.len()],
    /// From a publication until the worker uses it, without requests.
    pub(crate) acknowledged_us: Vec<f64>,
}

pub(crate) fn measure(plan: Plan, routes: usize) -> Outcome<Vec<Round>> {
    let mut rig = Rig::new(exchange(routes))?;
    let mut server = Server::start(&mut rig, routes)?;
    (0..plan.rounds).map(|_| round(plan, &mut rig, &mut server)).collect()
}

fn round(plan: Plan, rig: &mut Rig, server: &mut Server) -> Outcome<Round> {
    let mut order: Vec<usize> = (0..RATES.len()).collect();
    fastrand::shuffle(&mut order);
    let mut samples = [None; RATES.len()];
    for index in order {
        samples[index] = Some(sample(plan, rig, server, RATES[index])?);
    }
    server.tell("rate 0")?;
    let answer = server.tell(&format!("acknowledge {ACKNOWLEDGED}"))?;
    let acknowledged_us =
        answer.split(' ').filter_map(|ns| ns.parse::<f64>().ok()).map(|ns| ns / 1e3).collect();
    Ok(Round { samples: samples.map(|sample| sample.expect("every rate is in the order")), acknowledged_us })
}

fn sample(plan: Plan, rig: &mut Rig, server: &mut Server, swaps: u32) -> Outcome<Sample> {
    server.tell(&format!("rate {swaps}"))?;
    rig.open_loop(plan.rate, SETTLE)?;
    server.tell(&format!("rate {swaps}"))?;
    let began = std::time::Instant::now();
    let slices = rig.open_loop_in_slices(plan.rate, plan.lasting, SLICES)?;
    let took = began.elapsed();
    let made: f64 = server.tell(&format!("rate {swaps}"))?.parse().unwrap_or(0.0);
    let p99_us = |slice: &Histogram<u64>| slice.value_at_quantile(0.99) as f64 / 1e3;
    let calm_p99_us = Spread::of(slices.iter().map(p99_us)).median;
    let mut all = slices[0].clone();
    slices[1..].iter().try_for_each(|slice| during("adding up latencies", all.add(slice)))?;
    let at = |share: f64| all.value_at_quantile(share) as f64 / 1e3;
    Ok(Sample {
        requests: all.len(),
        swaps_per_second: made / took.as_secs_f64(),
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        calm_p99_us,
    })
}
