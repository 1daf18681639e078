"""What is delivered in one channel and lane: batches of events, gaps and advances.

Owns the range each covers, how one is cut to a reader's cursor, and the frames made from it, which are built once per
encoding and shared by all readers. Made by the upstream shell and the hub; it never looks at a payload unless a JSON
client is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway_svc.core import frames
from lanecast.core import wire
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import (
    GAP_REASON_CONFLATED,
    GAP_REASON_EXPIRED,
    GAP_REASON_SHED,
    Advance,
    Event,
    EventBatch,
    Gap,
    GapReason,
)  # fmt: skip
from lanecast.v1.gateway_pb2 import ServerFrame

if TYPE_CHECKING:
    from gateway_svc.core.route import Route


class JsonEncoder(Protocol):
    """Encodes a batch as the JSON of a `ServerFrame`."""

    def encode_batch(self, batch: EventBatch) -> bytes:
        """Return the ProtoJSON of `ServerFrame{events: batch}`."""


class Item:
    """Something that moves the cursor of one channel and lane from at least `prev` to `last`."""

    __slots__ = ("_binary", "_text", "channel", "count", "epoch", "first", "lane", "last", "prev")

    def __init__(self, channel: str, lane: Priority, epoch: str, prev: int, first: int, last: int, count: int) -> None:
        self.channel = channel
        self.lane = lane
        self.epoch = epoch
        self.prev = prev
        """A cursor below this one would miss something if it took the item."""
        self.first = first
        """A cursor at or above this one has seen the beginning of the item, which is then cut."""
        self.last = last
        """The cursor after the item."""
        self.count = count
        """Number of events in it."""
        self._binary: bytes | None = None
        self._text: bytes | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channel!r}, {self.lane.name}, {self.prev}<{self.first}..{self.last})"

    def frame(self, binary: bool) -> bytes:
        """Return the WebSocket frame in one of the two encodings."""
        made = self._binary if binary else self._text
        return made if made is not None else self._make(binary)

    def after(self, cursor: int) -> Item:
        """Return the item without what `cursor`, which lies in `first` to `last` - 1, has seen."""
        raise NotImplementedError

    def _make(self, binary: bool) -> bytes:
        if binary:
            self._binary = frame = self._build_binary()
        else:
            self._text = frame = self._build_text()
        return frame

    def _build_binary(self) -> bytes:
        return frames.encode(self._server_frame(), binary=True)

    def _build_text(self) -> bytes:
        return frames.encode(self._server_frame(), binary=False)

    def _server_frame(self) -> ServerFrame:
        raise NotImplementedError


_SELECTIVE = frozenset({GAP_REASON_CONFLATED, GAP_REASON_EXPIRED, GAP_REASON_SHED})

LANE_OF: dict[int, Priority] = {int(lane): lane for lane in LANES}
"""Lanes by their number on the wire; a look-up is a tenth of the cost of making one."""

MERGED_EVENTS = 64
"""Most events in a frame that is made of several batches."""

FRAME_BYTES = 64 * 1024
"""Most bytes of events in a frame made from a page of the log; a larger event goes alone."""


class Mark(NamedTuple):
    """An event that may be dropped on the way."""

    offset: int
    key: str
    """Empty: it is never conflated."""
    expires: float
    """When its time to live ends, on the monotonic clock."""
    size: int
    """About how many bytes it takes in a frame."""


class EventItem(Item):
    """A batch of events. `raw` are the bytes it came as; they are passed on, never encoded again."""

    __slots__ = ("_batch", "encoder", "marks", "raw", "receive_ns", "route", "send_ns")

    def __init__(
        self, batch: EventBatch, raw: bytes, encoder: JsonEncoder, receive_ns: int = 0, send_ns: int = 0
    ) -> None:
        events = batch.events
        count = len(events)
        head = events[0]
        offset = head.offset
        super().__init__(
            batch.channel,
            LANE_OF[batch.lane],
            batch.epoch,
            head.prev_offset,
            offset,
            offset if count == 1 else events[-1].offset,
            count,
        )
        self._batch: EventBatch | None = batch
        self.route: Route | None = None
        """What is known of the batch without parsing it; None: everything was parsed."""
        self.raw = raw
        self.receive_ns = receive_ns
        """When the gateway took the batch off its stream; zero where it was read from the log."""
        self.send_ns = send_ns
        """When the gateway made the frame."""
        self.encoder = encoder
        self.marks: Sequence[Mark] | None = None
        """Events that may be dropped for a reader that is behind; None while no reader was. See `conflation`."""

    @classmethod
    def scanned(
        cls, route: Route, raw: bytes, places: tuple[int, int, int], count: int, receive_ns: int, send_ns: int
    ) -> EventItem:
        """Return the item of a live batch that is not parsed before somebody asks for its events.

        Args:
            route: What its beginning says.
            raw: Its bytes.
            places: Previous offset, and offsets of the first and the last event.
            count: Number of events.
            receive_ns: See the attribute.
            send_ns: See the attribute.
        """
        prev, first, last = places
        item = cls.__new__(cls)
        Item.__init__(item, route.channel, route.lane, route.epoch, prev, first, last, count)
        item.raw, item.route, item.encoder = raw, route, route.encoder
        item.receive_ns, item.send_ns = receive_ns, send_ns
        item._batch = item.marks = None  # noqa: SLF001 - it is one of these
        return item

    @property
    def batch(self) -> EventBatch:
        """The batch, parsed."""
        batch = self._batch
        if batch is None:
            batch = self._batch = EventBatch.FromString(self.raw)
        return batch

    def stamp(self, send_ns: int) -> None:
        """Say that the frame is made now, unless it is made already."""
        if self._binary is None and self._text is None:
            self.send_ns = send_ns

    def after(self, cursor: int) -> EventItem:
        """Return a batch of the events above `cursor`."""
        return self.of([event for event in self.batch.events if event.offset > cursor])

    def of(self, events: Sequence[Event]) -> EventItem:
        """Return a batch of these events alone, at least one."""
        cut = EventBatch()
        cut.CopyFrom(self.batch)
        del cut.events[:]
        cut.events.extend(events)
        return EventItem(cut, cut.SerializeToString(), self.encoder, self.receive_ns, self.send_ns)

    def _build_binary(self) -> bytes:
        trailer = wire.batch_edge_times(self.receive_ns, self.send_ns) if self.receive_ns else b""
        return frames.events(self.raw, trailer)

    def _build_text(self) -> bytes:
        batch = self.batch
        batch.edge_receive_time_unix_nano = self.receive_ns
        batch.edge_send_time_unix_nano = self.send_ns
        return frames.text(self.encoder.encode_batch(batch))


class GapItem(Item):
    """Events that will not come."""

    __slots__ = ("reason",)

    def __init__(
        self, channel: str, lane: Priority, epoch: str, prev: int, last: int, reason: GapReason.ValueType, missing: int
    ) -> None:
        super().__init__(channel, lane, epoch, prev, prev + 1, last, missing)
        self.reason = reason

    @classmethod
    def of(cls, gap: Gap) -> GapItem:
        """Return the item of a gap from the wire."""
        return cls(gap.channel, Priority(gap.lane), gap.epoch, gap.from_offset, gap.to_offset, gap.reason, gap.count)

    @property
    def rewinds(self) -> bool:
        """True where the position to go on from may lie below the cursor: the log is another one than was thought."""
        return self.reason in frames.REWINDING

    @property
    def selective(self) -> bool:
        """True where it names events that were left out although the reader's position was honoured."""
        return self.reason in _SELECTIVE

    def after(self, cursor: int) -> GapItem:
        """Return the gap as seen from `cursor`; how many events are missing is then no longer known."""
        missing = self.count if cursor == self.prev else 0
        return GapItem(self.channel, self.lane, self.epoch, cursor, self.last, self.reason, missing)

    def _server_frame(self) -> ServerFrame:
        return ServerFrame(
            gap=Gap(
                channel=self.channel,
                lane=self.lane.wire_value,
                epoch=self.epoch,
                from_offset=self.prev,
                to_offset=self.last,
                reason=self.reason,
                count=self.count,
            )
        )


class AdvanceItem(Item):
    """Moves a quiet cursor."""

    __slots__ = ()

    def __init__(self, channel: str, lane: Priority, epoch: str, through: int) -> None:
        super().__init__(channel, lane, epoch, 0, 0, through, 0)

    def after(self, cursor: int) -> AdvanceItem:  # noqa: ARG002 - an advance has nothing to cut
        """Return itself."""
        return self

    def _server_frame(self) -> ServerFrame:
        advance = Advance(
            channel=self.channel,
            lane=self.lane.wire_value,
            epoch=self.epoch,
            through_offset=self.last,
        )
        return ServerFrame(advance=advance)


def shed(first: Item, before: int, last: Item, missing: int) -> GapItem:
    """Return the gap that names what was dropped from a full outbox, from cursor `before` through `last`."""
    return GapItem(first.channel, first.lane, last.epoch, before, last.last, GAP_REASON_SHED, missing)


def split(page: EventBatch, encoder: JsonEncoder) -> list[EventItem]:
    """Return the events of a page as items that are small enough for a frame."""
    items: list[EventItem] = []
    batch = EventBatch()
    size = FRAME_BYTES
    for event in page.events:
        size += event.ByteSize()
        if size > FRAME_BYTES:
            if batch.events:
                items.append(EventItem(batch, batch.SerializeToString(), encoder))
            size = event.ByteSize()
            batch = EventBatch(channel=page.channel, lane=page.lane, epoch=page.epoch, replayed=True)
        batch.events.append(event)
    if batch.events:
        items.append(EventItem(batch, batch.SerializeToString(), encoder))
    return items


def mergeable(item: Item, following: Item) -> bool:
    """Say whether two items that stand one after the other may be sent to a protobuf client as one batch."""
    if not (isinstance(item, EventItem) and isinstance(following, EventItem)):
        return False
    if item.route is not None and item.route is following.route:
        return True
    one, two = item.batch, following.batch
    return (
        item.receive_ns > 0
        and following.receive_ns > 0
        and item.epoch == following.epoch
        and one.generation == two.generation
        and one.policy == two.policy
        and one.arm == two.arm
    )


def merged(items: Sequence[EventItem]) -> list[EventItem]:
    """Return consecutive items of one feed with those made into one that may be, up to `MERGED_EVENTS` and bytes."""
    result: list[EventItem] = []
    run: list[EventItem] = []
    events = size = 0
    for item in items:
        events += item.count
        size += len(item.raw)
        if run and (events > MERGED_EVENTS or size > FRAME_BYTES or not mergeable(run[-1], item)):
            result.append(_one(run))
            run, events, size = [], item.count, len(item.raw)
        run.append(item)
    if run:
        result.append(_one(run))
    return result


def _one(run: list[EventItem]) -> EventItem:
    if len(run) == 1:
        return run[0]
    raw = b"".join([item.raw for item in run])
    first, last = run[0], run[-1]
    route = first.route
    if route is not None and route is last.route:
        places, count = (first.prev, first.first, last.last), sum([item.count for item in run])
        return EventItem.scanned(route, raw, places, count, first.receive_ns, first.send_ns)
    return EventItem(EventBatch.FromString(raw), raw, first.encoder, first.receive_ns, first.send_ns)


def merged_frame(items: Sequence[Item]) -> bytes:
    """Return one binary frame of several mergeable items: batches whose bytes stand one after the other merge."""
    raws: list[bytes] = []
    for item in items:
        assert isinstance(item, EventItem)
        raws.append(item.raw)
        last = item
    return frames.events(b"".join(raws), wire.batch_edge_times(last.receive_ns, last.send_ns))
