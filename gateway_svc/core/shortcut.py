"""The short way of the most frequent delivery: one event, for one reader that is level with the live stream.

Owns nothing of its own: it does in one step, and without an item, what `Hub.accept` and `Hub.distribute` do for such an
event. What is not that simple it leaves to those two, untouched: somebody replaying, several readers, one that is
behind or speaks JSON, a batch that does not follow. Called by the dispatch shell.
"""

from __future__ import annotations

from enum import Enum

from gateway_svc.core import frames
from gateway_svc.core.route import Route, item_of
from lanecast.core import wire
from lanecast.core.scan import Tail


class Outcome(Enum):
    """What became of an event."""

    LEFT = "left"
    """Nothing: it takes the usual way."""
    SENT = "sent"
    """The kernel has it all."""
    HELD = "held"
    """It is accepted, and its sink keeps what the kernel did not take."""


_LEFT, _SENT, _HELD = Outcome.LEFT, Outcome.SENT, Outcome.HELD
_events, _edge_times = frames.events, wire.batch_edge_times


def deliver(route: Route, raw: bytes, tail: Tail, receive_ns: int, send_ns: int) -> Outcome:
    """Deliver an event that was recognised, if it may go the short way."""
    feed = route.feed
    reader = feed.lone
    if reader is None or feed.replaying:
        return _LEFT
    offset, prev = tail[1], tail[3]
    outbox = reader.outbox
    if not (prev <= feed.tail < offset and prev <= reader.cursor < offset and outbox.clear and outbox.binary):
        return _LEFT
    feed.tail = feed.floor = offset
    feed.epoch = route.epoch
    if outbox.sink.write(_events(raw, _edge_times(receive_ns, send_ns))):
        reader.cursor = offset
        return _SENT
    outbox.hold(reader, item_of(route, raw, tail, receive_ns, send_ns))
    reader.cursor = offset
    return _HELD
