"""What an idle connection costs: many that have each had an answer, then nothing for a while."""

import socket
import time

from bench import Refusal
from bench.check import HOST


def memory_per_connection(running, count, seconds):
    """Bytes that a contender's memory has grown by for each connection."""
    request = f"GET /r0/128 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    before = running.process.memory_bytes()
    connections = []
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", running.port), timeout=10)
            connections.append(connection)
            connection.sendall(request)
            _read_answer(connection)
        time.sleep(seconds)
        grown = running.process.memory_bytes() - before
        _refuse_closed(connections)
    finally:
        for connection in connections:
            connection.close()
    return grown / count


def _read_answer(connection):
    """Reads a whole answer of 128 bytes."""
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < 128:
        more = connection.recv(4096)
        if not more:
            raise Refusal(f"a connection was closed after {received[:100]!r}.")
        received += more
    if not received.startswith(b"HTTP/1.1 200"):
        raise Refusal(f"a connection was answered with {received[:100]!r}.")


def _refuse_closed(connections):
    """An idle connection that was closed costs nothing, which would be too good."""
    closed = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            closed += connection.recv(1) == b""
        except BlockingIOError:
            pass
        except ConnectionResetError:
            closed += 1
    if closed:
        raise Refusal(f"{closed} of {len(connections)} idle connections were closed.")
