"""What waits for one connection in one lane.

Owns the queue of the lane, and which of its events need not be sent any more: superseded by a newer one of their key,
or expired. Called by the outbox, and only while the connection is behind. Pure; takes `now` on the monotonic clock.

An event that is dropped is noted at its entry; an entry without any left becomes a gap at once, so that its batch is
not kept. The queue is put in order (`settle`) before something is taken from it, or when much was dropped: entries that
lost some of their events are cut up, and adjoining gaps of a reader become one. That keeps the work per event constant,
and the number of gaps below that of the entries between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway_svc.core.conflation import NEVER, joined, marks_of, pieces
from gateway_svc.core.items import EventItem, GapItem, Item, Mark
from gateway_svc.core.subscription import Reader
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import GAP_REASON_CONFLATED, GAP_REASON_EXPIRED, GapReason

_FEW_DROPS = 64
"""Dropped events that never make it worth to put the queue in order before its time."""


class Totals:
    """What waits in all outboxes of a process and what was dropped from them, for operators."""

    __slots__ = ("_dropped", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        self._dropped: dict[tuple[Priority, str], int] = {}

    def drop(self, lane: Priority, reason: str, events: int) -> None:
        """Count events that one client does not get."""
        key = (lane, reason)
        self._dropped[key] = self._dropped.get(key, 0) + events

    def take_dropped(self) -> dict[tuple[Priority, str], int]:
        """Return what was dropped since the last call, by lane and reason: `shed`, `conflated` or `expired`."""
        dropped, self._dropped = self._dropped, {}
        return dropped


@dataclass(slots=True, eq=False)
class Entry:
    """An item on its way to one client."""

    reader: Reader
    item: Item
    before: int
    """The reader's cursor before the item."""
    size: int
    marks: Sequence[Mark] = ()
    """Its events that may be dropped."""
    losses: dict[int, GapReason.ValueType] | None = None
    """Its events that were dropped, and why."""

    @property
    def left(self) -> int:
        """How many events it still has."""
        return self.item.count - len(self.losses or ()) if isinstance(self.item, EventItem) else 0


@dataclass(slots=True)
class LaneBacklog:
    """The queue of one lane."""

    lane: Priority
    binary: bool
    totals: Totals
    entries: deque[Entry] = field(default_factory=deque)
    bytes: int = 0
    _newest: dict[Reader, dict[str, tuple[Entry, Mark]]] = field(default_factory=dict)
    """Where the newest waiting event of each key is."""
    _expires: float = NEVER
    """No waiting event expires before."""
    _unsettled: bool = False
    _drops: int = 0
    """Events dropped since the queue was last put in order."""
    _dead: int = 0
    """Bytes of those whose entries are still there for the sake of others."""

    def prepare(self, entry: Entry, now: float) -> None:
        """Drop what a new entry supersedes. It must then be added, or its reader be dropped."""
        entry.marks = marks_of(entry.item, now)
        for mark in entry.marks:
            if mark.key:
                keys = self._newest.setdefault(entry.reader, {})
                older = keys.get(mark.key)
                keys[mark.key] = (entry, mark)
                if older is not None:
                    self._supersede(*older)

    def add(self, entry: Entry) -> None:
        """Add an entry at the end, after `prepare`."""
        self._push(entry)
        self._unsettled = self._unsettled or entry.losses is not None
        if self._drops > max(_FEW_DROPS, len(self.entries) // 2):
            self.settle(-NEVER)

    def pop(self) -> Entry:
        """Take the oldest entry."""
        entry = self.entries.popleft()
        self._grow(-entry.size)
        if entry.marks:
            self._forget(entry)
        return entry

    def drop(self, reader: Reader) -> int | None:
        """Forget what waits for a reader; return its cursor before that, None where nothing waits."""
        self._newest.pop(reader, None)
        gone = [entry for entry in self.entries if entry.reader is reader]
        if not gone:
            return None
        self.entries = deque(entry for entry in self.entries if entry.reader is not reader)
        self._grow(-sum(entry.size for entry in gone))
        return gone[0].before

    def fits(self, size: int, limit: int, now: float) -> bool:
        """Say whether an entry may be added. One alone always may."""
        if self.bytes + size > limit and self._dead * 4 >= limit:
            self.settle(now)
        return not self.entries or self.bytes + size <= limit

    def ready(self, now: float) -> None:
        """Put the queue in order where that is due, before something is taken."""
        if self._unsettled or now >= self._expires:
            self.settle(now)

    def settle(self, now: float) -> None:
        """Put the queue in order: see the first lines of the module."""
        entries, self.entries = self.entries, deque()
        self._expires, self._unsettled, self._drops, self._dead = NEVER, False, 0, 0
        self._grow(-self.bytes)
        gaps: dict[Reader, Entry] = {}
        for entry in entries:
            if entry.marks:
                self._expire(entry, now)
            for piece in self._pieces(entry) if entry.losses else (entry,):
                self._append(piece, gaps)

    def _append(self, piece: Entry, gaps: dict[Reader, Entry]) -> None:
        """Add an entry, or join it to the gap right before it."""
        gap = gaps.get(piece.reader)
        one = joined(gap.item, piece.item) if gap is not None else None
        if gap is not None and one is not None:
            gap.item = one
            return
        if isinstance(piece.item, GapItem):
            gaps[piece.reader] = piece
        else:
            gaps.pop(piece.reader, None)
        self._push(piece)

    def _pieces(self, entry: Entry) -> Iterator[Entry]:
        """Cut an entry up at what it has lost."""
        assert isinstance(entry.item, EventItem)
        assert entry.losses is not None
        for before, item in pieces(entry.item, entry.before, entry.losses):
            if isinstance(item, GapItem):
                yield Entry(entry.reader, item, before, 0)
                continue
            marks = [mark for mark in entry.marks if before < mark.offset <= item.last]
            piece = Entry(entry.reader, item, before, len(item.frame(self.binary)), marks)
            for mark in marks:
                keys = self._newest.get(entry.reader, {})
                if mark.key in keys and keys[mark.key][0] is entry:
                    keys[mark.key] = (piece, mark)
            yield piece

    def _supersede(self, entry: Entry, mark: Mark) -> None:
        self._lose(entry, mark, GAP_REASON_CONFLATED)
        self.totals.drop(self.lane, "conflated", 1)
        self._drops += 1
        self._dead += mark.size
        if not entry.left:
            self._become_gap(entry)

    def _become_gap(self, entry: Entry) -> None:
        """Let go of the batch of an entry that has lost all its events, each to a newer one."""
        item, losses = entry.item, entry.losses or {}
        self._dead -= sum(mark.size for mark in entry.marks)
        self._grow(-entry.size)
        entry.item = GapItem(
            item.channel, item.lane, item.epoch, entry.before, item.last, GAP_REASON_CONFLATED, len(losses)
        )
        entry.size, entry.marks, entry.losses = 0, (), None

    def _expire(self, entry: Entry, now: float) -> None:
        expired = [mark for mark in entry.marks if mark.expires <= now and mark.offset not in (entry.losses or ())]
        for mark in expired:
            self._lose(entry, mark, GAP_REASON_EXPIRED)
            keys = self._newest.get(entry.reader, {})
            if mark.key in keys and keys[mark.key][0] is entry:
                del keys[mark.key]
        if expired:
            self.totals.drop(self.lane, "expired", len(expired))

    def _lose(self, entry: Entry, mark: Mark, reason: GapReason.ValueType) -> None:
        if entry.losses is None:
            entry.losses = {}
        entry.losses[mark.offset] = reason
        self._unsettled = True

    def _forget(self, entry: Entry) -> None:
        """An entry leaves: its events can no longer be superseded."""
        keys = self._newest.get(entry.reader)
        for mark in entry.marks if keys else ():
            found = keys.get(mark.key) if keys else None
            if keys and found is not None and found[0] is entry:
                del keys[mark.key]
        if keys is not None and not keys:
            del self._newest[entry.reader]

    def _push(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._grow(entry.size)
        for mark in entry.marks:
            self._expires = min(self._expires, mark.expires)

    def _grow(self, size: int) -> None:
        self.bytes += size
        self.totals.bytes += size
