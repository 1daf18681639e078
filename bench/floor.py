"""What the machine itself costs: a raw TCP echo between two processes, paced like the events of a run.

A latency figure means little without it: on a busy host the floor moves, and everything above it with it. The child
process is this module run with `python -m bench.floor`.
"""

from __future__ import annotations

import gc
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from struct import Struct

from bench.figures import Latency, latency
from lanecast.core.sketch import Sketch

MESSAGE_BYTES = 256
_STAMP = Struct("<Q")


@dataclass(frozen=True, slots=True)
class Floor:
    """Round trips of raw TCP at a stated rate, from the scheduled send time."""

    rate: float
    round_trip: Latency


def echo_server() -> None:
    """Serve one connection: say the port, send back whatever comes, end when the other side closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(65536):
            connection.sendall(data)


def measure(rate: float, seconds: float) -> Floor:
    """Echo `rate` messages per second for `seconds` and return the round trips."""
    command = [sys.executable, "-m", "bench.floor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            sketch = _exchange(connection, rate, int(rate * seconds))
    return Floor(rate, latency(sketch))


def _exchange(connection: socket.socket, rate: float, count: int) -> Sketch:
    sketch, pending = Sketch(), b""
    padding = bytes(MESSAGE_BYTES - _STAMP.size)
    start = time.time_ns() + 1_000_000
    step = 1e9 / rate
    sent = received = 0
    gc.disable()
    try:
        while received < count:
            now = time.time_ns()
            while sent < count and (due := start + int(sent * step)) <= now:
                connection.sendall(_STAMP.pack(due) + padding)
                sent += 1
            wait = (start + int(sent * step) - time.time_ns()) / 1e9 if sent < count else 1.0
            # select() counts microseconds; epoll and poll in Python count milliseconds.
            if select.select([connection], [], [], max(0.0, wait))[0]:
                pending += connection.recv(65536)
                now = time.time_ns()
                while len(pending) >= MESSAGE_BYTES:
                    sketch.record_ns(now - _STAMP.unpack_from(pending)[0])
                    pending = pending[MESSAGE_BYTES:]
                    received += 1
    finally:
        gc.enable()
    return sketch


if __name__ == "__main__":
    echo_server()
