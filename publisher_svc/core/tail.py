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
_OVERHEAD = 200
"""Bytes that an entry costs beside its event."""


class Tail:
    """Keeps the newest events up to a number of bytes."""

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._order: deque[_Key] = deque()
        self._lanes: dict[_Key, deque[Stored]] = {}

    def add(self, key: _Key, offset: int, prev_offset: int, data: bytes) -> None:
        """Add the newest event of the log."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        lane.append((offset, prev_offset, data))
        self._order.append(key)
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
        if not lane or lane[0][1] > after or lane[-1][0] != head:
            return None
        skip = 0
        for stored in reversed(lane):
            if stored[0] <= after:
                break
            skip += 1
        start = len(lane) - skip
        return [lane[index] for index in range(start, min(len(lane), start + limit))]

    @property
    def size_bytes(self) -> int:
        """Bytes held, overhead included."""
        return self._bytes

    def _evict(self) -> None:
        key = self._order.popleft()
        lane = self._lanes[key]
        self._bytes -= len(lane.popleft()[2]) + _OVERHEAD
        if not lane:
            del self._lanes[key]
