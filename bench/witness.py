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
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import mark, scenario, systems, websocket
from bench.machine import raise_open_files_limit
from bench.receiver import Receiver, say
from bench.systems.base import Endpoints, Subscriber
from lanecast.v1 import gateway_pb2
from lanecast.v1.event_pb2 import Event, EventBatch

COLUMNS = ("reporting", "lane", "handed", "create", "send", "accept", "kernel", "read")
"""What is kept of each delivery: whether its socket sends receipts, lane, nanoseconds since the Unix epoch."""

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
        self._kept: list[tuple[bool, int, int, bytes]] = []
        """Whether the socket reports, kernel's time, time of the read, and whole frames.

        Parsed once all is over: reading must not wait for it.
        """
        self._unreported: dict[int, list[tuple[int, bytes]]] = {}
        """Of the sockets that report: time of the read and frames since the last receipt."""
        self._due: deque[tuple[float, int]] = deque()
        self._random = random.Random(plan.seed)

    def start(self, start_ns: int) -> None:
        """Begin; receipts of the sockets are spread over the second."""
        super().start(start_ns)
        chosen = [descriptor for descriptor, row in self._rows.items() if row < self._reporting]
        self._due.extend(
            (start_ns / 1e9 + _RECEIPT_SECONDS * (1 + at / len(chosen)), each) for at, each in enumerate(chosen)
        )
        self._unreported = {descriptor: [] for descriptor in chosen}
        for connection in self._connections.values():
            connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def _read_ready(self, ready: list[int], control: int) -> bool:
        for descriptor in ready:
            if descriptor in self._rows:
                self._read_one(descriptor)
        return control in ready

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
        if descriptor in self._carry:
            data = self._carry.pop(descriptor) + data
        end, frames, others = websocket.walk(data, self._small)
        if end != len(data):
            self._carry[descriptor] = data[end:]
            data = data[:end]
        if len(others) < frames:
            reports = descriptor in self._unreported
            self._kept.append((reports, kernel_time(ancillary, now), now, data))
            self.found += frames - len(others)  # frames, not events: it says that something still comes
            if frames - len(others) > 1:
                self.statistics["read_together"] += frames - len(others) - 1
            if reports:
                self._unreported[descriptor].append((now, data))
        for first, payload in others:
            self._other(descriptor, first, payload)

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Yield the columns of each event that was delivered live."""
        for reports, kernel, now, data in self._kept:
            for batch in batches(data):
                marks = mark.decode([mark.find(event.data.value)[0] for event in batch.events])
                handed = marks["scheduled"].astype(np.int64) + marks["late"].astype(np.int64) * 1000
                for event, since in zip(batch.events, handed.tolist(), strict=True):
                    stamps = (event.create_time_unix_nano, event.send_time_unix_nano, event.accept_time_unix_nano)
                    yield (reports, batch.lane, since, *stamps, kernel, now)

    def samples(self, descriptor: int) -> list[gateway_pb2.ReceiptSample]:
        """Return what a socket reports of the events that came since it last did, chosen as the web SDK chooses."""
        lanes: dict[int, list[gateway_pb2.ReceiptSample]] = {}
        came, self._unreported[descriptor] = self._unreported[descriptor], []
        for now, data in came:
            for batch in batches(data):
                of_lane = lanes.setdefault(batch.lane, [])
                of_lane += (_sample(batch, event, now) for event in batch.events)
        return [
            sample
            for of_lane in lanes.values()
            for sample in self._random.sample(of_lane, min(len(of_lane), _SAMPLES_PER_LANE))
        ]

    def report(self, everything: bool = False) -> None:
        """Send the receipts that are due."""
        now = time.time()
        while self._due and (everything or self._due[0][0] <= now):
            due, descriptor = self._due.popleft()
            if not everything:
                self._due.append((due + _RECEIPT_SECONDS, descriptor))
            samples = self.samples(descriptor)
            if samples and descriptor in self._connections:
                receipt = gateway_pb2.ClientFrame(receipt=gateway_pb2.Receipt(samples=samples))
                self._send(descriptor, websocket.frame(receipt.SerializeToString(), websocket.BINARY))
                self.statistics["receipts"] += len(samples)

    def save(self, path: Path) -> None:
        """Write all times to a file."""
        columns = np.array(list(self.rows()), dtype=np.int64).reshape(-1, len(COLUMNS))
        arrays: dict[str, Any] = {name: columns[:, at] for at, name in enumerate(COLUMNS)}
        np.savez(path, **arrays)


def batches(data: bytes) -> Iterator[EventBatch]:
    """Yield what was delivered live in whole frames."""
    _, _, frames = websocket.walk(data, 1 << 62)
    for first, payload in frames:
        if first == 0x80 | websocket.BINARY:
            frame = gateway_pb2.ServerFrame.FromString(payload)
            if frame.events.events and not frame.events.replayed:
                yield frame.events


def _sample(batch: EventBatch, event: Event, now: int) -> gateway_pb2.ReceiptSample:
    return gateway_pb2.ReceiptSample(
        lane=batch.lane,
        offset=event.offset,
        last_mile_micros=round((now - batch.edge_send_time_unix_nano) / 1e3),
        uncertainty_micros=1,  # one host, one clock
        type=event.data.type_url.rpartition("/")[2],
        end_to_end_micros=round((now - event.send_time_unix_nano) / 1e3),
    )


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
