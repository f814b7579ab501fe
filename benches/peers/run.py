#!/usr/bin/env python3
"""Watershed and its peers on the same work, side by side. README.md tells what is measured and how to read it."""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench import Refusal, processes, report, rounds, tools  # noqa: E402
from bench.contenders import FILES, TITLES  # noqa: E402
from bench.scenarios import ALL, QUICK, SCENARIOS  # noqa: E402

ROUNDS, QUICK_ROUNDS = 5, 2
FAILED, INTERRUPTED = 1, 130
GENERATORS = ("wrk", "h2load", "nghttp", "oha")


def main():
    """Runs the command; returns its status."""
    options = parse()
    processes.end_on_signals()
    try:
        return run(options)
    except Refusal as refusal:
        print(f"\n{refusal}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        processes.stop_all()


def parse():
    """The command line."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", action="append", choices=names, help="only this one (several times: these)")
    parser.add_argument("--contender", action="append", choices=ALL, help="only this one (several times: these)")
    parser.add_argument("--rounds", type=int, help=f"how often all are measured [{ROUNDS}; quick: {QUICK_ROUNDS}]")
    parser.add_argument("--quick", action="store_true", help="a look in under three minutes")
    parser.add_argument("--latency-by", choices=("pace", "oha"), default="pace",
                        help="what measures latency with HTTP/1.1 [pace]; with HTTP/2 it is oha")
    parser.add_argument("--watershed", metavar="FILE", help="the binary [the release build of this repository]")
    parser.add_argument("--oha", metavar="FILE", help="the binary [from PATH]")
    parser.add_argument("--envoy", metavar="FILE", help="the binary [of the Python package, or from PATH]")
    parser.add_argument("--json", metavar="FILE", type=Path, default=tools.TARGET / "bench" / "peers.json",
                        help="where all numbers go [bench/peers.json in the target directory]")
    return parser.parse_args()


def run(options):
    """Finds what is needed, measures, reports what could be measured."""
    wanted = options.scenario or (QUICK if options.quick else [scenario.name for scenario in SCENARIOS])
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in wanted]
    contenders = options.contender or ALL
    found = tools.Tools({"watershed": options.watershed, "oha": options.oha, "envoy": options.envoy})
    peers = [name for name in ALL if name in contenders and name not in tools.BUILT]
    found.require([*peers, *GENERATORS, "cargo"])
    tools.build(found)
    processes.prepare_machine(FILES)
    machine = processes.machine()
    print(f"{machine['cores']} x {machine['processor']}, Linux {machine['linux']}, "
          f"load average {machine['load_average']}", flush=True)
    results = {}
    status = measure_all(scenarios, contenders, found, options, results)
    if results:
        judged = report.judge(results)
        report.print_verdicts(judged)
        head = {"machine": machine, "versions": found.versions([*contenders, *GENERATORS])}
        report.write_json(options.json, head, results, judged)
    return status


def measure_all(scenarios, contenders, found, options, results):
    """One scenario after the other, into `results`. One that fails is told, and the others go on."""
    plan = replace(rounds.QUICK if options.quick else rounds.NORMAL, latency_by=options.latency_by)
    count = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    status = 0
    with tempfile.TemporaryDirectory(prefix="watershed-peers-") as directory:
        for scenario in scenarios:
            names = [name for name in scenario.contenders if name in contenders]
            try:
                results[scenario.name] = rounds.run(scenario, names, found, count, plan, Path(directory))
                report.print_scenario(scenario, *results[scenario.name])
            except Refusal as refusal:
                print(f"\n{refusal}", file=sys.stderr)
                status = FAILED
            except KeyboardInterrupt:
                print("\ninterrupted", file=sys.stderr)
                return INTERRUPTED
            finally:
                processes.stop_all()
    return status


if __name__ == "__main__":
    sys.exit(main())
