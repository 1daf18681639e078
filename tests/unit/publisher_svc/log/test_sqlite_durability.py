"""What the embedded log promises of disks: flushes, torn ends, formats, room, age, files that have gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from lanecast.core.position import Position
from lanecast.core.priority import Priority
from lanecast.errors import StartError
from lanecast.v1.event_pb2 import GAP_REASON_AHEAD, Event
from publisher_svc.core.resume import Resumption, resume
from publisher_svc.log import manifest, segment, sqlite
from publisher_svc.log.base import Entry, EventLog, LogError
from publisher_svc.log.segment import numbers, path_of, wal_of
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings

KEY = ("a", Priority.NORMAL)
HOUR_NS = 3600 * 10**9


def entry(event_id: str, size: int = 0, accept_ns: int = 0, channel: str = "a") -> Entry:
    event = Event(id=event_id, channel=channel, priority=Priority.NORMAL.wire_value)
    event.data.value = bytes(size)
    return Entry(channel, Priority.NORMAL, event_id, event.SerializeToString(), accept_ns or time.time_ns())


async def fill(log: SqliteEventLog, count: int, prefix: str = "e", size: int = 0) -> None:
    for number in range(count):
        await log.append([entry(f"{prefix}{number}", size)])
        await log.settle()


async def ids(log: EventLog, after: int = 0) -> tuple[list[str], list[int]]:
    """Return all events above an offset, and the last offsets of what is said to be missing before pages."""
    found: list[str] = []
    missing: list[int] = []
    while True:
        page = await log.read(KEY, after, 100)
        found += [Event.FromString(event.data).id for event in page.events]
        if page.missing_through is not None:
            missing.append(page.missing_through)
        if not page.more:
            return found, missing
        after = page.covered_through


def crash(folder: Path, *, events: int, segment_pages: int = 4096) -> None:
    """Fill a log in a process that is killed before it closes anything."""
    script = f"""
import asyncio, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_sqlite_durability import fill
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings

async def main():
    await fill(SqliteEventLog.open(Path(sys.argv[1]), SqliteLogSettings(segment_pages={segment_pages})), {events})
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL


class Flushes:
    """Notes which files were flushed to the disk; may be told to fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.files: list[str] = []
        self.failing = False
        self._fdatasync, self._fsync = os.fdatasync, os.fsync
        patch.setattr(segment.os, "fdatasync", lambda descriptor: self._note(descriptor, self._fdatasync))
        patch.setattr(segment.os, "fsync", lambda descriptor: self._note(descriptor, self._fsync))

    def _note(self, descriptor: int, flush: object) -> None:
        if self.failing:
            raise OSError(5, "Input/output error")
        self.files.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        flush(descriptor)  # type: ignore[operator]


# What an acknowledgement waits for


async def test_sync_flushes_every_segment_that_was_written_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = Flushes(monkeypatch)
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(durability="disk", segment_pages=8))
    await fill(log, 30, size=500)
    written = {wal_of(path_of(tmp_path, number)).name for number in numbers(tmp_path)[:-1]}
    assert len(written) > 1
    assert all(wal_of(path_of(tmp_path, int(name[:12]))).stat().st_size for name in written), "closed before the flush"
    await log.sync()
    assert written <= set(flushes.files)
    await log.close()


async def test_sync_without_anything_new_does_not_bother_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(durability="disk"))
    await fill(log, 1)
    await log.sync()
    flushes = Flushes(monkeypatch)
    again = entry("e0")
    await log.append([again])
    await log.sync()
    assert again.duplicate
    assert flushes.files == []
    await log.close()


async def test_appending_goes_on_while_a_sync_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(durability="disk"))
    disk = threading.Event()
    real = os.fdatasync
    monkeypatch.setattr(segment.os, "fdatasync", lambda descriptor: (disk.wait(), real(descriptor)))
    await fill(log, 1)
    syncing = asyncio.create_task(log.sync())
    await asyncio.sleep(0)
    assert log.append_nowait([entry("meanwhile")])
    assert (await ids(log))[0] == ["e0", "meanwhile"]
    assert not syncing.done()
    disk.set()
    await syncing
    assert log._flushed == 1, "what came after the sync began is not covered by it"
    await log.close()


async def test_after_a_failed_flush_nothing_is_acknowledged_and_a_new_epoch_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(durability="disk"))
    flushes = Flushes(monkeypatch)
    await fill(log, 1)
    await log.sync()
    await fill(log, 1, "lost")
    flushes.failing = True
    with pytest.raises(LogError, match="durable"):
        await log.sync()
    flushes.failing = False
    with pytest.raises(LogError, match="durable"):
        await log.sync()  # a flush that succeeds now says nothing about the one that failed
    with pytest.raises(LogError, match="durable"):
        log.append_nowait([entry("later")])
    epoch = log.lineage.current
    await log.close()
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(durability="disk"))
    assert log.lineage.end_of(epoch) == 3
    await log.close()


async def test_what_a_kill_left_unflushed_is_durable_before_its_repetition_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(tmp_path, events=3)
    flushes = Flushes(monkeypatch)
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(durability="disk"))
    assert wal_of(path_of(tmp_path, 1)).name in flushes.files
    again = entry("e2")
    await log.append([again])
    assert (again.duplicate, again.offset) == (True, 3)
    await log.close()


async def test_a_disk_that_fails_at_the_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash(tmp_path, events=1)
    Flushes(monkeypatch).failing = True
    with pytest.raises(StartError, match="durable"):
        SqliteEventLog.open(tmp_path)


# Torn ends


@pytest.mark.parametrize("cut", [1, 4_000, 4_120, 5_000])
async def test_a_torn_end_is_cut_and_counted(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    crash(tmp_path, events=20)
    wal = wal_of(path_of(tmp_path, 1))
    with wal.open("r+b") as file:
        file.truncate(wal.stat().st_size - cut)
    log = SqliteEventLog.open(tmp_path)
    found, _ = await ids(log)
    assert found == [f"e{number}" for number in range(len(found))]
    assert 17 <= len(found) < 20
    # A commit is a page or two here; what is left of it does not count as stored.
    assert log.torn_bytes == (0 if cut == 4_120 else log.torn_bytes)
    assert (log.torn_bytes > 0) == ("cut off" in caplog.text)
    again = entry("e19")
    await log.append([again])
    assert not again.duplicate, "it was torn, so it is stored now"
    await log.close()


async def test_garbage_behind_the_last_commit_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    crash(tmp_path, events=5)
    with wal_of(path_of(tmp_path, 1)).open("ab") as file:
        file.write(b"\xa5" * 777)
    log = SqliteEventLog.open(tmp_path)
    assert log.torn_bytes == 777
    assert "777 bytes" in caplog.text
    assert len((await ids(log))[0]) == 5
    await log.close()


async def test_a_segment_torn_in_the_middle_of_the_log_is_a_gap_not_a_silence(tmp_path: Path) -> None:
    settings = SqliteLogSettings(segment_pages=8)
    log = SqliteEventLog.open(tmp_path, settings)
    await fill(log, 40, size=500)
    await log.close()
    middle = numbers(tmp_path)[1]
    connection = apsw.Connection(str(path_of(tmp_path, middle)))
    [(last,)] = connection.execute("SELECT max(position) FROM event").fetchall()
    connection.execute("DELETE FROM event WHERE position >= ?", (last - 1,))  # as a power failure leaves it
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    log = SqliteEventLog.open(tmp_path, settings)
    found, missing = await ids(log)
    assert found == [f"e{number}" for number in range(40) if number + 1 not in {last - 1, last}]
    assert missing == [last]
    found, missing = await ids(log, after=last)
    assert (found[0], missing) == (f"e{last}", [])
    await log.close()


# Formats

FORMAT_1 = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE epoch (number INTEGER PRIMARY KEY, epoch TEXT NOT NULL, first_offset INTEGER NOT NULL);
CREATE TABLE head (
    channel TEXT NOT NULL, lane INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (channel, lane)
) WITHOUT ROWID;
INSERT INTO fact VALUES ('format', '1'), ('clean', 'yes'), ('boot_id', 'some boot'), ('heads_through', '7');
INSERT INTO epoch VALUES (1, '00c0ffee0001', 1), (2, '00c0ffee0002', 4);
INSERT INTO head VALUES ('a', 3, 6), ('gone', 1, 7);
"""
SEGMENT_1 = """
PRAGMA journal_mode=WAL;
CREATE TABLE lane (id INTEGER PRIMARY KEY, channel TEXT NOT NULL, lane INTEGER NOT NULL);
CREATE TABLE event (
    position INTEGER PRIMARY KEY, lane INTEGER NOT NULL, previous INTEGER NOT NULL, time INTEGER NOT NULL,
    data BLOB NOT NULL
);
INSERT INTO lane VALUES (1, 'a', 3);
"""


def write_format_1(folder: Path) -> None:
    """Make a log as the first version left it."""
    folder.mkdir()
    (folder / "identity").touch()
    facts = (folder / "identity").stat()
    connection = apsw.Connection(str(folder / "manifest.sqlite"))
    connection.execute(FORMAT_1)
    connection.execute("INSERT INTO fact VALUES ('identity', ?)", (f"{facts.st_ino}:{facts.st_ctime_ns}",))
    connection.close()
    connection = apsw.Connection(str(folder / "000000000003.sqlite"))
    connection.execute(SEGMENT_1).fetchall()
    data = Event(id="old", channel="a", priority=Priority.NORMAL.wire_value, offset=6).SerializeToString()
    connection.execute("INSERT INTO event VALUES (6, 1, 2, ?, ?)", (time.time_ns(), data))
    connection.close()


async def test_a_log_of_the_first_format_is_migrated(tmp_path: Path) -> None:
    write_format_1(tmp_path / "log")
    log = SqliteEventLog.open(tmp_path / "log")
    assert [start.epoch for start in log.lineage.starts] == ["00c0ffee0001", "00c0ffee0002"]
    assert (log.end_offset, log.head(KEY), log.head(("gone", Priority.CRITICAL))) == (7, 6, 7)
    page = await log.read(KEY, 0, 10)
    assert ([event.offset for event in page.events], page.missing_through) == ([6], 2)
    again, new = entry("old"), entry("new")
    await log.append([again, new])
    assert (again.duplicate, again.offset) == (True, 6)
    assert (new.offset, new.prev_offset) == (8, 6)
    await log.close()
    connection = apsw.Connection(str(tmp_path / "log" / "manifest.sqlite"))
    facts = dict(connection.execute("SELECT name, value FROM fact").fetchall())
    assert (facts["format"], facts["newest_segment"]) == (str(manifest.FORMAT), "4")
    connection.close()


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_format_1(tmp_path / "log")

    def fail(_manifest: manifest.Manifest) -> None:
        _manifest._set_facts(newest_segment="9")
        raise apsw.IOError("disk I/O error")

    monkeypatch.setitem(manifest._MIGRATIONS, 1, fail)
    with pytest.raises(StartError, match="damaged"):
        SqliteEventLog.open(tmp_path / "log")
    connection = apsw.Connection(str(tmp_path / "log" / "manifest.sqlite"))
    facts = dict(connection.execute("SELECT name, value FROM fact").fetchall())
    assert facts["format"] == "1"
    assert "newest_segment" not in facts
    connection.close()


# Files that have gone


async def test_a_new_epoch_begins_where_the_newest_segment_has_gone(tmp_path: Path) -> None:
    crash(tmp_path, events=5)
    segment.remove(tmp_path, 1)
    log = SqliteEventLog.open(tmp_path)
    first, second = log.lineage.starts
    assert (log.end_offset, second.first_offset) == (0, 1)
    assert resume(Position(first.epoch, 5), log.lineage, log.end_offset) == Resumption(0, GAP_REASON_AHEAD)
    await log.close()


async def test_without_its_manifest_a_log_keeps_its_events_under_a_new_epoch(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path)
    await fill(log, 3)
    epoch = log.lineage.current
    await log.close()
    (tmp_path / "manifest.sqlite").unlink()
    log = SqliteEventLog.open(tmp_path)
    assert epoch not in {start.epoch for start in log.lineage.starts}
    assert (await ids(log))[0] == ["e0", "e1", "e2"]
    again = entry("e1")
    await log.append([again])
    assert (again.duplicate, again.offset) == (True, 2)
    await log.close()


# Room

FULL_DISK = """
import asyncio, json, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_sqlite_durability import entry, fill, ids
from publisher_svc.log.base import LogFullError
from publisher_svc.log.sqlite import SqliteEventLog

async def main():
    log = SqliteEventLog.open(Path(sys.argv[1]))
    await fill(log, 3, size=1000)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    stored, error = 3, ""
    while not error:
        try:
            await log.append([entry(f"e{stored}", 1000)])
            stored += 1
        except LogFullError as refused:
            error = str(refused)
    reads = len((await ids(log))[0])
    refused = 0
    for number in range(5):
        try:
            await log.append([entry(f"x{number}", 60_000)])
        except LogFullError:
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    last = entry(f"e{stored}", 1000)
    await log.append([last])
    await log.close()
    log = SqliteEventLog.open(Path(sys.argv[1]))
    facts = dict(stored=stored, error=error, reads=reads, refused=refused, last=[last.offset, last.prev_offset])
    print(json.dumps({**facts, "ids": (await ids(log))[0]}))
    await log.close()

asyncio.run(main())
"""


async def test_a_full_disk_refuses_events_while_reads_go_on_and_recovers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(Path(__file__).parent)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    facts = json.loads(done.stdout)
    stored = facts["stored"]
    assert "free disk space" in facts["error"]
    assert facts["reads"] == stored > 10
    assert facts["refused"] == 5
    assert facts["last"] == [stored + 1, stored], "what was refused has left no trace in the chain"
    assert facts["ids"] == [f"e{number}" for number in range(stored + 1)]


async def test_closed_segments_are_read_without_writing_a_byte(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(segment_pages=8))
    await fill(log, 30, size=500)
    await log.close()
    before = {path.name for path in tmp_path.iterdir()}
    log = SqliteEventLog.open(tmp_path)
    assert len((await ids(log))[0]) == 30
    new = {path.name for path in tmp_path.iterdir()} - before
    # Only of the segment that is written to, and of the one before it, whose number it may have taken over.
    assert {name[:12] for name in new} <= {f"{max(numbers(tmp_path)):012d}"}
    await log.close()


async def test_a_checkpoint_that_fails_at_the_end_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = SqliteEventLog.open(tmp_path)
    await fill(log, 3)
    epoch = log.lineage.current

    def fail(_path: Path) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(sqlite, "checkpoint", fail)
    await log.close()
    assert "read at the next start" in caplog.text
    log = SqliteEventLog.open(tmp_path)
    assert (await ids(log))[0] == ["e0", "e1", "e2"]
    assert log.lineage.current == epoch
    monkeypatch.undo()
    await log.close()


# Reading and keeping


async def test_a_reader_in_the_middle_of_a_segment_does_not_hold_up_commits(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path)
    await fill(log, 20)
    reader = segment.SegmentReader(tmp_path, log._open_writer().number)
    rows = iter(reader.since(0))
    next(rows)
    assert log.append_nowait([entry("meanwhile")])
    assert sum(1 for _ in rows) == 19, "a read sees the log as it was when it began"
    assert (await ids(log))[0][-1] == "meanwhile"
    reader.close()
    await log.close()


async def test_age_deletes_segments_of_a_log_to_which_nothing_comes_any_more(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(retention_seconds=3600))
    await log.append([entry("old", accept_ns=time.time_ns() - 2 * HOUR_NS)])
    log._begun -= 3600
    for _ in range(2):  # the first makes the next segment, the second goes on in it
        log._on_timer()
        await log.settle()
    assert log.first_offset == 2
    page = await log.read(KEY, 0, 10)
    assert (page.events, page.missing_through) == ([], 1)
    page = await log.read(KEY, 1, 10)
    assert (page.events, page.missing_through) == ([], None), "a quiet cursor has missed nothing"
    await log.close()


async def test_an_id_whose_event_retention_took_is_still_a_duplicate(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path, SqliteLogSettings(segment_pages=8, retention_bytes=32 * 1024))
    first = entry("first")
    await log.append([first])
    await fill(log, 100, size=1000)
    assert await log.get(1) is None
    again = entry("first")
    await log.append([again])
    assert (again.duplicate, again.offset) == (True, 1)
    await log.close()


async def test_a_late_retry_is_known_after_a_start_although_retention_took_its_event(tmp_path: Path) -> None:
    settings = SqliteLogSettings(segment_pages=8, retention_bytes=32 * 1024)
    crash(tmp_path, events=1)
    log = SqliteEventLog.open(tmp_path, settings)
    await fill(log, 100, "later", size=1000)
    assert await log.get(1) is None
    await log.close()
    log = SqliteEventLog.open(tmp_path, settings)
    again = [entry("e0"), entry("later0"), entry("later99")]
    await log.append(again)
    assert [(each.duplicate, each.offset) for each in again] == [(True, 1), (True, 2), (True, 101)]
    await log.close()


async def test_ids_of_deleted_events_are_forgotten_when_their_time_is_over(tmp_path: Path) -> None:
    settings = SqliteLogSettings(segment_pages=8, retention_bytes=32 * 1024)
    log = SqliteEventLog.open(tmp_path, settings)
    await fill(log, 100, size=1000)
    assert list(tmp_path.glob("*.ids"))
    for number in range(100):
        await log.append([entry(f"late{number}", 1000, time.time_ns() + HOUR_NS)])
        await log.settle()
    late = {path.stem for path in tmp_path.glob("*.ids")}
    await log.close()
    log = SqliteEventLog.open(tmp_path, settings)
    again = [entry("e0"), entry("late0")]
    await log.append(again)
    assert [each.duplicate for each in again] == [False, True]
    assert late
    assert min(map(int, late)) > 3, "those of the first segments are gone"
    await log.close()


async def test_an_event_whose_id_is_not_its_first_field_is_recognised_after_a_start(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path)
    odd = entry("odd")
    odd.data = Event(channel="a").SerializeToString() + odd.data
    await log.append([odd])
    await log.close()
    log = SqliteEventLog.open(tmp_path)
    again = entry("odd")
    await log.append([again])
    assert again.duplicate
    await log.close()
