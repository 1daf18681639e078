"""The newest events of the log in memory.

Owns a bounded first-in-first-out store over all channels. Lets readers that are a little behind catch up without the
disk, and join the live stream in one synchronous step. Filled by the ingest shell after each commit. Pure.
"""

from __future__ import annotations

from collections import deque

from lanecast.core.priority import Priority

Stored = tuple[int, int, bytes]
"""Offset, previous offset and serialised event."""

_Key = tuple[str, Priority]
_OVERHEAD = 120
"""Bytes that an entry costs beside its event."""


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

    def add(self, key: _Key, offset: int, prev_offset: int, data: bytes) -> None:
        """Add the newest event of the log."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key, prev_offset)
        lane.offsets.append(offset)
        lane.events.append(data)
        self._order.append(lane)
        self._bytes += len(data) + _OVERHEAD
        while self._bytes > self._max_bytes:
            self._evict()

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

    def _evict(self) -> None:
        lane = self._order.popleft()
        lane.previous = lane.offsets.popleft()
        self._bytes -= len(lane.events.popleft()) + _OVERHEAD
        if not lane.offsets:
            del self._lanes[lane.key]
