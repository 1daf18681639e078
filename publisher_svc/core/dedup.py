"""Which event ids were seen lately.

Owns the deduplication window: ids are remembered for 120 s of log time, as 64-bit fingerprints that are dropped ten
seconds' worth at a time. Used by the log at append; pure.

A fingerprint may collide (2^-64 per pair), so a hit is a candidate: the caller compares the ids of the two events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from lanecast.core.limits import DEDUP_WINDOW_SECONDS

_BUCKET_NS = 10 * 1_000_000_000
_WINDOW_NS = DEDUP_WINDOW_SECONDS * 1_000_000_000
_PARTS = 256
_PART = _PARTS - 1
_DROPS = 4
"""Old fingerprints dropped with each new one: more than one, so that dropping keeps up."""


def fingerprint(channel: str, event_id: str) -> int:
    """Return what an id is remembered by. It is good within one process only."""
    return hash((channel, event_id))


class DedupWindow:
    """Remembers fingerprints with the offset of their first event.

    Memory: about 150 bytes per event of the last 120 s. No call takes long, however many events there are: the table is
    in parts, since a dictionary that grows is copied as a whole, and old fingerprints go a few at a time.
    """

    def __init__(self) -> None:
        self._parts: list[dict[int, int]] = [{} for _ in range(_PARTS)]
        self._buckets: deque[_Bucket] = deque()
        self._newest = _Bucket(0)
        self._leaving: _Bucket | None = None

    def find(self, mark: int) -> int | None:
        """Return the offset of the event that seems to have this fingerprint, or None."""
        return self._parts[mark & _PART].get(mark)

    def knows_any(self, marks: Iterable[int]) -> bool:
        """Say whether any of these was seen."""
        parts = self._parts
        for mark in marks:  # noqa: SIM110 - a generator costs as much again
            if mark in parts[mark & _PART]:
                return True
        return False

    def add(self, mark: int, offset: int, time_ns: int) -> None:
        """Remember an event. `time_ns` is log time; one that goes backwards counts as the newest time seen."""
        if time_ns >= self._newest.end_ns:
            self._start_bucket(time_ns)
        self._parts[mark & _PART][mark] = offset
        self._newest.marks.append(mark)
        self._newest.last_offset = offset
        if self._leaving is not None:
            self._drop_some(self._leaving)

    def add_all(self, marks: list[int], first: int, time_ns: int) -> None:
        """Remember events that were accepted together and stored in a row, from offset `first` on."""
        if time_ns >= self._newest.end_ns:
            self._start_bucket(time_ns)
        parts, newest, offset = self._parts, self._newest, first
        for mark in marks:
            parts[mark & _PART][mark] = offset
            offset += 1
        newest.marks += marks
        newest.last_offset = offset - 1
        if self._leaving is not None:
            self._drop_some(self._leaving, _DROPS * len(marks))

    def fill(self, seen: Iterable[tuple[int, int, int]]) -> None:
        """Remember many events, each a fingerprint with its offset and log time: `add`, without a call for each."""
        parts, bucket = self._parts, self._newest
        for mark, offset, time_ns in seen:
            if time_ns >= bucket.end_ns:
                self._start_bucket(time_ns)
                bucket = self._newest
            parts[mark & _PART][mark] = offset
            bucket.marks.append(mark)
            bucket.last_offset = offset
            if self._leaving is not None:
                self._drop_some(self._leaving)

    def forget(self, mark: int) -> None:
        """Take an event back whose commit failed."""
        self._parts[mark & _PART].pop(mark, None)

    @property
    def reaches_back_to_ns(self) -> int:
        """Log time from which on ids are remembered, give or take ten seconds for longer."""
        return self._newest.end_ns - _BUCKET_NS - _WINDOW_NS

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def _start_bucket(self, time_ns: int) -> None:
        self._newest = _Bucket((time_ns // _BUCKET_NS + 1) * _BUCKET_NS)
        self._buckets.append(self._newest)
        while self._buckets[0].end_ns <= time_ns - _WINDOW_NS:
            while self._leaving is not None:  # time went on faster than events came: few are left
                self._drop_some(self._leaving)
            self._leaving = self._buckets.popleft()

    def _drop_some(self, bucket: _Bucket, count: int = _DROPS) -> None:
        marks, parts, last = bucket.marks, self._parts, bucket.last_offset
        for mark in marks[-count:]:
            part = parts[mark & _PART]
            if part.get(mark, last + 1) <= last:  # not one that was used again since
                del part[mark]
        del marks[-count:]
        if not marks:
            self._leaving = None


class _Bucket:
    """The fingerprints of ten seconds."""

    __slots__ = ("end_ns", "last_offset", "marks")

    def __init__(self, end_ns: int) -> None:
        self.end_ns = end_ns
        self.last_offset = 0
        self.marks: list[int] = []
