"""The tables, the verdicts and the JSON file."""

import json
import statistics

from bench.contenders import TITLES
from bench.targets import METRICS, TARGETS, verdict

# From here on the proxy's core was the bottleneck, and requests per second are its ceiling.
SATURATED = 0.95


def spread(values):
    """Median and quartiles."""
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def column(rounds, name, key):
    """A number of a contender, one for each round that has it."""
    return [numbers[name][key] for numbers in rounds if key in numbers.get(name, {})]


def ratios(rounds, key, peer):
    """Watershed's number over the peer's, within each round. None where either is not above zero: lost in noise."""
    pairs = [(numbers["watershed"][key], numbers[peer][key]) for numbers in rounds
             if key in numbers.get("watershed", {}) and key in numbers.get(peer, {})]
    return [own / other if own > 0 and other > 0 else None for own, other in pairs]


def print_scenario(scenario, rate, rounds):
    """The table of a scenario."""
    print(f"\n## {scenario.name}: {scenario.about}\n")
    rows = [row(scenario, name, rounds) for name in TITLES if name in rounds[0] and name != "direct"]
    print_table(rows)
    if not scenario.idle:
        print_generator(scenario, rate, rounds)


def row(scenario, name, rounds):
    """One contender: heading -> text."""
    cells = {"": TITLES[name]}
    if scenario.idle:
        cells["bytes per idle connection"] = show(column(rounds, name, "bytes_per_connection"), "{:,.0f}")
        cells["memory before, MB"] = show(column(rounds, name, "idle_bytes"), "{:.1f}", 1e6)
        return cells
    cells["CPU us/request"] = show(column(rounds, name, "cpu_us"), "{:.2f}")
    if scenario.size >= 1_000_000:
        cells["CPU s/GB"] = show(column(rounds, name, "cpu_us"), "{:.3f}", scenario.size / 1000)
    cells["Watershed / this"] = show(ratios(rounds, "cpu_us", name), "{:.2f}")
    if scenario.saturates:
        core, reached = (statistics.median(column(rounds, name, key)) for key in ("core", "requests_per_second"))
        cells["requests/s"] = ("" if core >= SATURATED else ">= ") + f"{reached:,.0f}"
        cells["core"] = f"{core:.0%}"
    for percentile in ("p50", "calm_p99", "p99", "p999") if scenario.latency else ():
        title = {"p999": "p99.9", "calm_p99": "p99 (median 0.1 s)"}.get(percentile, percentile)
        cells[f"added {title}, us"] = show(column(rounds, name, f"added_{percentile}_us"), "{:.0f}")
    memory = [statistics.median(column(rounds, name, key)) / 1e6 for key in ("idle_bytes", "loaded_bytes")]
    cells["memory idle, loaded, MB"] = "{:.1f}, {:.1f}".format(*memory)
    return cells


def show(values, form, unit=1):
    """Median and quartiles as text."""
    if not values or None in values:
        return "-"
    middle, low, high = (form.format(value / unit) for value in spread(values))
    return middle if len(values) < 2 else f"{middle} [{low} to {high}]"


def print_table(rows):
    """Markdown, aligned for a terminal as well."""
    if not rows:
        return
    headings = list(rows[0])
    widths = [max(len(str(cells[heading])) for cells in [dict(zip(headings, headings)), *rows])
              for heading in headings]

    def line(cells):
        return "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(cells, widths)) + " |"
    print(line(headings))
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for cells in rows:
        print(line(cells.values()))


def print_generator(scenario, rate, rounds):
    """Whether the generator was the ceiling."""
    alone = statistics.median(column(rounds, "direct", "requests_per_second"))
    print(f"\nThe generator and a pod without a proxy, on the load's core: {alone:,.0f} requests/s.", end="")
    if rate:
        p50, p99, p999 = (statistics.median(column(rounds, "direct", key)) for key in ("p50_us", "p99_us", "p999_us"))
        print(f" Latency at {rate:,} requests/s, of which without a proxy {p50:.0f}, {p99:.0f}, {p999:.0f} us"
              " (subtracted above).", end="")
    print()


def judge(results):
    """Every target that was measured, with its verdict."""
    judged = []
    for target in TARGETS:
        _, rounds = results.get(target.scenario, (0, []))
        title, key = METRICS[target.metric]
        if target.peer:
            values = ratios(rounds, key, target.peer)
        else:
            values = column(rounds, "watershed", key)
        if not values:
            continue
        known = [value for value in values if value is not None]
        middle, low, high = spread(known) if len(known) * 2 > len(values) else (None,) * 3
        judged.append({"scenario": target.scenario, "what": title, "peer": target.peer, "median": middle,
                       "quartiles": [low, high], "hold": target.hold, "stretch": target.stretch,
                       "verdict": verdict(target, middle)})
    return judged


def print_verdicts(judged):
    """The last table."""
    if not judged:
        return
    print("\n## Targets: Watershed over the peer, within a round\n")

    def number(value):
        return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    print_table([{
        "scenario": one["scenario"], "what": one["what"], "peer": TITLES.get(one["peer"], "(itself)"),
        "median": number(one["median"]), "quartiles": " to ".join(number(value) for value in one["quartiles"]),
        "hold": number(one["hold"]), "stretch": number(one["stretch"]), "verdict": one["verdict"],
    } for one in judged])


def write_json(path, head, results, judged):
    """Everything, for machines."""
    scenarios = {name: {"rate": rate, "rounds": rounds} for name, (rate, rounds) in results.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head | {"scenarios": scenarios, "targets": judged}, indent=1) + "\n")
    print(f"\nAll numbers: {path}")
