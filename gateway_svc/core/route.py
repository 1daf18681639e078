"""What consecutive batches of one channel and lane have in common, so that it is read once and not from each.

Owns how a batch is recognised by its beginning: a publisher writes the same bytes there until the epoch, the policy or
the arm changes. The first batch with a new beginning is parsed, and its route kept by the hub for as long as the
channel. A batch that is not recognised, or has more than one event, is parsed as ever.
"""

from __future__ import annotations

from sys import intern

from gateway_svc.core.channel import Feed
from gateway_svc.core.items import EventItem, JsonEncoder
from lanecast.core import scan, wire
from lanecast.core.channel import is_reserved
from lanecast.v1.event_pb2 import EventBatch

_LANE_BYTES = 2
_MAX_NAME_BYTES = 0x7F
"""Longer names of channels have a length of two bytes: their batches are parsed."""


class Route:
    """See the module."""

    __slots__ = (
        "address", "arm", "channel", "encoder", "epoch", "feed", "generation", "head", "lane", "limit_ns", "number",
        "policy", "reserved", "start",
    )  # fmt: skip

    def __init__(self, feed: Feed, batch: EventBatch, head: bytes, encoder: JsonEncoder) -> None:
        self.feed = feed
        self.head = head
        """The beginning of each batch."""
        self.channel, self.lane, self.epoch = feed.channel, feed.lane, intern(batch.epoch)
        self.policy, self.arm, self.generation = batch.policy, batch.arm, batch.generation
        self.number = int(feed.lane)
        """The lane as an index: the hash of a member of an enumeration is computed in Python."""
        self.encoder = encoder
        self.reserved = is_reserved(feed.channel)
        self.address = scan.address(feed.channel, self.number)
        """What each of the events says of where it goes."""
        self.start = len(head) + 2
        """No event begins before."""
        self.limit_ns: int | None = None
        """How long after acceptance an event is late, for whoever asks."""

    def __repr__(self) -> str:
        return f"Route({self.channel!r}, {self.lane.name}, {self.epoch}, {self.policy})"


def key_of(head: bytes) -> bytes:
    """Return what routes are looked up by: the fields channel and lane. Hot loops have a copy of this line."""
    return head[: head[1] + 2 + _LANE_BYTES]


def learn(item: EventItem, feed: Feed, routes: dict[bytes, Route]) -> None:
    """Keep the route of an item that had to be parsed, if batches like it can be recognised."""
    batch = item.batch
    head = wire.batch_head(item.channel, int(item.lane), batch.epoch, batch.policy, batch.arm, batch.generation)
    if head[1] > _MAX_NAME_BYTES or scan.lone_event(item.raw, head) is None:
        return
    feed.route_key = key_of(head)
    routes[feed.route_key] = Route(feed, batch, head, item.encoder)


def forget(feeds: dict[bytes, Route], feed: Feed) -> None:
    """Forget the route of a feed that nobody has any more."""
    if feed.route_key:
        feeds.pop(feed.route_key, None)


def item_of(route: Route, raw: bytes, tail: scan.Tail, receive_ns: int, send_ns: int) -> EventItem:
    """Return the item of a batch of one event that was recognised."""
    offset, prev = tail[1], tail[3]
    return EventItem.scanned(route, raw, (prev, offset, offset), 1, receive_ns, send_ns)
