"""The receiver process: a thousand and more WebSockets in one epoll loop, cheap enough not to be the bottleneck.

Owns the sockets. Reads, finds frame borders, cuts out the marks and keeps the time; `accounting` digests them by the
thousand. It is started by `run` with one line of JSON on standard input, then told `start <ns>` and `stop`; it answers
in JSON lines on standard output and leaves its arrays in a file.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np

from bench import mark, scenario, systems, websocket
from bench.accounting import Tally
from bench.machine import raise_open_files_limit
from bench.systems.base import Endpoints, Handshake, Subscriber
from lanecast.runtime.scheduling import be_urgent

_READ_BYTES = 65536
_MARKS_AT_ONCE = 2048
"""Marks digested by one call: about 0.3 ms of work, so that reading never waits longer."""
_HEAD = Struct(">BBH").unpack_from
"""The beginning of a frame whose length takes two bytes."""
_HEAD_BYTES, _TWO_BYTES, _MARKER_BYTES = 4, 126, len(mark.MARKER)
_EVENT_FRAMES = frozenset({0x80 | websocket.TEXT, 0x80 | websocket.BINARY})
_OPENING_AT_ONCE = 64
_OPEN_SECONDS = 60.0
_PROGRESS_SECONDS = 0.5


_SOCKETS_PER_TURN = 32
"""Sockets that are read before a server that waits for this core goes first."""


@dataclass(slots=True)
class _Opening:
    """A connection that is not subscribed yet."""

    row: int
    connection: socket.socket
    steps: Handshake
    data: bytes = b""
    upgraded: bool = False


class Receiver:
    """The sockets of one receiver process."""

    def __init__(self, plan: scenario.Scenario, subscriber: Subscriber, endpoints: Endpoints, sockets: list[int]):
        self._plan = plan
        self._subscriber = subscriber
        self._endpoints = endpoints
        self._sockets = sockets
        self._small = plan.payload_bytes[0]
        self._poll = select.epoll()
        self._rows: dict[int, int] = {}
        self._connections: dict[int, socket.socket] = {}
        self._carry: dict[int, bytes] = {}
        self._tally = Tally(plan, 0, [])
        # What was read and not digested yet: the marks, and for each read when it came, on which socket, how many.
        self._marks: list[bytes] = []
        self._times: list[int] = []
        self._chunk_rows: list[int] = []
        self._counts: list[int] = []
        self.found = 0
        self.statistics: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    def connect(self) -> None:
        """Open and subscribe all sockets, some at a time.

        Raises:
            HandshakeError: the server refused one, or did not answer in time.
        """
        waiting = deque(range(len(self._sockets)))
        opening: dict[int, _Opening] = {}
        deadline = time.monotonic() + _OPEN_SECONDS + len(self._sockets) / 100
        while waiting or opening:
            while waiting and len(opening) < _OPENING_AT_ONCE:
                begun = self._open(waiting.popleft())
                opening[begun.connection.fileno()] = begun
            for descriptor, _ in self._poll.poll(1.0):
                # Sockets that are ready already may hear something too; they are read once all are.
                if descriptor in opening and self._advance(opening[descriptor]):
                    del opening[descriptor]
            if time.monotonic() > deadline:
                raise websocket.HandshakeError(f"{len(opening) + len(waiting)} sockets were not subscribed in time")

    def _open(self, row: int) -> _Opening:
        channel = scenario.channel_name(self._sockets[row] % self._plan.channels)
        host, port = self._endpoints.host, self._endpoints.subscribe_port
        connection = socket.create_connection((host, port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        path = self._subscriber.path(channel)
        connection.sendall(websocket.upgrade_request(host, port, path, self._subscriber.subprotocol))
        connection.setblocking(False)
        self._poll.register(connection.fileno(), select.EPOLLIN)
        return _Opening(row, connection, self._subscriber.handshake(channel))

    def _advance(self, opening: _Opening) -> bool:
        received = opening.connection.recv(_READ_BYTES)
        if not received:
            raise websocket.HandshakeError("the server closed a connection before it was subscribed")
        opening.data += received
        done = False
        if not opening.upgraded:
            end = websocket.upgrade_end(opening.data)
            if not end:
                return False
            opening.upgraded, opening.data = True, opening.data[end:]
            done = self._step(opening, None)
        while not done:
            end, frames, others = websocket.walk(opening.data, 1 << 62)
            if not frames:
                return False
            opening.data = opening.data[end:]
            for first, payload in others:
                if first & 0x0F == websocket.CLOSE:
                    raise websocket.HandshakeError(f"the server closed a connection: {payload[2:].decode()!r}")
                done = done or self._step(opening, payload)
        self._subscribed(opening)
        return True

    def _step(self, opening: _Opening, payload: bytes | None) -> bool:
        try:
            answer = next(opening.steps) if payload is None else opening.steps.send(payload)
        except StopIteration:
            return True
        if answer:
            opening.connection.send(websocket.frame(answer, self._subscriber.opcode))
        return False

    def _subscribed(self, opening: _Opening) -> None:
        descriptor = opening.connection.fileno()
        self._rows[descriptor] = opening.row
        self._connections[descriptor] = opening.connection
        if opening.data:
            self._carry[descriptor] = opening.data

    def start(self, start_ns: int) -> None:
        """Begin the account; `start_ns` is when the first event is due."""
        self._tally = Tally(self._plan, start_ns, self._sockets)

    def read(self, timeout: float, control: int) -> bool:
        """Read all sockets that have something; return whether `control` has, too."""
        ready = self._poll.poll(timeout)
        spoken = self._read_ready([descriptor for descriptor, _ in ready], control)
        if len(self._marks) >= _MARKS_AT_ONCE or (self._marks and not ready):
            self.digest()
        return spoken

    def watch(self, control: int) -> None:
        """Also look at the descriptor `control` in `read`."""
        self._poll.register(control, select.EPOLLIN)

    def _read_ready(self, ready: list[int], control: int) -> bool:
        """Read each of the descriptors once; return whether `control` is among them."""
        spoken = False
        rows, carry, small, read, clock = self._rows, self._carry, self._small, os.read, time.time_ns
        before, frames, size = len(self._marks), 0, 0
        for descriptor in ready:
            row = rows.get(descriptor)
            if row is None:
                spoken = spoken or descriptor == control  # or a socket that was dropped
                continue
            try:
                data = read(descriptor, _READ_BYTES)
                now = clock()
            except OSError as error:
                self._drop(descriptor, error.strerror or "error")
                continue
            size += len(data)
            count, at = 1, -1
            # Nearly always it is one whole frame of some hundred bytes with one event. All else is taken apart.
            if len(data) > small and descriptor not in carry:
                first, kind, length = _HEAD(data)
                if kind == _TWO_BYTES and length == len(data) - _HEAD_BYTES and first in _EVENT_FRAMES:
                    at = data.find(mark.MARKER)
                    if at >= 0 and data.find(mark.MARKER, at + small) >= 0:
                        at = -1
            if at >= 0:
                frames += 1
                self._marks.append(data[at + _MARKER_BYTES : at + mark.MARK_BYTES])
            else:
                marks = mark.find(self._take_apart(descriptor, data))
                count = len(marks)
                self._marks += marks
            if count:
                self._times.append(now)
                self._chunk_rows.append(row)
                self._counts.append(count)
        self.found += len(self._marks) - before
        statistics = self.statistics
        statistics["reads"] += len(ready)
        statistics["frames"] += frames
        statistics["bytes"] += size
        return spoken

    def _take_apart(self, descriptor: int, data: bytes) -> bytes:
        """Return the whole frames in what was read, keep the rest for the next time, and answer what is no event."""
        if not data:
            self._drop(descriptor, "end of stream")
            return data
        data = self._carry.pop(descriptor, b"") + data
        end, frames, others = websocket.walk(data, self._small)
        self.statistics["frames"] += frames
        if end != len(data):
            self._carry[descriptor] = data[end:]
            data = data[:end]
        for first, payload in others:
            self._other(descriptor, first, payload)
        return data

    def _other(self, descriptor: int, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if not first & 0x80 or not opcode:
            self.statistics["fragments"] += 1
        elif opcode == websocket.CLOSE:
            code = int.from_bytes(payload[:2], "big")
            self.closed[f"close {code} {payload[2:].decode(errors='replace')}"] += 1
        elif opcode == websocket.PING:
            self._send(descriptor, websocket.frame(payload, websocket.PONG))
        elif opcode != websocket.PONG:
            answer = self._subscriber.reply(payload)
            if answer is not None:
                self._send(descriptor, websocket.frame(answer, self._subscriber.opcode))

    def _send(self, descriptor: int, data: bytes) -> None:
        try:
            self._connections[descriptor].send(data)
        except OSError:
            self.statistics["replies_failed"] += 1

    def _drop(self, descriptor: int, reason: str) -> None:
        self._poll.unregister(descriptor)
        del self._rows[descriptor]
        self._connections.pop(descriptor).close()
        self.closed[reason] += 1

    def digest(self) -> None:
        """Hand what was read to the account."""
        if self._marks:
            self._tally.take(self._marks, self._times, self._chunk_rows, self._counts)
            self._marks, self._times, self._chunk_rows, self._counts = [], [], [], []

    def save(self, path: Path) -> None:
        """Write the account to a file."""
        self.digest()
        arrays: dict[str, Any] = self._tally.as_arrays()
        np.savez(path, sockets=np.array(self._sockets), **arrays)

    def close(self) -> None:
        """Close all sockets."""
        for connection in self._connections.values():
            connection.close()
        self._poll.close()


def say(**values: Any) -> None:
    """Write one line of JSON on standard output."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the process; see the module."""
    raise_open_files_limit()
    order = json.loads(sys.stdin.readline())
    plan = scenario.from_dict(order["scenario"])
    endpoints = Endpoints(**order["endpoints"])
    subscriber = systems.get(order["system"]).subscriber(endpoints)
    receiver = Receiver(plan, subscriber, endpoints, order["sockets"])
    try:
        receiver.connect()
    except (OSError, websocket.HandshakeError) as error:
        say(failed=str(error))
        return
    say(ready=len(order["sockets"]))
    command = sys.stdin.readline().split()
    if not command:
        return
    be_urgent()  # what measures must be punctual
    receiver.start(int(command[1]))
    gc.collect()
    gc.freeze()
    gc.disable()
    _receive(receiver)
    receiver.save(Path(order["result"]))
    facts = {"statistics": receiver.statistics, "closed": receiver.closed, "notes": subscriber.notes()}
    say(done=True, received=receiver.found, **facts)
    receiver.close()


def _receive(receiver: Receiver) -> None:
    control = sys.stdin.fileno()
    os.set_blocking(control, False)
    receiver.watch(control)
    next_word = 0.0
    while not receiver.read(0.05, control):
        now = time.monotonic()
        if now >= next_word:
            say(received=receiver.found)
            next_word = now + _PROGRESS_SECONDS


if __name__ == "__main__":
    main()
