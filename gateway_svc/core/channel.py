"""One channel as the gateway sees it.

Owns, for each lane, where the live stream stands and the few batches a reader needs to get from the log onto the live
stream without a hole: they are kept only while a reader of the lane is replaying, and bounded. Called by the hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway_svc.core.items import AdvanceItem, GapItem, Item
from gateway_svc.core.subscription import Reader, Subscription
from lanecast.core.position import Position
from lanecast.core.priority import LANES, Priority

RING_BYTES = 96 * 1024
"""Most bytes of recent batches kept per lane, below any lane's share of an outbox, which joining must not fill."""

RING_ITEMS = 256
"""Most recent batches kept per lane."""


class Feed:
    """One lane of a channel."""

    __slots__ = (
        "_ring_bytes", "advanced_at", "arrived_ns", "channel", "epoch", "floor", "flushed_ns", "gap_ns", "generation",
        "lane", "live", "lone", "readers", "replaying", "ring", "route_key", "tail",
    )  # fmt: skip

    def __init__(self, channel: str, lane: Priority) -> None:
        self.channel = channel
        self.lane = lane
        self.epoch = ""
        self.tail = 0
        """Everything up to here has come from the live stream, or does not exist."""
        self.generation = 0
        """Changes when the live stream was rewound or connected anew; 0 before it was ever connected."""
        self.live: dict[Reader, None] = {}
        """Readers on the live stream, in the order they joined; changed by `join` and `leave`."""
        self.lone: Reader | None = None
        """The only reader on the live stream; None where there is none or several."""
        self.readers: Sequence[Reader] | None = ()
        """The same readers, for a loop that may change who is live; None: `live_readers` makes it anew."""
        self.route_key = b""
        """What its batches are recognised by, if they are; see `core.route`."""
        self.replaying = 0
        """Readers on their way to the live stream."""
        self.ring: list[Item] = []  # a list, since most are empty for ever and an empty deque takes 600 bytes
        self.floor = 0
        """A cursor at or above this one can join: the ring has everything after it."""
        self._ring_bytes = 0
        self.advanced_at = 0.0
        self.arrived_ns = self.flushed_ns = 0
        """When the last event came, and when the last frame of events was written, while there is a frame window."""
        self.gap_ns = 0
        """Time between two events lately; see `core.window`."""

    def __repr__(self) -> str:
        return f"Feed({self.channel!r}, {self.lane.name}, {self.epoch}:{self.tail}, live={len(self.live)})"

    @property
    def positioned(self) -> bool:
        """True once the publisher has said where the lane stands."""
        return self.generation > 0

    def join(self, reader: Reader) -> None:
        """Put a reader on the live stream."""
        self.live[reader] = None
        self._changed()

    def leave(self, reader: Reader) -> None:
        """Take a reader off the live stream."""
        del self.live[reader]
        self._changed()

    def _changed(self) -> None:
        self.readers = None
        self.lone = next(iter(self.live)) if len(self.live) == 1 else None

    def live_readers(self) -> Sequence[Reader]:
        """Return the readers on the live stream as they are now."""
        readers = self.readers
        if readers is None:
            readers = self.readers = tuple(self.live)
        return readers

    def covers(self, epoch: str, cursor: int) -> bool:
        """Say whether a reader at this position can take the live stream without reading the log."""
        return epoch == self.epoch and self.floor <= cursor <= self.tail

    def connected(self, position: Position) -> bool:
        """Take over where the publisher says that the lane stands; say whether the stream has jumped over something."""
        known = self.positioned
        self.generation += 1
        if known and position.offset <= self.tail:
            # What is behind comes again and is dropped; a rewind is announced by a gap.
            if position.offset == self.tail:
                self.epoch = position.epoch  # perhaps a later one, which goes on where this one stopped
            return False
        jumped = known and position.offset > self.tail
        self.epoch, self.tail = position.epoch, position.offset
        self.forget()
        return jumped

    def rewound(self, gap: GapItem) -> None:
        """Take over another log's place."""
        self.generation += 1
        self.epoch, self.tail = gap.epoch, gap.last
        self.forget()

    def accept(self, item: Item) -> Item | None:
        """Move the tail over an item and keep it for readers that replay; None where all of it was already seen.

        The item is returned as what is new of it.
        """
        tail = self.tail
        if item.last <= tail:
            return None
        if item.first <= tail and not isinstance(item, AdvanceItem):
            item = item.after(tail)
        hole = item.prev > tail
        self.tail, self.epoch = item.last, item.epoch
        if self.replaying:
            self._keep(item, hole)
        else:
            self.floor = item.last
        return item

    def replay_began(self) -> None:
        """Begin to keep what comes, for one more reader."""
        if not self.replaying:
            self.floor = self.tail
        self.replaying += 1

    def replay_ended(self) -> None:
        """One reader less needs what came."""
        self.replaying -= 1
        if not self.replaying:
            self.forget()

    def forget(self) -> None:
        """Keep nothing of what came before the tail."""
        self.ring.clear()
        self._ring_bytes = 0
        self.floor = self.tail

    def _keep(self, item: Item, hole: bool) -> None:
        if hole:
            self.ring.clear()
            self._ring_bytes = 0
            self.floor = item.prev
        self.ring.append(item)
        self._ring_bytes += len(item.frame(True))
        while self.ring and (self._ring_bytes > RING_BYTES or len(self.ring) > RING_ITEMS):
            oldest = self.ring.pop(0)
            self._ring_bytes -= len(oldest.frame(True))
            self.floor = oldest.last


class Channel:
    """A channel that somebody is, or just was, interested in."""

    __slots__ = ("feeds", "name", "subscriptions")

    def __init__(self, name: str) -> None:
        self.name = name
        self.feeds = {lane: Feed(name, lane) for lane in LANES}
        self.subscriptions: dict[Subscription, None] = {}

    def __repr__(self) -> str:
        return f"Channel({self.name!r}, subscriptions={len(self.subscriptions)})"

    @property
    def positioned(self) -> bool:
        """True once the publisher has said where every lane stands."""
        return all(feed.positioned for feed in self.feeds.values())

    def positions(self, lanes: Iterable[Priority]) -> dict[Priority, Position]:
        """Return where the live stream stands in these lanes, where that is known."""
        feeds = (self.feeds[lane] for lane in lanes)
        return {feed.lane: Position(feed.epoch, feed.tail) for feed in feeds if feed.positioned}
