"""Settings and counts of a subscriber.

Owns defaults and what they mean. Imports nothing but the contracts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lanecast.v1 import publisher_pb2


class Start(Enum):
    """Where to begin in lanes without a saved position."""

    LATEST = publisher_pb2.START_LATEST
    """Only what is published from now on."""
    EARLIEST = publisher_pb2.START_EARLIEST
    """The oldest event that retention has left, then everything after it."""
    LAST_N = publisher_pb2.START_LAST_N
    """The last `last_n` events of each lane, then everything after them."""


@dataclass(frozen=True, slots=True)
class SubscriberSettings:
    """Limits and timeouts of a subscriber."""

    connect_timeout: float = 5.0
    """Seconds until the first connection counts as failed; also the limit of each later attempt."""
    health_seconds: float = 5.0
    """Seconds between two questions to the publisher whether it is alive. One that says nothing for twice as long is
    left."""
    return_seconds: float = 30.0
    """Seconds, on average, between two looks whether a target that comes before the present one in the list serves
    again, which is then returned to."""
    window_bytes: int = 256 * 1024
    """Bytes per lane that may be on their way or wait here for the loop to take them: what bounds the memory."""
    commit_every: int = 64
    """With auto-commit, positions are saved when the loop waits for more, and at the latest after so many events."""


@dataclass(frozen=True, slots=True)
class SubscriberStatistics:
    """A snapshot of one event stream. Counts are since its creation."""

    delivered: int
    """Events given to the loop."""
    buffered: int
    """Events received and not taken yet."""
    duplicates: int
    """Events received again and dropped."""
    gaps: int
    """Gaps announced to the loop's `on_gap`."""
    recoveries: int
    """Holes that were closed by reading again."""
    connections: int
    """Streams opened."""
    target: str
    """Address of the open stream; empty while disconnected."""
