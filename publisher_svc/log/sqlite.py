"""The embedded event log: SQLite segments in a folder.

Owns offsets, chain heads, deduplication, segment changes and retention of one log on one machine. Implements
`base.EventLog`; built by `app`. SQL is in `segment` and `manifest`.

Threads: `append` runs inline in the event loop (a commit takes tens of microseconds, less than a hand-over to a
thread), reads in one reader thread, fsync and the closing of segments in one housekeeping thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import apsw

from lanecast.core import wire
from lanecast.core.limits import DEDUP_WINDOW_SECONDS
from lanecast.core.position import Lineage
from lanecast.errors import StartError
from lanecast.v1.event_pb2 import Event
from publisher_svc.core.dedup import DedupWindow
from publisher_svc.log import segment
from publisher_svc.log.base import ChannelLane, Entry, LogError, Page, StoredEvent
from publisher_svc.log.manifest import Manifest

log = logging.getLogger(__name__)

T = TypeVar("T")

_WALK_STEPS = 2_000
"""Events to go back along the chain before a forward scan is cheaper; a step costs about 10 µs."""


@dataclass(frozen=True, slots=True)
class SqliteLogSettings:
    """Settings of the embedded log."""

    durability: str = "process"
    """What an acknowledged event survives: `process` (SIGKILL) or `disk` (power loss)."""
    retention_seconds: float = 24 * 3600
    """Age after which a segment is deleted; at least twice the deduplication window."""
    retention_bytes: int = 4 * 1024**3
    """Size of all segments above which the oldest is deleted."""
    segment_pages: int = 16 * 1024
    """Pages of 4 KiB in a write-ahead log after which a new segment is begun: what a restart has to scan."""
    segment_seconds: float = 3600
    """Age after which a new segment is begun, so that retention by age has files to delete."""


class SqliteEventLog:
    """An event log in a folder; see `base.EventLog`."""

    def __init__(self, folder: Path, settings: SqliteLogSettings, lineage: Lineage, manifest: Manifest) -> None:
        self._folder = folder
        self._settings = settings
        self._lineage = lineage
        self._manifest = manifest
        self._firsts = segment.first_offsets(folder)
        self._heads: dict[ChannelLane, int] = {}
        self._dedup = DedupWindow()
        self._end = 0
        self._writer: segment.SegmentWriter | None = None
        self._begun = 0.0
        self._closed_through = 0
        """First offset of the newest segment that is closed: retention touches none beyond it."""
        self._readers: dict[int, segment.SegmentReader] = {}
        self._reading = ThreadPoolExecutor(1, "log-read")
        self._keeping = ThreadPoolExecutor(1, "log-keep")
        self._chores: set[asyncio.Future[None]] = set()
        self._failure: LogError | None = None
        self._closed = False

    @classmethod
    def open(cls, folder: Path, settings: SqliteLogSettings | None = None) -> SqliteEventLog:
        """Open the log in `folder`, or create it.

        Raises:
            StartError: the folder cannot be used, or the log in it has a newer format.
        """
        settings = settings or SqliteLogSettings()
        if settings.retention_seconds < 2 * DEDUP_WINDOW_SECONDS:
            raise StartError(f"retention must be at least {2 * DEDUP_WINDOW_SECONDS} s, twice the deduplication window")
        if settings.durability not in {"process", "disk"}:
            raise StartError(f"unknown durability {settings.durability!r}: use process or disk")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"cannot create {folder}: {error.strerror}; choose another data directory") from error
        manifest = Manifest(folder)
        try:
            heads, through = manifest.heads()
            heads, end = _recover_heads(folder, heads, through)
            manifest.save_heads(heads, end)
            lineage = manifest.open_lineage(end + 1, _boot_id())
            self = cls(folder, settings, lineage, manifest)
            self._heads, self._end = heads, end
            self._recover_dedup()
            self._closed_through = self._firsts[-1] if self._firsts else 0
            self._begin_segment()
        except (LogError, apsw.Error) as error:
            raise StartError(f"cannot use the event log in {folder}: {error}") from error
        return self

    @property
    def lineage(self) -> Lineage:
        return self._lineage

    @property
    def end_offset(self) -> int:
        return self._end

    @property
    def first_offset(self) -> int:
        return self._firsts[0]

    def head(self, key: ChannelLane) -> int:
        return self._heads.get(key, 0)

    def heads(self) -> dict[ChannelLane, int]:
        return dict(self._heads)

    async def append(self, entries: list[Entry]) -> None:
        if self._failure is not None:
            raise self._failure
        # Anything that waits comes first: from the first head that changes to the commit nothing else may run.
        known = await self._known_duplicates(entries)
        fresh, undo = self._assign(entries, known)
        if not fresh:
            return
        writer = self._open_writer()
        try:
            writer.insert(fresh)
        except LogError:
            self._heads.update(undo)
            for entry in fresh:
                self._dedup.forget(entry.channel, entry.event_id)
            raise
        self._end = fresh[-1].offset
        age = time.monotonic() - self._begun
        if writer.wal_pages >= self._settings.segment_pages or age > self._settings.segment_seconds:
            self._change_segment()

    async def sync(self) -> None:
        if self._settings.durability == "process":
            return
        try:
            await self._in(self._keeping, self._open_writer().sync)
        except LogError as error:
            self._failure = error
            raise

    async def read(self, key: ChannelLane, after: int, limit: int) -> Page:
        end, head = self._end, self._heads.get(key, 0)
        if head <= after:
            return Page(covered_through=max(end, after))
        return await self._in(self._reading, lambda: self._read(key, after, limit, end, head))

    async def floor_of_last(self, key: ChannelLane, count: int) -> int:
        head = self._heads.get(key, 0)
        return await self._in(self._reading, lambda: self._floor_of_last(head, count))

    async def get(self, offset: int) -> StoredEvent | None:
        return await self._in(self._reading, lambda: self._get(offset))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*self._chores, return_exceptions=True)
        writer, self._writer = self._writer, None
        if writer is not None:
            await self._in(self._keeping, lambda: self._finish(writer))
        await self._in(self._reading, self._close_readers)
        self._reading.shutdown()
        self._keeping.shutdown()
        self._manifest.close(clean=self._failure is None)

    # Appending

    def _open_writer(self) -> segment.SegmentWriter:
        if self._writer is None:
            raise LogError("the event log is closed")
        return self._writer

    async def _known_duplicates(self, entries: list[Entry]) -> set[int]:
        """Return the offsets of stored events that entries repeat; fingerprints may collide, so ids are compared."""
        known: set[int] = set()
        for entry in entries:
            found = self._dedup.find(entry.channel, entry.event_id)
            if found is None:
                continue
            stored = await self.get(found)
            first = Event.FromString(stored.data) if stored is not None else None
            if first is not None and first.id == entry.event_id and first.channel == entry.channel:
                known.add(found)
        return known

    def _assign(self, entries: list[Entry], known: set[int]) -> tuple[list[Entry], dict[ChannelLane, int]]:
        """Give each entry its position; return those to store, and the heads as they were before."""
        fresh: list[Entry] = []
        undo: dict[ChannelLane, int] = {}
        heads, dedup, end = self._heads, self._dedup, self._end
        for entry in entries:
            found = dedup.find(entry.channel, entry.event_id)
            if found is not None and (found in known or _repeats(entry, fresh, found - self._end - 1)):
                entry.offset, entry.duplicate = found, True
                continue
            end += 1
            key = (entry.channel, entry.lane)
            previous = heads.get(key, 0)
            undo.setdefault(key, previous)
            entry.offset, entry.prev_offset = end, previous
            entry.data += wire.event_position(end, previous, entry.accept_ns)
            heads[key] = end
            dedup.add(entry.channel, entry.event_id, end, entry.accept_ns)
            fresh.append(entry)
        return fresh, undo

    def _begin_segment(self) -> None:
        first = self._end + 1
        if self._firsts and self._firsts[-1] == first:  # the newest one has no events yet
            self._firsts.pop()
        self._writer = segment.SegmentWriter(self._folder, first)
        self._firsts.append(first)
        self._begun = time.monotonic()

    def _change_segment(self) -> None:
        full = self._open_writer()
        self._begin_segment()
        chore = asyncio.get_running_loop().run_in_executor(self._keeping, self._retire, full)
        self._chores.add(chore)
        chore.add_done_callback(self._on_retired)

    def _on_retired(self, chore: asyncio.Future[None]) -> None:
        self._chores.discard(chore)
        error = chore.exception()
        if error is not None:
            log.error("a full segment could not be closed: %s", error)

    # Housekeeping, in its thread

    def _retire(self, full: segment.SegmentWriter) -> None:
        self._finish(full)
        self._closed_through = full.first_offset
        self._apply_retention()

    def _finish(self, writer: segment.SegmentWriter) -> None:
        reader = segment.SegmentReader(self._folder, writer.first_offset)
        heads, last = reader.heads(0), reader.last_offset()
        reader.close()
        writer.close()
        self._manifest.save_heads(heads, last)

    def _apply_retention(self) -> None:
        """Delete the oldest closed segments while they are too old or too large together."""
        sizes = {first: segment.size_of(self._folder, first) for first in self._firsts}
        oldest_kept = time.time_ns() - int(self._settings.retention_seconds * 1e9)
        while len(self._firsts) > 1 and self._firsts[0] <= self._closed_through:
            first = self._firsts[0]
            reader = segment.SegmentReader(self._folder, first)
            newest = reader.newest_time()
            reader.close()
            if newest >= oldest_kept and sum(sizes.values()) <= self._settings.retention_bytes:
                return
            self._firsts.pop(0)
            sizes.pop(first)
            self._reading.submit(self._drop, first).result()

    # Reading, in its thread

    def _drop(self, first: int) -> None:
        reader = self._readers.pop(first, None)
        if reader is not None:
            reader.close()
        segment.remove(self._folder, first)

    def _close_readers(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _reader_at(self, index: int) -> segment.SegmentReader:
        first = self._firsts[index]
        reader = self._readers.get(first)
        if reader is None:
            reader = self._readers[first] = segment.SegmentReader(self._folder, first)
        return reader

    def _get(self, offset: int) -> StoredEvent | None:
        index = bisect_right(self._firsts, offset) - 1
        return None if index < 0 else self._reader_at(index).get(offset)

    def _read(self, key: ChannelLane, after: int, limit: int, end: int, head: int) -> Page:
        events = self._walk(after, head)
        if events is None:
            events = self._scan(key, after, limit + 1, end)
        more = len(events) > limit
        page = Page(events[:limit], more=more)
        page.covered_through = page.events[-1].offset if more else max(end, after)
        if not events:
            page.missing_through = head
        elif events[0].prev_offset > after:
            page.missing_through = events[0].prev_offset
        return page

    def _walk(self, after: int, head: int) -> list[StoredEvent] | None:
        """Return the events above `after` by going back along the chain; None where that would take too long."""
        events: list[StoredEvent] = []
        offset = head
        while offset > after:
            if len(events) == _WALK_STEPS:
                return None
            event = self._get(offset)
            if event is None:
                break
            events.append(event)
            offset = event.prev_offset
        events.reverse()
        return events

    def _scan(self, key: ChannelLane, after: int, limit: int, end: int) -> list[StoredEvent]:
        events: list[StoredEvent] = []
        index = max(0, bisect_right(self._firsts, after + 1) - 1)
        while index < len(self._firsts) and len(events) < limit:
            events += self._reader_at(index).scan(key, after, limit - len(events))
            index += 1
        return [event for event in events if event.offset <= end]

    def _floor_of_last(self, head: int, count: int) -> int:
        offset = head
        for _ in range(count):
            event = self._get(offset) if offset else None
            if event is None:
                break
            offset = event.prev_offset
        return offset

    # Recovery

    def _recover_dedup(self) -> None:
        """Rebuild the window from the log: ids of the last 120 s before its newest event."""
        readers = [segment.SegmentReader(self._folder, first) for first in self._firsts]
        newest = max((reader.newest_time() for reader in readers), default=0)
        since = newest - DEDUP_WINDOW_SECONDS * 1_000_000_000
        for reader in readers:
            if reader.newest_time() >= since:
                for channel, offset, time_ns, data in reader.since(since):
                    self._dedup.add(channel, Event.FromString(data).id, offset, time_ns)
            reader.close()

    async def _in(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except apsw.Error as error:
            raise LogError(f"cannot read the event log in {self._folder}: {error}") from error


def _recover_heads(folder: Path, heads: dict[ChannelLane, int], through: int) -> tuple[dict[ChannelLane, int], int]:
    """Bring saved heads up to date from the segments that were not closed; return them with the last offset."""
    end = through
    firsts = segment.first_offsets(folder)
    if firsts:
        segment.complete(folder, firsts[-1])
    for first in firsts:
        reader = segment.SegmentReader(folder, first)
        last = reader.last_offset()
        if last > through:
            heads.update(reader.heads(through))
        end = max(end, last)
        reader.close()
    return heads, end


def _repeats(entry: Entry, fresh: list[Entry], index: int) -> bool:
    """Say whether the entry repeats one of the same batch, which the window already knows but the log does not."""
    if not 0 <= index < len(fresh):
        return False
    return fresh[index].event_id == entry.event_id and fresh[index].channel == entry.channel


def _boot_id() -> str:
    """Identify the run of the operating system; `unknown` where it does not say, which counts as one long run."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"
