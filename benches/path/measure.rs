//! The measuring itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::contender::{Contender, Running};
use crate::scenario::Scenario;
use crate::support::rig::Rig;
use crate::support::{Outcome, process};

/// Requests before a measurement, as a share of those in it: connections, pools and branch predictors get warm.
const WARM_UP_SHARE: usize = 4;
/// How long latency is looked at, per contender and round.
const LATENCY_FOR: Duration = Duration::from_millis(700);

/// One contender in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// CPU time of the contender's process per request, microseconds.
    pub(crate) cpu_us: f64,
    /// CPU time of the clients and pods per request, microseconds.
    pub(crate) rig_us: f64,
    pub(crate) per_second: f64,
    /// Share of its core that the contender used: near 1, it was the bottleneck.
    pub(crate) busy: f64,
    /// Median and 99th percentile at the scenario's rate, microseconds; zero where not measured.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) resident_kib: u64,
}

/// All contenders in one round, and the same straight against a pod.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) direct: Sample,
    pub(crate) samples: Vec<(Contender, Sample)>,
}

impl Round {
    pub(crate) fn of(&self, contender: Contender) -> Option<&Sample> {
        self.samples.iter().find(|(who, _)| *who == contender).map(|(_, sample)| sample)
    }
}

/// Measures a scenario in so many rounds.
pub(crate) fn scenario(
    scenario: &Scenario,
    rounds: usize,
    control: bool,
    watershed: &Path,
) -> Outcome<Vec<Round>> {
    let mut rig = Rig::new(scenario.exchange)?;
    let pods = [rig.open_pod()?, rig.open_pod()?];
    let mut random = fastrand::Rng::new();
    let mut contenders = vec![Contender::Floor, Contender::Bare, Contender::Watershed];
    if control {
        contenders.push(Contender::BareAgain);
    }
    (0..rounds)
        .map(|_| {
            random.shuffle(&mut contenders);
            let pod = SocketAddr::from((Ipv4Addr::LOCALHOST, pods[0]));
            let direct = sample(scenario, &mut rig, pod, None)?;
            let one = |contender: &Contender| {
                let running = Running::start(*contender, pods, scenario.exchange.protocol, watershed)?;
                let sample = sample(scenario, &mut rig, running.address(), Some(running.pid()));
                Ok((*contender, sample.map_err(|error| format!("{}: {error}", contender.as_str()))?))
            };
            Ok(Round { direct, samples: contenders.iter().map(one).collect::<Outcome<_>>()? })
        })
        .collect()
}

fn sample(scenario: &Scenario, rig: &mut Rig, target: SocketAddr, pid: Option<u32>) -> Outcome<Sample> {
    rig.connect(target, scenario.connections, scenario.depth, scenario.fresh)?;
    rig.closed_loop(scenario.requests / WARM_UP_SHARE, scenario.connections)?;
    let cpu = || pid.map_or(Ok(Duration::ZERO), process::cpu_time);
    let own = std::process::id();
    let (before, rig_before) = (cpu()?, process::cpu_time(own)?);
    let took = rig.closed_loop(scenario.requests, scenario.connections)?;
    let (used, rig_used) =
        (cpu()?.saturating_sub(before), process::cpu_time(own)?.saturating_sub(rig_before));
    let per_request = |time: Duration| time.as_secs_f64() * 1e6 / scenario.requests as f64;
    let resident_kib = pid.map_or(0, process::resident_kib);
    let (mut p50_us, mut p99_us) = (0.0, 0.0);
    if scenario.rate > 0 {
        let latencies = rig.open_loop(scenario.rate, LATENCY_FOR)?;
        p50_us = latencies.value_at_quantile(0.5) as f64 / 1e3;
        p99_us = latencies.value_at_quantile(0.99) as f64 / 1e3;
    }
    rig.disconnect();
    Ok(Sample {
        cpu_us: per_request(used),
        rig_us: per_request(rig_used),
        per_second: scenario.requests as f64 / took.as_secs_f64(),
        busy: used.as_secs_f64() / took.as_secs_f64(),
        p50_us,
        p99_us,
        resident_kib,
    })
}
