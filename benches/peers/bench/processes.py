"""Child processes on cores of their own, what they cost, and that none outlives us."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

from bench import Refusal

PROXY_CORES = {0}
LOAD_CORES = {1}
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_running = set()


class Process:
    """A program in a process group of its own, pinned to cores. Ended by `stop`, at the end of a `with`, or with us."""

    def __init__(self, command, cores, log=None, capture=False):
        def prepare():
            os.sched_setaffinity(0, cores)
            # Should this process be killed the hard way, its children end too.
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        self.log = log
        err = open(log, "wb") if log else subprocess.DEVNULL
        out = subprocess.PIPE if capture else err
        self.child = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            preexec_fn=prepare, start_new_session=True, text=True)
        _running.add(self)
        if log:
            err.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        """Also the number of its process group."""
        return self.child.pid

    def has_ended(self):
        """Whether it runs no more."""
        return self.child.poll() is not None

    def said(self):
        """The end of its log."""
        text = Path(self.log).read_text(errors="replace") if self.log else ""
        return "\n".join(text.splitlines()[-15:])

    def output(self, limit):
        """Waits for its end; what it printed."""
        try:
            out, _ = self.child.communicate(timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise Refusal(f"{self.child.args[0]} did not end within {limit:.0f} s.") from error
        finally:
            self.stop()
        if self.child.returncode:
            raise Refusal(f"{self.child.args[0]} failed with status {self.child.returncode}:\n{out}\n{self.said()}")
        return out

    def stop(self):
        """Ends the whole group, at once: nothing here is worth saving."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
        _running.discard(self)

    def members(self):
        """All processes of its group."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and group_of(entry.name) == self.pid:
                found.append(int(entry.name))
        return found

    def cpu_ns(self):
        """CPU time of all threads of all its processes so far, in user space and in the kernel.

        `schedstat` and not `stat`: the latter counts in hundredths of a second.
        """
        total = 0
        for pid in self.members():
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    total += int((task / "schedstat").read_text().split()[0])
                except (FileNotFoundError, ProcessLookupError):
                    pass  # a thread that has just ended
        return total

    def memory_bytes(self):
        """Resident memory of all its processes, pages that they share with each other counted once."""
        total = 0
        for pid in self.members():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total


def group_of(pid):
    """The process group of a process, or None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything; what follows it is: state, parent, group.
    return int(text.rpartition(")")[2].split()[2])


def ended_children_cpu_seconds():
    """CPU time of all our children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stop_all():
    """Ends everything that was started."""
    for process in list(_running):
        process.stop()


def end_on_signals():
    """However we are ended, `finally` clauses run; also where a shell has started us to ignore interruptions."""
    def interrupt(*_):
        raise KeyboardInterrupt
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def prepare_machine(need_files):
    """Moves us to the core of the load, and allows ourselves and our children enough open files."""
    cores = os.sched_getaffinity(0)
    if not cores >= PROXY_CORES | LOAD_CORES:
        raise Refusal(f"two cores are needed, 0 and 1; this process may use {sorted(cores)}.")
    os.sched_setaffinity(0, LOAD_CORES)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < need_files:
        raise Refusal(f"{need_files} open files are needed, and the hard limit is {hard}: raise it (`ulimit -Hn`).")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port():
    """A port that nobody listens on now. Somebody might in a moment; then the start fails and says so."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port, process, limit=30):
    """Waits until somebody listens."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if process.has_ended():
            raise Refusal(f"{process.child.args[0]} ended at its start:\n{process.said()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise Refusal(f"{process.child.args[0]} did not listen within {limit} s:\n{process.said()}")


def core_busy():
    """For each core: (busy, all) in ticks so far."""
    result = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(field) for field in fields[:8]]
            result[int(name[3:])] = (sum(ticks) - ticks[3] - ticks[4], sum(ticks))
    return result


def machine():
    """What this ran on."""
    models = [line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    return {
        "processor": models[0] if models else "unknown",
        "cores": os.cpu_count(),
        "linux": os.uname().release,
        "load_average": Path("/proc/loadavg").read_text().split()[0],
    }
