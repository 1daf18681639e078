"""What waits for one connection.

Owns the order in which frames leave: answers to commands first, then lane by lane, most urgent first. While nothing
waits, frames go straight to the socket and the outbox holds nothing. When the socket is full, frames wait in a queue
per lane that is bounded in bytes, and the lane says what happens beyond: CRITICAL and HIGH close the connection, which
then resumes by position; NORMAL gives up the queue of that channel and goes on from the log later; LOW drops its oldest
and names each loss in one gap. Before that, NORMAL and LOW drop what a newer event of the same key replaces, and every
lane what has expired; see `backlog`. Called by the hub and the session; it writes through the `Sink` it was given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from gateway_svc.core.backlog import Entry, LaneBacklog, Totals
from gateway_svc.core.items import MERGED_EVENTS, Item, mergeable, merged_frame, shed
from gateway_svc.core.limits import SessionLimits
from gateway_svc.core.ports import Sink
from gateway_svc.core.subscription import Reader
from lanecast.core.channel import is_reserved
from lanecast.core.priority import LANES, Priority

CHUNK_BYTES = 16 * 1024
"""Most bytes given to the kernel before more urgent lanes are looked at again; a larger frame goes alone."""


class Verdict(Enum):
    """What became of a frame."""

    SENT = "sent"
    """The kernel has it all."""
    QUEUED = "queued"
    """It waits, or the oldest made room for it."""
    SPOOL = "spool"
    """It does not fit: the reader goes on from the log once the outbox is empty."""
    CLOSE = "close"
    """It does not fit and may not be dropped: close the connection."""


_OVERFLOW = {
    Priority.CRITICAL: Verdict.CLOSE,
    Priority.HIGH: Verdict.CLOSE,
    Priority.NORMAL: Verdict.SPOOL,
}


@dataclass(slots=True)
class _Shed:
    first: Item
    before: int
    last: Item
    missing: int


class _Backlog:
    """The queues; exists only while something waits."""

    __slots__ = ("control", "control_bytes", "in_flight", "lanes", "shed")

    def __init__(self, totals: Totals, *, binary: bool) -> None:
        self.control: deque[bytes] = deque()
        self.control_bytes = 0
        self.lanes = {lane: LaneBacklog(lane, binary, totals) for lane in LANES}
        self.in_flight: list[Entry] = []
        """Given to the sink, whose kernel buffer has not taken the last byte yet."""
        self.shed: dict[Reader, _Shed] = {}


class Outbox:
    """The outbox of one connection."""

    __slots__ = ("_backlog", "_limits", "_now", "_totals", "binary", "clear", "closed", "sink")

    def __init__(
        self, sink: Sink, limits: SessionLimits, totals: Totals, now: Callable[[], float], *, binary: bool
    ) -> None:
        self.sink = sink
        """Only to be written to while the outbox is clear; what it does not take goes to `hold`."""
        self._limits = limits
        self._totals = totals
        self._now = now
        self.binary = binary
        """True for a client that speaks protobuf."""
        self._backlog: _Backlog | None = None
        self.clear = True
        """True while nothing waits."""
        self.closed = False

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for the socket."""
        backlog = self._backlog
        return 0 if backlog is None else backlog.control_bytes + sum(lane.bytes for lane in backlog.lanes.values())

    def send(self, reader: Reader, item: Item) -> Verdict:
        """Send an item, or let it wait, or say that it does not fit. The reader's cursor must not be moved yet."""
        frame = item.frame(self.binary)
        if self.clear:
            if self.sink.write(frame):
                return Verdict.SENT
            self.hold(reader, item)
            return Verdict.QUEUED
        if self.closed:
            return Verdict.QUEUED
        return self._enqueue(Entry(reader, item, reader.cursor, len(frame)))

    def hold(self, reader: Reader, item: Item) -> None:
        """Wait for a sink that did not take all of an item, which nothing was waiting before."""
        self._block().in_flight.append(Entry(reader, item, reader.cursor, 0))

    def control(self, frame: bytes) -> bool:
        """Send an answer, before everything else that waits; False where too many wait already."""
        if self.closed:
            return True
        if self.clear:
            if not self.sink.write(frame):
                self._block()
            return True
        backlog = self._block()
        if backlog.control_bytes + len(frame) > self._limits.control_bytes:
            return False
        backlog.control.append(frame)
        backlog.control_bytes += len(frame)
        self._totals.bytes += len(frame)
        return True

    def resume(self) -> list[Entry]:
        """Go on after the sink took everything; return the entries whose last byte the kernel has since taken."""
        backlog = self._backlog
        if backlog is None or self.closed:
            return []
        done, backlog.in_flight = backlog.in_flight, []
        while True:
            chunk, entries = self._take(backlog)
            if not chunk:
                self._backlog, self.clear = None, True
                return done
            if not self.sink.write(chunk):
                backlog.in_flight = entries
                return done
            done += entries

    def drop(self, reader: Reader) -> int | None:
        """Forget what waits for a reader; return its cursor before that, None where nothing waited."""
        backlog = self._backlog
        if backlog is None:
            return None
        before = backlog.lanes[reader.lane].drop(reader)
        shed_before = backlog.shed.pop(reader, None)
        return before if shed_before is None else shed_before.before

    def count_dropped(self, lane: Priority, reason: str, events: int) -> None:
        """Count events that the client does not get."""
        self._totals.drop(lane, reason, events)

    def close(self) -> None:
        """Forget everything; nothing is sent any more. Idempotent."""
        self._totals.bytes -= self.waiting_bytes
        self._backlog, self.clear, self.closed = None, False, True

    def _block(self) -> _Backlog:
        self.clear = False
        if self._backlog is None:
            self._backlog = _Backlog(self._totals, binary=self.binary)
        return self._backlog

    def _enqueue(self, entry: Entry) -> Verdict:
        backlog = self._block()
        lane = entry.reader.lane
        queue, limit, now = backlog.lanes[lane], self._limits.lane_bytes[lane], self._now()
        queue.prepare(entry, now)
        while not queue.fits(entry.size, limit, now):
            verdict = _OVERFLOW.get(lane)
            if verdict is not None:
                return verdict
            self._shed(backlog, queue.pop())
        queue.add(entry)
        return Verdict.QUEUED

    def _shed(self, backlog: _Backlog, entry: Entry) -> None:
        """Drop an entry, and let the gap that is to name it name the losses before it as well."""
        if not is_reserved(entry.item.channel):  # a performance test counts its own losses
            self._totals.drop(entry.reader.lane, "shed", entry.left)
        known = backlog.shed.get(entry.reader)
        if known is None:
            backlog.shed[entry.reader] = _Shed(entry.item, entry.before, entry.item, entry.item.count)
        else:
            known.last = entry.item
            known.missing += entry.item.count

    def _take(self, backlog: _Backlog) -> tuple[bytes, list[Entry]]:
        """Take frames in the order they may leave, about `CHUNK_BYTES` of them."""
        parts: list[bytes] = []
        entries: list[Entry] = []
        room = CHUNK_BYTES
        while backlog.control and (room > 0):
            frame = backlog.control.popleft()
            backlog.control_bytes -= len(frame)
            self._totals.bytes -= len(frame)
            parts.append(frame)
            room -= len(frame)
        for lane in LANES:
            if room <= 0:
                break
            if backlog.lanes[lane].entries:
                backlog.lanes[lane].ready(self._now())
            if lane is Priority.LOW and backlog.shed:
                parts += self._name_losses(backlog)
            room = self._take_lane(backlog, lane, parts, entries, room)
        return b"".join(parts), entries

    def _name_losses(self, backlog: _Backlog) -> list[bytes]:
        named = [shed(loss.first, loss.before, loss.last, loss.missing) for loss in backlog.shed.values()]
        backlog.shed.clear()
        return [gap.frame(self.binary) for gap in named]

    def _take_lane(self, backlog: _Backlog, lane: Priority, parts: list[bytes], entries: list[Entry], room: int) -> int:
        queue = backlog.lanes[lane]
        while queue.entries and room > 0:
            run = self._take_run(queue)
            first = run[0].item
            frame = first.frame(self.binary) if len(run) == 1 else merged_frame([entry.item for entry in run])
            entries += run
            parts.append(frame)
            room -= len(frame)
        return room

    def _take_run(self, queue: LaneBacklog) -> list[Entry]:
        """Take the next entry, and those behind it that may share its frame."""
        run = [queue.pop()]
        events, size = run[0].item.count, run[0].size
        while queue.entries and self.binary:
            following = queue.entries[0]
            events += following.item.count
            size += following.size
            if events > MERGED_EVENTS or size > CHUNK_BYTES or following.reader is not run[0].reader:
                break
            if not mergeable(run[-1].item, following.item):
                break
            run.append(queue.pop())
        return run
