"""Which ids were stored, from the files alone; and ids that outlive their events.

Owns the way from a stored event to its fingerprint, and the files that keep the ids of a segment which retention
deletes before its ids may be forgotten: where `retention_bytes` holds less than the deduplication window, a start could
else not tell a late retry from a new event. Used by `segments`, which deletes, and `recovery`, which reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw

from lanecast.v1.event_pb2 import Event
from publisher_svc.core.dedup import fingerprint
from publisher_svc.log import segment

_SUFFIX = ".ids"
_SCHEMA = "CREATE TABLE id (channel TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, time INTEGER NOT NULL)"
_SELECT = "SELECT channel, id, position, time FROM id WHERE time >= ? ORDER BY position"

_ID_KEY = Event.ID_FIELD_NUMBER << 3 | 2
"""Key of the field `id` in a serialised event."""

Seen = tuple[int, int, int]
"""Fingerprint, offset and log time of an event."""


def seen(reader: segment.SegmentReader, since_ns: int) -> Iterator[Seen]:
    """Yield what a segment has since a time. A start waits for this: no call for each event, no parsing."""
    for channel, data, offset, time_ns in reader.since(since_ns):
        if data[0] == _ID_KEY and data[1] < 128:  # the first field, with a length of one byte
            yield hash((channel, data[2 : 2 + data[1]].decode())), offset, time_ns
        else:
            yield fingerprint(channel, Event.FromString(data).id), offset, time_ns


def keep(folder: Path, number: int, reader: segment.SegmentReader, since_ns: int) -> None:
    """Write down the ids in a segment since a time, durably: afterwards its events may go.

    Raises:
        apsw.Error: no room, or the disk failed.
    """
    path = _path(folder, number)
    making = path.with_suffix(".making")
    making.unlink(missing_ok=True)
    connection = apsw.Connection(str(making))
    try:
        connection.execute("PRAGMA journal_mode=OFF").fetchall()
        with connection:
            connection.execute(_SCHEMA)
            rows = (
                (channel, Event.FromString(data).id, offset, time_ns)
                for channel, data, offset, time_ns in reader.since(since_ns)
            )
            connection.executemany("INSERT INTO id VALUES (?, ?, ?, ?)", rows)
    finally:
        connection.close()
    making.replace(path)
    segment.sync_path(folder)


def kept(folder: Path, since_ns: int) -> Iterator[Seen]:
    """Yield what was written down since a time, in the order of the log."""
    for path in _paths(folder):
        connection = _open(path)
        try:
            for channel, event_id, offset, time_ns in connection.execute(_SELECT, (since_ns,)):
                yield fingerprint(str(channel), str(event_id)), int(offset), int(time_ns)
        finally:
            connection.close()


def forget(folder: Path, before_ns: int) -> None:
    """Delete the files in which everything is older."""
    for path in _paths(folder):
        connection = _open(path)
        try:
            row = connection.execute("SELECT max(time) FROM id").fetchone()
        finally:
            connection.close()
        if row is None or (row[0] or 0) < before_ns:
            path.unlink()


def _open(path: Path) -> apsw.Connection:
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)


def _path(folder: Path, number: int) -> Path:
    return segment.path_of(folder, number).with_suffix(_SUFFIX)


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{'[0-9]' * 12}{_SUFFIX}"))
