"""Fan-out: what comes from the publisher meets the sessions that want it.

Owns the channels, their subscriptions and how these open; `way` takes a reader from the log to the live stream and
back. Called by the session (subscribe, unsubscribe, leave, room), by the upstream shell (everything else) and by a
timer (`tick`). Synchronous: each call leaves every reader in a state from which it misses nothing.

The rule that keeps it whole: a reader takes an item if and only if its cursor is contiguous with it. A reader that is
behind an item reads the log from its cursor; one that is ahead of it gets what is above its cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from gateway_svc.core import route
from gateway_svc.core.channel import Channel, Feed
from gateway_svc.core.items import AdvanceItem, GapItem, Item
from gateway_svc.core.limits import ADVANCE_SECONDS, SUBSCRIBE_SECONDS
from gateway_svc.core.outbox import Verdict
from gateway_svc.core.ports import Page, PageRequest, Publisher
from gateway_svc.core.route import Route
from gateway_svc.core.session import Session
from gateway_svc.core.subscription import Reader, State, Subscription, Wanted
from gateway_svc.core.way import Way
from lanecast.core import codes
from lanecast.core.position import Position
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import GAP_REASON_AHEAD
from lanecast.v1.publisher_pb2 import START_EARLIEST, START_LAST_N

LINGER_SECONDS = 5.0
"""How long a channel that nobody wants any more stays on the stream: pages are reloaded."""

_SENT, _QUEUED = Verdict.SENT, Verdict.QUEUED


class Hub:
    """All channels of one gateway process."""

    def __init__(
        self,
        publisher: Publisher,
        count_sent: Callable[[Item], None],
        on_break: Callable[[Item, int], None] | None = None,
    ) -> None:
        self._on_break = on_break
        """Told of an item that does not follow where its lane stood."""
        self._publisher = publisher
        self._way = Way(publisher, count_sent)
        self.channels: dict[str, Channel] = {}
        self.routes: dict[bytes, Route] = {}
        """How batches of these channels are recognised; see `core.route`."""
        self._idle: dict[Channel, float | None] = {}
        """Channels nobody wants, with the time that was first noticed by `tick`."""
        self._opening: dict[Subscription, float | None] = {}
        """Subscriptions without an answer, likewise."""

    def __repr__(self) -> str:
        return f"Hub(channels={len(self.channels)}, opening={len(self._opening)}, stalled={len(self._way.stalled)})"

    # Sessions

    def subscribe(self, session: Session, name: str, lanes: Sequence[Priority], wanted: Wanted) -> None:
        """Subscribe a session to a channel, in place of what it may have there; the answer may come later."""
        self.unsubscribe(session, name)
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = Channel(name)
            self._publisher.add(name)
        self._idle.pop(channel, None)
        subscription = Subscription(session, channel, [lane for lane in LANES if lane in lanes], wanted)
        channel.subscriptions[subscription] = None
        session.subscriptions[name] = subscription
        self._opening[subscription] = None
        if channel.positioned:
            self._open(subscription)

    def unsubscribe(self, session: Session, name: str) -> bool:
        """End a subscription and forget what waits for it; say whether there was one."""
        subscription = session.subscriptions.pop(name, None)
        if subscription is None:
            return False
        self._opening.pop(subscription, None)
        for reader in subscription.readers:
            self._way.detach(reader)
            session.outbox.drop(reader)
            reader.state = State.CLOSED
            reader.request = reader.first = None
            self._way.stalled.pop(reader, None)
        channel = subscription.channel
        del channel.subscriptions[subscription]
        if not channel.subscriptions and self.channels.get(name) is channel:
            self._idle[channel] = None
        return True

    def leave(self, session: Session) -> None:
        """Forget a session. Idempotent."""
        for name in list(session.subscriptions):
            self.unsubscribe(session, name)

    def room(self, session: Session) -> None:
        """Let the readers of a session go on from the log, now that its outbox is empty."""
        spooled, session.spooled = session.spooled, None
        for reader in sorted(spooled or (), key=lambda reader: reader.lane):
            if reader.state is State.SPOOLED:
                self._way.replay(reader)

    # The live stream

    def positioned(self, name: str, positions: Iterable[tuple[Priority, Position]]) -> None:
        """Take over where the publisher says that lanes of a channel stand, at first and after each reconnect."""
        channel = self.channels.get(name)
        if channel is None:
            return
        for lane, position in positions:
            feed = channel.feeds[lane]
            before, tail = feed.epoch, feed.tail
            jumped = feed.connected(position)
            for reader in feed.live_readers():
                if reader.cursor > tail and feed.epoch != before:
                    # A page had led it beyond the live stream, to a place that the new epoch may issue once more.
                    reader.epoch = before
                    self._way.replay(reader)
                elif jumped:
                    self._way.replay(reader)
        if channel.positioned:
            for subscription in list(channel.subscriptions):
                if subscription in self._opening and all(r.state is State.OPENING for r in subscription.readers):
                    self._open(subscription)

    def refused(self, name: str, message: str) -> None:
        """End all subscriptions to a channel that the publisher will not serve."""
        channel = self.channels.pop(name, None)
        if channel is None:
            return
        self._idle.pop(channel, None)
        self._forget_routes(channel)
        for subscription in list(channel.subscriptions):
            self._give_up(subscription, message)

    def feed(self, channel: str, lane: Priority) -> Feed | None:
        """Return a lane of a channel; None where nobody wants the channel."""
        found = self.channels.get(channel)
        return None if found is None else found.feeds[lane]

    def accept(self, item: Item) -> tuple[Item, Feed] | None:
        """Take an item off the live stream; return what is new of it and for whose readers, None where there are none.

        The readers' cursors move when it is distributed, which must happen in the order of acceptance.
        """
        channel = self.channels.get(item.channel)
        return None if channel is None else self.accept_on(channel.feeds[item.lane], item)

    def accept_on(self, feed: Feed, item: Item) -> tuple[Item, Feed] | None:
        """Do what `accept` does where the feed of the item is known."""
        if not feed.generation:  # it is not positioned
            return None
        if (item.prev > feed.tail or item.first <= feed.tail) and self._on_break is not None:
            self._on_break(item, feed.tail)
        accepted = feed.accept(item)
        if accepted is None or not feed.live:
            return None
        return accepted, feed

    def distribute(self, item: Item, readers: Sequence[Reader]) -> int:
        """Hand an item to readers of its feed; return how many sockets have taken all of it."""
        sent = 0
        prev, first, last = item.prev, item.first, item.last
        live, binary = State.LIVE, b""
        for reader in readers:
            if reader.state is not live:
                continue
            if not prev <= reader.cursor < first:
                self._way.offer(reader, item)
                continue
            outbox = reader.outbox
            if outbox.clear and outbox.binary:
                # What `send` does, without the call: most of the work of a channel with many readers is this loop.
                binary = binary or item.frame(True)
                if outbox.sink.write(binary):
                    sent += 1
                else:
                    outbox.hold(reader, item)
                reader.cursor = last
                continue
            verdict = outbox.send(reader, item)
            if verdict is _SENT:
                reader.cursor = last
                sent += 1
            elif verdict is _QUEUED:
                reader.cursor = last
            else:
                self._way.overflow(reader, verdict)
        return sent

    def rewind(self, gap: GapItem) -> None:
        """Go on in another log than was thought: tell every reader that was further than this one goes."""
        channel = self.channels.get(gap.channel)
        if channel is None:
            return
        feed = channel.feeds[gap.lane]
        before = feed.epoch
        feed.rewound(gap)
        for reader in feed.live_readers():
            reader.epoch = before
            if gap.reason == GAP_REASON_AHEAD and reader.cursor < gap.last:
                self._way.replay(reader)
            elif self._way.deliver(reader, gap.after(reader.cursor)):
                reader.epoch = ""

    def advance(self, item: AdvanceItem, now: float) -> None:
        """Move the cursors of a quiet lane; clients are told now and then."""
        channel = self.channels.get(item.channel)
        feed = channel.feeds[item.lane] if channel else None
        if feed is None or not feed.positioned or feed.accept(item) is None:
            return
        due = now - feed.advanced_at >= ADVANCE_SECONDS
        if due:
            feed.advanced_at = now
        for reader in feed.live_readers():
            if reader.cursor >= item.last:
                continue
            if due:
                self._way.deliver(reader, item)
            else:
                reader.cursor = item.last

    # Pages of the log

    def page(self, request: PageRequest, page: Page) -> None:
        """Take a page that was asked for."""
        reader = request.reader
        if reader.request is not request:
            return
        reader.request = None
        if reader.subscription.answered:
            self._way.take_page(reader, request, page)
            return
        reader.first = (request, page)
        self._answer_when_ready(reader.subscription)

    def page_failed(self, request: PageRequest, message: str, *, retryable: bool) -> None:
        """Try again later, or end the subscription."""
        reader = request.reader
        if reader.request is not request:
            return
        if retryable:
            self._way.stalled[reader] = None
        else:
            self._give_up(reader.subscription, message)

    def tick(self, now: float) -> None:
        """Do what is due: drop idle channels, end subscriptions that got no answer, try pages again."""
        for channel, since in list(self._idle.items()):
            if since is None:
                self._idle[channel] = now
            elif now - since >= LINGER_SECONDS:
                del self._idle[channel]
                del self.channels[channel.name]
                self._forget_routes(channel)
                self._publisher.remove(channel.name)
        for subscription, since in list(self._opening.items()):
            if since is None:
                self._opening[subscription] = now
            elif now - since >= SUBSCRIBE_SECONDS:
                self._give_up(subscription, "")
        self._way.try_again()

    def _forget_routes(self, channel: Channel) -> None:
        for feed in channel.feeds.values():
            route.forget(self.routes, feed)

    def positions(self, name: str, lanes: Sequence[Priority]) -> dict[Priority, Position] | None:
        """Return where the live stream of a channel stands; None where nobody wants the channel any more."""
        channel = self.channels.get(name)
        return None if channel is None else channel.positions(lanes)

    # Opening a subscription

    def _open(self, subscription: Subscription) -> None:
        wanted = subscription.wanted
        assert wanted is not None
        for reader in subscription.readers:
            position = wanted.positions.get(reader.lane)
            if position is not None:
                self._open_at(reader, position)
            elif wanted.start in {START_EARLIEST, START_LAST_N}:
                last_n = wanted.last_n if wanted.start == START_LAST_N else 0
                self._way.start_replaying(reader)
                self._way.read(reader, None if last_n else 0, last_n)
        self._answer_when_ready(subscription)

    def _open_at(self, reader: Reader, position: Position) -> None:
        self._way.start_replaying(reader)
        reader.cursor = reader.seen = position.offset
        reader.epoch = position.epoch
        if not reader.feed.covers(position.epoch, position.offset):
            self._way.read(reader, position.offset, 0)

    def _answer_when_ready(self, subscription: Subscription) -> None:
        if all(reader.request is None for reader in subscription.readers):
            self._answer(subscription)

    def _answer(self, subscription: Subscription) -> None:
        """Send `subscribed`, then what each lane's first page holds. Everything later follows by itself."""
        wanted, subscription.wanted, subscription.answered = subscription.wanted, None, True
        assert wanted is not None
        self._opening.pop(subscription, None)
        pages: list[tuple[Reader, tuple[PageRequest, Page] | None]] = []
        recovered = bool(wanted.positions)
        starts: list[tuple[Priority, Position]] = []
        for reader in subscription.readers:
            first = reader.first
            page = first[1] if first else None
            if reader.lane in wanted.positions and page is not None and page.gaps:
                recovered = False
            starts.append((reader.lane, self._start_of(reader, page, wanted)))
            if first and page and page.gaps and reader.lane not in wanted.positions:
                first = first[0], replace(page, gaps=())  # it asked for what is left: nothing of that is missing
            pages.append((reader, first))
            reader.first = None
        session = subscription.session
        session.subscribed(subscription.channel.name, starts, bool(wanted.positions), recovered)
        for reader, first in pages:
            if reader.state is State.CLOSED:
                return
            if first is not None:
                self._way.take_page(reader, *first)
            elif reader.state is State.OPENING:
                self._way.go_live(reader)
            else:
                self._way.join_or_read(reader)

    def _start_of(self, reader: Reader, page: Page | None, wanted: Wanted) -> Position:
        """Set the cursor where a reader begins, and return the position the client is told."""
        if page is None:
            if reader.state is State.OPENING:
                reader.epoch, reader.cursor = reader.feed.epoch, reader.feed.tail
        elif reader.lane not in wanted.positions:
            reader.epoch = page.epoch
            reader.cursor = page.events[0].prev if page.events else page.covered_through
        elif page.gaps:
            # The gap itself still goes out, from the client's position to this one.
            return Position(page.gaps[-1].epoch, page.gaps[-1].last)
        reader.seen = reader.cursor
        return Position(reader.epoch, reader.cursor)

    def _give_up(self, subscription: Subscription, message: str) -> None:
        session, name = subscription.session, subscription.channel.name
        self.unsubscribe(session, name)
        session.report(codes.CHANNEL_UNAVAILABLE, message, name)
