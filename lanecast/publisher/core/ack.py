"""What a publisher tells its user: acknowledgements and counts.

Owns these two records. Imports nothing but positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lanecast.core.position import Position


class Ack(NamedTuple):
    """Says that an event is in the log, durable as the service's `durability` promises."""

    id: str
    """Id of the event: the one given, or the UUIDv7 it got."""
    channel: str
    epoch: str
    """Log epoch of `offset`."""
    offset: int
    """Position in the log. For a duplicate, the position of the first copy."""
    duplicate: bool = False
    """True where an event with this id was in the channel already; nothing was stored again."""

    @property
    def position(self) -> Position:
        """Epoch and offset as one value."""
        return Position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """A snapshot of a publisher. Counts are since its creation."""

    buffered_events: int
    """Events handed over and not answered yet, on the wire or not."""
    buffered_bytes: int
    in_flight_events: int
    """Events on the wire that the service has not answered."""
    in_flight_bytes: int
    credit_bytes: int
    """Most bytes that may be in flight at present; zero while disconnected."""
    published: int
    """Events handed over."""
    acknowledged: int
    duplicates: int
    """Acknowledged events that were in the log already: retries of this publisher, or ids used before."""
    failed: int
    """Events whose future failed: refused for good, or unconfirmed for too long."""
    retried: int
    """Times that an event was sent again because the service had refused it for the moment."""
    resent: int
    """Times that an event was sent again because its answer was lost with the connection."""
    messages: int
    """Messages written; `published / messages` is the mean batch."""
    connections: int
    """Times that a stream was opened."""
    target: str
    """Address of the open stream; empty while disconnected."""
