"""One file of the embedded log: a run of consecutive offsets in an SQLite database in WAL mode.

Owns the SQL and nothing of what offsets mean. Used by `sqlite` only.

A segment is written by one connection and never checkpointed while it is written: a commit is then an append to the
write-ahead log without fsync, tens of microseconds, and nothing ever stalls it. When it is full the log goes on in a
new file, and the old one is checkpointed and closed by a background thread. Retention deletes whole files.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw

from lanecast.core.priority import Priority
from publisher_svc.log.base import ChannelLane, Entry, LogError, LogFullError, StoredEvent

_SCHEMA = """
CREATE TABLE IF NOT EXISTS lane (id INTEGER PRIMARY KEY, channel TEXT NOT NULL, lane INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS event (
    position INTEGER PRIMARY KEY, lane INTEGER NOT NULL, previous INTEGER NOT NULL, time INTEGER NOT NULL,
    data BLOB NOT NULL
);
"""
_ROW = "(?, ?, ?, ?, ?)"
_MAX_ROWS = 64
"""Most events stored by one statement. A statement for each number is kept prepared, of which there are up to 100."""
_INSERTS = tuple("INSERT INTO event VALUES " + ", ".join([_ROW] * rows) for rows in range(_MAX_ROWS + 1))  # noqa: S608
"""The statement for each number of rows: a transaction of its own, in one call, where nothing else belongs to it."""
_LANE_INSERTS = tuple("INSERT INTO lane VALUES " + ", ".join(["(?, ?, ?)"] * rows) for rows in range(_MAX_ROWS + 1))  # noqa: S608
_MAX_EXPECTED = 20_000
"""Most channels and lanes that a segment is prepared for, some 500 KiB of it."""
_SUFFIX = ".sqlite"
_NAME = re.compile(r"[0-9]{12}\.sqlite")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24


def path_of(folder: Path, number: int) -> Path:
    """Return the file of a segment. Numbers grow, and so do the offsets in the files."""
    return folder / f"{number:012d}{_SUFFIX}"


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the segments in a folder, ascending."""
    return sorted(int(path.name.removesuffix(_SUFFIX)) for path in folder.iterdir() if _NAME.fullmatch(path.name))


def remove(folder: Path, number: int) -> None:
    """Delete a segment that nobody has open."""
    path = path_of(folder, number)
    for suffix in ("-wal", "-shm", ""):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def size_of(folder: Path, number: int) -> int:
    """Return the bytes a segment takes on disk."""
    path = path_of(folder, number)
    return sum(file.stat().st_size for file in (path, wal_of(path)) if file.exists())


def is_closed(folder: Path, number: int) -> bool:
    """Say whether a segment is whole in its database file, which then never changes again."""
    path = path_of(folder, number)
    if wal_of(path).exists() or not path.stat().st_size:
        return False
    connection = _connect_closed(path)
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name IN ('lane', 'event')").fetchone()
        return tables == (2,)
    finally:
        connection.close()


def torn_bytes(folder: Path, number: int) -> int:
    """Return how many bytes at the end of a write-ahead log belong to no whole commit: SQLite ignores them.

    To be asked before anything else opens the segment.

    Raises:
        LogError: the file is no database.
    """
    path = path_of(folder, number)
    wal = wal_of(path)
    size = wal.stat().st_size if wal.exists() else 0
    if not size:
        return 0
    connection = _connect(path)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # makes it read the write-ahead log
        page_size: Any = connection.execute("PRAGMA page_size").fetchone()
        state: Any = connection.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    except apsw.Error as error:
        raise LogError(f"{path} is not a segment of an event log: {error}") from error
    finally:
        connection.close()
    frames = max(0, state[1])
    whole = _WAL_HEADER_BYTES + frames * (_FRAME_HEADER_BYTES + page_size[0]) if frames else 0
    return max(0, size - whole)


def make_durable(folder: Path, number: int) -> None:
    """Flush what was found of a segment to the disk; writes no byte, so a full disk is no hindrance.

    Raises:
        LogError: the disk failed.
    """
    path = path_of(folder, number)
    try:
        for file in (wal_of(path), path, folder):
            if file.exists():
                sync_path(file)
    except OSError as error:
        raise LogError(f"cannot make {path} durable: {error.strerror}") from error


def wal_of(path: Path) -> Path:
    """Return the write-ahead log of a segment's file."""
    return Path(f"{path}-wal")


class SegmentWriter:
    """The writing end of the newest segment. Used from the event loop's thread only, but for `sync` and `release`."""

    def __init__(self, folder: Path, number: int, expected: Sequence[ChannelLane] = ()) -> None:
        """Make the file, or go on in one that has no events.

        Args:
            folder: Where it is.
            number: Its number.
            expected: Channels and lanes that events will come for: they get their numbers here, not with their first
                event, which a tenth of all events are where a thousand channels share a segment.

        Takes about 2 ms. Nothing is flushed to the disk yet: an operating-system crash before the first `sync` or
        `close` loses the file's events, which is what durability `process` allows.
        """
        self.number = number
        self.path = path_of(folder, number)
        self.wal_pages = 0
        """Pages in the write-ahead log: what a restart has to scan, and a measure of how full the segment is."""
        self.heads: dict[ChannelLane, int] = {}
        """Greatest offset of each channel and lane that this writer stored."""
        self._wal_descriptor: int | None = None
        self._connection = _connect(self.path)
        try:
            self._connection.execute("PRAGMA synchronous=OFF")
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0"):
                self._connection.execute(statement).fetchall()
            self._connection.execute(_SCHEMA)
            self._connection.execute("PRAGMA synchronous=NORMAL")
            rows: list[Any] = self._connection.execute("SELECT id, channel, lane FROM lane").fetchall()
            self._lanes: dict[ChannelLane, int] = {(channel, Priority(lane)): known for known, channel, lane in rows}
            self._add_lanes([key for key in expected[:_MAX_EXPECTED] if key not in self._lanes])
        except apsw.Error as error:
            raise LogError(f"{self.path} is not a segment of an event log: {error}") from error
        self._connection.set_wal_hook(self._on_commit)

    def insert(self, entries: Sequence[Entry]) -> None:
        """Store entries in one transaction.

        Raises:
            LogFullError: no room. LogError: any other failure. Nothing of the batch is stored in either case.
        """
        connection, lanes = self._connection, self._lanes
        keys = [entry.key for entry in entries]
        numbers = [lanes.get(key) for key in keys]
        added: list[ChannelLane] = []
        try:
            if None in numbers or len(entries) > _MAX_ROWS:
                connection.execute("BEGIN IMMEDIATE")
                added = [key for key in dict.fromkeys(keys) if key not in lanes]
                self._add_lanes(added)
                numbers = [lanes[key] for key in keys]
                for first in range(0, len(entries), _MAX_ROWS):
                    self._insert(entries[first : first + _MAX_ROWS], numbers[first : first + _MAX_ROWS])
                connection.execute("COMMIT")
            else:
                self._insert(entries, numbers)
            self.heads.update(zip(keys, [entry.offset for entry in entries], strict=True))
        except apsw.Error as error:
            no_room = isinstance(error, apsw.FullError) or connection.system_errno in _NO_ROOM
            for key in added:
                self._lanes.pop(key, None)
            self._roll_back()
            if no_room:
                raise LogFullError(f"no room for events in {self.path.parent}: free disk space") from error
            raise LogError(f"cannot store events in {self.path}: {error}") from error

    def _insert(self, entries: Sequence[Entry], numbers: Sequence[int | None]) -> None:
        values: list[int | bytes | None] = []
        for entry, number in zip(entries, numbers, strict=True):
            values += (entry.offset, number, entry.prev_offset, entry.accept_ns, entry.data)
        self._connection.execute(_INSERTS[len(entries)], values)

    def sync(self) -> None:
        """Flush the write-ahead log to the disk; may run in another thread than `insert`.

        Raises:
            LogError: the disk failed.
        """
        try:
            if self._wal_descriptor is None:
                self._wal_descriptor = os.open(wal_of(self.path), os.O_RDWR)
                sync_path(self.path)
                sync_path(self.path.parent)
            os.fdatasync(self._wal_descriptor)
        except OSError as error:
            raise LogError(f"cannot make {self.path} durable: {error.strerror}") from error

    def release(self) -> None:
        """Close, and leave the write-ahead log as it is."""
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._connection.close()
        if self._wal_descriptor is not None:
            os.close(self._wal_descriptor)
            self._wal_descriptor = None

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except apsw.Error as error:
                raise LogError(f"cannot take back what was not stored in {self.path}: {error}") from error

    def _add_lanes(self, keys: Sequence[ChannelLane]) -> None:
        """Give channels and lanes their numbers, many in a statement: each gives way to other threads once."""
        for first in range(0, len(keys), _MAX_ROWS):
            some = keys[first : first + _MAX_ROWS]
            values: list[int | str] = []
            for number, key in enumerate(some, len(self._lanes) + 1):
                values += (number, key[0], int(key[1]))
            self._connection.execute(_LANE_INSERTS[len(some)], values)
            self._lanes.update(zip(some, range(len(self._lanes) + 1, len(self._lanes) + 1 + len(some)), strict=True))

    def _on_commit(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK


class SegmentReader:
    """The reading end of a segment: a connection of its own, which does not disturb commits. Used in one thread.

    A closed segment is read as the plain file it is: that needs neither locks nor shared memory, for which a full disk
    would have no room.
    """

    def __init__(self, folder: Path, number: int) -> None:
        path = path_of(folder, number)
        closed = is_closed(folder, number)
        self._connection = _connect_closed(path) if closed else _connect(path, apsw.SQLITE_OPEN_READWRITE)
        self._lanes: dict[ChannelLane, int] = {}

    def get(self, offset: int) -> StoredEvent | None:
        """Return the event at an offset."""
        row = self._connection.execute("SELECT previous, data FROM event WHERE position = ?", (offset,)).fetchone()
        return None if row is None else StoredEvent(offset, row[0], row[1])

    def scan(self, key: ChannelLane, after: int, limit: int) -> list[StoredEvent]:
        """Return up to `limit` events of a channel and lane above an offset, by going through the segment."""
        number = self._lane_id(key)
        if number is None:
            return []
        query = "SELECT position, previous, data FROM event WHERE position > ? AND lane = ? ORDER BY position LIMIT ?"
        return [StoredEvent(*row) for row in self._connection.execute(query, (after, number, limit))]

    def bounds(self) -> tuple[int, int] | None:
        """Return the smallest and the greatest offset, None where the segment has no events."""
        # Two queries in one: SQLite looks up either end of the key, but scans the table for both at once.
        query = "SELECT (SELECT min(position) FROM event), (SELECT max(position) FROM event)"
        row: Any = self._connection.execute(query).fetchone()
        return None if row[0] is None else (row[0], row[1])

    def heads(self, after: int) -> dict[ChannelLane, int]:
        """Return the greatest offset of each channel and lane that has events above an offset."""
        query = (
            "SELECT lane.channel, lane.lane, max(event.position) FROM event JOIN lane ON lane.id = event.lane"
            " WHERE event.position > ? GROUP BY event.lane"
        )
        return {
            (channel, Priority(lane)): offset for channel, lane, offset in self._connection.execute(query, (after,))
        }

    def since(self, time_ns: int) -> Iterable[tuple[str, bytes, int, int]]:
        """Yield (channel, data, offset, time) of all events accepted at or after a time, by going through all."""
        query = (
            "SELECT lane.channel, event.data, event.position, event.time FROM event JOIN lane ON lane.id = event.lane"
            " WHERE event.time >= ? ORDER BY event.position"
        )
        return self._connection.execute(query, (time_ns,))

    def newest_time(self) -> int:
        """Return the accept time of the newest event, 0 where the segment is empty."""
        row = self._connection.execute("SELECT time FROM event ORDER BY position DESC LIMIT 1").fetchone()
        return 0 if row is None else int(row[0])

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()

    def _lane_id(self, key: ChannelLane) -> int | None:
        number = self._lanes.get(key)
        if number is None:
            query = "SELECT id FROM lane WHERE channel = ? AND lane = ?"
            row = self._connection.execute(query, (key[0], int(key[1]))).fetchone()
            if row is None:
                return None
            number = self._lanes[key] = int(row[0])
        return number


def _connect(path: Path, flags: int = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(path), flags=flags)
        connection.set_busy_timeout(5_000)
        return connection
    except apsw.Error as error:
        raise LogError(f"cannot open {path}: {error}") from error


def _connect_closed(path: Path) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    try:
        return apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags)
    except apsw.Error as error:
        raise LogError(f"cannot open {path}: {error}") from error


def sync_path(path: Path) -> None:
    """Flush a file, or what a folder says of its files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
