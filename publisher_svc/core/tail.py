"""The newest events of the log in memory.

Owns a bounded first-in-first-out store over all channels. Lets readers that are a little behind catch up without the
disk, and join the live stream in one synchronous step. Filled by the ingest shell after each commit. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from lanecast.core.priority import Priority

Stored = tuple[int, int, bytes]
"""Offset, previous offset and serialised event."""

_Key = tuple[str, Priority]
_OVERHEAD = 120
"""Bytes that an entry costs beside its event."""


class Entry(Protocol):
    """A stored event; see `publisher_svc.log.base.Entry`."""

    @property
    def key(self) -> _Key:
        """Channel and lane."""

    @property
    def offset(self) -> int:
        """Its place in the log."""

    @property
    def prev_offset(self) -> int:
        """The place of the one before it in its channel and lane."""

    @property
    def data(self) -> bytes:
        """The serialised event."""


class _Lane:
    """The newest events of one channel and lane.

    Two queues of plain numbers and bytes, not one of tuples: the garbage collector looks at every tuple, and tens of
    thousands of them cost tens of milliseconds at once.
    """

    __slots__ = ("events", "key", "offsets", "previous")

    def __init__(self, key: _Key, previous: int) -> None:
        self.key = key
        self.previous = previous
        """Offset of the event before the first one here."""
        self.offsets: deque[int] = deque()
        self.events: deque[bytes] = deque()


class Tail:
    """Keeps the newest events up to a number of bytes."""

    def __init__(self, max_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._order: deque[_Lane] = deque()
        self._lanes: dict[_Key, _Lane] = {}

    def add(self, entries: Iterable[Entry]) -> None:
        """Add the newest events of the log."""
        lanes, order, size = self._lanes, self._order, self._bytes
        for entry in entries:
            key, data = entry.key, entry.data
            lane = lanes.get(key)
            if lane is None:
                lane = lanes[key] = _Lane(key, entry.prev_offset)
            lane.offsets.append(entry.offset)
            lane.events.append(data)
            order.append(lane)
            size += len(data) + _OVERHEAD
        while size > self._max_bytes:
            oldest = order.popleft()
            oldest.previous = oldest.offsets.popleft()
            size -= len(oldest.events.popleft()) + _OVERHEAD
            if not oldest.offsets:
                del lanes[oldest.key]
        self._bytes = size

    def read(self, key: _Key, after: int, head: int, limit: int) -> list[Stored] | None:
        """Return up to `limit` events above `after`; None where some of them are no longer, or never were, in memory.

        Args:
            key: The channel and lane.
            after: The reader's cursor.
            head: Offset of the newest event of the channel and lane.
            limit: Most events to return.
        """
        if head <= after:
            return []
        lane = self._lanes.get(key)
        if lane is None or lane.previous > after or lane.offsets[-1] != head:
            return None
        offsets, events = lane.offsets, lane.events
        start = len(offsets)
        while start and offsets[start - 1] > after:
            start -= 1
        previous = offsets[start - 1] if start else lane.previous
        stored: list[Stored] = []
        for index in range(start, min(len(offsets), start + limit)):
            stored.append((offsets[index], previous, events[index]))
            previous = offsets[index]
        return stored

    @property
    def size_bytes(self) -> int:
        """Bytes held, overhead included."""
        return self._bytes
