"""The JetStream log with a real server: shared, killed, restored, trimmed, full, refused."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import nats
import pytest
from nats_servers import NatsServer, free_ports

from lanecast.core.priority import LANES, Priority
from lanecast.errors import ConfigError, StartError
from lanecast.v1.event_pb2 import Event
from publisher_svc.log.base import Entry, LogError, LogFullError, Sink
from publisher_svc.log.jetstream.core.layout import last_offset_of, sequence_of
from publisher_svc.log.jetstream.core.queue import AppendLimits
from publisher_svc.log.jetstream.log import JetStreamEventLog
from publisher_svc.log.jetstream.settings import JetStreamSettings, Waits, hide_password, parse_servers

KEY = ("a", Priority.NORMAL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that a test may kill."""
    made = NatsServer(tmp_path / "nats")
    made.start()
    yield made
    made.stop()


def settings_of(server: NatsServer, stream: str = "TEST", **options: object) -> JetStreamSettings:
    made = JetStreamSettings(
        servers=(server.url,), stream=stream, partitions=4, retention_bytes=64 * 1024**2, accept_lazy_fsync=True
    )
    return replace(made, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def opened(settings: JetStreamSettings) -> AsyncIterator[JetStreamEventLog]:
    log = await JetStreamEventLog.open(settings)
    try:
        yield log
    finally:
        await log.close()


def entry(channel: str, event_id: str, lane: Priority = Priority.NORMAL) -> Entry:
    event = Event(id=event_id, channel=channel, priority=lane.wire_value)
    return Entry(channel, lane, event_id, event.SerializeToString(), time.time_ns())


def ids(events: list[Entry]) -> list[str]:
    return [Event.FromString(each.data).id for each in events]


def noting(handed: list[tuple[int, str, Priority]]) -> Sink:
    return lambda fresh: handed.extend((each.offset, each.channel, each.lane) for each in fresh)


async def read_ids(log: JetStreamEventLog, after: int = 0) -> list[str]:
    page = await log.read(KEY, after, 1000)
    assert not page.more
    return [Event.FromString(event.data).id for event in page.events]


async def purge(server: NatsServer, stream: str, keep_from: int) -> None:
    client = await nats.connect(server.url)
    answer = await client.request(f"$JS.API.STREAM.PURGE.{stream}", json.dumps({"seq": keep_from}).encode(), timeout=5)
    assert json.loads(answer.data)["success"]
    await client.close()


# Several publishers


async def test_two_publishers_hand_over_the_same(nats_server: NatsServer) -> None:
    settings = settings_of(nats_server, "TWO")
    async with opened(settings) as one, opened(settings) as two:
        seen: list[list[tuple[int, str, Priority]]] = [[], []]
        for log, handed in zip((one, two), seen, strict=True):
            log.deliver_to(
                lambda fresh, handed=handed: handed.extend((e.offset, e.channel, str(e.lane)) for e in fresh)
            )
        jobs = []
        for number in range(60):
            batch = [entry(f"c{number % 5}", f"{number}-{lane}", lane) for lane in LANES]
            jobs.append((one, two)[number % 2].append(batch))
        await asyncio.gather(*jobs)
        end = max(one.end_offset, two.end_offset)
        await one.reach(end)
        await two.reach(end)
        assert seen[0] == seen[1]
        assert len(seen[0]) == 240
        assert one.heads() == two.heads()


async def test_an_id_that_comes_to_two_publishers_is_stored_once(nats_server: NatsServer) -> None:
    settings = settings_of(nats_server, "TWICE")
    async with opened(settings) as one, opened(settings) as two:
        pairs = [(entry("a", f"{n}"), entry("a", f"{n}")) for n in range(30)]
        jobs = [log.append([made]) for pair in pairs for log, made in zip((one, two), pair, strict=True)]
        await asyncio.gather(*jobs)
        assert {a.duplicate + b.duplicate for a, b in pairs} == {1}
        assert all(a.offset == b.offset for a, b in pairs)
        assert sorted(await read_ids(one), key=int) == [f"{n}" for n in range(30)]
        assert await read_ids(two) == await read_ids(one)


async def test_a_publisher_that_comes_later_reads_what_was_stored_before(nats_server: NatsServer) -> None:
    settings = settings_of(nats_server, "LATER")
    async with opened(settings) as one:
        await one.append([entry("a", f"{n}") for n in range(50)])
        async with opened(replace(settings, partitions=9)) as two:
            assert await read_ids(two) == [f"{n}" for n in range(50)]
            assert two.lineage.current == one.lineage.current
            await two.append([again := entry("a", "7")])
            assert again.duplicate
            reached = asyncio.create_task(one.reach(two.end_offset + 1))
            await two.append([entry("a", "new")])
            await reached


async def test_a_cursor_ahead_of_this_reader_waits(nats_server: NatsServer) -> None:
    settings = settings_of(nats_server, "AHEAD")
    async with opened(settings) as one, opened(settings) as two:
        for number in range(20):
            await one.append([made := entry("a", f"{number}")])
            await two.reach(made.offset)
            assert two.end_offset >= made.offset


async def test_pages_below_the_floor_fold_the_copies_themselves(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(nats_server, "FLOOR")
    async with opened(settings) as whole:
        for number in range(12):
            await whole.append([entry("a", f"{number}"), entry("b", f"{number}", Priority.LOW)])
            await whole.append([entry("a", f"{number // 2}", LANES[number % 4]), entry("a", f"{number}")])
        monkeypatch.setattr("publisher_svc.log.jetstream.log.SETTLING_NS", 0)
        async with opened(settings) as late:
            floor = late.head(("nobody", Priority.HIGH))
            assert 0 < floor < late.end_offset
            assert late.head(("b", Priority.LOW)) == floor
            after, found = 0, []
            while True:
                page = await late.read(KEY, after, 3)
                assert page == await whole.read(KEY, after, 3)
                found += [Event.FromString(event.data).id for event in page.events]
                if not page.more:
                    break
                after = page.covered_through
            assert found == [f"{number}" for number in range(12)]
            for key in (KEY, ("b", Priority.LOW), ("nobody", Priority.HIGH)):
                assert await late.floor_of_last(key, 5) == await whole.floor_of_last(key, 5)


# Retention


async def test_what_retention_removed_is_named(nats_server: NatsServer) -> None:
    settings = settings_of(nats_server, "TRIM", waits=Waits(refresh=0.1))
    async with opened(settings) as log:
        entries = [entry("a", f"{n}") for n in range(5)]
        for each in entries:
            await log.append([each])
        await purge(nats_server, "TRIM", sequence_of(entries[3].offset))
        async with opened(settings) as fresh:
            page = await fresh.read(KEY, entries[0].offset, 10)
            assert page.missing_through == fresh.first_offset - 1 == last_offset_of(sequence_of(entries[2].offset))
            assert [event.offset for event in page.events] == [e.offset for e in entries[3:]]
            assert page.events[0].prev_offset == page.missing_through
            assert await fresh.get(entries[0].offset) is None


async def test_a_quiet_channel_whose_retention_passes_has_lost_nothing(nats_server: NatsServer) -> None:
    settings = settings_of(nats_server, "QUIET")
    async with opened(settings) as log:
        await log.append([first := entry("a", "before")])
        noise = [entry("b", f"{n}") for n in range(5)]
        for each in noise:
            await log.append([each])
        await log.append([later := entry("a", "after")])
        await purge(nats_server, "QUIET", sequence_of(noise[-1].offset))
        async with opened(settings) as fresh:
            page = await fresh.read(KEY, first.offset, 10)
            assert page.missing_through is None
            assert [(event.offset, event.prev_offset) for event in page.events] == [(later.offset, first.offset)]
            assert (await fresh.read(KEY, 0, 10)).missing_through == fresh.first_offset - 1


# Faults


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(server: NatsServer) -> None:
    settings = settings_of(server)
    async with opened(settings) as log, opened(settings) as other:
        handed: list[list[Entry]] = [[], []]
        log.deliver_to(handed[0].extend)
        other.deliver_to(handed[1].extend)
        acknowledged: list[str] = []

        async def publish(worker: int) -> None:
            for number in range(40):
                made = entry("a", f"{worker}-{number}")
                while True:
                    try:
                        await log.append([made])
                        break
                    except LogError:
                        made = entry("a", made.event_id)
                acknowledged.append(made.event_id)

        workers = [asyncio.create_task(publish(worker)) for worker in range(4)]
        for share in (30, 80):
            while len(acknowledged) < share:
                await asyncio.sleep(0.001)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await asyncio.gather(*workers)
        await other.reach(log.end_offset)
        stored = await read_ids(log)
        assert ids(handed[0]) == stored
        assert ids(handed[1]) == stored
        assert len(set(stored)) == len(stored) == 160
        assert set(acknowledged) == set(stored)
        for worker in range(4):
            mine = [each for each in stored if each.startswith(f"{worker}-")]
            assert mine == [f"{worker}-{number}" for number in range(40)]


async def test_no_answer_is_an_error_in_time_and_no_false_acknowledgement(server: NatsServer) -> None:
    settings = settings_of(server, append=AppendLimits(append_seconds=0.5), waits=Waits(attempt=0.2, read=0.5))
    async with opened(settings) as log:
        await log.append([entry("a", "before")])
        handed: list[Entry] = []
        log.deliver_to(handed.extend)
        await asyncio.to_thread(server.kill)
        with pytest.raises(LogError, match=r"0\.5 s"):
            await log.append([entry("a", "lost")])
        with pytest.raises(LogError):
            await log.read(KEY, 0, 10)
        with pytest.raises(LogError):
            await log.reach(log.end_offset + 10_000)
        await asyncio.to_thread(server.start)
        while "later" not in ids(handed):
            try:
                await log.append([entry("a", "later")])
            except LogError as error:
                assert "0.5 s" in str(error)  # noqa: PT017 - until the connection is back
        # What had been refused for want of an answer was sent again before anything else.
        assert await read_ids(log) == ["before", "lost", "later"]
        await log.append([again := entry("a", "lost")])
        assert again.duplicate


def large(event_id: str) -> Entry:
    event = Event(id=event_id, channel="a", priority=Priority.NORMAL.wire_value)
    event.data.value = bytes(60_000)
    return Entry("a", Priority.NORMAL, event_id, event.SerializeToString(), time.time_ns())


async def fill(log: JetStreamEventLog) -> tuple[list[Entry], LogError]:
    """Append until that fails; return what was stored, and the error."""
    stored: list[Entry] = []
    while True:
        made = large(f"{len(stored)}")
        try:
            await log.append([made])
        except LogError as error:
            return stored, error
        stored.append(made)


async def test_without_room_events_are_refused_until_there_is_some(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, account="{ max_file: 500000 }")
    server.start()
    try:
        async with opened(settings_of(server, retention_bytes=-1)) as log:
            stored, error = await fill(log)
            assert isinstance(error, LogFullError)
            assert len(stored) > 1
            assert await read_ids(log) == [each.event_id for each in stored]
            await purge(server, "TEST", sequence_of(stored[-1].offset))
            await log.append([again := large(f"{len(stored)}")])
            assert not again.duplicate
    finally:
        server.stop()


async def test_a_server_that_cannot_write_acknowledges_nothing(server: NatsServer) -> None:
    async with opened(settings_of(server, append=AppendLimits(append_seconds=1.0))) as log:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        stored, _ = await fill(log)
        assert stored
        assert await read_ids(log) == [each.event_id for each in stored]


async def test_a_stream_that_goes_back_begins_an_epoch(server: NatsServer, tmp_path: Path) -> None:
    settings = settings_of(server, state=tmp_path / "state.json", waits=Waits(request=0.5))
    async with opened(settings) as log:
        for number in range(5):
            await log.append([entry("a", f"{number}")])
        epoch, end = log.lineage.current, log.end_offset
    state = json.loads((tmp_path / "state.json").read_text())
    assert state == {"epoch": epoch, "sequence": sequence_of(end)}
    # As if a backup from before the last messages had been restored:
    (tmp_path / "state.json").write_text(json.dumps({"epoch": epoch, "sequence": state["sequence"] + 3}))
    async with opened(settings) as log:
        assert log.lineage.current != epoch
        assert log.lineage.end_of(epoch) == last_offset_of(state["sequence"]) + 1
        await log.append([new := entry("a", "new")])
        assert new.offset >= (log.lineage.end_of(epoch) or 0)


async def test_a_stream_that_is_made_anew_ends_the_log(server: NatsServer) -> None:
    ended: asyncio.Future[LogError] = asyncio.get_running_loop().create_future()
    log = await JetStreamEventLog.open(settings_of(server, waits=Waits(refresh=0.05, silence=1.0)), ended.set_result)
    client = await nats.connect(server.url)
    await client.request("$JS.API.STREAM.DELETE.TEST", b"", timeout=5)
    async with opened(settings_of(server)):
        async with asyncio.timeout(20):
            assert "restart" in str(await ended)
        with pytest.raises(LogError, match="restart"):
            await log.append([entry("a", "1")])
        with pytest.raises(LogError, match="restart"):
            await log.read(KEY, 0, 1)
    await client.close()
    await log.close()


# Refusals at start


async def refused(settings: JetStreamSettings) -> str:
    with pytest.raises(StartError) as caught:
        await JetStreamEventLog.open(settings)
    return str(caught.value)


async def test_servers_that_sync_first_are_taken(nats_server: NatsServer) -> None:
    checked = settings_of(nats_server, "SYNC", accept_lazy_fsync=False, checks=(nats_server.system_url,))
    async with opened(checked) as log:
        await log.append([entry("a", "1")])


async def test_servers_that_sync_late_are_refused(tmp_path: Path) -> None:
    [port] = free_ports(1)
    lazy = NatsServer(tmp_path, sync="2m", extra=f'http: "127.0.0.1:{port}"\n')
    lazy.start()
    try:
        checked = settings_of(lazy, accept_lazy_fsync=False)
        assert "--accept-lazy-fsync" in await refused(checked)
        for place in (lazy.system_url, f"http://127.0.0.1:{port}"):
            text = await refused(replace(checked, checks=(place,)))
            assert "n1 acknowledges before its disk" in text or "sync_interval: always" in text
            assert "--accept-lazy-fsync" in text
        assert "system account" in await refused(replace(checked, checks=(lazy.url,)))
        async with opened(settings_of(lazy)) as log:
            await log.append([entry("a", "1")])
    finally:
        lazy.stop()


async def test_what_cannot_be_reached_or_entered_is_named(nats_server: NatsServer, tmp_path: Path) -> None:
    [port] = free_ports(1)
    base = settings_of(nats_server)
    text = await refused(replace(base, servers=(f"nats://u:secret@127.0.0.1:{port}",)))
    assert "cannot be reached" in text
    assert "secret" not in text
    wrong = nats_server.url.replace(nats_server.password, "wrong")
    assert "check user and password" in await refused(replace(base, servers=(wrong,)))
    assert "no JetStream" in await refused(replace(base, servers=(nats_server.system_url,)))
    assert "credentials file" in await refused(replace(base, credentials=tmp_path / "none.creds"))
    assert "TLS" in await refused(replace(base, servers=(nats_server.url.replace("nats:", "tls:"),)))
    assert "lower retention_bytes" in await refused(replace(base, stream="BIG", retention_bytes=2**40))


async def test_a_stream_of_somebody_else_is_refused(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    config = {"name": "THEIRS", "subjects": ["theirs.log.*.*"], "storage": "file", "max_bytes": 10_000}
    await client.request("$JS.API.STREAM.CREATE.THEIRS", json.dumps(config).encode(), timeout=5)
    await client.close()
    assert "not made by Lanecast" in await refused(settings_of(nats_server, "THEIRS"))


@pytest.mark.parametrize("text", ["mysql://x", "nats://", "nats://a:x", "", ",", "nats://a,http://b"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="sqlite, or nats://"):
        parse_servers(text)


def test_a_password_is_not_shown() -> None:
    assert hide_password("nats://u:p@h:1") == "nats://u:***@h:1"
    assert parse_servers("nats://a:1, tls://b") == ("nats://a:1", "tls://b")


def test_settings_that_cannot_hold() -> None:
    with pytest.raises(ConfigError, match="240 s"):
        JetStreamSettings(("nats://a",), retention_seconds=100)
    with pytest.raises(ConfigError, match="1, 3 or 5"):
        JetStreamSettings(("nats://a",), replicas=2)
    with pytest.raises(ConfigError, match="1 to 1024"):
        JetStreamSettings(("nats://a",), partitions=0)
