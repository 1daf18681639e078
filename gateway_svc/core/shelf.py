"""Pages of the log that several sessions want at about the same time.

Owns what was read lately and may be handed to others: a crowd that comes back after a failure of its network wants the
same pages, which are then read, parsed and encoded once. Called by the upstream shell. Pure; takes `now` on the
monotonic clock.

Only pages that say the same to everybody are kept: full ones, with nothing missing before or in them and without
events that expire. A page also serves a reader that stands in the middle of it; the hub cuts off what that one has
seen, and from then on it asks for the same pages as the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict

from gateway_svc.core.items import EventItem
from gateway_svc.core.ports import Page, PageRequest

SHELF_BYTES = 8 * 1024 * 1024
"""Most bytes of events kept. A page counts twice: its frame is kept with it."""

SHELF_SECONDS = 5.0
"""How long a page is kept."""

_Row = tuple[str, int, str, int]
_Place = tuple[_Row, int]


class Shelf:
    """See the module."""

    def __init__(self, max_bytes: int = SHELF_BYTES, seconds: float = SHELF_SECONDS) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._bytes = 0
        self._pages: OrderedDict[_Place, tuple[Page, int, float]] = OrderedDict()
        """By place, the oldest first: the page, its size, and until when it is kept."""
        self._rows: dict[_Row, list[int]] = {}
        """The offsets after which pages of a row begin, ascending."""

    def __len__(self) -> int:
        return len(self._pages)

    def find(self, request: PageRequest, now: float) -> Page | None:
        """Return a page that leads the reader on, None where none is there."""
        if request.after is None:
            return None
        self._drop_old(now)
        row = _row(request)
        starts = self._rows.get(row)
        index = bisect_right(starts, request.after) - 1 if starts else -1
        if starts is None or index < 0:
            return None
        page = self._pages[row, starts[index]][0]
        return page if page.covered_through > request.after else None

    def put(self, request: PageRequest, page: Page, now: float) -> None:
        """Keep a page, if it says the same to everybody."""
        if request.after is None or not page.more or page.gaps or not page.events:
            return
        size = 0
        for item in page.events:
            if not isinstance(item, EventItem) or any(event.ttl_millis for event in item.batch.events):
                return
            size += 2 * len(item.raw)
        row = _row(request)
        if (row, request.after) in self._pages:
            return
        self._pages[row, request.after] = page, size, now + self._seconds
        starts = self._rows.setdefault(row, [])
        starts.insert(bisect_right(starts, request.after), request.after)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop_oldest()

    def clear(self) -> None:
        """Forget everything: another publisher may know of another epoch."""
        self._pages.clear()
        self._rows.clear()
        self._bytes = 0

    def _drop_old(self, now: float) -> None:
        while self._pages and next(iter(self._pages.values()))[2] <= now:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        (row, start), (_, size, _) = self._pages.popitem(last=False)
        self._bytes -= size
        starts = self._rows[row]
        starts.remove(start)
        if not starts:
            del self._rows[row]


def _row(request: PageRequest) -> _Row:
    return request.channel, int(request.lane), request.epoch, request.limit
