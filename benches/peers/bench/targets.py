"""What is promised: the one place where the numbers stand. Ratios are Watershed's number over the peer's, within a round."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`hold` must be kept, `stretch` is the aim; either may be absent."""

    scenario: str
    metric: str  # see METRICS
    peer: str | None  # None: the number itself, not a ratio
    hold: float | None = None
    stretch: float | None = None


# Metric -> what it is for people, and which number of a measurement.
METRICS = {
    "cpu": ("CPU time per request", "cpu_us"),
    "p99": ("added p99", "added_p99_us"),
    "calm_p99": ("added p99, median tenth of a second", "added_calm_p99_us"),
    "idle": ("bytes per idle connection", "bytes_per_connection"),
}

TARGETS = (
    Target("h1-128B", "cpu", "floor", stretch=1.30),
    Target("h1-128B", "cpu", "bare", hold=1.05, stretch=0.90),
    Target("h1-128B", "cpu", "nginx", hold=1.0, stretch=0.90),
    Target("h1-128B", "cpu", "haproxy", hold=1.0, stretch=0.90),
    Target("h1-128B", "cpu", "pingora", hold=0.50),
    Target("h1-128B", "cpu", "envoy", hold=0.33, stretch=0.30),
    *(Target("h1-128B", metric, peer, hold, stretch)
      # The p99 of a whole phase is where the machine's own stalls begin: README.md, "Latency".
      for metric in ("p99", "calm_p99")
      for peer, hold, stretch in (("nginx", 1.1, 1.0), ("haproxy", 1.1, 1.0), ("envoy", 0.6, None))),
    # CPU time per byte is CPU time per request over the same number of bytes.
    Target("h1-1MB", "cpu", "nginx", hold=1.3, stretch=1.0),
    Target("h1-1MB", "cpu", "haproxy", hold=1.5),
    Target("h1-1MB", "cpu", "envoy", hold=0.8),
    Target("h1-new-connection", "cpu", "nginx", hold=1.1, stretch=1.0),
    Target("h1-new-connection", "cpu", "haproxy", hold=1.1, stretch=1.0),
    Target("h2-h2", "cpu", "bare", hold=1.10),
    Target("h2-h2", "cpu", "haproxy", stretch=1.3),
    Target("h2-h2", "cpu", "envoy", hold=0.35),
    Target("idle-10000", "idle", None, hold=4096, stretch=1024),
)


def verdict(target, value):
    """One word for a median."""
    if value is None:
        return "unresolved"
    if target.stretch is not None and value <= target.stretch:
        return "stretch"
    if target.hold is None:
        return "not yet"
    return "holds" if value <= target.hold else "MISSED"
