"""How long bulk events wait in the gateway for others of their channel, so that they share a frame.

Owns the controller of that window, and what waits in it. A frame costs the same whether it carries one event or twenty,
so under frame pressure a channel's events go together; while there is none, nothing waits. Called by the dispatch
shell with its clock and with the time it has spent writing. Pure.

The controller looks at the share of its time that the process spends writing frames. Above `HIGH_SHARE` the windows
widen by half at each step, below `LOW_SHARE` they shrink by a tenth, down to nothing. A window holds an event only
where its channel and lane lately had more than one event a window, and sent a frame less than a window ago: quiet
channels never wait, however busy the others are. How busy a channel is is looked at only while there is a window.
"""

from __future__ import annotations

from heapq import heappop, heappush

from gateway_svc.core.channel import Feed
from gateway_svc.core.items import EventItem, merged
from lanecast.core.priority import Priority

STEP_NS = 25_000_000
"""Time between two looks at the pressure."""

HIGH_SHARE, LOW_SHARE = 0.20, 0.12
_FIRST_NS = 1_000_000
_WIDEN, _SHRINK = 1.5, 0.9
_LONGEST_GAP_NS = 1_000_000_000
_UNKNOWN = -1

CEILING_NS: dict[Priority, int] = {
    Priority.CRITICAL: 0,
    Priority.HIGH: 0,
    Priority.NORMAL: 20_000_000,
    Priority.LOW: 40_000_000,
}
"""Widest window of each lane. NORMAL's exceeds its budget: that is for a load which could not be carried otherwise."""

MAX_WAITING_BYTES = 1024 * 1024
"""Bytes that wait in windows; above that everything goes."""


class FrameWindow:
    """The controller."""

    def __init__(self, now_ns: int) -> None:
        self.width_ns = 0
        """The present window, before the ceiling of the lane."""
        self._looked_ns = now_ns
        self._busy_ns = 0
        self._opened_ns = now_ns
        """When there was a window again: arrivals before were not looked at."""

    def spent(self, busy_ns: int, now_ns: int) -> None:
        """Account for time spent writing."""
        self._busy_ns += busy_ns
        elapsed = now_ns - self._looked_ns
        if elapsed >= STEP_NS:
            self._adjust(self._busy_ns / elapsed, now_ns)
            self._looked_ns, self._busy_ns = now_ns, 0

    def due_ns(self, feed: Feed, now_ns: int) -> int:
        """Return until when an event that came just now waits for company; 0: not at all."""
        width = self.width_ns
        if not width:
            return 0  # how busy a feed is needs no looking after, which is a third of what recognising its event costs
        last, feed.arrived_ns = feed.arrived_ns, now_ns
        if last < self._opened_ns:
            feed.gap_ns = _UNKNOWN
            return 0
        gap = min(now_ns - last, _LONGEST_GAP_NS)
        average = feed.gap_ns
        # A moving average over about four events.
        feed.gap_ns = average = gap if average == _UNKNOWN else average + (gap - average >> 2)
        if average > width:  # and so above the ceiling, which takes longer to look up
            return 0
        width = min(width, CEILING_NS[feed.lane])
        if average > width:
            return 0
        due = feed.flushed_ns + width
        return due if due > now_ns else 0

    def _adjust(self, share: float, now_ns: int) -> None:
        widest = max(CEILING_NS.values())
        if share > HIGH_SHARE:
            if not self.width_ns:
                self._opened_ns = now_ns
            self.width_ns = min(widest, max(_FIRST_NS, int(self.width_ns * _WIDEN)))
        elif share < LOW_SHARE:
            narrower = int(self.width_ns * _SHRINK)
            self.width_ns = narrower if narrower >= _FIRST_NS else 0


class Waiting:
    """The events that wait in a window, by channel and lane; each such queue leaves as a whole."""

    def __init__(self) -> None:
        self.bytes = 0
        self._items: dict[Feed, list[EventItem]] = {}
        self._due: list[tuple[int, int, Feed]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, feed: Feed) -> bool:
        return feed in self._items

    def join(self, feed: Feed, item: EventItem) -> bool:
        """Put an item behind those of its feed that wait already; False where none does."""
        queue = self._items.get(feed)
        if queue is None:
            return False
        queue.append(item)
        self.bytes += len(item.raw)
        return True

    def hold(self, feed: Feed, item: EventItem, due_ns: int) -> None:
        """Begin a queue that is due at a time."""
        self._items[feed] = [item]
        self.bytes += len(item.raw)
        self._number += 1
        heappush(self._due, (due_ns, self._number, feed))

    def next_due_ns(self) -> int | None:
        """Return when the first queue is due; None where nothing waits. May be early."""
        if not self.has_room:
            return 0
        return self._due[0][0] if self._due else None

    def pop_due(self, now_ns: int) -> tuple[Feed, list[EventItem]] | None:
        """Take the queue that has been due longest, merged as far as a frame goes; None where none is due."""
        while self._due and (self._due[0][0] <= now_ns or not self.has_room):
            feed = heappop(self._due)[2]
            items = self.pop(feed)
            if items:
                return feed, items
        return None

    def pop(self, feed: Feed) -> list[EventItem]:
        """Take what waits of one feed, merged as far as a frame goes."""
        items = self._items.pop(feed, None)
        if items is None:
            return []
        self.bytes -= sum([len(item.raw) for item in items])
        return merged(items)

    @property
    def has_room(self) -> bool:
        """True while more may wait."""
        return self.bytes <= MAX_WAITING_BYTES

    def pop_any(self) -> tuple[Feed, list[EventItem]] | None:
        """Take any queue, due or not; None where nothing waits."""
        feed = next(iter(self._items), None)
        return None if feed is None else (feed, self.pop(feed))
