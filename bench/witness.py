"""The witness process: receives like a browser, reports receipts like one, and keeps times of its own of every event.

Owns the sockets of one run of `bench.agreement`. Of each event it notes when it was handed to the SDK, which the
generator wrote into the payload, the stamps that the event carries, when the kernel had the frame (SO_TIMESTAMPNS,
taken within the gateway's write) and when this process read it. Nothing is condensed: the arrays go to a file. Started
and spoken to like `bench.receiver`.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from bench import mark, scenario, systems, websocket
from bench.machine import raise_open_files_limit
from bench.receiver import Receiver, say
from bench.systems.base import Endpoints, Subscriber
from lanecast.v1 import gateway_pb2
from lanecast.v1.event_pb2 import EventBatch

COLUMNS = ("lane", "handed", "create", "send", "accept", "kernel", "read")
"""What is kept of each delivery; all but the lane in nanoseconds since the Unix epoch."""

SO_TIMESTAMPNS = 35
_TIMESTAMP = struct.Struct("qq")
_READ_BYTES = 65536
_RECEIPT_SECONDS = 1.0
_SAMPLES_PER_LANE = 16
"""As the web SDK: so many of a lane and socket in a second, chosen evenly."""


class Witness(Receiver):
    """A receiver that parses what it receives."""

    def __init__(
        self, plan: scenario.Scenario, subscriber: Subscriber, endpoints: Endpoints, sockets: list[int], reporting: int
    ) -> None:
        super().__init__(plan, subscriber, endpoints, sockets)
        self._reporting = reporting
        self._pending: dict[int, dict[int, tuple[list[gateway_pb2.ReceiptSample], list[int]]]] = {}
        self._due: list[tuple[float, int]] = []
        self._random = random.Random(plan.seed)
        self.rows: list[tuple[int, ...]] = []

    def start(self, start_ns: int) -> None:
        """Begin; receipts of the sockets are spread over the second."""
        super().start(start_ns)
        chosen = [descriptor for descriptor, row in self._rows.items() if row < self._reporting]
        self._due = [
            (start_ns / 1e9 + _RECEIPT_SECONDS * (1 + at / len(chosen)), each) for at, each in enumerate(chosen)
        ]
        self._pending = {descriptor: {} for descriptor in chosen}
        for connection in self._connections.values():
            connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def _read_one(self, descriptor: int) -> None:
        try:
            data, ancillary, _, _ = self._connections[descriptor].recvmsg(_READ_BYTES, 64)
        except OSError as error:
            self._drop(descriptor, error.strerror or "error")
            return
        now = time.time_ns()
        if not data:
            self._drop(descriptor, "end of stream")
            return
        kernel = kernel_time(ancillary, now)
        data = self._carry.pop(descriptor, b"") + data
        end, _, frames = websocket.walk(data, 1 << 62)
        if end != len(data):
            self._carry[descriptor] = data[end:]
        for first, payload in frames:
            frame = gateway_pb2.ServerFrame.FromString(payload) if first == 0x80 | websocket.BINARY else None
            if frame is not None and frame.HasField("events"):
                self._take(descriptor, frame.events, kernel, now)
            else:
                self._other(descriptor, first, payload)

    def _take(self, descriptor: int, batch: EventBatch, kernel: int, now: int) -> None:
        self.found += len(batch.events)
        if batch.replayed:
            self.statistics["replayed"] += len(batch.events)
            return
        marks = mark.decode([mark.find(event.data.value)[0] for event in batch.events])
        handed = marks["scheduled"].astype(np.int64) + marks["late"].astype(np.int64) * 1000
        for event, since in zip(batch.events, handed.tolist(), strict=True):
            create, send, accept = event.create_time_unix_nano, event.send_time_unix_nano, event.accept_time_unix_nano
            self.rows.append((batch.lane, since, create, send, accept, kernel, now))
        if descriptor in self._pending:
            self._sample(self._pending[descriptor], batch, now)

    def _sample(
        self, lanes: dict[int, tuple[list[gateway_pb2.ReceiptSample], list[int]]], batch: EventBatch, now: int
    ) -> None:
        kept, seen = lanes.setdefault(batch.lane, ([], [0]))
        for event in batch.events:
            seen[0] += 1
            at = len(kept) if len(kept) < _SAMPLES_PER_LANE else self._random.randrange(seen[0])
            if at >= _SAMPLES_PER_LANE:
                continue
            sample = gateway_pb2.ReceiptSample(
                lane=batch.lane,
                offset=event.offset,
                last_mile_micros=round((now - batch.edge_send_time_unix_nano) / 1e3),
                uncertainty_micros=1,  # one host, one clock
                type=event.data.type_url.rpartition("/")[2],
                end_to_end_micros=round((now - event.send_time_unix_nano) / 1e3),
            )
            kept[at:] = [sample, *kept[at + 1 :]]

    def report(self, everything: bool = False) -> None:
        """Send the receipts that are due."""
        now = time.time()
        while self._due and (everything or self._due[0][0] <= now):
            due, descriptor = self._due.pop(0)
            if not everything:
                self._due.append((due + _RECEIPT_SECONDS, descriptor))
            lanes, self._pending[descriptor] = self._pending[descriptor], {}
            samples = [sample for kept, _ in lanes.values() for sample in kept]
            if samples and descriptor in self._connections:
                receipt = gateway_pb2.ClientFrame(receipt=gateway_pb2.Receipt(samples=samples))
                self._send(descriptor, websocket.frame(receipt.SerializeToString(), websocket.BINARY))
                self.statistics["receipts"] += len(samples)

    def save(self, path: Path) -> None:
        """Write all times to a file."""
        columns = np.array(self.rows, dtype=np.int64).reshape(-1, len(COLUMNS))
        np.savez(path, **{name: columns[:, at] for at, name in enumerate(COLUMNS)})


def kernel_time(ancillary: list[tuple[int, int, bytes]], without: int) -> int:
    """Return when the kernel had what `recvmsg` has read, in nanoseconds since the Unix epoch."""
    for _, kind, value in ancillary:
        if kind == SO_TIMESTAMPNS:
            seconds, nanos = _TIMESTAMP.unpack(value[: _TIMESTAMP.size])
            return int(seconds * 1_000_000_000 + nanos)
    return without


def main() -> None:
    """Run the process; see the module."""
    raise_open_files_limit()
    order = json.loads(sys.stdin.readline())
    plan = scenario.from_dict(order["scenario"])
    endpoints = Endpoints(**order["endpoints"])
    subscriber = systems.get(order["system"]).subscriber(endpoints)
    witness = Witness(plan, subscriber, endpoints, order["sockets"], order["reporting"])
    try:
        witness.connect()
    except (OSError, websocket.HandshakeError) as error:
        say(failed=str(error))
        return
    say(ready=len(order["sockets"]))
    command = sys.stdin.readline().split()
    if not command:
        return
    witness.start(int(command[1]))
    gc.collect()
    gc.freeze()
    gc.disable()
    _receive(witness)
    witness.save(Path(order["result"]))
    statistics: Counter[str] = witness.statistics
    say(done=True, received=witness.found, statistics=statistics, closed=witness.closed, notes=subscriber.notes())
    witness.close()


def _receive(witness: Witness) -> None:
    """Read until told `stop`; told `report` before, send the receipts that are left."""
    control = sys.stdin.fileno()
    os.set_blocking(control, False)
    witness.watch(control)
    next_word = 0.0
    while True:
        if witness.read(0.05, control):
            if b"stop" in os.read(control, select.PIPE_BUF):
                return
            witness.report(everything=True)
        witness.report()
        if time.monotonic() >= next_word:
            say(received=witness.found)
            next_word = time.monotonic() + 0.5


if __name__ == "__main__":
    main()
