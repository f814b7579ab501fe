//! Which rollouts are simulated. Names say what happens; 30 minutes where nothing else is said.

use super::traffic::{Bad, Scenario};

const ALWAYS_10: &[(u32, u32)] = &[(0, 10)];
const BASE: Scenario = Scenario {
    name: "",
    requests_per_second: 100,
    seconds: 1_800,
    weights: ALWAYS_10,
    bad: Bad::Failing(RARE),
    minimum_effect: 1.1,
};
/// A quarter of an hour.
const QUARTER: u32 = 900;
const RARE: &[(u32, f64, f64)] = &[(0, 0.001, 0.001)];
const COMMON: &[(u32, f64, f64)] = &[(0, 0.01, 0.01)];
const OUTAGE: &[(u32, f64, f64)] = &[(0, 0.001, 0.001), (600, 0.05, 0.05), (960, 0.001, 0.001)];
const RISING: &[(u32, u32)] = &[(0, 1), (300, 5), (600, 10), (900, 25), (1_200, 50), (1_500, 75)];

/// Rollouts of a canary that is no worse.
pub(crate) const EQUAL: &[Scenario] = &[
    Scenario { name: "100/s, 10 %, 0.1 % fail", ..BASE },
    Scenario { name: "100/s, 10 %, 1 % fail", bad: Bad::Failing(COMMON), ..BASE },
    Scenario {
        name: "... minimumEffect: 1, 15 min",
        seconds: QUARTER,
        bad: Bad::Failing(COMMON),
        minimum_effect: 1.0,
        ..BASE
    },
    Scenario { name: "shared outage, 5 % for 6 minutes", bad: Bad::Failing(OUTAGE), ..BASE },
    Scenario { name: "1 to 75 % in six steps, 1 % fail", weights: RISING, bad: Bad::Failing(COMMON), ..BASE },
    Scenario { name: "... with a shared outage", weights: RISING, bad: Bad::Failing(OUTAGE), ..BASE },
    Scenario {
        name: "at 1 %, 1 % fail, 15 min",
        seconds: QUARTER,
        weights: &[(0, 1)],
        bad: Bad::Failing(COMMON),
        ..BASE
    },
    Scenario {
        name: "at 50 %, 1 % fail, 15 min",
        seconds: QUARTER,
        weights: &[(0, 50)],
        bad: Bad::Failing(COMMON),
        ..BASE
    },
    Scenario {
        name: "at 99 %, 1 % fail, 15 min",
        seconds: QUARTER,
        weights: &[(0, 99)],
        bad: Bad::Failing(COMMON),
        ..BASE
    },
    Scenario {
        name: "1/s for 2 hours, 10 %, 1 % fail",
        requests_per_second: 1,
        seconds: 7_200,
        bad: Bad::Failing(COMMON),
        ..BASE
    },
    Scenario { name: "failures and three latency bounds, 5 min", seconds: 300, bad: Bad::Everything, ..BASE },
    Scenario { name: "every 2nd to 1,000th fails, 10 min", seconds: 600, bad: Bad::Periodic, ..BASE },
    Scenario {
        name: "... at 50 %, minimumEffect: 1",
        seconds: 600,
        weights: &[(0, 50)],
        bad: Bad::Periodic,
        minimum_effect: 1.0,
        ..BASE
    },
];

/// Rollouts of a canary that is.
pub(crate) const WORSE: &[Scenario] = &[
    Scenario { name: "fails 0.1 -> 1 %, at 10 %", bad: Bad::Failing(&[(0, 0.001, 0.01)]), ..BASE },
    Scenario { name: "fails 0.1 -> 0.2 %, at 10 %", bad: Bad::Failing(&[(0, 0.001, 0.002)]), ..BASE },
    Scenario { name: "half broken, at 10 %", bad: Bad::Failing(&[(0, 0.001, 0.5)]), ..BASE },
    Scenario {
        name: "half broken, at 1 %",
        weights: &[(0, 1)],
        bad: Bad::Failing(&[(0, 0.001, 0.5)]),
        ..BASE
    },
    Scenario {
        name: "0.1 -> 1 % after 20 min, at 10 %",
        seconds: 3_600,
        bad: Bad::Failing(&[(0, 0.001, 0.001), (1_200, 0.001, 0.01)]),
        ..BASE
    },
    Scenario {
        name: "1 -> 3 % after 20 min, at 50 %",
        seconds: 3_600,
        weights: &[(0, 50)],
        bad: Bad::Failing(&[(0, 0.01, 0.01), (1_200, 0.01, 0.03)]),
        ..BASE
    },
    Scenario { name: "slower than p99: 1 -> 2 %, at 10 %", bad: Bad::Slow(2, 0.01, 0.02), ..BASE },
    Scenario {
        name: "... at 1,000/s",
        requests_per_second: 1_000,
        seconds: 600,
        bad: Bad::Slow(2, 0.01, 0.02),
        ..BASE
    },
    Scenario { name: "slower than p50: 50 -> 60 %, at 10 %", bad: Bad::Slow(0, 0.5, 0.6), ..BASE },
    Scenario {
        name: "1/s for 2 hours, 0.5 -> 20 %, at 10 %",
        requests_per_second: 1,
        seconds: 7_200,
        bad: Bad::Failing(&[(0, 0.005, 0.2)]),
        ..BASE
    },
];
