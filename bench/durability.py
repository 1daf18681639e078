"""What the embedded log does in a second, and what it adds to each lane, with either durability.

Run by hand: `python -m bench.durability`. The publisher's own path from submission to delivery and acknowledgement,
without gRPC, in this process; the subscriber does nothing. First as fast as it goes (messages of 64 events of 330
bytes, at most 4,096 unanswered), then 2,000 events/s one by one, a quarter in each lane.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lanecast.ai.v1 import concierge_pb2
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.instruments import Instruments
from lanecast.core.policy import DEFAULT
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.acceptance import Submission
from publisher_svc.core.activity import Activity
from publisher_svc.core.admission import LoadLimit, ProducerOrder
from publisher_svc.core.arms import Arms
from publisher_svc.core.group import Group
from publisher_svc.core.registry import TypeRegistry
from publisher_svc.core.tail import Tail
from publisher_svc.hub import Hub
from publisher_svc.ingest import Ingest
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings

_MESSAGE, _UNANSWERED, _RATE, _CHANNELS = 64, 4_096, 2_000, 100


class _Subscriber:
    def __init__(self) -> None:
        self.at_ns = 0

    def offer(self, _groups: Sequence[Group], _now_ns: int) -> None:
        self.at_ns = time.perf_counter_ns()


class _Bench:
    def __init__(self, log: SqliteEventLog) -> None:
        registry = TypeRegistry()
        registry.add_file(concierge_pb2.DESCRIPTOR)
        hub, self.subscriber = Hub(), _Subscriber()
        self.channels = [f"agent:{number}" for number in range(_CHANNELS)]
        for channel in self.channels:
            hub.join(channel, LANES, self.subscriber)
        self.ingest = Ingest(log, registry, hub, Tail(), Instruments(), LoadLimit(), Arms(DEFAULT), Activity(), _fail)
        self.order = ProducerOrder()
        self.number = self.answered = 0
        self.room = asyncio.Event()

    def event(self, lane: Priority) -> Event:
        self.number += 1
        event = Event(channel=self.channels[self.number % _CHANNELS], priority=lane.wire_value)
        event.data.Pack(ConciergeInsight(text="x" * 200))
        return event

    async def sustain(self, seconds: float) -> float:
        """Return events/s that were acknowledged."""
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            events = [self.event(LANES[number % 4]) for number in range(_MESSAGE)]
            self.ingest.submit(events, "", self.order, self._on_many)
            self.room.clear()
            if self.number - self.answered > _UNANSWERED:
                await self.room.wait()
            await asyncio.sleep(0)
        await self.ingest.drain()
        return self.answered / (time.perf_counter() - begun)

    def _on_many(self, submission: Submission) -> None:
        self.answered += len(submission.results)
        self.room.set()

    async def trickle(self, seconds: float) -> dict[Priority, tuple[list[int], list[int]]]:
        """Return, for each lane, nanoseconds from submission to delivery, and to acknowledgement."""
        times: dict[Priority, tuple[list[int], list[int]]] = {lane: ([], []) for lane in LANES}
        begun = time.perf_counter()
        for number in range(int(seconds * _RATE)):
            ahead = begun + number / _RATE - time.perf_counter()
            await asyncio.sleep(max(0.0, ahead))
            lane = LANES[number % 4]
            event, at = self.event(lane), time.perf_counter_ns()
            to_ack = times[lane][1]
            self.ingest.submit([event], "", self.order, lambda _, at=at, to=to_ack: to.append(_since(at)))  # type: ignore[misc]
            times[lane][0].append(self.subscriber.at_ns - at)
        await self.ingest.drain()
        return times


def _since(at_ns: int) -> int:
    return time.perf_counter_ns() - at_ns


def _fail(error: BaseException) -> None:
    raise SystemExit(f"the log failed: {error}")


async def _measure(folder: Path, durability: str, seconds: float) -> None:
    for part in ("sustained", "latency"):
        log = SqliteEventLog.open(folder / part, SqliteLogSettings(durability=durability))
        bench = _Bench(log)
        bench.ingest.start()
        if part == "sustained":
            sys.stdout.write(f"{durability}: {await bench.sustain(seconds):,.0f} events/s\n")
        else:
            for lane, (delivered, acknowledged) in (await bench.trickle(seconds)).items():
                row = "  ".join(
                    f"{_micros(each, share):>7}" for each in (delivered, acknowledged) for share in (0.5, 0.99)
                )
                sys.stdout.write(f"  {lane.name:<9} delivered p50, p99, acknowledged p50, p99 in µs: {row}\n")
        await log.close()


def _micros(times: list[int], share: float) -> int:
    return sorted(times)[int(len(times) * share)] // 1_000


def main() -> None:
    """Measure both durabilities in turns."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the logs go; a temporary folder by default")
    options = parser.parse_args()
    sys.setswitchinterval(0.000_5)  # as the service does
    for _ in range(options.repeat):
        for durability in ("process", "disk"):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                uvloop.run(_measure(Path(folder), durability, options.seconds))


if __name__ == "__main__":
    main()
