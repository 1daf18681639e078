"""The way of a reader: from the log to the live stream, and back to the log when it falls behind.

Owns every change of a reader's state once its subscription is open. Called by the hub only, which has the channels and
what comes off the live stream. Synchronous: each call leaves a reader in a state from which it misses nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway_svc.core.channel import Feed
from gateway_svc.core.conflation import CONFLATED_LANES, conflate
from gateway_svc.core.items import AdvanceItem, GapItem, Item
from gateway_svc.core.outbox import Verdict
from gateway_svc.core.ports import Page, PageRequest, Publisher
from gateway_svc.core.subscription import Reader, State
from lanecast.core import codes
from lanecast.v1.event_pb2 import GAP_REASON_CONFLATED

PAGE_EVENTS = 64
"""Most events asked for in a page; JSON clients get smaller ones, since encoding them takes the loop."""

PAGE_EVENTS_JSON = 32

_SENT, _QUEUED = Verdict.SENT, Verdict.QUEUED


class Way:
    """Moves the readers of one hub."""

    def __init__(self, publisher: Publisher, count_sent: Callable[[Item], None]) -> None:
        self._publisher = publisher
        self._count_sent = count_sent
        self.stalled: dict[Reader, None] = {}
        """Readers whose page could not be read, or did not lead on; tried again at the next `try_again`."""

    def try_again(self) -> None:
        """Read the pages again that could not be read, or did not lead on."""
        stalled, self.stalled = self.stalled, {}
        for reader in stalled:
            if reader.request is not None:
                reader.request.tail = reader.feed.tail
                reader.request.generation = reader.feed.generation
                self._publisher.read(reader.request)
            elif reader.state is State.REPLAYING:
                self.join_or_read(reader)

    def start_replaying(self, reader: Reader) -> None:
        """Put a reader on the log, without reading yet."""
        reader.feed.replay_began()
        reader.state = State.REPLAYING

    def detach(self, reader: Reader) -> None:
        """Take a reader off whatever it is on."""
        if reader.state is State.LIVE:
            # The log may have begun epochs while it was live; its cursor is good in the latest.
            reader.epoch = reader.epoch or reader.feed.epoch
            reader.feed.leave(reader)
        elif reader.state is State.REPLAYING:
            reader.feed.replay_ended()
        elif reader.state is State.SPOOLED and reader.session.spooled:
            reader.session.spooled.pop(reader, None)

    def replay(self, reader: Reader) -> None:
        """Send a reader to the log, from its cursor."""
        if reader.state is State.LIVE:
            reader.seen = reader.cursor
        self.detach(reader)
        self.start_replaying(reader)
        self.join_or_read(reader)

    def spool(self, reader: Reader) -> None:
        """Let a reader wait for its client; its cursor goes back to what the client surely gets."""
        before = reader.session.outbox.drop(reader)
        if before is not None:
            reader.cursor = reader.seen = before
        self.detach(reader)
        reader.state = State.SPOOLED
        session = reader.session
        if session.spooled is None:
            session.spooled = {}
        session.spooled[reader] = None

    def overflow(self, reader: Reader, verdict: Verdict) -> None:
        """Do with a reader what its outbox says when there is no room: close its session, or let it wait."""
        if verdict is Verdict.CLOSE:
            reader.session.end(codes.SLOW_CONSUMER)
        else:
            reader.overrun = True
            self.spool(reader)

    def go_live(self, reader: Reader) -> None:
        """Put a reader that is level with the live stream on it."""
        reader.state = State.LIVE
        reader.epoch = ""
        reader.overrun = False
        reader.feed.join(reader)

    def join_or_read(self, reader: Reader) -> None:
        """Let a reader go on from its cursor: on the live stream where that covers it, else from the log."""
        feed = reader.feed
        if not reader.session.outbox.clear:
            self.spool(reader)
        elif feed.covers(reader.epoch, reader.cursor):
            self._join(reader)
        else:
            self.read(reader, reader.cursor, 0)

    def read(self, reader: Reader, after: int | None, last_n: int) -> None:
        """Ask for a page of the log: what is above `after`, or the last events where that is None."""
        feed = reader.feed
        limit = PAGE_EVENTS if reader.session.binary else PAGE_EVENTS_JSON
        reader.request = PageRequest(
            reader, feed.channel, feed.lane, reader.epoch, after, last_n, limit, feed.tail, feed.generation
        )
        self._publisher.read(reader.request)

    def take_page(self, reader: Reader, request: PageRequest, page: Page) -> None:
        """Deliver a page while the client keeps up; what it does not take is read again once it has room."""
        outbox = reader.session.outbox
        events = page.events
        if reader.overrun and reader.lane in CONFLATED_LANES:
            events = conflate(events, page.gaps[-1].last if page.gaps else reader.cursor)
        for item in (*page.gaps, *events):
            if not outbox.clear:
                self.spool(reader)
                return
            if not (self.deliver(reader, item) if item in page.gaps else self._deliver_above(reader, item)):
                return
            if isinstance(item, GapItem) and item.reason == GAP_REASON_CONFLATED:
                outbox.count_dropped(reader.lane, "conflated", item.count)
            reader.epoch = item.epoch
        reader.epoch = page.epoch or reader.epoch
        reader.cursor = max(reader.cursor, self._covered(reader.feed, request, page))
        self._after_page(reader, page)

    def _covered(self, feed: Feed, request: PageRequest, page: Page) -> int:
        """Return how far a page reaches: one that ends the log, at least to where the live stream was before it."""
        if page.more or request.generation != feed.generation or page.epoch != feed.epoch:
            return page.covered_through
        return max(page.covered_through, request.tail)

    def _after_page(self, reader: Reader, page: Page) -> None:
        feed = reader.feed
        if page.more or not reader.session.outbox.clear:
            self.join_or_read(reader)
        elif reader.cursor >= feed.floor and reader.epoch == feed.epoch:
            self._join(reader)
        else:
            # The log has no more and yet does not reach the live stream, as while one of the two reconnects.
            self.stalled[reader] = None

    def _join(self, reader: Reader) -> None:
        """Move a reader from the log to the live stream, in one step with what the ring holds for it."""
        feed = reader.feed
        if reader.cursor > reader.seen:
            advance = AdvanceItem(feed.channel, feed.lane, reader.epoch, reader.cursor)
            if not self.deliver(reader, advance):
                return
        for item in feed.ring:
            if item.prev > reader.cursor:
                self.stalled[reader] = None
                return
            if not self._deliver_above(reader, item):
                return
        self.detach(reader)
        self.go_live(reader)

    def offer(self, reader: Reader, item: Item) -> None:
        """Give a reader what it needs of an item, or send it to the log."""
        if item.prev > reader.cursor:
            self.replay(reader)
        else:
            self._deliver_above(reader, item)

    def _deliver_above(self, reader: Reader, item: Item) -> bool:
        """Deliver what an item has above the reader's cursor, if anything; see `deliver`."""
        cursor = reader.cursor
        if item.last <= cursor:
            return True
        return self.deliver(reader, item if item.first > cursor else item.after(cursor))

    def deliver(self, reader: Reader, item: Item) -> bool:
        """Send an item to one reader and move its cursor; False where the reader was taken off its way."""
        verdict = reader.session.outbox.send(reader, item)
        if verdict is not _SENT and verdict is not _QUEUED:
            self.overflow(reader, verdict)
            return False
        reader.cursor = reader.seen = item.last
        if verdict is _SENT:
            self._count_sent(item)
        return True
