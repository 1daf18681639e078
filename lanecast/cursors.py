"""Where subscribers keep the positions they have reached.

Owns the protocol of cursor stores and two of them. Called by the subscriber; knows neither streams nor events.

The file store is SQLite with a write-ahead log: a save is one appended page that survives SIGKILL and needs no fsync, a
few tens of microseconds, however many cursors there are; a file that is written anew and renamed costs an fsync each
time and grows with the cursors. Several subscribers, also of several processes, may share a file under different names.
A power cut may undo the last saves, never damage the file; then the events since are delivered again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import apsw

from lanecast.core.position import Position
from lanecast.core.priority import Priority
from lanecast.errors import LanecastError

CursorKey = tuple[str, Priority]
"""A channel and a lane."""

_APPLICATION_ID = 0x4C434352
_FORMAT = 1


class CursorStore(Protocol):
    """Where a subscriber's positions are kept.

    To process each event exactly once, implement this over the database that your own effects go to, subscribe with
    `auto_commit=False`, and write effect and `delivery.position` in one transaction.
    """

    async def load(self, channels: Sequence[str]) -> Mapping[CursorKey, Position]:
        """Return the positions of these channels, as far as there are any."""

    async def save(self, positions: Mapping[CursorKey, Position]) -> None:
        """Keep positions; each replaces the one of the same channel and lane."""


class MemoryCursorStore:
    """Keeps positions as long as the process lives."""

    def __init__(self) -> None:
        self.positions: dict[CursorKey, Position] = {}

    async def load(self, channels: Sequence[str]) -> Mapping[CursorKey, Position]:
        """See `CursorStore`."""
        return {key: position for key, position in self.positions.items() if key[0] in channels}

    async def save(self, positions: Mapping[CursorKey, Position]) -> None:
        """See `CursorStore`."""
        self.positions.update(positions)


class FileCursorStore:
    """Keeps positions in a SQLite file. The work is done in a thread, so that no loop waits for a disk."""

    def __init__(self, path: str | Path, name: str = "default") -> None:
        """Name the file, which is made at the first use, and the subscriber within it.

        Two subscribers that run at the same time need two names: each would move the other's cursor.
        """
        self._path = Path(path)
        self._name = name
        self._connection: apsw.Connection | None = None
        self._lock = threading.Lock()

    async def load(self, channels: Sequence[str]) -> Mapping[CursorKey, Position]:
        """See `CursorStore`.

        Raises:
            LanecastError: the file cannot be used; says why and what to do.
        """
        return await asyncio.to_thread(self._load, frozenset(channels))

    async def save(self, positions: Mapping[CursorKey, Position]) -> None:
        """See `CursorStore`.

        Raises:
            LanecastError: the file cannot be written.
        """
        await asyncio.to_thread(self._save, dict(positions))

    async def close(self) -> None:
        """Close the file. Idempotent; a later call opens it again."""
        await asyncio.to_thread(self._close)

    def _load(self, channels: frozenset[str]) -> dict[CursorKey, Position]:
        with self._lock:
            try:
                rows = self._open().execute(
                    "SELECT channel, lane, epoch, position FROM cursor WHERE name = ?", (self._name,)
                )
                return {
                    (channel, Priority(lane)): Position(epoch, offset)
                    for channel, lane, epoch, offset in rows
                    if channel in channels
                }
            except apsw.Error as error:
                raise self._unusable(error) from error

    def _save(self, positions: dict[CursorKey, Position]) -> None:
        rows = [(self._name, key[0], int(key[1]), at.epoch, at.offset) for key, at in positions.items()]
        with self._lock:
            try:
                connection = self._open()
                with connection:
                    connection.executemany("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?, ?)", rows)
            except apsw.Error as error:
                raise self._unusable(error) from error

    def _close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> apsw.Connection:
        if self._connection is not None:
            return self._connection
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        connection = apsw.Connection(str(self._path))
        try:
            connection.set_busy_timeout(5_000)
            _prepare(connection, self._path)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _unusable(self, error: Exception) -> LanecastError:
        return LanecastError(
            f"the cursor file {self._path} cannot be used ({error}): choose a path that you may write to, or move a"
            " damaged file away; its subscribers then start afresh"
        )


def _prepare(connection: apsw.Connection, path: Path) -> None:
    """Create the table in a new file; refuse a file that is something else."""
    found = connection.pragma("application_id"), connection.pragma("user_version")
    if found == (0, 0) and not connection.execute("SELECT count(*) FROM sqlite_schema").get:
        connection.pragma("journal_mode", "wal")
        with connection:
            connection.pragma("application_id", _APPLICATION_ID)
            connection.pragma("user_version", _FORMAT)
            connection.execute(
                "CREATE TABLE IF NOT EXISTS cursor (name TEXT, channel TEXT, lane INTEGER, epoch TEXT NOT NULL,"
                " position INTEGER NOT NULL, PRIMARY KEY (name, channel, lane)) WITHOUT ROWID"
            )
    elif found != (_APPLICATION_ID, _FORMAT):
        raise LanecastError(
            f"{path} is no cursor file of this version of Lanecast: choose another path, or use the version that made"
            " it"
        )
    connection.pragma("synchronous", "normal")
