"""One event between hand-over and answer, and the chain of its channel and lane.

Owns these records; `lanecast.publisher.core.outbox` moves them about. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanecast.core.priority import Priority
from lanecast.errors import PublishError
from lanecast.publisher.core.encoding import route_prefix

if TYPE_CHECKING:
    from lanecast.publisher.core.queue import LaneQueue

_DEADLINE_EXCEEDED, _ABORTED = 4, 10


class Chain:
    """All events of one channel and lane."""

    __slots__ = ("channel", "lane", "on_wire", "parked", "queue", "release_at", "route")

    def __init__(self, channel: str, lane: Priority, queue: LaneQueue) -> None:
        self.channel = channel
        self.lane = lane
        self.queue = queue
        self.route = route_prefix(channel, lane)
        self.parked: list[Entry] | None = None
        """Entries that wait for `release_at`, while the chain is parked."""
        self.on_wire = False
        """True where something of it is on the wire and unanswered, while it is parked; otherwise nobody asks."""
        self.release_at = 0.0


class Entry:
    """One event between hand-over and answer."""

    __slots__ = (
        "chain", "data", "deadline", "done", "id", "lost", "order", "refused_on", "sent_at", "size", "waiter",
        "watched",
    )  # fmt: skip

    def __init__(
        self,
        order: int,
        chain: Chain,
        event_id: str,
        data: bytes,
        size: int,
        deadline: float,
        waiter: object,
        watched: bool,
    ) -> None:
        self.order = order
        self.chain = chain
        self.id = event_id
        self.data = data
        self.size = size
        """Bytes that it takes in a message."""
        self.deadline = deadline
        self.waiter = waiter
        self.watched = watched
        """True where somebody waits for the outcome of this very event."""
        self.sent_at: float | None = None
        """When it first went on the wire without a definite refusal since."""
        self.lost = False
        """True once an answer to it was lost: it may be stored."""
        self.refused_on = 0
        """Number of the last stream on which it was refused for the moment; the service waits for it there."""
        self.done = False


def unconfirmed(entry: Entry) -> PublishError:
    """Return the error of an event that got no answer in time."""
    if entry.sent_at is None:
        reason, fate = "NOT_SENT", "it is not stored; check that the service can be reached, then publish it again"
    else:
        reason, fate = "UNCONFIRMED", "it may or may not be stored; publish it again under the same id to be sure"
    message = f"event {entry.id} was not acknowledged in time: {fate}"
    return PublishError(_DEADLINE_EXCEEDED, reason, message, event_id=entry.id, channel=entry.chain.channel)


def of_another_log(entry: Entry) -> PublishError:
    """Return the error of an event whose answer was lost together with the log it may be stored in."""
    message = (
        f"event {entry.id} was sent to a publisher whose log has been replaced, and not acknowledged: it may be stored"
        " there; publish it again if it must be in the new log"
    )
    return PublishError(_ABORTED, "LOG_CHANGED", message, event_id=entry.id, channel=entry.chain.channel)
