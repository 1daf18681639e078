"""What is particular to the embedded log: files, crashes, epochs, retention, failures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from lanecast.core.priority import Priority
from lanecast.errors import StartError
from lanecast.v1.event_pb2 import Event
from publisher_svc.log import manifest, sqlite
from publisher_svc.log.base import Entry, LogError, LogFullError
from publisher_svc.log.segment import numbers, path_of
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings

KEY = ("a", Priority.NORMAL)


def entry(event_id: str, size: int = 0) -> Entry:
    event = Event(id=event_id, channel="a", priority=Priority.NORMAL.wire_value)
    event.data.value = bytes(size)
    return Entry("a", Priority.NORMAL, event_id, event.SerializeToString(), time.time_ns())


async def fill(log: SqliteEventLog, count: int, prefix: str = "e", size: int = 0) -> None:
    for number in range(count):
        await log.append([entry(f"{prefix}{number}", size)])
        await log.settle()


CRASHING_WRITER = """
import asyncio, os, signal, sys, time
from pathlib import Path
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.log.base import Entry
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings

async def main():
    log = SqliteEventLog.open(Path(sys.argv[1]), SqliteLogSettings(segment_pages=32))
    for number in range(int(sys.argv[2])):
        event = Event(id=f"e{number}", channel="a", priority=3)
        await log.append([Entry("a", Priority.NORMAL, event.id, event.SerializeToString(), time.time_ns())])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_everything_appended_survives_sigkill(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CRASHING_WRITER, str(tmp_path), "100"], check=False)
    assert done.returncode == -signal.SIGKILL
    log = SqliteEventLog.open(tmp_path)
    page = await log.read(KEY, 0, 1000)
    assert [Event.FromString(event.data).id for event in page.events] == [f"e{number}" for number in range(100)]
    assert len(log.lineage.starts) == 1, "a kill undoes nothing, so the epoch goes on"
    again = entry("e99")
    await log.append([again])
    assert (again.duplicate, again.offset) == (True, 100)
    await log.close()


async def test_another_boot_without_a_clean_close_begins_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-c", CRASHING_WRITER, str(tmp_path), "10"], check=False)
    monkeypatch.setattr(sqlite, "_boot_id", lambda: "another boot")
    log = SqliteEventLog.open(tmp_path)
    first, second = log.lineage.starts
    assert (first.first_offset, second.first_offset) == (1, 11)
    assert log.lineage.end_of(first.epoch) == 11
    await log.close()
    monkeypatch.setattr(sqlite, "_boot_id", lambda: "a third boot")
    log = SqliteEventLog.open(tmp_path)
    assert len(log.lineage.starts) == 2, "a clean close undoes nothing"
    await log.close()


async def test_a_restored_backup_begins_an_epoch(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path / "log")
    await fill(log, 3)
    await log.close()
    shutil.copytree(tmp_path / "log", tmp_path / "backup")
    log = SqliteEventLog.open(tmp_path / "log")
    await fill(log, 2, "later")
    old = log.lineage.current
    await log.close()
    shutil.rmtree(tmp_path / "log")
    shutil.copytree(tmp_path / "backup", tmp_path / "log")
    log = SqliteEventLog.open(tmp_path / "log")
    assert log.lineage.current != old
    assert log.lineage.end_of(old) == 4
    await log.close()


async def test_a_segment_that_is_full_is_followed_by_another(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(segment_pages=8))
    await fill(log, 60, size=500)
    await log.close()
    assert len(numbers(tmp_path)) > 3
    assert not list(tmp_path.glob("*-wal")), "closed segments are checkpointed"
    log = SqliteEventLog.open(tmp_path)
    page = await log.read(KEY, 0, 1000)
    assert [event.offset for event in page.events] == list(range(1, 61))
    await log.close()


async def test_retention_deletes_the_oldest_and_says_what_is_missing(tmp_path: Path) -> None:
    settings = SqliteLogSettings(segment_pages=8, retention_bytes=64 * 1024)
    log = SqliteEventLog.open(tmp_path, settings)
    await fill(log, 200, size=1000)
    await log.close()
    log = SqliteEventLog.open(tmp_path, settings)
    assert log.first_offset > 1
    page = await log.read(KEY, 0, 1000)
    assert page.events[0].offset == log.first_offset
    assert page.missing_through == log.first_offset - 1
    assert page.events[-1].offset == 200
    page = await log.read(KEY, log.first_offset, 1000)
    assert page.missing_through is None
    await log.close()


async def test_a_quiet_lane_whose_events_are_all_gone_is_missing_up_to_its_head(tmp_path: Path) -> None:
    settings = SqliteLogSettings(segment_pages=8, retention_bytes=32 * 1024)
    log = SqliteEventLog.open(tmp_path, settings)
    quiet = Event(id="q", channel="quiet", priority=Priority.LOW.wire_value)
    await log.append([Entry("quiet", Priority.LOW, "q", quiet.SerializeToString(), time.time_ns())])
    await fill(log, 200, size=1000)
    await log.close()
    log = SqliteEventLog.open(tmp_path, settings)
    page = await log.read(("quiet", Priority.LOW), 0, 10)
    assert (page.events, page.missing_through) == ([], 1)
    page = await log.read(("quiet", Priority.LOW), 1, 10)
    assert (page.events, page.missing_through) == ([], None)
    await log.close()


def of(channel: str, event_id: str) -> Entry:
    event = Event(id=event_id, channel=channel, priority=Priority.NORMAL.wire_value)
    event.data.value = bytes(300)
    return Entry(channel, Priority.NORMAL, event_id, event.SerializeToString(), time.time_ns())


async def test_a_new_segment_knows_the_channels_of_the_one_before_and_forgets_them_unless_they_are_used(
    tmp_path: Path,
) -> None:
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(segment_pages=40))
    await log.append([of("once", "o"), *(of(f"c{number}", "first") for number in range(3))])
    seen: dict[int, set[str]] = {}
    for number in range(60):
        await log.append([of(f"c{number % 3}", f"e{number}")])
        await log.settle()
        writer = log._open_writer()
        seen.setdefault(writer.number, {channel for channel, _ in writer._lanes})
    first, second, third, *_ = seen.values()
    assert (first, second, third) == ({"once", "c0", "c1", "c2"}, {"once", "c0", "c1", "c2"}, {"c0", "c1", "c2"})
    for number in range(3):
        page = await log.read((f"c{number}", Priority.NORMAL), 0, 100)
        assert len(page.events) == 21
    assert len((await log.read(("once", Priority.NORMAL), 0, 100)).events) == 1
    await log.close()


async def test_a_commit_of_more_events_than_a_statement_takes_is_one_commit(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path)
    entries = [of(f"c{number % 100}", f"e{number}") for number in range(200)]
    assert log.append_nowait(entries)
    assert [each.offset for each in entries] == list(range(1, 201))
    assert [each.prev_offset for each in entries] == [max(0, number - 99) for number in range(200)]
    await log.close()
    again = SqliteEventLog.open(tmp_path)
    assert again.end_offset == 200
    assert [each.offset for each in (await again.read(("c7", Priority.NORMAL), 0, 9)).events] == [8, 108]
    repeated = of("c7", "e107")
    assert not again.append_nowait([repeated])
    await again.close()


async def test_a_failed_commit_takes_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqliteEventLog.open(tmp_path)
    await fill(log, 2)
    writer = log._open_writer()
    connection = writer._connection

    class Full:
        def __getattr__(self, name: str) -> object:
            return getattr(connection, name)

        def execute(self, statement: str, *values: object) -> object:
            if statement.startswith("INSERT INTO event"):
                raise apsw.FullError("database or disk is full")
            return connection.execute(statement, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "_connection", Full())
    with pytest.raises(LogFullError, match="free disk space"):
        await log.append([entry("new"), entry("newer")])
    monkeypatch.setattr(writer, "_connection", connection)
    assert (log.end_offset, log.head(KEY)) == (2, 2)
    again = entry("new")
    await log.append([again])
    assert (again.duplicate, again.offset, again.prev_offset) == (False, 3, 2)
    await log.close()


async def test_a_failed_sync_ends_all_appends(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(durability="disk"))
    await fill(log, 1)
    await log.sync()
    writer = log._open_writer()
    assert writer._wal_descriptor is not None
    os.close(writer._wal_descriptor)
    await fill(log, 1, "unsynced")
    with pytest.raises(LogError, match="durable"):
        await log.sync()
    with pytest.raises(LogError, match="durable"):
        await log.append([entry("later")])
    writer._wal_descriptor = None
    await log.close()


async def test_a_segment_without_tables_is_completed(tmp_path: Path) -> None:
    path_of(tmp_path, 1).touch()  # as a kill right after its creation leaves it
    log = SqliteEventLog.open(tmp_path)
    await fill(log, 1)
    assert log.end_offset == 1
    await log.close()


async def test_a_start_waits_for_the_disk_once_to_note_what_it_found(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path)
    await fill(log, 3)
    await log.close()
    commits: list[str] = []

    def watch(connection: apsw.Connection) -> None:
        if connection.filename.endswith("manifest.sqlite"):
            connection.set_commit_hook(lambda: bool(commits.append("commit")))

    apsw.connection_hooks.append(watch)
    try:
        log = SqliteEventLog.open(tmp_path)
    finally:
        apsw.connection_hooks.remove(watch)
    assert (log.end_offset, commits) == (3, ["commit"])
    await log.close()


async def test_a_start_that_fails_has_noted_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqliteEventLog.open(tmp_path)
    await fill(log, 3)
    epoch = log.lineage.starts[-1].epoch
    await log.close()
    for error in (apsw.FullError("full"), LogError("the disk failed")):
        with monkeypatch.context() as patch:
            patch.setattr(manifest.Manifest, "segment_begun", _fails(error))
            with pytest.raises(StartError, match=r"free disk space|the disk failed"):
                SqliteEventLog.open(tmp_path)
    log = SqliteEventLog.open(tmp_path)
    assert [start.epoch for start in log.lineage.starts] == [epoch]  # closed cleanly as far as the manifest knows
    await log.close()


def test_a_start_without_room_for_what_it_notes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = manifest.Manifest(tmp_path)
    small._connection.execute("PRAGMA max_page_count=1").fetchall()  # SQLite ends the transaction by itself then
    heads = {(f"channel-{number}" * 20, Priority.LOW): number for number in range(1_000)}
    monkeypatch.setattr(sqlite, "Manifest", lambda _folder: small)
    monkeypatch.setattr(small, "heads", lambda: (heads, 0))
    with pytest.raises(StartError, match=r"^no room for the event log in .*: free disk space$"):
        SqliteEventLog.open(tmp_path)
    assert small._stored_format() == manifest.FORMAT  # it is whole, and goes on once there is room
    small.close(clean=True)


def _fails(error: Exception) -> Callable[[object, int], None]:
    def fail(_manifest: object, _number: int) -> None:
        raise error

    return fail


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    manifest.Manifest(tmp_path).close(clean=True)
    connection = apsw.Connection(str(tmp_path / "manifest.sqlite"))
    connection.execute("UPDATE fact SET value = '99' WHERE name = 'format'")
    connection.close()
    with pytest.raises(StartError, match=r"format 99.*newer Lanecast"):
        SqliteEventLog.open(tmp_path)


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="choose another data directory"):
        SqliteEventLog.open(tmp_path / "file" / "log")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path_of(tmp_path, 1).write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(StartError, match="cannot use the event log"):
        SqliteEventLog.open(tmp_path)


@pytest.mark.parametrize("wrong", [SqliteLogSettings(retention_seconds=10), SqliteLogSettings(durability="hope")])
def test_settings_that_cannot_work_are_refused(tmp_path: Path, wrong: SqliteLogSettings) -> None:
    with pytest.raises(StartError):
        SqliteEventLog.open(tmp_path, wrong)
