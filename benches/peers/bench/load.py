"""The load generators: wrk and h2load in a closed loop, pace and oha at a fixed rate. All on the cores of the load."""

import json
import re
from dataclasses import dataclass

from bench import Refusal
from bench.check import HOST
from bench.processes import LOAD_CORES, Process
from bench.tools import HERE

# Beyond this share of failed requests a measurement means nothing.
ERRORS_ALLOWED = 0.001
# Time for a generator beyond that of its load.
GRACE_SECONDS = 20


@dataclass
class Sent:
    """What a closed loop did."""

    requests: int
    seconds: float


@dataclass
class Latency:
    """Microseconds from when each request was to be sent until its answer had come."""

    p50: float
    p99: float
    p999: float
    rate: float  # that was really reached
    calm_p99: float | None = None  # of the median tenth of a second; pace only


def closed_loop(tools, scenario, port, seconds, directory):
    """As many requests as there can be for this long."""
    run = _h2load if scenario.front == "http2" else _wrk
    return run(tools, scenario, port, seconds, directory)


def fixed_rate(tools, scenario, port, plan, directory):
    """Requests at this rate, whatever the answers do. pace speaks HTTP/1.1 only."""
    run = _pace if plan.latency_by == "pace" and scenario.front == "http1" else _oha
    return run(tools, scenario, port, plan.rate, plan.paced, directory)


def _pace(tools, scenario, port, rate, seconds, directory):
    """A lean generator of this folder, which wakes for each request: see forwarders/src/bin/pace.rs."""
    command = [tools.path("pace"), port, rate, seconds, scenario.connections, scenario.routes, scenario.size,
               scenario.upload]
    out = Process(command, LOAD_CORES, directory / "pace.log", capture=True).output(seconds * 5 + GRACE_SECONDS)
    return Latency(**json.loads(out))


def _oha(tools, scenario, port, rate, seconds, directory):
    """On a general runtime, whose clock ticks once a millisecond."""
    command = [
        tools.path("oha"), "--worker-threads", 1, "--no-tui", "--output-format", "json", "-q", rate,
        "-n", int(rate * seconds), "--latency-correction", "-c", scenario.connections,
        "--connect-to", f"{HOST}:80:127.0.0.1:{port}", "--urls-from-file"]
    if scenario.front == "http2":
        command += ["--http2", "-p", scenario.streams]
    if scenario.upload:
        command += ["-m", "POST", "-D", _upload(scenario, directory)]
    command.append(_urls(scenario, HOST, directory))
    out = Process(command, LOAD_CORES, directory / "oha.log", capture=True).output(seconds * 5 + GRACE_SECONDS)
    result = json.loads(out)
    good = sum(count for status, count in result["statusCodeDistribution"].items() if status == "200")
    _refuse_errors(f"oha ({result['errorDistribution']})", good, int(rate * seconds) - good)
    percentiles = result["latencyPercentiles"]
    return Latency(*(percentiles[name] * 1e6 for name in ("p50", "p99", "p99.9")),
                   rate=result["summary"]["requestsPerSec"])


def _wrk(tools, scenario, port, seconds, directory):
    """HTTP/1.1."""
    close = ["-H", "Connection: close"] if scenario.close else []
    command = [
        tools.path("wrk"), "-t", 1, "-c", scenario.connections, "-d", f"{seconds}s", "-H", f"Host: {HOST}",
        *close, "-s", HERE / "configurations" / "wrk.lua", f"http://127.0.0.1:{port}", "--",
        scenario.routes, scenario.size, scenario.upload]
    out = Process(command, LOAD_CORES, directory / "wrk.log", capture=True).output(seconds + GRACE_SECONDS)
    line = next((line for line in out.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise Refusal(f"wrk ended without a result:\n{out}")
    result = json.loads(line.removeprefix("RESULT "))
    _refuse_errors("wrk", result["requests"], result["status"] + result["socket"])
    return Sent(result["requests"], result["microseconds"] / 1e6)


def _h2load(tools, scenario, port, seconds, directory):
    """HTTP/2."""
    command = [
        tools.path("h2load"), "-t", 1, "-c", scenario.connections, "-m", scenario.streams, "-D", seconds,
        "-H", f":authority: {HOST}", "-i", _urls(scenario, f"127.0.0.1:{port}", directory)]
    out = Process(command, LOAD_CORES, directory / "h2load.log", capture=True).output(seconds + GRACE_SECONDS)
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    finished = re.search(r"finished in ([\d.]+)(ms|s),", out)
    if not found or not finished:
        raise Refusal(f"h2load ended without a result:\n{out}")
    good, *bad = (int(number) for number in found.groups())
    _refuse_errors("h2load", good, sum(bad))
    return Sent(good, float(finished[1]) / (1000 if finished[2] == "ms" else 1))


def _refuse_errors(generator, good, bad):
    """A load with failures costs something else than one without."""
    if good == 0 or bad > ERRORS_ALLOWED * good:
        raise Refusal(f"{generator}: {bad} requests failed, {good} did not.")


def _urls(scenario, host, directory):
    """A file with an address for each route."""
    path = directory / f"urls-{host}"
    if not path.exists():
        lines = (f"http://{host}/r{route}/{scenario.size}\n" for route in range(scenario.routes))
        path.write_text("".join(lines))
    return path


def _upload(scenario, directory):
    """A file with a request's body."""
    path = directory / "upload"
    path.write_bytes(b"u" * scenario.upload)
    return path
