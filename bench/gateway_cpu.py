"""What one delivery costs the gateway, step by step, without gRPC and without another process in the figures.

Run by hand: `python -m bench.gateway_cpu`. The gateway's own intake, dispatcher, hub, outboxes and meter get the bytes
of `StreamEventsResponse`s as a publisher makes them, and write to real sockets, which a child process reads. A round is
measured by the processor time of this process; the fastest rounds count, since a machine only ever makes them slower.
Steps are found by leaving one out: the system call, then the meter, then all but taking messages apart.

`--instructions` counts instructions of user space under valgrind instead, which another process on the machine cannot
change: twice each, with `--rounds` and twice as many, so that what is done once does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import uuid_utils
import uvloop

import gateway_svc.dispatch
import gateway_svc.websocket
from bench import machine
from gateway_svc.clock import ClockWatch
from gateway_svc.core.backlog import Totals
from gateway_svc.core.channel import Feed
from gateway_svc.core.heartbeat import Wheel
from gateway_svc.core.hub import Hub
from gateway_svc.core.limits import SessionLimits
from gateway_svc.core.meter import Meter
from gateway_svc.core.ports import Identity, PageRequest
from gateway_svc.core.session import Session, SessionContext
from gateway_svc.core.subscription import Wanted
from gateway_svc.core.types import TypeBook
from gateway_svc.core.window import FrameWindow
from gateway_svc.dispatch import Dispatcher
from gateway_svc.edge import Edge, EdgeSettings
from gateway_svc.intake import Intake
from gateway_svc.websocket import Connection
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core import wire
from lanecast.core.instruments import Instruments
from lanecast.core.position import Position
from lanecast.core.priority import EXPRESS_LANES, LANES, Priority
from lanecast.internal.v1.stream_pb2 import StreamEventsResponseView
from lanecast.v1.event_pb2 import Event
from lanecast.v1.publisher_pb2 import START_LATEST

_EPOCH = "0192f3a4b5c67d8e9fa0b1c2d3e4f506"
_BATCHES = 12
"""Batches in a message, about what the headline load makes."""
_SECONDS = 3.0
_DRAIN_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Case:
    """A load."""

    name: str
    channels: int
    readers: int
    mix: dict[Priority, int]
    """Events of each lane in a round."""
    events_per_second: int
    """As the meter sees it: it counts the hops of a busy lane less often."""
    merged: bool = False
    """The events of a channel wait for one another and share a frame."""

    @property
    def deliveries(self) -> int:
        """Events times readers in a round."""
        return sum(self.mix.values()) * self.readers


CASES = (
    Case("1,000 channels, 1 reader each, one event a frame", 1_000, 1,
         {Priority.CRITICAL: 10, Priority.HIGH: 90, Priority.NORMAL: 600, Priority.LOW: 300}, 10_000),
    Case("10 channels, 100 readers each, one event a frame", 10, 100, {Priority.NORMAL: 60}, 1_000),
    Case("10 channels, 100 readers each, 15 events a frame", 10, 100, {Priority.NORMAL: 150}, 5_000, merged=True),
)  # fmt: skip


class _Publisher:
    def add(self, channel: str) -> None:
        pass

    def remove(self, channel: str) -> None:
        pass

    def read(self, request: PageRequest) -> None:
        raise SystemExit(f"a reader had a hole: {request!r}")


class _Closed(FrameWindow):
    """No window, however busy this process is: at the loads meant no channel is busy enough to wait."""

    def spent(self, busy_ns: int, now_ns: int) -> None:
        pass


class _Waits(FrameWindow):
    """A window that is over as soon as the dispatcher looks."""

    def due_ns(self, feed: Feed, now_ns: int) -> int:
        super().due_ns(feed, now_ns)
        return 1


class _Silent(Meter):
    """A meter that measures nothing."""

    def dispatched(self, *_: object) -> None:
        pass

    def passed(self, *_: object) -> None:
        pass


def _nobody(_token: str) -> Identity:
    raise AssertionError


class Rig:
    """A gateway without its publisher, whose sockets a child process reads."""

    def __init__(self, case: Case, *, metering: bool = True) -> None:
        self._case = case
        totals, types = Totals(), TypeBook()
        self._instruments = Instruments()
        self.meter = (Meter if metering else _Silent)(self._instruments, types, totals)
        self._totals = totals
        self.hub = Hub(_Publisher(), self.meter.sent, self.meter.arms.broken)
        context = SessionContext(
            SessionLimits(), 15.0, _nobody, time.time_ns, time.monotonic, totals, self.meter.receipt, lambda _: None
        )
        settings = EdgeSettings((), 10_000, 65_536)
        self._edge = Edge(self.hub, context, Wheel(15.0, 1.0), self.meter, settings)
        self._context = context
        self._dispatcher = Dispatcher(self.hub, self.meter, types)
        window = _Waits if case.merged else _Closed
        self._dispatcher._window = window(time.monotonic_ns())  # noqa: SLF001
        clock = ClockWatch(lambda: None, lambda _: None)
        self._intake = Intake(self.hub, self._dispatcher, clock, lambda _: None)
        self._offset = 0
        self._heads: dict[tuple[str, Priority], int] = {}

    async def connect(self, accept: Callable[[], socket.socket]) -> None:
        """Subscribe every reader on a socket of its own."""
        loop = asyncio.get_running_loop()
        self._dispatcher.start()
        for number in range(self._case.channels):
            name = f"agent:{number:04}"
            for _ in range(self._case.readers):
                _, connection = await loop.connect_accepted_socket(lambda: Connection(self._edge), accept())
                session = Session(uuid_utils.uuid7().hex, connection, self.hub, self._context, binary=True)
                connection.session = session
                self.hub.subscribe(session, name, LANES, Wanted(START_LATEST, 0, {}))
            self.hub.positioned(name, [(lane, Position(_EPOCH, 0)) for lane in LANES])

        for lane, events in self._case.mix.items():
            share = events / sum(self._case.mix.values())
            self.meter._lanes[lane].batches = int(share * self._case.events_per_second)  # noqa: SLF001
        self._instruments.tally()

    def messages(self) -> list[tuple[bool, bytes]]:
        """Return the next round: whether a message is of the express stream, and its bytes."""
        batches: dict[bool, list[bytes]] = {True: [], False: []}
        number = 0
        for lane, events in self._case.mix.items():
            for _ in range(events):
                name = f"agent:{number % self._case.channels:04}"
                number += 1
                batches[lane in EXPRESS_LANES].append(wire.stream_batch(self._batch(name, lane)))
        return [
            (express, b"".join(made[at : at + _BATCHES]))
            for express, made in batches.items()
            for at in range(0, len(made), _BATCHES)
        ]

    def _batch(self, channel: str, lane: Priority) -> bytes:
        now = time.time_ns()
        event = Event(
            id=str(uuid_utils.uuid7()), source="bench", channel=channel, priority=lane.wire_value,
            create_time_unix_nano=now, send_time_unix_nano=now,
        )  # fmt: skip
        event.data.Pack(ConciergeInsight(text="x" * 200))
        self._offset += 1
        position = wire.event_position(self._offset, self._heads.get((channel, lane), 0), now)
        self._heads[channel, lane] = self._offset
        head = wire.batch_head(channel, lane, _EPOCH, "default")
        return wire.batch(head, [event.SerializeToString() + position + wire.event_store_time(now)], now)

    async def feed(self, messages: list[tuple[bool, bytes]]) -> None:
        """Deliver a round."""
        take, used = self._intake.take, _used
        for express, data in messages:
            await take(data, used, express=express)
        while self._dispatcher._waiting or self._dispatcher._writing is not None:  # noqa: ASYNC110, SLF001
            await asyncio.sleep(0)

    def check(self, rounds: int) -> None:
        """Complain where the sockets did not take everything."""
        delivered = sum(lane.delivered.value for lane in self.meter._lanes.values())  # noqa: SLF001
        expected = 0 if isinstance(self.meter, _Silent) else rounds * self._case.deliveries
        if self._totals.bytes or delivered != expected:
            sys.stderr.write(f"{delivered:,} of {expected:,} at once, {self._totals.bytes:,} bytes wait\n")

    async def close(self) -> None:
        """Stop."""
        await self._dispatcher.close()


def _used(_lane: Priority, _size: int) -> None:
    pass


def _split(messages: list[tuple[bool, bytes]]) -> None:
    for _, data in messages:
        view = StreamEventsResponseView.FromString(data)
        for _batch in view.batches:
            pass


class Readers:
    """The child process that reads all sockets."""

    def __init__(self, count: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(1024)
        port = self._listener.getsockname()[1]
        self._process = subprocess.Popen([sys.executable, "-m", "bench.gateway_cpu", "--drain", f"{port},{count}"])

    def accept(self) -> socket.socket:
        """Return the next socket."""
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        return connection

    def close(self) -> None:
        """End the child."""
        self._listener.close()
        self._process.kill()
        self._process.wait()


def drain(port: int, count: int) -> None:
    """Connect so many sockets and read whatever comes, until killed."""
    import selectors

    machine.raise_open_files_limit()
    selector, buffer = selectors.DefaultSelector(), bytearray(1 << 20)
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            cast("socket.socket", key.fileobj).recv_into(buffer)


async def _rounds(case: Case, *, metering: bool, prepare: int = 0, feed: int = 0) -> Iterator[float]:
    """Return the processor time of each round, in seconds; of `feed` out of `prepare` rounds, or for `_SECONDS`."""
    rig, readers = Rig(case, metering=metering), Readers(case.channels * case.readers)
    times: list[float] = []
    try:
        await rig.connect(readers.accept)
        made = [rig.messages() for _ in range(prepare)]
        gc.collect()
        gc.freeze()
        until = time.monotonic() + _SECONDS
        while len(times) < feed if feed else time.monotonic() < until:
            messages = made[len(times)] if made else rig.messages()
            await asyncio.sleep(_DRAIN_SECONDS)
            began = time.process_time()
            await rig.feed(messages)
            times.append(time.process_time() - began)
        rig.check(len(times))
    finally:
        await rig.close()
        readers.close()
    return iter(times)


def _best(case: Case, *, metering: bool = True, writing: bool = True) -> float:
    """Return microseconds a delivery of the fastest tenth of rounds."""
    shell: Any = gateway_svc.websocket
    os_module = shell.os
    if not writing:
        shell.os = SimpleNamespace(write=lambda _fd, data: len(data))
    try:
        times = sorted(uvloop.run(_rounds(case, metering=metering)))
    finally:
        shell.os = os_module
    return statistics.mean(times[: max(1, len(times) // 10)]) / case.deliveries * 1e6


def _split_best(case: Case) -> float:
    messages = Rig(case).messages()
    times = []
    for _ in range(300):
        began = time.process_time()
        _split(messages)
        times.append(time.process_time() - began)
    return statistics.mean(sorted(times)[:30]) / case.deliveries * 1e6


def steps(case: Case) -> dict[str, float]:
    """Return microseconds a delivery by step."""
    whole, silent_socket = _best(case), _best(case, writing=False)
    unmetered, split = _best(case, metering=False, writing=False), _split_best(case)
    return {
        "take the message apart": split,
        "recognise, accept, frame, hand over": unmetered - split,
        "metrics": silent_socket - unmetered,
        "send system call": whole - silent_socket,
        "whole": whole,
        "without the system call": silent_socket,
    }


def instructions(case: int, rounds: int) -> float:
    """Return thousands of instructions a delivery."""
    found = []
    for feed in (rounds, 2 * rounds):
        order = ["-m", "bench.gateway_cpu", "--case", str(case), "--feed", str(feed), "--prepare", str(2 * rounds)]
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, *order]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        counted = re.search(r"Collected : (\d+)", done.stderr)
        assert counted is not None, done.stderr
        found.append(int(counted[1]))
    return (found[1] - found[0]) / (rounds * CASES[case].deliveries) / 1e3


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, choices=range(len(CASES)), help="one case alone; all by default")
    parser.add_argument("--instructions", action="store_true", help="count instructions under valgrind")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to count the instructions of")
    parser.add_argument("--drain", help=argparse.SUPPRESS)
    parser.add_argument("--feed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    machine.raise_open_files_limit()
    if options.drain:
        drain(*map(int, options.drain.split(",")))
    if options.feed:
        gateway_svc.dispatch.SLICE_NS = sys.maxsize  # valgrind is slow: it would pause after each batch
        uvloop.run(_rounds(CASES[options.case], metering=True, prepare=options.prepare, feed=options.feed))
        return
    for number in range(len(CASES)) if options.case is None else (options.case,):
        sys.stdout.write(f"{CASES[number].name}, µs a delivery\n")
        for step, micros in steps(CASES[number]).items():
            sys.stdout.write(f"  {step:<38}{micros:7.2f}\n")
        if options.instructions:
            sys.stdout.write(f"  {'thousands of instructions':<38}{instructions(number, options.rounds):7.2f}\n")


if __name__ == "__main__":
    main()
