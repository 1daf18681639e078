"""Which event ids were seen lately.

Owns the deduplication window: ids are remembered for 120 s of log time, as 64-bit fingerprints that are dropped ten
seconds' worth at a time. Used by the log at append; pure.

A fingerprint may collide (2^-64 per pair), so a hit is a candidate: the caller compares the ids of the two events.
"""

from __future__ import annotations

from collections import deque

from lanecast.core.limits import DEDUP_WINDOW_SECONDS

_BUCKET_NS = 10 * 1_000_000_000
_WINDOW_NS = DEDUP_WINDOW_SECONDS * 1_000_000_000


def fingerprint(channel: str, event_id: str) -> int:
    """Return what an id is remembered by. It is good within one process only."""
    return hash((channel, event_id))


class DedupWindow:
    """Remembers fingerprints with the offset of their first event.

    Memory: about 150 bytes per event of the last 120 s.
    """

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}
        self._buckets: deque[tuple[int, list[int]]] = deque()
        self._newest: list[int] = []
        self._newest_end = 0
        self.find = self._offsets.get
        """Return the offset of the event that seems to have this fingerprint, or None."""

    def add(self, mark: int, offset: int, time_ns: int) -> None:
        """Remember an event. `time_ns` is log time; one that goes backwards counts as the newest time seen."""
        if time_ns >= self._newest_end:
            self._start_bucket(time_ns)
        self._offsets[mark] = offset
        self._newest.append(mark)

    def forget(self, mark: int) -> None:
        """Take an event back whose commit failed."""
        self._offsets.pop(mark, None)

    def __len__(self) -> int:
        return len(self._offsets)

    def _start_bucket(self, time_ns: int) -> None:
        self._newest_end = (time_ns // _BUCKET_NS + 1) * _BUCKET_NS
        self._newest = []
        self._buckets.append((self._newest_end, self._newest))
        while self._buckets[0][0] <= time_ns - _WINDOW_NS:
            for mark in self._buckets.popleft()[1]:
                self._offsets.pop(mark, None)
