"""Which event ids were seen lately.

Owns the deduplication window: ids are remembered for 120 s of log time, as 64-bit fingerprints in time buckets that are
dropped whole. Used by the log at append; pure.

A fingerprint may collide (2^-64 per pair), so a hit is a candidate: the caller compares the ids of the two events.
"""

from __future__ import annotations

from collections import deque

from lanecast.core.limits import DEDUP_WINDOW_SECONDS

_BUCKET_NS = 10 * 1_000_000_000
_WINDOW_NS = DEDUP_WINDOW_SECONDS * 1_000_000_000


class DedupWindow:
    """Remembers fingerprints with the offset of their first event.

    Memory: about 150 bytes per event of the last 120 s.
    """

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, dict[int, int]]] = deque()
        self._newest: dict[int, int] = {}
        self._newest_end = 0

    def find(self, channel: str, event_id: str) -> int | None:
        """Return the offset of the event that seems to have this id in this channel, or None."""
        fingerprint = hash((channel, event_id))
        for _, bucket in reversed(self._buckets):
            offset = bucket.get(fingerprint)
            if offset is not None:
                return offset
        return None

    def add(self, channel: str, event_id: str, offset: int, time_ns: int) -> None:
        """Remember an event. `time_ns` is log time; one that goes backwards counts as the newest time seen."""
        if time_ns >= self._newest_end:
            self._start_bucket(time_ns)
        self._newest[hash((channel, event_id))] = offset

    def forget(self, channel: str, event_id: str) -> None:
        """Take an event back whose commit failed."""
        fingerprint = hash((channel, event_id))
        for _, bucket in self._buckets:
            bucket.pop(fingerprint, None)

    def __len__(self) -> int:
        return sum(len(bucket) for _, bucket in self._buckets)

    def _start_bucket(self, time_ns: int) -> None:
        self._newest_end = (time_ns // _BUCKET_NS + 1) * _BUCKET_NS
        self._newest = {}
        self._buckets.append((self._newest_end, self._newest))
        while self._buckets[0][0] <= time_ns - _WINDOW_NS:
            self._buckets.popleft()
