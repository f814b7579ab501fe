"""What is measured of one contender, and how it is started for that."""

import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

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
    closed: float  # of which there are several slices
    paced: float
    idle: float
    slices: int = 1
    rate: int = 0  # requests per second of the fixed rate; 0 measures no latency
    latency_by: str = "pace"  # or "oha"


@dataclass(frozen=True)
class Subject:
    """A contender that runs; for `direct`, a pod alone, without `idle_bytes`."""

    running: object
    directory: Path
    idle_bytes: int | None


@contextmanager
def started(name, tools, scenario, pods, directory):
    """A contender freshly started, checked and come to rest, until the end of the block."""
    directory = Path(directory) / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    if name == "direct":
        yield Subject(pods.direct, directory, None)
        return
    running = contenders.start(name, tools, scenario, pods, directory)
    with running.process:
        check(name, running, scenario, tools)
        time.sleep(REST_SECONDS)
        yield Subject(running, directory, running.process.memory_bytes())


def idle_memory(subject, scenario, plan):
    """With all those connections."""
    per_connection = memory_per_connection(subject.running, scenario.idle, plan.idle)
    return {"idle_bytes": subject.idle_bytes, "bytes_per_connection": per_connection}


def cost(subject, tools, scenario, seconds):
    """In a closed loop for so long."""
    process = subject.running.process
    cores, cpu = core_busy(), process.cpu_ns()
    sent = load.closed_loop(tools, scenario, subject.running.port, seconds, subject.directory)
    cpu = process.cpu_ns() - cpu
    return {
        "cpu_us": cpu / 1000 / sent.requests,
        "requests_per_second": sent.requests / sent.seconds,
        # Of the time of the load, without the start and the end of its generator.
        "core": cpu / 1e9 / sent.seconds / scenario.workers,
        "load_core": _busy(cores, core_busy()),
    }


def in_the_middle(slices):
    """The median of each number."""
    return {key: median(numbers[key] for numbers in slices) for key in slices[0]}


def memory(subject):
    """Before any request and after all of them."""
    if subject.idle_bytes is None:
        return {}
    return {"idle_bytes": subject.idle_bytes, "loaded_bytes": subject.running.process.memory_bytes()}


def latency(subject, tools, scenario, plan):
    """At the fixed rate; and how busy the generator was, and the contender with its core."""
    running = subject.running
    cpu, generator = running.process.cpu_ns(), ended_children_cpu_seconds()
    latency = load.fixed_rate(tools, scenario, running.port, plan, subject.directory)
    cpu, generator = running.process.cpu_ns() - cpu, ended_children_cpu_seconds() - generator
    calm = {} if latency.calm_p99 is None else {"calm_p99_us": latency.calm_p99}
    return {"p50_us": latency.p50, "p99_us": latency.p99, "p999_us": latency.p999, **calm, "rate": latency.rate,
            "paced_core": cpu / 1e9 / plan.paced / scenario.workers, "paced_generator": generator / plan.paced}


def _busy(before, after):
    """How busy the core of the load was, by everything on it."""
    (busy0, all0), (busy1, all1) = before[1], after[1]
    return (busy1 - busy0) / max(1, all1 - all0)
