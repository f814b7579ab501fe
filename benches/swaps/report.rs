//! The tables that are printed, the same as JSON, and what they mean.

use serde_json::{Value, json};

use crate::edits;
use crate::fire::{RATES, Round, Sample};
use crate::memory::Memory;
use crate::support::stats::Spread;

/// What is promised with 1,000 routes and 1,000 swaps a second: p99 in relation to itself without swaps.
const RATIO_MAX: f64 = 1.15;
/// Where in [`RATES`] is nothing but the first once more.
const AGAIN: usize = 1;
/// Growth of memory from the first tenth of the swaps to the last that is not the allocator's breathing.
const GROWTH_MAX: f64 = 1.05;

/// Prints how one number of routes did.
pub(crate) fn fire(routes: usize, rounds: &[Round]) -> Value {
    println!("\n{routes} routes, precompiled tables");
    println!(
        "  {:>8} {:>9} {:>9} {:<26} {:<26} {:>9}   {:<22} {:<22} {:<22}",
        "swaps/s",
        "made/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "requests",
        "p99 / p99 without",
        "p99 of a slice, us",
        "/ without"
    );
    let lines: Vec<Value> = (0..RATES.len()).map(|index| line(index, rounds)).collect();
    let mut all: Vec<f64> = rounds.iter().flat_map(|round| round.acknowledged_us.iter().copied()).collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| {
        all.get((all.len().saturating_sub(1) as f64 * share) as usize).copied().unwrap_or_default()
    };
    println!(
        "  from a publication until the worker uses it: p50 {:.0} us, p99 {:.0} us, max {:.0} us ({} times)",
        at(0.5),
        at(0.99),
        at(1.0),
        all.len()
    );
    json!({ "routes": routes, "rates": lines,
        "acknowledged_us": { "p50": at(0.5), "p99": at(0.99), "max": at(1.0) } })
}

fn line(index: usize, rounds: &[Round]) -> Value {
    let of = |pick: fn(&Sample) -> f64| Spread::of(rounds.iter().map(|round| pick(&round.samples[index])));
    let over_still = |pick: fn(&Sample) -> f64| {
        Spread::of(rounds.iter().map(|round| pick(&round.samples[index]) / pick(&round.samples[0])))
    };
    let ratio = over_still(|sample| sample.p99_us);
    let (calm, calm_ratio) = (of(|sample| sample.calm_p99_us), over_still(|sample| sample.calm_p99_us));
    let (made, p50) = (of(|sample| sample.swaps_per_second), of(|sample| sample.p50_us));
    let (p99, p999) = (of(|sample| sample.p99_us), of(|sample| sample.p999_us));
    let requests: u64 = rounds.iter().map(|round| round.samples[index].requests).sum();
    println!(
        "  {:>8} {:>9.0} {:>9.0} {:<26} {:<26} {:>9}   {:<22} {:<22} {:<22}",
        if index == AGAIN { "0 again".to_owned() } else { RATES[index].to_string() },
        made.median,
        p50.median,
        p99.show(0),
        p999.show(0),
        requests,
        ratio.show(2),
        calm.show(0),
        calm_ratio.show(2),
    );
    json!({ "swaps_per_second": RATES[index], "made_per_second": made.json(), "p50_us": p50.json(),
        "p99_us": p99.json(), "p999_us": p999.json(), "requests": requests, "errors": 0, "p99_ratio": ratio.json(),
        "calm_p99_us": calm.json(), "calm_p99_ratio": calm_ratio.json() })
}

/// Prints what edits of files did.
pub(crate) fn edits(routes: usize, rounds: &[edits::Round]) -> Value {
    let of = |pick: fn(&edits::Round) -> f64| Spread::of(rounds.iter().map(pick));
    let (still, edited) = (of(|round| round.still_us), of(|round| round.edited_us));
    let ratio = of(|round| round.edited_us / round.still_us);
    let requests: u64 = rounds.iter().map(|round| round.requests).sum();
    println!("\n{routes} routes in files, the real process, everything on one core");
    println!("  p99 without edits            {} us", still.show(0));
    println!("  p99 with {:>3} edits a second  {} us, ratio {}", edits::RATE, edited.show(0), ratio.show(2));
    json!({ "routes": routes, "edits_per_second": edits::RATE, "p99_still_us": still.json(),
        "p99_edited_us": edited.json(), "p99_ratio": ratio.json(), "requests": requests, "errors": 0 })
}

/// Prints what the memory did.
pub(crate) fn memory(memory: &Memory) -> Value {
    let mib = |kib: &u64| *kib as f64 / 1024.0;
    let shown: Vec<String> = memory.resident_kib.iter().map(|kib| format!("{:.1}", mib(kib))).collect();
    println!("\n{} tables compiled, published and dropped under {} requests", memory.swaps, memory.requests);
    println!("  resident MiB after each tenth: {}", shown.join(" "));
    json!({ "swaps": memory.swaps, "resident_kib": memory.resident_kib, "requests": memory.requests })
}

/// Prints whether the promises were kept.
pub(crate) fn verdict(fire: &[Value], memory: &Value) -> bool {
    println!();
    let mut kept = true;
    let mut say = |word: &str, what: String| {
        println!("{word:<11} {what}");
        kept &= word != "MISSED:";
    };
    if let Some(case) = fire.iter().find(|case| case["routes"] == 1_000) {
        let ratio = |index: usize, of: &str| case["rates"][index][of]["median"].as_f64().unwrap_or(f64::MAX);
        let (swapped, again) = (ratio(RATES.len() - 1, "calm_p99_ratio"), ratio(AGAIN, "calm_p99_ratio"));
        let whole = ratio(RATES.len() - 1, "p99_ratio");
        let noisy = again.max(1.0 / again) > RATIO_MAX;
        let word = if noisy { "UNRESOLVED:" } else { word_for(swapped <= RATIO_MAX) };
        say(
            word,
            format!(
                "1,000 routes: p99 of a slice with 1,000 swaps/s is {swapped:.2} of itself without, at most {RATIO_MAX} \
                 (without again: {again:.2}; not judged: {whole:.2} of everything)"
            ),
        );
    }
    say("kept:", "no error: every request was answered with 200 by a pod".to_owned());
    let sizes: Vec<f64> =
        memory["resident_kib"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let growth = sizes.last().copied().unwrap_or(1.0) / sizes.get(1).copied().unwrap_or(1.0);
    let swaps = &memory["swaps"];
    say(
        word_for(growth <= GROWTH_MAX),
        format!("memory after {swaps} swaps is {growth:.3} of that after a tenth of them"),
    );
    kept
}

fn word_for(kept: bool) -> &'static str {
    if kept { "kept:" } else { "MISSED:" }
}
