"""One contender in one round: started, checked, warmed up, measured, ended."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from bench import contenders, load
from bench.check import check
from bench.idle import memory_per_connection
from bench.processes import core_busy, ended_children_cpu_seconds

# A contender that has just started has this long to come to rest before its memory is looked at.
REST_SECONDS = 0.3


@dataclass(frozen=True)
class Plan:
    """How long what is measured. Seconds."""

    warm: float
    closed: float
    paced: float
    idle: float
    rate: int = 0  # requests per second of the fixed rate; 0 measures no latency
    latency_by: str = "pace"  # or "oha"


def measure(name, tools, scenario, pods, plan, directory):
    """All numbers of a contender, freshly started; `direct` is a pod alone."""
    directory = Path(directory) / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    if name == "direct":
        return _numbers(tools, scenario, pods.direct, plan, directory)
    running = contenders.start(name, tools, scenario, pods, directory)
    with running.process:
        check(name, running, scenario, tools)
        time.sleep(REST_SECONDS)
        idle = running.process.memory_bytes()
        if scenario.idle:
            per_connection = memory_per_connection(running, scenario.idle, plan.idle)
            return {"idle_bytes": idle, "bytes_per_connection": per_connection}
        numbers = _numbers(tools, scenario, running, plan, directory)
        return numbers | {"idle_bytes": idle, "loaded_bytes": running.process.memory_bytes()}


def _numbers(tools, scenario, running, plan, directory):
    """Costs in a closed loop, then latency at a fixed rate."""
    load.closed_loop(tools, scenario, running.port, plan.warm, directory)
    cores, cpu = core_busy(), running.process.cpu_ns()
    sent = load.closed_loop(tools, scenario, running.port, plan.closed, directory)
    cpu = running.process.cpu_ns() - cpu
    numbers = {
        "cpu_us": cpu / 1000 / sent.requests,
        "requests_per_second": sent.requests / sent.seconds,
        # Of the time of the load, without the start and the end of its generator.
        "core": cpu / 1e9 / sent.seconds / scenario.workers,
        "load_core": _busy(cores, core_busy()),
    }
    if plan.rate:
        numbers |= _latency(tools, scenario, running, plan, directory)
    return numbers


def _latency(tools, scenario, running, plan, directory):
    """At the fixed rate; and how busy the generator was, and the contender with its core."""
    cpu, generator = running.process.cpu_ns(), ended_children_cpu_seconds()
    latency = load.fixed_rate(tools, scenario, running.port, plan, directory)
    cpu, generator = running.process.cpu_ns() - cpu, ended_children_cpu_seconds() - generator
    calm = {} if latency.calm_p99 is None else {"calm_p99_us": latency.calm_p99}
    return {"p50_us": latency.p50, "p99_us": latency.p99, "p999_us": latency.p999, **calm, "rate": latency.rate,
            "paced_core": cpu / 1e9 / plan.paced / scenario.workers, "paced_generator": generator / plan.paced}


def _busy(before, after):
    """How busy the core of the load was, by everything on it."""
    (busy0, all0), (busy1, all1) = before[1], after[1]
    return (busy1 - busy0) / max(1, all1 - all0)
