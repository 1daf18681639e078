"""What every event log must do, whatever it is built on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from effort import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.log.base import ChannelLane, Entry, EventLog
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings

OpenLog = Callable[[Path], Awaitable[EventLog]]


async def open_sqlite(folder: Path) -> EventLog:
    # Segments of 16 pages: every test crosses several.
    return SqliteEventLog.open(folder, SqliteLogSettings(segment_pages=16))


OPENERS: dict[str, OpenLog] = {"sqlite": open_sqlite}


@pytest.fixture(params=sorted(OPENERS))
def opener(request: pytest.FixtureRequest) -> OpenLog:
    return OPENERS[request.param]


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
    assert [e.offset for e in (*first, *other, *last)] == [1, 2, 3, 4]
    assert [e.prev_offset for e in (*first, *other, *last)] == [0, 1, 0, 2]
    assert log.end_offset == 4
    assert log.head(("a", Priority.NORMAL)) == 4
    assert log.head(("a", Priority.LOW)) == 0


async def test_the_stored_event_carries_its_position(log: EventLog) -> None:
    await store(log, "a", 1, "x")
    [second] = await store(log, "a", 1, "y")
    stored = await log.get(second.offset)
    assert stored is not None
    event = Event.FromString(stored.data)
    assert (event.id, event.offset, event.prev_offset) == ("y0", 2, 1)
    assert event.accept_time_unix_nano == second.accept_ns


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


async def test_an_id_is_forgotten_after_the_window_of_log_time(log: EventLog) -> None:
    start = time.time_ns()
    await log.append([entry("a", "x", accept_ns=start)])
    later = entry("a", "x", accept_ns=start + 140 * 10**9)
    await log.append([entry("a", "clock", accept_ns=start + 140 * 10**9)])
    await log.append([later])
    assert not later.duplicate


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
    assert (new.offset, new.prev_offset) == (end + 1, heads["c0", Priority.NORMAL])
    await log.close()


async def test_a_page_says_what_it_covers(log: EventLog) -> None:
    await store(log, "a", 5)
    await store(log, "b", 5)
    key = ("a", Priority.NORMAL)
    page = await log.read(key, 0, 3)
    assert ([e.offset for e in page.events], page.covered_through, page.more) == ([1, 2, 3], 3, True)
    page = await log.read(key, 3, 3)
    assert ([e.offset for e in page.events], page.covered_through, page.more) == ([4, 5], 10, False)
    page = await log.read(key, 10, 3)
    assert (page.events, page.covered_through, page.missing_through) == ([], 10, None)
    page = await log.read(("nobody", Priority.LOW), 0, 3)
    assert (page.events, page.covered_through, page.missing_through) == ([], 10, None)


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


@settings(max_examples=effort(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[str, Priority, int]]],
    after: int,
    limit: int,
) -> None:
    import asyncio

    async def check() -> None:
        log = await open_sqlite(tmp_path_factory.mktemp("log"))
        model: list[tuple[str, Priority, str]] = []
        for batch in batches:
            entries = [entry(channel, f"id{number}", lane) for channel, lane, number in batch]
            await log.append(entries)
            for item in entries:
                known = [m for m in model if m[0] == item.channel and m[2] == item.event_id]
                assert item.duplicate == bool(known)
                if not known:
                    model.append((item.channel, item.lane, item.event_id))
                assert model[item.offset - 1][2] == item.event_id
        for channel in "abc":
            for lane in LANES:
                expected = [m[2] for o, m in enumerate(model, 1) if o > after and m[:2] == (channel, lane)]
                assert await read_all(log, (channel, lane), after, limit) == expected
        await log.close()

    asyncio.run(check())
