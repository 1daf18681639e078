"""All segments of the embedded log, as far as reading and retention go.

Owns which file holds which offsets, the connections that read them, and the two ways of finding a lane's events. Used
by `sqlite`. Its methods run in one reader thread, except `add`, which the event loop calls when it begins a segment.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

from publisher_svc.log import ids, segment
from publisher_svc.log.base import ChannelLane, Page, StoredEvent

_WALK_STEPS = 2_000
"""Events to go back along the chain before a forward scan is cheaper; a step costs about 10 µs."""


class Segments:
    """Reads events from the segments of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Two lists of equal length, ascending. They are changed by single operations only, so that the event loop may
        # add a segment while the reader thread looks one up.
        self._firsts: list[int] = []
        self._numbers: list[int] = []
        self._readers: dict[int, segment.SegmentReader] = {}

    def add(self, first_offset: int, number: int) -> None:
        """Add the newest segment."""
        self._numbers.append(number)
        self._firsts.append(first_offset)

    @property
    def first_offset(self) -> int:
        """The smallest offset that is left."""
        return self._firsts[0]

    def get(self, offset: int) -> StoredEvent | None:
        """Return one event, or None where it is gone."""
        index = bisect_right(self._firsts, offset) - 1
        return None if index < 0 else self._reader_at(index).get(offset)

    def read(self, key: ChannelLane, after: int, limit: int, end: int, head: int) -> Page:
        """Return a page of a channel and lane, whose newest event is `head`; `end` is the end of the whole log."""
        events = self._walk(after, head)
        if events is None:
            events = self._scan(key, after, limit + 1, end)
        more = len(events) > limit
        whole = _unbroken(events)
        if whole < len(events):  # the rest comes with the next page, which says what is missing before it
            events, more = events[:whole], True
        page = Page(events[:limit], more=more)
        page.covered_through = page.events[-1].offset if more else max(end, after)
        if not events:
            page.missing_through = head
        elif events[0].prev_offset > after:
            page.missing_through = events[0].prev_offset
        return page

    def floor_of_last(self, head: int, count: int) -> int:
        """Return the offset after which the last `count` events of the lane with this head begin."""
        offset = head
        for _ in range(count):
            event = self.get(offset) if offset else None
            if event is None:
                break
            offset = event.prev_offset
        return offset

    def drop_oldest(self, ended_through: int, oldest_kept_ns: int, max_bytes: int, wanted_ns: int) -> None:
        """Delete segments that are too old, or too large together; none with a number above `ended_through`.

        The ids of events accepted at or after `wanted_ns` are kept.
        """
        ids.forget(self._folder, wanted_ns)
        sizes = [segment.size_of(self._folder, number) for number in self._numbers]
        while len(self._numbers) > 1 and self._numbers[0] <= ended_through:
            reader = self._reader_at(0)
            newest_ns = reader.newest_time()
            if newest_ns >= oldest_kept_ns and sum(sizes) <= max_bytes:
                return
            number = self._numbers[0]
            if newest_ns >= wanted_ns:
                ids.keep(self._folder, number, reader, wanted_ns)
            self._firsts.pop(0)
            self._numbers.pop(0)
            sizes.pop(0)
            self._readers.pop(number).close()
            segment.remove(self._folder, number)

    def close(self) -> None:
        """Release all connections."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _reader_at(self, index: int) -> segment.SegmentReader:
        number = self._numbers[index]
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = segment.SegmentReader(self._folder, number)
        return reader

    def _walk(self, after: int, head: int) -> list[StoredEvent] | None:
        """Return the events above `after` by going back along the chain; None where that would take too long."""
        events: list[StoredEvent] = []
        offset = head
        while offset > after:
            if len(events) == _WALK_STEPS:
                return None
            event = self.get(offset)
            if event is None and offset >= self._firsts[0]:
                return None  # lost with the end of a segment in a power failure; there may be older ones
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


def _unbroken(events: list[StoredEvent]) -> int:
    """Return how many events from the first on follow one another without a hole."""
    for index in range(1, len(events)):
        if events[index].prev_offset > events[index - 1].offset:
            return index
    return len(events)
