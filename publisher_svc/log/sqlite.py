"""The embedded event log: SQLite segments in a folder.

Owns offsets, chain heads, deduplication and the change of segments of one log on one machine. Implements
`base.EventLog`; built by `app`. SQL is in `segment` and `manifest`, finding events in `segments`.

Threads: `append` runs inline in the event loop (a commit takes tens of microseconds, less than a hand-over to a
thread), reads in one reader thread, fsync in a thread of its own so that no acknowledgement waits for housekeeping; the
making and closing of segments in one housekeeping thread, which has full segments checkpointed by another process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
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
from publisher_svc.log.base import ChannelLane, Entry, LogError, Page, Sink, StoredEvent
from publisher_svc.log.checkpoint import Checkpointer, checkpoint
from publisher_svc.log.manifest import Manifest, no_room
from publisher_svc.log.recovery import Recovered, recover
from publisher_svc.log.segments import Segments

log = logging.getLogger(__name__)

T = TypeVar("T")

_SPARE_AT = 0.5
"""How full a segment is when the next one is made."""

_SPARE_RETRY_SECONDS = 1.0

_SEGMENTS_PER_RETENTION = 4
"""Least number of segments that an age of retention is divided into: files are deleted as a whole."""


@dataclass(frozen=True, slots=True)
class SqliteLogSettings:
    """Settings of the embedded log."""

    durability: str = "process"
    """What an acknowledged event survives: `process` (SIGKILL) or `disk` (power loss)."""
    retention_seconds: float = 24 * 3600
    """Age after which a segment is deleted; at least twice the deduplication window."""
    retention_bytes: int = 4 * 1024**3
    """Size of all segments above which the oldest is deleted."""
    segment_pages: int = 4 * 1024
    """Pages of 4 KiB in a write-ahead log after which a new segment is begun: what a restart has to scan."""
    segment_seconds: float = 3600
    """Age after which a new segment is begun, so that retention by age has files to delete."""


class SqliteEventLog:
    """An event log in a folder; see `base.EventLog`."""

    overlapping = False

    def __init__(self, folder: Path, settings: SqliteLogSettings, lineage: Lineage, manifest: Manifest) -> None:
        self._folder = folder
        self._settings = settings
        self._lineage = lineage
        self._manifest = manifest
        self._segments = Segments(folder)
        self._heads: dict[ChannelLane, int] = {}
        self._dedup = DedupWindow()
        self._end = 0
        self._sink: Sink = _nowhere
        self._writer: segment.SegmentWriter | None = None
        self._spare: segment.SegmentWriter | None = None
        """The next segment, made ahead of its time: making one takes longer than a CRITICAL event may."""
        self._making_spare = False
        self._next_try = 0.0
        """Age of the present segment before which no further attempt is made at the next one."""
        self._begun = 0.0
        self._first_of_newest = 1
        self._ended_through = 0
        """Greatest number of a segment that nothing will be written to any more."""
        self.torn_bytes = 0
        """Bytes that were cut off at the start; see `recovery`."""
        self._full: list[segment.SegmentWriter] = []
        """Full segments with commits that are not flushed yet (`disk`): they are closed after the next `sync`."""
        self._flushed = 0
        """Offset up to which everything is flushed to the disk (`disk`)."""
        self._timer: asyncio.TimerHandle | None = None
        self._reading = ThreadPoolExecutor(1, "log-read")
        self._flushing = ThreadPoolExecutor(1, "log-flush")
        self._keeping = ThreadPoolExecutor(1, "log-keep")
        self._checkpointer = Checkpointer()
        self._unsaved_heads: dict[ChannelLane, int] = {}
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
        if not settings.retention_seconds >= 2 * DEDUP_WINDOW_SECONDS:  # and not NaN
            raise StartError(f"retention must be at least {2 * DEDUP_WINDOW_SECONDS} s, twice the deduplication window")
        if settings.durability not in {"process", "disk"}:
            raise StartError(f"unknown durability {settings.durability!r}: use process or disk")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"cannot create {folder}: {error.strerror}; choose another data directory") from error
        manifest = Manifest(folder)
        try:
            recovered = recover(folder, *manifest.heads())
            newest = max(segment.numbers(folder), default=0)
            with manifest.together():
                manifest.save_heads(recovered.heads, recovered.end)
                lineage = manifest.open_lineage(recovered.end + 1, _boot_id(), newest)
                self = cls(folder, settings, lineage, manifest)
                self._take_over(recovered)
                manifest.segment_begun(recovered.next_number)
            self._checkpointer.start()
        except apsw.FullError as error:
            raise no_room(folder) from error
        except (LogError, apsw.Error, OSError) as error:
            raise StartError(f"cannot use the event log in {folder}: {error}") from error
        self._on_timer()
        return self

    @property
    def needs_sync(self) -> bool:
        return self._settings.durability == "disk"

    @property
    def lineage(self) -> Lineage:
        return self._lineage

    @property
    def end_offset(self) -> int:
        return self._end

    @property
    def first_offset(self) -> int:
        return self._segments.first_offset

    def head(self, key: ChannelLane) -> int:
        return self._heads.get(key, 0)

    def heads(self) -> dict[ChannelLane, int]:
        return dict(self._heads)

    def queue_of(self, key: ChannelLane) -> int:
        del key
        return 0

    def deliver_to(self, sink: Sink) -> None:
        self._sink = sink

    def append_nowait(self, entries: Sequence[Entry]) -> bool:
        marks = [entry.mark for entry in entries]
        if len(set(marks)) < len(marks) or self._dedup.knows_any(marks):
            return False  # perhaps duplicates: the first copies have to be looked at
        self._place(entries)
        self._dedup.add_all(marks, self._end + 1, entries[0].accept_ns)
        self._store(entries)
        return True

    async def append(self, entries: Sequence[Entry]) -> None:
        # Anything that waits comes first: from the first head that changes to the commit nothing else may run.
        fresh = self._assign(entries, await self._known_duplicates(entries))
        if fresh:
            self._store(fresh)

    def _store(self, fresh: Sequence[Entry]) -> None:
        """Commit entries that have their positions, and hand them over."""
        try:
            if self._failure is not None:
                raise self._failure
            writer = self._open_writer()
            writer.insert(fresh)
        except LogError:
            for entry in reversed(fresh):
                self._heads[entry.key] = entry.prev_offset
                self._dedup.forget(entry.mark)
            raise
        self._end = fresh[-1].offset
        self._look_after_segments(writer)
        self._sink(fresh)

    async def sync(self) -> None:
        if not self.needs_sync:
            return
        if self._failure is not None:
            raise self._failure
        end = self._end
        if end == self._flushed:
            return
        full, self._full = self._full, []
        writers = [*full, self._open_writer()]
        try:
            await self._in(self._flushing, lambda: _flush(writers))
        except LogError as error:
            # What the kernel could not write it may have dropped: a later flush that succeeds proves nothing.
            self._failure = error
            await self._note_failure()
            raise
        self._flushed = end
        for writer in full:
            self._later(partial(self._retire, writer))

    async def _note_failure(self) -> None:
        try:
            await self._in(self._keeping, self._manifest.disk_failed)
        except LogError as error:
            log.error("cannot note that the disk has failed: %s", error)  # noqa: TRY400 - the cause is in it

    async def reach(self, offset: int) -> None:
        """Do nothing: what was issued was handed over."""

    async def read(self, key: ChannelLane, after: int, limit: int) -> Page:
        end, head = self._end, self._heads.get(key, 0)
        if head <= after:
            return Page(covered_through=max(end, after))
        return await self._in(self._reading, lambda: self._segments.read(key, after, limit, end, head))

    async def floor_of_last(self, key: ChannelLane, count: int) -> int:
        head = self._heads.get(key, 0)
        return await self._in(self._reading, lambda: self._segments.floor_of_last(head, count))

    async def get(self, offset: int) -> StoredEvent | None:
        return await self._in(self._reading, lambda: self._segments.get(offset))

    async def settle(self) -> None:
        """Return once all housekeeping that was begun is done."""
        while self._chores:
            await asyncio.gather(*self._chores, return_exceptions=True)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self.settle()
        writers = [*self._full, self._writer] if self._writer is not None else []
        spare, self._writer, self._spare = self._spare, None, None
        clean = self._failure is None
        for writer in writers:
            try:
                await self._in(self._keeping, partial(self._finish, writer, checkpoint))
            except LogError as error:
                clean = False
                log.error("%s; what is in it is read at the next start", error)  # noqa: TRY400 - the cause is in it
        if spare is not None:
            await self._in(self._keeping, lambda: self._discard(spare))
        await self._in(self._reading, self._segments.close)
        for executor in (self._reading, self._flushing, self._keeping):
            executor.shutdown()
        self._checkpointer.close()
        self._manifest.close(clean=clean)

    # Appending

    def _open_writer(self) -> segment.SegmentWriter:
        if self._writer is None:
            raise LogError("the event log is closed")
        return self._writer

    async def _known_duplicates(self, entries: Sequence[Entry]) -> set[int]:
        """Return the offsets of stored events that entries repeat; fingerprints may collide, so ids are compared."""
        known: set[int] = set()
        find = self._dedup.find
        for entry in entries:
            found = find(entry.mark)
            if found is None:
                continue
            stored = await self.get(found)
            # Where retention has taken the first copy already, the fingerprint has to do.
            first = Event.FromString(stored.data) if stored is not None else None
            if first is None or (first.id == entry.event_id and first.channel == entry.channel):
                known.add(found)
        return known

    def _assign(self, entries: Sequence[Entry], known: set[int]) -> list[Entry]:
        """Give each entry its position; return those to store.

        Args:
            entries: What is to be stored.
            known: Offsets of stored events that entries repeat.
        """
        fresh: list[Entry] = []
        for entry in entries:
            found = self._dedup.find(entry.mark)
            if found is not None and (found in known or _repeats(entry, fresh, found - self._end - 1)):
                entry.offset, entry.duplicate = found, True
                continue
            self._place([entry], len(fresh))
            self._dedup.add(entry.mark, entry.offset, entry.accept_ns)
            fresh.append(entry)
        return fresh

    def _place(self, fresh: Sequence[Entry], ahead: int = 0) -> None:
        """Give entries that repeat nothing the positions that are next, behind `ahead` others that are not stored."""
        heads, position, end = self._heads, wire.event_position, self._end + ahead
        for entry in fresh:
            end += 1
            key = entry.key
            previous = heads.get(key, 0)
            entry.offset = heads[key] = end
            entry.prev_offset = previous
            entry.data += position(end, previous, entry.accept_ns)

    # Segments

    def _take_over(self, recovered: Recovered) -> None:
        self._heads, self._end, self._dedup = recovered.heads, recovered.end, recovered.dedup
        for first, number in recovered.segments:
            self._segments.add(first, number)
        if recovered.torn_bytes:
            log.warning(
                "%d bytes at the end of the event log in %s were cut off: commits that a crash interrupted, none of"
                " which was acknowledged under the durability that was asked for",
                recovered.torn_bytes, self._folder,
            )  # fmt: skip
        self.torn_bytes = recovered.torn_bytes
        self._flushed = self._end
        self._ended_through = recovered.next_number - 1
        self._begin(segment.SegmentWriter(self._folder, recovered.next_number))

    def _begin(self, writer: segment.SegmentWriter) -> None:
        self._first_of_newest = self._end + 1
        self._segments.add(self._first_of_newest, writer.number)
        self._writer = writer
        self._begun = time.monotonic()
        self._next_try = 0.0

    def _look_after_segments(self, writer: segment.SegmentWriter) -> None:
        """Make a spare segment in good time, and change to it when the present one is full or old.

        A spare that is not ready is not waited for: the present segment grows a little beyond its measure.
        """
        age = time.monotonic() - self._begun
        full = max(writer.wal_pages / self._settings.segment_pages, age / self._segment_seconds)
        if full >= 1 and self._spare is not None:
            spare, self._spare = self._spare, None
            self._begin(spare)
            if self.needs_sync and self._flushed < self._end:
                self._full.append(writer)
            else:
                self._later(partial(self._retire, writer))
        elif full >= _SPARE_AT and self._spare is None and not self._making_spare and age >= self._next_try:
            self._making_spare = True
            self._later(lambda: self._make_spare(writer))

    @property
    def _segment_seconds(self) -> float:
        return min(self._settings.segment_seconds, self._settings.retention_seconds / _SEGMENTS_PER_RETENTION)

    def _on_timer(self) -> None:
        """Go on to the next segment, and delete old ones, where no event comes that would bring it about."""
        writer = self._writer
        if writer is not None and self._end >= self._first_of_newest:
            self._look_after_segments(writer)
        self._later(self._apply_retention)
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(max(1.0, self._segment_seconds * _SPARE_AT), self._on_timer)

    def _later(self, work: Callable[[], None]) -> None:
        chore = asyncio.get_running_loop().run_in_executor(self._keeping, work)
        self._chores.add(chore)
        chore.add_done_callback(self._on_chore_done)

    def _on_chore_done(self, chore: asyncio.Future[None]) -> None:
        self._chores.discard(chore)
        error = None if chore.cancelled() else chore.exception()
        if error is not None:
            log.error("housekeeping of the event log failed: %s", error)

    # In the housekeeping thread

    def _make_spare(self, present: segment.SegmentWriter) -> None:
        try:
            # What had events lately will have more; what had none since the segment began is not carried on.
            self._spare = segment.SegmentWriter(self._folder, present.number + 1, list(present.heads))
        except LogError:
            self._next_try = time.monotonic() - self._begun + _SPARE_RETRY_SECONDS
            raise
        finally:
            self._making_spare = False

    def _retire(self, full: segment.SegmentWriter) -> None:
        try:
            self._finish(full, self._checkpointer.run)
        except (LogError, apsw.Error) as error:
            log.warning("%s; it stays as it is until the next start", error)
        self._ended_through = full.number
        self._apply_retention()  # first of all: it makes room
        self._manifest.segment_begun(full.number + 1)

    def _apply_retention(self) -> None:
        oldest_kept = time.time_ns() - int(self._settings.retention_seconds * 1e9)
        limit, wanted = self._settings.retention_bytes, self._dedup.reaches_back_to_ns
        self._reading.submit(self._segments.drop_oldest, self._ended_through, oldest_kept, limit, wanted).result()

    def _finish(self, writer: segment.SegmentWriter, checkpoint: Callable[[Path], None]) -> None:
        writer.release()
        # Kept until they are saved: where a checkpoint fails, the heads of that segment are saved with the next one's.
        self._unsaved_heads.update(writer.heads)
        checkpoint(writer.path)
        if self._unsaved_heads:
            self._manifest.save_heads(self._unsaved_heads, max(self._unsaved_heads.values()))
            self._unsaved_heads.clear()

    def _discard(self, spare: segment.SegmentWriter) -> None:
        spare.release()
        segment.remove(self._folder, spare.number)

    async def _in(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except apsw.Error as error:
            raise LogError(f"cannot read the event log in {self._folder}: {error}") from error


def _flush(writers: list[segment.SegmentWriter]) -> None:
    for writer in writers:
        writer.sync()


def _repeats(entry: Entry, fresh: list[Entry], index: int) -> bool:
    """Say whether the entry repeats one of the same batch, which the window already knows but the log does not."""
    if not 0 <= index < len(fresh):
        return False
    return fresh[index].event_id == entry.event_id and fresh[index].channel == entry.channel


def _nowhere(entries: Sequence[Entry]) -> None:
    """Take new events while nobody wants them handed over."""


def _boot_id() -> str:
    """Identify the run of the operating system; `unknown` where it does not say, which counts as one long run."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"
