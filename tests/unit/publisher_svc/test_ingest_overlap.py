"""Commits of a log whose appends may overlap."""

from __future__ import annotations

import asyncio

from lanecast.ai.v1 import concierge_pb2
from lanecast.core.instruments import Instruments
from lanecast.core.policy import DEFAULT
from lanecast.core.position import EpochStart, Lineage
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.core.activity import Activity
from publisher_svc.core.admission import LoadLimit, ProducerOrder, Refusal
from publisher_svc.core.registry import TypeRegistry
from publisher_svc.core.tail import Tail
from publisher_svc.hub import Hub
from publisher_svc.ingest import Ingest, Submission
from publisher_svc.log.base import ChannelLane, Entry, LogError, Page, Sink, StoredEvent


class HeldLog:
    """A log that stores an event when it is told to, or refuses it."""

    overlapping = True
    needs_sync = False
    lineage = Lineage([EpochStart("epoch", 1)])
    end_offset = 0
    first_offset = 1

    def __init__(self) -> None:
        self.held: dict[Priority, asyncio.Future[None]] = {}
        self.came: list[Entry] = []

    def queue_of(self, key: ChannelLane) -> int:
        return int(key[1])

    def deliver_to(self, sink: Sink) -> None:
        self._sink = sink

    def append_nowait(self, entries: list[Entry]) -> bool:
        return False

    async def append(self, entries: list[Entry]) -> None:
        self.came += entries
        held = self.held.get(entries[0].lane)
        if held is not None:
            await held
        for entry in entries:
            self.end_offset += 1
            entry.offset = self.end_offset
        self._sink(entries)

    async def sync(self) -> None:
        pass

    def head(self, key: ChannelLane) -> int:
        return 0

    def heads(self) -> dict[ChannelLane, int]:
        return {}

    async def reach(self, offset: int) -> None:
        pass

    async def read(self, key: ChannelLane, after: int, limit: int) -> Page:
        return Page()

    async def floor_of_last(self, key: ChannelLane, count: int) -> int:
        return 0

    async def get(self, offset: int) -> StoredEvent | None:
        raise LogError("unreadable now")

    async def close(self) -> None:
        pass


class Desk:
    """Ingest over such a log."""

    def __init__(self) -> None:
        self.log, self.tail = HeldLog(), Tail()
        registry = TypeRegistry()
        registry.add_file(concierge_pb2.DESCRIPTOR)
        self.failures: list[BaseException] = []
        self.ingest = Ingest(
            self.log,
            registry,
            Hub(),
            self.tail,
            Instruments(),
            LoadLimit(),
            DEFAULT,
            Activity(),
            self.failures.append,
        )
        self.ingest.start()

    def submit(self, *lanes: Priority, order: ProducerOrder | None = None) -> asyncio.Future[Submission]:
        events = [Event(channel="a", priority=lane.wire_value) for lane in lanes]
        for event in events:
            event.data.Pack(concierge_pb2.ConciergeInsight(text="x"))
        done: asyncio.Future[Submission] = asyncio.get_running_loop().create_future()
        self.ingest.submit(events, "", order or ProducerOrder(), done.set_result)
        return done


async def test_critical_does_not_wait_for_the_answer_to_low() -> None:
    desk = Desk()
    release = desk.log.held[Priority.LOW] = asyncio.get_running_loop().create_future()
    low = desk.submit(Priority.LOW)
    critical = await desk.submit(Priority.CRITICAL)
    assert isinstance(critical.results[0], Entry)
    assert not low.done()
    release.set_result(None)
    assert isinstance((await low).results[0], Entry)
    assert desk.tail.size_bytes > 0
    await desk.ingest.drain()


async def test_a_failure_of_one_queue_leaves_the_other_alone() -> None:
    desk = Desk()
    refused = desk.log.held[Priority.LOW] = asyncio.get_running_loop().create_future()
    both = desk.submit(Priority.HIGH, Priority.LOW)
    refused.set_exception(LogError("no room"))
    results = (await both).results
    assert isinstance(results[0], Entry)
    assert isinstance(results[1], Refusal)
    assert results[1].reason == "LOG_UNAVAILABLE"
    await desk.ingest.drain()


async def test_draining_waits_for_what_is_under_way() -> None:
    desk = Desk()
    release = desk.log.held[Priority.LOW] = asyncio.get_running_loop().create_future()
    low = desk.submit(Priority.LOW)
    draining = asyncio.create_task(desk.ingest.drain())
    while not desk.log.came:
        await asyncio.sleep(0)
    assert not draining.done()
    release.set_result(None)
    await draining
    assert low.done()


async def test_the_first_of_several_failures_is_sent_again_first() -> None:
    desk = Desk()
    refused = desk.log.held[Priority.LOW] = asyncio.get_running_loop().create_future()
    first = desk.submit(Priority.LOW, order=(order := ProducerOrder()))
    while not desk.log.came:
        await asyncio.sleep(0)
    second = desk.submit(Priority.LOW, order=order)
    while len(desk.log.came) < 2:
        await asyncio.sleep(0)
    refused.set_exception(LogError("no answer"))
    await asyncio.gather(first, second)
    again = [Event(id=entry.event_id, channel="a", priority=entry.lane.wire_value) for entry in desk.log.came]
    assert not order.passes(again[1])
    assert order.passes(again[0])
    assert order.passes(again[1])
    await desk.ingest.drain()


async def test_an_error_nobody_expected_ends_the_process() -> None:
    desk = Desk()
    broken = desk.log.held[Priority.LOW] = asyncio.get_running_loop().create_future()
    desk.submit(Priority.LOW)
    while not desk.log.came:
        await asyncio.sleep(0)
    broken.set_exception(ZeroDivisionError())
    while not desk.failures:
        await asyncio.sleep(0)
    assert isinstance(desk.failures[0], ZeroDivisionError)
    await desk.ingest.drain()


async def test_a_repetition_whose_first_copy_cannot_be_read_is_sent_again() -> None:
    desk = Desk()
    store = desk.log.append

    async def repeat(entries: list[Entry]) -> None:
        await store(entries)
        for entry in entries:
            entry.duplicate = True

    desk.log.append = repeat  # type: ignore[method-assign]
    [result] = (await desk.submit(Priority.HIGH)).results
    assert isinstance(result, Refusal)
    assert result.reason == "LOG_UNAVAILABLE"
    await desk.ingest.drain()
