"""How each contender is started: its configuration written from `configurations/`, and its command."""

import os
from dataclasses import dataclass

from bench.processes import LOAD_CORES, PROXY_CORES, Process, free_port, wait_for_port
from bench.tools import HERE

TEMPLATES = HERE / "configurations"
# Client connections that are allowed: those of the scenario with most, and a fifth more, because nginx begins to close idle
# ones when only a sixteenth is left.
CONNECTIONS = 12_000
FILES = 20_000
TITLES = {"direct": "(no proxy)", "floor": "TCP floor", "bare": "bare hyper", "watershed": "Watershed",
          "nginx": "nginx", "haproxy": "HAProxy", "pingora": "Pingora", "envoy": "Envoy"}
_ENVOY_HTTP2 = ("typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: "
                '{"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, '
                "explicit_http_config: {http2_protocol_options: {}}}}")


@dataclass
class Running:
    """A started process and where it listens."""

    process: Process
    port: int


@dataclass
class Pods:
    """What a contender forwards to, and what is asked where there is no contender: it speaks what clients speak."""

    stable: Running
    canary: Running
    direct: Running

    def stop(self):
        """Ends them."""
        for pod in (self.stable, self.direct):
            pod.process.stop()


def start_pods(tools, scenario, directory):
    """On the cores of the load. Stable and canary are one process: on one core with the generator, which of the three runs when
    would be most of what a p99 shows."""
    pods = {}
    for names, protocol in ((("stable", "canary"), scenario.back), (("direct",), scenario.front)):
        ports = {name: free_port() for name in names}
        command = [tools.path("pod"), protocol, *(part for name, port in ports.items() for part in (port, name))]
        process = Process(command, LOAD_CORES, directory / f"pod-{names[0]}.log")
        pods |= {name: Running(process, port) for name, port in ports.items()}
    for pod in pods.values():
        wait_for_port(pod.port, pod.process)
    return Pods(**pods)


def start(name, tools, scenario, pods, directory):
    """Starts a contender freshly and waits until it listens. `directory` is its own, and empty."""
    port = free_port()
    values = values_of(scenario, pods, port, directory)
    command = COMMANDS[name](tools, scenario, values, directory)
    cores = PROXY_CORES if scenario.workers == 1 else PROXY_CORES | LOAD_CORES
    process = Process(command, cores, directory / "log")
    wait_for_port(port, process)
    return Running(process, port)


def values_of(scenario, pods, port, directory):
    """What stands for the @NAMES@ in the templates."""
    front2, back2 = scenario.front == "http2", scenario.back == "http2"
    return {
        "ROUTES": scenario.routes, "WORKERS": scenario.workers, "PORT": port, "DIRECTORY": directory,
        "STABLE": pods.stable.port, "CANARY": pods.canary.port, "CONNECTIONS": CONNECTIONS, "FILES": FILES,
        # nginx would otherwise change to a user who may not write into the directory.
        "USER": "user root;" if os.geteuid() == 0 else "",
        "NGINX_HTTP2": " http2" if front2 else "",
        "HAPROXY_FRONT": " proto h2" if front2 else "",
        "HAPROXY_BACK": " proto h2" if back2 else "",
        "ENVOY_BACK": _ENVOY_HTTP2 if back2 else "",
        "WATERSHED_BACK": ", appProtocol: kubernetes.io/h2c" if back2 else "",
    }


def render(template, values):
    """A template with its values; lines that begin with @each@ once for every route."""
    lines = []
    for line in (TEMPLATES / template).read_text().splitlines():
        if line.startswith("@each@"):
            line = line.removeprefix("@each@")
            lines += [line.replace("@N@", str(route)) for route in range(values["ROUTES"])]
        else:
            lines.append(line)
    text = "\n".join(lines) + "\n"
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def _floor(tools, scenario, values, _directory):
    """Bytes to the stable pod."""
    return [tools.path("floor"), values["PORT"], scenario.workers, f"127.0.0.1:{values['STABLE']}"]


def _bare(tools, scenario, values, _directory):
    """Requests to the stable pod."""
    pod = f"127.0.0.1:{values['STABLE']}"
    return [tools.path("bare"), values["PORT"], scenario.workers, pod, scenario.front, scenario.back]


def _watershed(tools, scenario, values, directory):
    """With its defaults; what is said besides keeps it from meeting another one on the same machine."""
    manifests = directory / "manifests"
    manifests.mkdir()
    (manifests / "gateway.yaml").write_text(render("watershed.yaml", values))
    for route in range(scenario.routes):
        text = render("watershed-route.yaml", values | {"N": route})
        (manifests / f"route-{route:05}.yaml").write_text(text)
    return [tools.path("watershed"), "run", "-f", manifests, "--workers", scenario.workers,
            "--state-dir", directory / "state", "--admin", f"127.0.0.1:{free_port()}",
            "--service-listener", "off"]


def _nginx(tools, _scenario, values, directory):
    """Master and workers."""
    (directory / "nginx.conf").write_text(render("nginx.conf", values))
    return [tools.path("nginx"), "-e", "stderr", "-p", directory, "-c", directory / "nginx.conf"]


def _haproxy(tools, _scenario, values, directory):
    """One process with threads."""
    (directory / "routes.map").write_text(render("routes.map", values))
    (directory / "haproxy.cfg").write_text(render("haproxy.cfg", values))
    return [tools.path("haproxy"), "-db", "-f", directory / "haproxy.cfg"]


def _pingora(tools, scenario, values, _directory):
    """The crate of this folder."""
    pods = [f"127.0.0.1:{values[name]}" for name in ("STABLE", "CANARY")]
    return [tools.path("pingora"), values["PORT"], scenario.workers, scenario.routes, *pods, scenario.back]


def _envoy(tools, scenario, values, directory):
    """One process; hot restart would share memory with others of its kind."""
    (directory / "envoy.yaml").write_text(render("envoy.yaml", values))
    return [tools.path("envoy"), "-c", directory / "envoy.yaml", "--concurrency", scenario.workers,
            "--disable-hot-restart", "--log-level", "error"]


COMMANDS = {"floor": _floor, "bare": _bare, "watershed": _watershed, "nginx": _nginx, "haproxy": _haproxy,
            "pingora": _pingora, "envoy": _envoy}
