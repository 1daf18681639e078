"""What every event log must do, whatever it is built on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import blake2b
from pathlib import Path

import pytest
from effort import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats_servers import NatsServer

from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.log.base import ChannelLane, Entry, EventLog
from publisher_svc.log.jetstream.log import JetStreamEventLog
from publisher_svc.log.jetstream.settings import JetStreamSettings
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings

OpenLog = Callable[[Path], Awaitable[EventLog]]
"""Opens the log that belongs to a folder."""


async def open_sqlite(folder: Path) -> EventLog:
    # Segments of 16 pages: every test crosses several.
    return SqliteEventLog.open(folder, SqliteLogSettings(segment_pages=16))


def jetstream_opener(server: NatsServer) -> OpenLog:
    async def open_jetstream(folder: Path) -> EventLog:
        settings = JetStreamSettings(
            servers=(server.url,),
            stream=f"T{blake2b(str(folder).encode(), digest_size=8).hexdigest()}",
            partitions=2,
            retention_bytes=8 * 1024**2,
            accept_lazy_fsync=True,  # it syncs always; asking takes half a second each time
        )
        return await JetStreamEventLog.open(settings)

    return open_jetstream


@pytest.fixture(params=["jetstream", "sqlite"])
def opener(request: pytest.FixtureRequest) -> OpenLog:
    if request.param == "sqlite":
        return open_sqlite
    return jetstream_opener(request.getfixturevalue("nats_server"))


@pytest.fixture
async def log(opener: OpenLog, tmp_path: Path) -> AsyncIterator[EventLog]:
    event_log = await opener(tmp_path / "log")
    yield event_log
    await event_log.close()


def entry(channel: str, event_id: str, lane: Priority = Priority.NORMAL, accept_ns: int | None = None) -> Entry:
    event = Event(id=event_id, channel=channel, priority=lane.wire_value)
    return Entry(channel, lane, event_id, event.SerializeToString(), time.time_ns() if accept_ns is None else accept_ns)


async def store(
    log: EventLog, channel: str, count: int, prefix: str = "e", lane: Priority = Priority.NORMAL
) -> list[Entry]:
    entries = [entry(channel, f"{prefix}{number}", lane) for number in range(count)]
    await log.append(entries)
    if isinstance(log, SqliteEventLog):
        await log.settle()  # so that segments change where their size says, not where threads happen to be ready
    return entries


async def read_all(log: EventLog, key: ChannelLane, after: int = 0, limit: int = 7) -> list[str]:
    ids: list[str] = []
    while True:
        page = await log.read(key, after, limit)
        ids += [Event.FromString(event.data).id for event in page.events]
        if not page.more:
            return ids
        after = page.covered_through


async def test_offsets_grow_and_previous_is_the_last_of_the_same_lane(log: EventLog) -> None:
    first = await store(log, "a", 2, "a")
    other = await store(log, "b", 1, "b")
    last = await store(log, "a", 1, "c")
    offsets = [e.offset for e in (*first, *other, *last)]
    assert offsets == sorted(set(offsets))
    assert offsets[0] > 0
    assert [e.prev_offset for e in (*first, *other, *last)] == [0, offsets[0], 0, offsets[1]]
    assert log.end_offset == offsets[-1]
    assert log.head(("a", Priority.NORMAL)) == offsets[-1]
    assert log.head(("a", Priority.LOW)) == 0


async def test_the_stored_event_carries_its_position(log: EventLog) -> None:
    [first] = await store(log, "a", 1, "x")
    [second] = await store(log, "a", 1, "y")
    page = await log.read(("a", Priority.NORMAL), first.offset, 1)
    event = Event.FromString(page.events[0].data)
    assert (event.id, event.offset, event.prev_offset) == ("y0", second.offset, first.offset)
    assert event.accept_time_unix_nano == second.accept_ns
    assert event == Event.FromString(second.data)


async def test_one_event_by_its_offset(log: EventLog) -> None:
    [_, second] = await store(log, "a", 2, "x")
    stored = await log.get(second.offset)
    assert stored is not None
    assert Event.FromString(stored.data).id == "x1"
    assert await log.get(second.offset + 1) is None


async def test_new_events_are_handed_over_once_in_order(log: EventLog) -> None:
    handed: list[Entry] = []
    log.deliver_to(handed.extend)
    entries = [*await store(log, "a", 3, "x"), *await store(log, "b", 2, "y")]
    assert [e.offset for e in handed] == [e.offset for e in entries]
    await store(log, "a", 3, "x")
    assert len(handed) == 5
    assert [Event.FromString(e.data).offset for e in handed] == [e.offset for e in handed]


async def test_what_is_handed_over_counts_at_once(log: EventLog) -> None:
    seen: list[tuple[int, int]] = []

    def sink(entries: list[Entry]) -> None:
        seen.append((log.head(("a", Priority.NORMAL)), log.end_offset))

    log.deliver_to(sink)
    entries = await store(log, "a", 2)
    assert seen == [(entries[-1].offset, entries[-1].offset)]


async def test_reaching_what_was_issued_or_never_will_be_does_not_wait(log: EventLog) -> None:
    entries = await store(log, "a", 2)
    async with asyncio.timeout(10):
        await log.reach(entries[-1].offset)
        await log.reach(entries[-1].offset + 10**9)


async def test_an_event_that_fills_a_message_by_itself(log: EventLog) -> None:
    large = Event(id="large", channel="a", priority=Priority.NORMAL.wire_value)
    large.data.value = bytes(64 * 1024)
    entries = [entry("a", "before")]
    entries += [Entry("a", Priority.NORMAL, f"l{n}", large.SerializeToString(), time.time_ns()) for n in range(5)]
    await log.append(entries)
    page = await log.read(("a", Priority.NORMAL), 0, 100)
    assert [e.offset for e in page.events] == [e.offset for e in entries]


async def test_an_id_is_stored_once_per_channel(log: EventLog) -> None:
    [first] = await store(log, "a", 1)
    [again] = await store(log, "a", 1)
    [elsewhere] = await store(log, "b", 1)
    assert (again.duplicate, again.offset) == (True, first.offset)
    assert not elsewhere.duplicate
    assert await read_all(log, ("a", Priority.NORMAL)) == ["e0"]


async def test_an_id_twice_in_one_batch_is_stored_once(log: EventLog) -> None:
    first, again = entry("a", "same"), entry("a", "same")
    await log.append([first, entry("a", "between"), again])
    assert (again.duplicate, again.offset) == (True, first.offset)
    assert await read_all(log, ("a", Priority.NORMAL)) == ["same", "between"]


async def test_an_id_is_forgotten_after_the_window_of_log_time(tmp_path: Path) -> None:
    # The embedded log's time is that of the events; a stream's is its server's (see test_copy_window.py).
    log = await open_sqlite(tmp_path)
    start = time.time_ns()
    await log.append([entry("a", "x", accept_ns=start)])
    later = entry("a", "x", accept_ns=start + 140 * 10**9)
    await log.append([entry("a", "clock", accept_ns=start + 140 * 10**9)])
    await log.append([later])
    assert not later.duplicate
    await log.close()


async def test_ids_are_remembered_across_a_restart(opener: OpenLog, tmp_path: Path) -> None:
    log = await opener(tmp_path)
    [first] = await store(log, "a", 1)
    await log.close()
    log = await opener(tmp_path)
    [again] = await store(log, "a", 1)
    assert (again.duplicate, again.offset) == (True, first.offset)
    await log.close()


async def test_a_restart_goes_on_where_it_was(opener: OpenLog, tmp_path: Path) -> None:
    log = await opener(tmp_path)
    for number in range(40):
        await store(log, f"c{number % 3}", 5, f"{number}-")
    heads, end, epoch = log.heads(), log.end_offset, log.lineage.current
    await log.close()
    log = await opener(tmp_path)
    assert (log.heads(), log.end_offset, log.lineage.current) == (heads, end, epoch)
    [new] = await store(log, "c0", 1, "new")
    assert new.offset > end
    assert new.prev_offset == heads["c0", Priority.NORMAL]
    await log.close()


async def test_a_page_says_what_it_covers(log: EventLog) -> None:
    mine = [e.offset for e in await store(log, "a", 5)]
    end = (await store(log, "b", 5))[-1].offset
    key = ("a", Priority.NORMAL)
    page = await log.read(key, 0, 3)
    assert ([e.offset for e in page.events], page.covered_through, page.more) == (mine[:3], mine[2], True)
    page = await log.read(key, mine[2], 3)
    assert ([e.offset for e in page.events], page.covered_through, page.more) == (mine[3:], end, False)
    assert [e.prev_offset for e in page.events] == mine[2:4]
    page = await log.read(key, end, 3)
    assert (page.events, page.covered_through, page.missing_through) == ([], end, None)
    page = await log.read(("nobody", Priority.LOW), 0, 3)
    assert (page.events, page.covered_through, page.missing_through) == ([], end, None)


async def test_the_floor_of_the_last_events(log: EventLog) -> None:
    await store(log, "a", 3)
    await store(log, "b", 4)
    await store(log, "a", 2, "f")
    key = ("a", Priority.NORMAL)
    assert await read_all(log, key, await log.floor_of_last(key, 2)) == ["f0", "f1"]
    assert await read_all(log, key, await log.floor_of_last(key, 4)) == ["e1", "e2", "f0", "f1"]
    assert await log.floor_of_last(key, 99) == 0


async def test_a_deep_read_goes_on_page_by_page(log: EventLog) -> None:
    # More events than the walk along the chain takes: the forward scan must find the same.
    expected: list[str] = []
    for number in range(25):
        expected += [e.event_id for e in await store(log, "deep", 100, f"{number}-")]
        await store(log, "other", 10, f"{number}-")
    assert await read_all(log, ("deep", Priority.NORMAL), limit=900) == expected


@settings(max_examples=effort(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.sampled_from(LANES), st.integers(0, 30)), min_size=1, max_size=12
        ),
        max_size=12,
    ),
    after=st.integers(0, 60),
    limit=st.integers(1, 9),
)
def test_a_log_is_a_list_without_repeated_ids(
    opener: OpenLog,
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[str, Priority, int]]],
    after: int,
    limit: int,
) -> None:
    async def check() -> None:
        log = await opener(tmp_path_factory.mktemp("log"))
        model: dict[int, tuple[str, Priority, str]] = {}
        for batch in batches:
            entries = [entry(channel, f"id{number}", lane) for channel, lane, number in batch]
            await log.append(entries)
            agree(entries, model)
        cursor = ([0, *sorted(model)] * 2)[min(after, len(model))]
        for channel in "abc":
            for lane in LANES:
                expected = [model[o][2] for o in sorted(model) if o > cursor and model[o][:2] == (channel, lane)]
                assert await read_all(log, (channel, lane), cursor, limit) == expected
        await log.close()

    asyncio.run(check())


def agree(entries: list[Entry], model: dict[int, tuple[str, Priority, str]]) -> None:
    """Add new entries to the model. Copies name the first; order holds within a channel and lane."""
    for item in (each for each in entries if not each.duplicate):
        assert item.offset not in model
        same = [offset for offset, m in model.items() if m[:2] == item.key]
        assert item.offset > max(same, default=0)
        assert not [m for m in model.values() if (m[0], m[2]) == (item.channel, item.event_id)]
        model[item.offset] = (item.channel, item.lane, item.event_id)
    for item in entries:
        assert (model[item.offset][0], model[item.offset][2]) == (item.channel, item.event_id)
