"""Rounds of a scenario: every contender freshly started, in a new random order."""

import random
from dataclasses import replace

from bench.contenders import TITLES, start_pods
from bench.measure import Plan, measure
from bench import Refusal

# wrk takes whole seconds only.
NORMAL = Plan(warm=1, closed=3, paced=3, idle=10)
QUICK = Plan(warm=1, closed=1, paced=2, idle=10)
# Whose saturation the fixed rate is half of: the first that takes part.
YARDSTICKS = ("nginx", "haproxy", "bare", "watershed")
# The generator alone must keep the rate to this, or the rate is lowered by the step and tried again.
KEPT = 0.98
STEP = 0.7
# Latency that the generator may have without a proxy. Beyond, it is its own queue that is measured.
ALONE_P50_LIMIT_US = 500


def run(scenario, names, tools, rounds, plan, directory):
    """Measures; returns the fixed rate and, for each round, contender -> numbers."""
    directory = directory / scenario.name
    directory.mkdir()
    pods = start_pods(tools, scenario, directory)
    try:
        rate = _fixed_rate(scenario, names, tools, pods, plan, directory) if scenario.latency else 0
        plan = replace(plan, rate=rate)
        results = []
        for index in range(rounds):
            results.append(_round(scenario, names, tools, pods, plan, directory))
            print(f"  {scenario.name}: round {index + 1} of {rounds} done", flush=True)
        return rate, results
    finally:
        for pod in pods:
            pod.process.stop()


def _round(scenario, names, tools, pods, plan, directory):
    """Every contender once."""
    order = list(names) if scenario.idle else ["direct", *names]
    random.shuffle(order)
    result = {}
    for name in order:
        try:
            result[name] = measure(name, tools, scenario, pods, plan, directory)
        except Refusal as refusal:
            raise Refusal(f"{scenario.name}, {TITLES[name]}: {refusal}") from refusal
    direct = result.get("direct", {})
    for numbers in result.values():
        for key in ("p50_us", "p99_us", "p999_us"):
            if key in numbers:
                numbers[f"added_{key}"] = numbers[key] - direct[key]
    return result


def _fixed_rate(scenario, names, tools, pods, plan, directory):
    """Half of nginx's saturation, or less if the generator alone could not keep that."""
    yardstick = next((name for name in YARDSTICKS if name in names), names[0])
    saturated = measure(yardstick, tools, scenario, pods, plan, directory)
    rate = int(saturated["requests_per_second"] / 2)
    while rate > 100:
        alone = measure("direct", tools, scenario, pods, replace(plan, rate=rate), directory)
        if alone["rate"] >= KEPT * rate and alone["p50_us"] <= ALONE_P50_LIMIT_US:
            return rate
        print(f"  {scenario.name}: the generator alone does not keep {rate:,} requests/s; trying less", flush=True)
        rate = int(rate * STEP)
    raise Refusal(f"{scenario.name}: the generator cannot keep any rate on this machine.")
