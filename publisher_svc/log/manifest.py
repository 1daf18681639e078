"""What the embedded log knows of itself beside its events: format, lineage, heads of closed segments.

Owns `manifest.sqlite` and the rule for when a new epoch begins. Used by `sqlite` only. Every write is durable (fsync).
"""

from __future__ import annotations

import secrets
from pathlib import Path

import apsw

from lanecast.core.position import EpochStart, Lineage
from lanecast.core.priority import Priority
from lanecast.errors import StartError
from publisher_svc.log.base import ChannelLane

FORMAT = 1
"""Version of everything in the log's folder. A newer one is refused, an older one migrated."""

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

    def open_lineage(self, next_offset: int, boot_id: str) -> Lineage:
        """Return the lineage, with a new epoch where writes may have been undone since the log was last open.

        That is the case when the log is new, when the machine was started anew without a clean close before it (what
        was not yet on the disk is gone), and when the file is not the one that was written: a backup was put in its
        place. The log then counts as open.
        """
        rows = self._connection.execute("SELECT epoch, first_offset FROM epoch ORDER BY number")
        starts = [EpochStart(epoch, first) for epoch, first in rows]
        identity = _identity(self._path.parent)
        clean = self._fact("clean") == "yes"
        same_boot = self._fact("boot_id") == boot_id
        same_file = self._fact("identity") == identity
        with self._connection:
            if not starts or not same_file or not (clean or same_boot):
                starts.append(EpochStart(secrets.token_hex(6), next_offset))
                start = starts[-1]
                self._connection.execute("INSERT INTO epoch VALUES (NULL, ?, ?)", (start.epoch, start.first_offset))
            self._set_facts(clean="no", boot_id=boot_id, identity=identity)
        return Lineage(starts)

    def heads(self) -> tuple[dict[ChannelLane, int], int]:
        """Return the heads of all closed segments, and the last offset they account for."""
        rows = self._connection.execute("SELECT channel, lane, position FROM head")
        return {(channel, Priority(lane)): offset for channel, lane, offset in rows}, int(
            self._fact("heads_through") or 0
        )

    def save_heads(self, heads: dict[ChannelLane, int], through: int) -> None:
        """Account for a segment that was closed."""
        rows = [(channel, int(lane), offset) for (channel, lane), offset in heads.items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO head VALUES (?, ?, ?)", rows)
            self._set_facts(heads_through=str(through))

    def close(self, *, clean: bool) -> None:
        """Close; `clean` says that everything in the log is durable."""
        if clean:
            with self._connection:
                self._set_facts(clean="yes")
        self._connection.close()

    def _check_format(self) -> None:
        stored = self._fact("format")
        if stored is None:
            with self._connection:
                self._set_facts(format=str(FORMAT))
        elif int(stored) > FORMAT:
            self._connection.close()
            raise StartError(
                f"the event log in {self._path.parent} has format {stored}, this version reads up to {FORMAT}: install"
                " a newer Lanecast or choose another data directory"
            )

    def _fact(self, name: str) -> str | None:
        row = self._connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _set_facts(self, **facts: str) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())


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
