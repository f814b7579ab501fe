//! Simulated rollouts: requests that are split by the data plane's own sequence, become evidence as its blocks do, and are
//! judged each second by the judge that judges in production. Only the requests' outcomes are made up.

use fastrand::Rng;
use watershed_config::model::{JudgeSpec, Reaction};
use watershed_config::observation::{BlockCounts, BlockKind};
use watershed_control::rollout::judge::{JudgeState, Verdict};
use watershed_proxy::split::{SplitState, Thresholds};

use super::rules::{Argo, Flagger, Window};

/// What the false alarm rate is set to.
pub(crate) const ALPHA: f64 = 0.01;
/// Requests that the data plane shuffles together.
const BLOCK: u8 = 8;
/// Seconds between two looks of the rules with fixed thresholds.
const WINDOW_SECONDS: u32 = 60;

/// A kind of rollout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) requests_per_second: u32,
    pub(crate) seconds: u32,
    /// From this second on the canary has this share, in per cent.
    pub(crate) weights: &'static [(u32, u32)],
    pub(crate) bad: Bad,
    pub(crate) minimum_effect: f64,
}

/// Which requests are bad.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bad {
    /// From this second on this part of stable's requests fails, and that of the canary's.
    Failing(&'static [(u32, f64, f64)]),
    /// This part of stable's requests is slower than the latency bound of this number, and that of the canary's.
    Slow(usize, f64, f64),
    /// One request in a hundred fails, and every second, tenth and hundredth is slow, the slowest by all three bounds.
    Everything,
    /// Every n-th request fails: the first run has every second, the last every thousandth.
    Periodic,
}

/// What became of one rollout.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ended {
    pub(crate) judge: Option<Alarm>,
    pub(crate) flagger: Option<Alarm>,
    pub(crate) argo: Option<Alarm>,
}

/// When something said that the canary is worse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alarm {
    /// Since the canary became worse, or since the start if it never does.
    pub(crate) seconds: u32,
    /// Bad requests that the canary served by then.
    pub(crate) served_bad: u64,
}

impl Scenario {
    /// The second from which on the canary is worse; 0 if it is from the start, or never.
    fn onset(&self) -> u32 {
        match self.bad {
            Bad::Failing(rates) => {
                rates.iter().find(|(_, stable, canary)| canary > stable).map_or(0, |(from, ..)| *from)
            }
            _ => 0,
        }
    }

    /// Simulates the rollout of this number.
    pub(crate) fn run(&self, number: u64) -> Ended {
        let mut random = Rng::with_seed(number);
        let split = SplitState::new(1, || random.u64(..));
        let mut outcomes = Outcomes::new(self.bad, number, random);
        let mut blocks = Blocks::new(outcomes.tables());
        let mut thresholds = Thresholds::new(&[0, 1]);
        let spec = JudgeSpec {
            enabled: true,
            false_alarm_rate: ALPHA,
            minimum_effect: self.minimum_effect,
            on_failure: Reaction::Abort,
            max_failed_requests: None,
        };
        let (mut judge, mut flagger, mut argo) = (JudgeState::default(), Flagger::default(), Argo::default());
        let (mut ended, mut served_bad, mut window) = (Ended::default(), 0, Window::default());
        for second in 0..self.seconds {
            if let Some((_, percent)) = self.weights.iter().find(|(from, _)| *from == second) {
                thresholds = Thresholds::new(&[*percent, 100 - percent]);
                blocks.void = true;
            }
            outcomes.second(second);
            let Some(thresholds) = &thresholds else { continue };
            for _ in 0..self.requests_per_second {
                let canary = thresholds.pick(split.draw(0)) == 0;
                let bad = outcomes.next(canary);
                window.all += u64::from(canary);
                if bad != 0 && canary {
                    window.bad += 1;
                    served_bad += 1;
                }
                blocks.count(canary, bad);
            }
            let alarm = Alarm { seconds: (second + 1).saturating_sub(self.onset()), served_bad };
            if ended.judge.is_none() {
                judge.observe(&spec, &blocks.ended);
                if judge.verdict(&spec) != Verdict::Nothing {
                    ended.judge = Some(alarm);
                }
            }
            blocks.ended = BlockCounts::default();
            if (second + 1) % WINDOW_SECONDS == 0 {
                let window = std::mem::take(&mut window);
                ended.flagger = ended.flagger.or(flagger.rolls_back(window).then_some(alarm));
                ended.argo = ended.argo.or(argo.fails(window).then_some(alarm));
            }
            if ended.judge.is_some() && ended.flagger.is_some() && ended.argo.is_some() {
                break;
            }
        }
        ended
    }
}

/// Blocks of eight requests, as the data plane counts them. Every request ends at once.
struct Blocks {
    ended: BlockCounts,
    /// Which of the tables are used: bit 0 is failures, the others are the latency bounds.
    tables: u8,
    requests: u8,
    canary: u8,
    /// By table, for stable and for the canary.
    bad: [[u8; 2]; 4],
    /// Whether the shares changed within the block.
    void: bool,
}

impl Blocks {
    fn new(tables: u8) -> Self {
        let ended = BlockCounts::default();
        Self { ended, tables, requests: 0, canary: 0, bad: Default::default(), void: false }
    }

    fn count(&mut self, canary: bool, bad: u8) {
        if self.requests == 0 {
            self.void = false;
        }
        self.requests += 1;
        self.canary += u8::from(canary);
        if bad != 0 {
            for (table, counts) in self.bad.iter_mut().enumerate() {
                counts[usize::from(canary)] += (bad >> table) & 1;
            }
        }
        if self.requests == BLOCK {
            self.end();
        }
    }

    fn end(&mut self) {
        for table in (0..4).filter(|table| !self.void && (self.tables >> table) & 1 == 1) {
            let [bad_stable, bad_canary] = self.bad[table];
            let kind = BlockKind { canary: self.canary, bad_canary, bad_stable };
            match table {
                0 => self.ended.failed.add(kind, 1),
                slow => self.ended.slow[slow - 1].add(kind, 1),
            }
        }
        (self.requests, self.canary, self.bad) = Default::default();
    }
}

/// Decides which requests are bad, and by which of the tables. Between two that may be bad it only counts down: independent
/// draws at a constant rate are as far apart as a geometric distribution says.
struct Outcomes {
    bad: Bad,
    period: u64,
    /// Parts of stable's and of the canary's requests that are bad.
    rates: [f64; 2],
    until_next: u64,
    random: Rng,
}

impl Outcomes {
    fn new(bad: Bad, number: u64, random: Rng) -> Self {
        let rates = if let Bad::Slow(_, stable, canary) = bad { [stable, canary] } else { [0.0; 2] };
        let period = 2 + number % 999;
        let mut outcomes = Self { bad, period, rates, until_next: 0, random };
        outcomes.until_next = outcomes.gap();
        outcomes
    }

    fn tables(&self) -> u8 {
        match self.bad {
            Bad::Failing(_) | Bad::Periodic => 1,
            Bad::Slow(bound, ..) => 2 << bound,
            Bad::Everything => 0b1111,
        }
    }

    fn second(&mut self, second: u32) {
        let Bad::Failing(rates) = self.bad else { return };
        if let Some((_, stable, canary)) = rates.iter().find(|(from, ..)| *from == second) {
            self.rates = [*stable, *canary];
            self.until_next = self.gap();
        }
    }

    /// Requests from one that may be bad to the next.
    fn gap(&mut self) -> u64 {
        match self.bad {
            Bad::Periodic => self.period,
            Bad::Everything => 1,
            Bad::Failing(_) | Bad::Slow(..) => {
                let rate = self.rates[0].max(self.rates[1]);
                // A uniform number above 0, and a logarithm that is -inf for a rate of 1: the next one.
                (1.0 + (1.0 - self.random.f64()).ln() / (1.0 - rate).ln()) as u64
            }
        }
    }

    fn next(&mut self, canary: bool) -> u8 {
        self.until_next -= 1;
        if self.until_next > 0 {
            return 0;
        }
        self.until_next = self.gap();
        match self.bad {
            Bad::Periodic => 1,
            Bad::Everything => {
                let slow = self.random.u16(..1_000);
                let failed = self.random.u16(..100) == 0;
                u8::from(failed)
                    | u8::from(slow < 500) << 1
                    | u8::from(slow < 100) << 2
                    | u8::from(slow < 10) << 3
            }
            Bad::Failing(_) | Bad::Slow(..) => {
                let may_be = self.rates[0].max(self.rates[1]);
                let is_bad = self.random.f64() * may_be < self.rates[usize::from(canary)];
                if is_bad { self.tables() } else { 0 }
            }
        }
    }
}
