"""What is sent: one entry for each kind of traffic."""

from dataclasses import dataclass, replace

ALL = ("floor", "bare", "watershed", "nginx", "haproxy", "pingora", "envoy")


@dataclass(frozen=True)
class Scenario:
    """One kind of traffic. Sizes are in bytes."""

    name: str
    about: str
    front: str = "http1"  # what clients speak
    back: str = "http1"  # what pods speak
    size: int = 128  # of an answer's body
    upload: int = 0  # of a request's body; 0 is a GET
    routes: int = 100  # that the proxy has, and that requests are spread over
    connections: int = 64
    streams: int = 1  # open at once on each HTTP/2 connection
    close: bool = False  # whether each request has a connection of its own
    workers: int = 1  # of the proxy
    latency: bool = False  # whether it is also measured at a fixed rate
    idle: int = 0  # connections whose memory is measured, instead of everything else
    contenders: tuple = ALL

    @property
    def saturates(self):
        """Whether requests per second mean anything: the proxy has cores that nobody else uses."""
        return self.workers == 1


_BASE = Scenario("h1-128B", "HTTP/1.1, keep-alive, 128 B answers", latency=True)
_WITH_ROUTES = tuple(name for name in ALL if name not in ("floor", "bare"))

SCENARIOS = (
    _BASE,
    replace(_BASE, name="h1-10kB", about="HTTP/1.1, 10 kB answers", size=10_000),
    replace(_BASE, name="h1-1MB", about="HTTP/1.1, 1 MB answers", size=1_000_000, connections=16, latency=False),
    replace(_BASE, name="h1-post-10kB", about="HTTP/1.1, POST of 10 kB", upload=10_000),
    replace(_BASE, name="h1-new-connection", about="HTTP/1.1, a new connection for each request", close=True,
            latency=False),
    replace(_BASE, name="h2-h2", about="HTTP/2 on both sides, 4 connections of 32 streams", front="http2",
            back="http2", connections=4, streams=32,
            contenders=tuple(name for name in ALL if name != "nginx")),
    replace(_BASE, name="h2-h1", about="HTTP/2 to HTTP/1.1, 4 connections of 32 streams", front="http2",
            connections=4, streams=32, contenders=tuple(name for name in ALL if name != "floor")),
    replace(_BASE, name="routes-1", about="one route", routes=1, latency=False, contenders=_WITH_ROUTES),
    replace(_BASE, name="routes-5000", about="5,000 routes", routes=5_000, latency=False,
            contenders=_WITH_ROUTES),
    replace(_BASE, name="workers-2", about="two workers that share the cores with the load", workers=2,
            latency=False),
    replace(_BASE, name="idle-10000", about="10,000 idle connections", idle=10_000, latency=False,
            contenders=tuple(name for name in ALL if name != "floor")),
)
QUICK = ("h1-128B", "h2-h2")
