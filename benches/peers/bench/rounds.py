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
# Without a proxy the generator must keep the rate to this share, with its core busy to no more than that one (by itself and
# the pod): beyond, it would be its own queue that is measured. Otherwise the rate is lowered by the step and tried again.
KEPT = 0.98
BUSY = 0.6
STEP = 0.8
TRIES = 8


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
        pods.stop()


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
        for key in ("p50_us", "p99_us", "p999_us", "calm_p99_us"):
            if key in numbers:
                numbers[f"added_{key}"] = numbers[key] - direct[key]
    return result


def _fixed_rate(scenario, names, tools, pods, plan, directory):
    """Half of nginx's saturation, or less if the generator alone could not keep that."""
    yardstick = next((name for name in YARDSTICKS if name in names), names[0])
    saturated = measure(yardstick, tools, scenario, pods, plan, directory)
    rate = int(saturated["requests_per_second"] / 2)
    for _ in range(TRIES):
        alone = measure("direct", tools, scenario, pods, replace(plan, rate=rate), directory)
        if alone["rate"] >= KEPT * rate and alone["paced_core"] + alone["paced_generator"] <= BUSY:
            return rate
        print(f"  {scenario.name}: {rate:,} requests/s are too many for the generator alone; trying less", flush=True)
        rate = int(rate * STEP)
    raise Refusal(f"{scenario.name}: the generator keeps no rate now: something else is busy on core 1.")
