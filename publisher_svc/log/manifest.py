"""What the embedded log knows of itself beside its events: format, lineage, heads of closed segments.

Owns `manifest.sqlite` and the rule for when a new epoch begins. Used by `sqlite` only. Every write is durable (fsync).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from lanecast.core.position import EpochStart, Lineage
from lanecast.core.priority import Priority
from lanecast.errors import StartError
from publisher_svc.log import segment
from publisher_svc.log.base import ChannelLane

FORMAT = 2
"""Version of everything in the log's folder. A newer one is refused, an older one migrated.

1: segments, heads, lineage. 2: the newest segment is known by number, so that a file that has gone is noticed.
"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS epoch (number INTEGER PRIMARY KEY, epoch TEXT NOT NULL, first_offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS head (
    channel TEXT NOT NULL, lane INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (channel, lane)
) WITHOUT ROWID;
"""


class Manifest:
    """Reads and writes the manifest of one log. Not for the hot path: every write waits for the disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "manifest.sqlite"
        try:
            self._connection = apsw.Connection(str(self._path))
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(_SCHEMA)
        except apsw.Error as error:
            raise StartError(f"cannot use the event log in {folder}: {error}") from error
        self._check_format()

    def open_lineage(self, next_offset: int, boot_id: str, newest_segment: int) -> Lineage:
        """Return the lineage, with a new epoch where writes may have been undone since the log was last open.

        That is the case when the log is new, when the machine was started anew without a clean close before it (what
        was not yet on the disk is gone), when the file is not the one that was written (a backup was put in its place),
        when the newest segment has gone, and when the disk had failed. The log then counts as open.

        Args:
            next_offset: Where the new epoch would begin.
            boot_id: The run of the operating system.
            newest_segment: Greatest number of a segment that was found; 0 where there is none.
        """
        with self._readable():
            rows = self._connection.execute("SELECT epoch, first_offset FROM epoch ORDER BY number").fetchall()
            starts = [EpochStart(str(epoch), int(first)) for epoch, first in rows]  # type: ignore[arg-type]
            undone = self._undone(boot_id, newest_segment)
            with self.together():
                if not starts or undone:
                    starts.append(EpochStart(secrets.token_hex(6), next_offset))
                    start = starts[-1]
                    self._connection.execute("INSERT INTO epoch VALUES (NULL, ?, ?)", (start.epoch, start.first_offset))
                self._set_facts(clean="no", failed="no", boot_id=boot_id, identity=_identity(self._path.parent))
        return Lineage(starts)

    def _undone(self, boot_id: str, newest_segment: int) -> bool:
        """Say whether something that was written may be there no more."""
        crashed = self._fact("clean") != "yes" and self._fact("boot_id") != boot_id
        copied = self._fact("identity") != _identity(self._path.parent)
        lost = newest_segment < int(self._fact("newest_segment") or 0)
        return crashed or copied or lost or self._fact("failed") == "yes"

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make all that is written inside durable at once, or none of it: a start waits for the disk only once.

        apsw's own transactions are not used: where the disk is full SQLite has ended them already, and they say so
        instead of naming the reason.
        """
        if self._connection.in_transaction:  # a part of something greater
            yield
            return
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def segment_begun(self, number: int) -> None:
        """Note the number of the segment that is written now."""
        with self.together():
            self._set_facts(newest_segment=str(number))

    def disk_failed(self) -> None:
        """Note that a flush has failed: what was delivered since the last good one may be gone at the next start."""
        with self.together():
            self._set_facts(failed="yes")

    def heads(self) -> tuple[dict[ChannelLane, int], int]:
        """Return the heads of all closed segments, and the last offset they account for."""
        with self._readable():
            rows = self._connection.execute("SELECT channel, lane, position FROM head").fetchall()
            through = int(self._fact("heads_through") or 0)
            return {(str(name), Priority(lane)): int(offset) for name, lane, offset in rows}, through  # type: ignore[arg-type]

    def save_heads(self, heads: dict[ChannelLane, int], through: int) -> None:
        """Account for a segment that was closed."""
        rows = [(channel, int(lane), offset) for (channel, lane), offset in heads.items()]
        with self.together():
            self._connection.executemany("INSERT OR REPLACE INTO head VALUES (?, ?, ?)", rows)
            self._set_facts(heads_through=str(through))

    def close(self, *, clean: bool) -> None:
        """Close; `clean` says that everything in the log is durable."""
        if clean:
            with self.together():
                self._set_facts(clean="yes")
        self._connection.close()

    def _check_format(self) -> None:
        """Refuse a newer format, and bring an older one up to date, step by step, all or nothing."""
        try:
            with self._readable():
                stored = self._stored_format()
            self._refuse_newer(stored)
            if stored < FORMAT:
                with self._readable(), self.together():
                    for older in range(stored, FORMAT):
                        _MIGRATIONS[older](self)
                    self._set_facts(format=str(FORMAT))
        except StartError:
            self._connection.close()
            raise

    def _refuse_newer(self, stored: int) -> None:
        if stored > FORMAT:
            raise StartError(
                f"the event log in {self._path.parent} has format {stored}, this version reads up to {FORMAT}: install"
                " a newer Lanecast or choose another data directory"
            )

    def _stored_format(self) -> int:
        """Return the format; a new manifest counts as one of the first format, without segments."""
        stored = self._fact("format")
        if stored is None and self._connection.execute("SELECT count(*) FROM fact").fetchone() != (0,):
            raise ValueError("it names no format")
        return int(stored or 1)

    def _name_newest_segment(self) -> None:
        """Migrate from format 1 to 2."""
        self._set_facts(newest_segment=str(max(segment.numbers(self._path.parent), default=0)))

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError as error:
            raise no_room(self._path.parent) from error
        except (apsw.Error, ValueError, TypeError, OverflowError, KeyError) as error:
            raise StartError(
                f"the manifest of the event log in {self._path.parent} is damaged ({error}): restore the folder from a"
                " backup, or remove manifest.sqlite to begin a new epoch with the events that are there"
            ) from error

    def _fact(self, name: str) -> str | None:
        row = self._connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _set_facts(self, **facts: str) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())


_MIGRATIONS: dict[int, Callable[[Manifest], None]] = {
    1: Manifest._name_newest_segment,  # noqa: SLF001 - the table belongs to the class
}
"""What brings a format to the next one, by the older one's number."""


def no_room(folder: Path) -> StartError:
    """Return what a start on a full disk ends with."""
    return StartError(f"no room for the event log in {folder}: free disk space")


def _identity(folder: Path) -> str:
    """Tell this folder from a copy of it.

    A file is made once and never written again; its inode and change time stay as they are. No backup tool can set a
    change time, so a restored copy has another one.
    """
    path = folder / "identity"
    if not path.exists():
        path.touch()
    facts = path.stat()
    return f"{facts.st_ino}:{facts.st_ctime_ns}"
