"""Rounds of a scenario: every contender freshly started, and measured in turn, in a new random order each time.

All of them run while one is measured; those that nobody asks anything cost nothing. So the costs of two contenders are taken within
seconds of each other, several times: the machine changes its speed for seconds at a time.
"""

import random
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from bench import Refusal
from bench.contenders import TITLES, start_pods
from bench.measure import Plan, cost, idle_memory, in_the_middle, latency, memory, started

# wrk takes whole seconds only.
NORMAL = Plan(warm=1, closed=1, slices=5, paced=3, idle=10)
QUICK = Plan(warm=1, closed=1, slices=1, paced=2, idle=10)
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
    """Every contender."""
    if scenario.idle:
        return _idle_round(scenario, names, tools, pods, plan, directory)
    result = {}
    with ExitStack() as running:
        subjects = {}
        for name in shuffled(["direct", *names]):
            with _told(scenario, name):
                subjects[name] = running.enter_context(started(name, tools, scenario, pods, directory))
                cost(subjects[name], tools, scenario, plan.warm)
        slices = {name: [] for name in subjects}
        for _ in range(plan.slices):
            for name in shuffled(subjects):
                with _told(scenario, name):
                    slices[name].append(cost(subjects[name], tools, scenario, plan.closed))
        for name in shuffled(subjects):
            with _told(scenario, name):
                result[name] = in_the_middle(slices[name])
                if plan.rate:
                    result[name] |= latency(subjects[name], tools, scenario, plan)
                result[name] |= memory(subjects[name])
    direct = result["direct"]
    for numbers in result.values():
        for key in ("p50_us", "p99_us", "p999_us", "calm_p99_us"):
            if key in numbers:
                numbers[f"added_{key}"] = numbers[key] - direct[key]
    return result


def _idle_round(scenario, names, tools, pods, plan, directory):
    """One after the other: each with so many connections."""
    result = {}
    for name in shuffled(names):
        with _told(scenario, name), started(name, tools, scenario, pods, directory) as subject:
            result[name] = idle_memory(subject, scenario, plan)
    return result


def shuffled(names):
    """In a new order."""
    return random.sample(list(names), len(names))


@contextmanager
def _told(scenario, name):
    """A refusal tells whose it is."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(f"{scenario.name}, {TITLES[name]}: {refusal}") from refusal


def _fixed_rate(scenario, names, tools, pods, plan, directory):
    """Half of nginx's saturation, or less if the generator alone could not keep that."""
    yardstick = next((name for name in YARDSTICKS if name in names), names[0])
    with started(yardstick, tools, scenario, pods, directory) as subject:
        cost(subject, tools, scenario, plan.warm)
        saturated = in_the_middle([cost(subject, tools, scenario, plan.closed) for _ in range(plan.slices)])
    rate = int(saturated["requests_per_second"] / 2)
    for _ in range(TRIES):
        with started("direct", tools, scenario, pods, directory) as subject:
            alone = latency(subject, tools, scenario, replace(plan, rate=rate))
        if alone["rate"] >= KEPT * rate and alone["paced_core"] + alone["paced_generator"] <= BUSY:
            return rate
        print(f"  {scenario.name}: {rate:,} requests/s are too many for the generator alone; trying less", flush=True)
        rate = int(rate * STEP)
    raise Refusal(f"{scenario.name}: the generator keeps no rate now: something else is busy on core 1.")
