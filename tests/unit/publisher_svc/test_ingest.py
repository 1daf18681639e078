"""From submission to acknowledgement: flushes, failures, order. The log is the real one, its disk is the test's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from lanecast.ai.v1 import concierge_pb2
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.instruments import Instruments
from lanecast.core.policy import DEFAULT
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.acceptance import Submission
from publisher_svc.core.activity import Activity
from publisher_svc.core.admission import LoadLimit, ProducerOrder, Refusal
from publisher_svc.core.arms import Arms
from publisher_svc.core.group import Group
from publisher_svc.core.registry import TypeRegistry
from publisher_svc.core.tail import Tail
from publisher_svc.hub import Hub
from publisher_svc.ingest import Ingest
from publisher_svc.log import segment
from publisher_svc.log.base import Entry
from publisher_svc.log.segment import SegmentWriter
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings


class Delivered:
    """Takes what is dispatched."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def offer(self, groups: Sequence[Group], now_ns: int) -> None:
        self.offsets += [Event.FromString(data).offset for group in groups for data in group.events]


class World:
    """An ingest with one subscriber and one producer."""

    def __init__(self, log: SqliteEventLog) -> None:
        registry = TypeRegistry()
        registry.add_file(concierge_pb2.DESCRIPTOR)
        hub = Hub()
        self.log = log
        self.delivered = Delivered()
        hub.join("a", LANES, self.delivered)
        self.failures: list[BaseException] = []
        self.failed = asyncio.Event()
        self.limit = LoadLimit()
        self.order = ProducerOrder()
        self.ingest = Ingest(
            log, registry, hub, Tail(), Instruments(), self.limit, Arms(DEFAULT), Activity(), self._on_failure
        )
        self.answered: list[str] = []
        """Ids in the order of their answers."""

    def _on_failure(self, error: BaseException) -> None:
        self.failures.append(error)
        self.failed.set()

    def submit(self, *ids: str, lane: Priority = Priority.NORMAL, text: str = "") -> asyncio.Future[Submission]:
        done: asyncio.Future[Submission] = asyncio.get_running_loop().create_future()

        def on_done(submission: Submission) -> None:
            self.answered.extend(ids)
            done.set_result(submission)

        self.ingest.submit([event(name, lane, text) for name in ids], "", self.order, on_done)
        return done


def event(event_id: str, lane: Priority = Priority.NORMAL, text: str = "") -> Event:
    made = Event(id=event_id, channel="a", priority=lane.wire_value)
    made.data.Pack(ConciergeInsight(text=text))
    return made


@asynccontextmanager
async def running(folder: Path, durability: str) -> AsyncIterator[World]:
    log = SqliteEventLog.open(folder, SqliteLogSettings(durability=durability))
    world = World(log)
    world.ingest.start()
    yield world
    if not world.failures:
        await world.ingest.drain()
    await log.close()


def outcomes(submission: Submission) -> list[str | int]:
    """Return the offset of each event, or why it was refused."""
    results: list[str | int] = []
    for result in submission.results:
        assert result is not None
        results.append(result.offset if isinstance(result, Entry) else result.reason)
    return results


class Disk:
    """A disk whose flushes take until `open` is called."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._gate = threading.Event()
        self._flush = segment.os.fdatasync
        self.flushes = 0
        self.failing = False
        patch.setattr(segment.os, "fdatasync", self._wait)

    def open(self) -> None:
        self._gate.set()

    def _wait(self, descriptor: int) -> None:
        self._gate.wait()
        self.flushes += 1
        if self.failing:
            raise OSError(5, "Input/output error")
        self._flush(descriptor)


def fail_inserts(patch: pytest.MonkeyPatch, error: Callable[[], Exception] | None) -> None:
    """Let commits fail before they change anything, as a full disk does."""

    class Failing:
        def __init__(self, connection: apsw.Connection) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> object:
            return getattr(self._connection, name)

        def execute(self, statement: str, *values: object) -> object:
            assert error is not None
            if statement.startswith("INSERT INTO event"):
                raise error()
            return self._connection.execute(statement, *values)  # type: ignore[arg-type]

    real = SegmentWriter.insert

    def insert(self: SegmentWriter, entries: list[Entry]) -> None:
        connection = self._connection
        self._connection = Failing(connection)  # type: ignore[assignment]
        try:
            real(self, entries)
        finally:
            self._connection = connection

    if error is None:
        patch.undo()
    else:
        patch.setattr(SegmentWriter, "insert", insert)


async def test_delivery_waits_for_no_flush_and_the_acknowledgement_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, "disk") as world:
        disk = Disk(monkeypatch)
        first = world.submit("x")
        await asyncio.sleep(0)  # the flush of the first is on its way
        second = world.submit("y", "z", lane=Priority.CRITICAL)
        assert world.delivered.offsets == [1, 2, 3]
        assert not first.done()
        disk.open()
        assert outcomes(await first) == [1]
        assert outcomes(await second) == [2, 3]
        assert disk.flushes == 2, "what came during the first flush shares the second"


async def test_a_repetition_is_acknowledged_only_with_the_flush_of_the_first_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, "disk") as world:
        disk = Disk(monkeypatch)
        first = world.submit("x")
        again = world.submit("x")
        while not world.ingest._unsynced:
            await asyncio.sleep(0)
        assert not again.done()
        disk.open()
        submission = await again
        assert first.done()
        assert outcomes(submission) == [1]
        assert isinstance(submission.results[0], Entry)
        assert submission.results[0].duplicate
        assert world.delivered.offsets == [1]


async def test_a_failed_flush_acknowledges_nothing_and_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, "disk") as world:
        disk = Disk(monkeypatch)
        disk.failing = True
        first = world.submit("x")
        disk.open()
        await world.failed.wait()
        assert "durable" in str(world.failures[0])
        later = world.submit("y")
        assert outcomes(await later) == ["LOG_UNAVAILABLE"]
        assert not first.done()


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_a_commit_that_fails_takes_what_waits_behind_it_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    async with running(tmp_path, durability) as world:
        await world.submit("known")
        with monkeypatch.context() as patch:
            fail_inserts(patch, lambda: apsw.FullError("database or disk is full"))
            # More than fit into one commit; the known id lets them wait for the log, so that the rest waits behind.
            many = world.submit(*(f"e{number}" for number in range(90)), "known")
            submission = await many
        reasons = outcomes(submission)
        assert reasons[:64] == ["LOG_UNAVAILABLE"] * 64
        assert set(reasons[64:]) == {"OUT_OF_ORDER"}, "stored behind what was refused"
        assert (world.log.end_offset, world.log.head(("a", Priority.NORMAL))) == (1, 1)
        assert outcomes(await world.submit("e5")) == ["OUT_OF_ORDER"]
        assert outcomes(await world.submit("e0", "e1")) == [2, 3]
        assert world.delivered.offsets == [1, 2, 3]


async def test_the_first_that_failed_is_the_fence_even_where_a_later_one_was_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, "process") as world:
        await world.submit("known")
        world.limit._max_events = 4  # 85 % of it are for NORMAL
        with monkeypatch.context() as patch:
            fail_inserts(patch, lambda: apsw.FullError("database or disk is full"))
            reasons = outcomes(await world.submit("known", "a", "b", "c", "d"))
        assert reasons == ["LOG_UNAVAILABLE"] * 4 + ["OVERLOADED"]
        assert outcomes(await world.submit("d")) == ["OUT_OF_ORDER"]
        again = outcomes(await world.submit("known", "a", "b", "c"))
        assert again == [1, 2, 3, 4]
        assert outcomes(await world.submit("d")) == [5]


async def test_a_first_copy_that_cannot_be_read_refuses_the_repetition_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, "process") as world:
        await world.submit("x")
        reads = 0
        real = segment.SegmentReader.get

        def get(self: segment.SegmentReader, offset: int) -> object:
            nonlocal reads
            reads += 1
            if reads == 2:  # the first one looks for the copy, the second compares
                raise apsw.IOError("disk I/O error")
            return real(self, offset)

        monkeypatch.setattr(segment.SegmentReader, "get", get)
        assert outcomes(await world.submit("x")) == ["LOG_UNAVAILABLE"]
        assert outcomes(await world.submit("x")) == [1]
        assert outcomes(await world.submit("y")) == [2]


async def test_an_id_that_comes_again_with_another_payload_is_refused_for_good(tmp_path: Path) -> None:
    async with running(tmp_path, "disk") as world:
        await world.submit("x", text="one")
        [result] = (await world.submit("x", text="two")).results
        assert isinstance(result, Refusal)
        assert (result.reason, result.retry_delay_millis) == ("ID_REUSED", 0)
