"""That a contender does the work that it is measured on: routes, the split, and nothing for a path without a route."""

import http.client
import subprocess
import time

from bench import Refusal

HOST = "bench.example"
ROUTES = 20
EACH = 50
# Of the requests, the canary's share may be this far from 10 %: over five times what chance allows with 400 draws.
TOLERANCE = 0.08
READY_LIMIT = 30


def check(name, running, scenario, tools):
    """Raises a refusal if anything is not as it should be. Waits until a contender with many routes is ready."""
    ask = _ask_http2 if scenario.front == "http2" else _ask_http1
    _wait_until_ready(running, scenario, ask, tools, name)
    routes = min(ROUTES, scenario.routes)
    paths = [f"/r{turn % routes}/{turn}/128" for turn in range(ROUTES * EACH // (1 if ask is _ask_http1 else 2))]
    pods = ask(running.port, paths, tools)
    if None in pods:
        raise Refusal(f"{name} answers {pods.count(None)} of {len(pods)} requests with an error.")
    if name in ("floor", "bare", "direct"):
        return
    share = pods.count("canary") / len(pods)
    if abs(share - 0.1) > TOLERANCE:
        raise Refusal(f"{name} sends {share:.1%} of the requests to the canary instead of 10 %.")
    if ask(running.port, ["/nowhere/128"], tools) != [None]:
        raise Refusal(f"{name} answers for a path that no route has.")


def _wait_until_ready(running, scenario, ask, tools, name):
    """The last route answers."""
    end = time.monotonic() + READY_LIMIT
    path = f"/r{scenario.routes - 1}/128"
    while time.monotonic() < end:
        if running.process.has_ended():
            break
        try:
            if ask(running.port, [path], tools) != [None]:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise Refusal(f"{name} does not answer:\n{running.process.said()}")


def _ask_http1(port, paths, _tools):
    """The name of the pod that answered each request, None for other answers than 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        pods = []
        for path in paths:
            connection.request("GET", path, headers={"Host": HOST})
            answer = connection.getresponse()
            answer.read()
            pods.append(answer.getheader("pod") if answer.status == 200 else None)
        return pods
    finally:
        connection.close()


def _ask_http2(port, paths, tools):
    """The same with HTTP/2, all on one connection. nghttp asks for an address once only: the paths have to differ."""
    urls = [f"http://127.0.0.1:{port}{path}" for path in paths]
    command = [tools.path("nghttp"), "-vn", "--no-dep", f"-H:authority: {HOST}", *urls]
    out = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout
    pods = [line.rpartition(": ")[2] for line in out.splitlines() if ") pod: " in line]
    return pods + [None] * (len(paths) - len(pods))
