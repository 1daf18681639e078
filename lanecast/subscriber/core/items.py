"""What a subscriber receives, between the stream and the user.

Owns the records of a received event and of a gap. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from lanecast.core.position import Position
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import Event

Key = tuple[str, Priority]
"""A channel and a lane: what has a cursor."""

UNEXPLAINED = "UNEXPLAINED"
"""Reason of a gap that the service did not announce and a second reading did not close."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that will not come: those in (`from_offset`, `to_offset`] of one channel and lane."""

    channel: str
    lane: Priority
    epoch: str
    from_offset: int
    to_offset: int
    """Where delivery goes on, inclusive. Below `from_offset` only with the reasons AHEAD and EPOCH_UNKNOWN."""
    reason: str
    """TRUNCATED, CONFLATED, EXPIRED, SHED, AHEAD, EPOCH_UNKNOWN (see docs/protocol.md), or UNEXPLAINED.
    REASON_<number> where the service is newer than this program and has a reason of its own."""
    count: int
    """How many events are missing, where known; 0: unknown."""

    @property
    def position(self) -> Position:
        """The position to go on from."""
        return Position(self.epoch, self.to_offset)

    def joined(self, later: Gap) -> Gap:
        """Return this gap and the one right behind it as one."""
        count = self.count + later.count if self.count and later.count else 0
        return Gap(self.channel, self.lane, later.epoch, self.from_offset, later.to_offset, self.reason, count)


class Batch:
    """What the events of one batch have in common."""

    __slots__ = ("channel", "epoch", "flush_time_unix_nano", "lane", "policy", "replayed", "size")

    def __init__(
        self, channel: str, lane: Priority, epoch: str, replayed: bool, policy: str, flush_time: int, size: int
    ) -> None:
        self.channel = channel
        self.lane = lane
        self.epoch = epoch
        self.replayed = replayed
        self.policy = policy
        self.flush_time_unix_nano = flush_time
        self.size = size
        """Bytes of credit that the batch has used up."""


class Received:
    """An event in the order of delivery."""

    __slots__ = ("batch", "event", "last")

    def __init__(self, event: Event, batch: Batch) -> None:
        self.event = event
        self.batch = batch
        self.last = False
        """True for the last event of its batch: when it is taken, the credit of the batch is given back."""


Item = Received | Gap
