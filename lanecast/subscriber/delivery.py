"""An event as a subscriber gets it.

Owns the user's view of an event. Made by the event stream; knows the event, its batch and whom to tell of a commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from google.protobuf.message import Message

from lanecast.core.position import Position
from lanecast.core.priority import Priority
from lanecast.errors import StatusError
from lanecast.subscriber.core.items import Key, Received
from lanecast.v1.event_pb2 import Event

_NOT_FOUND = 5


class Delivery:
    """One event. The payload is parsed when `message` is read."""

    __slots__ = ("_batch", "_class", "_commit", "_message", "event", "serial")

    def __init__(
        self,
        received: Received,
        message_class: type[Message] | None,
        commit: Callable[[Delivery], Awaitable[None]],
        serial: int,
    ) -> None:
        self.event: Event = received.event
        """The envelope as it came, with everything the properties below leave out."""
        self.serial = serial
        """Number of the delivery within its subscription, from 1."""
        self._batch = received.batch
        self._class = message_class
        self._commit = commit
        self._message: Message | None = None

    @property
    def message(self) -> Message:
        """The payload as a message of its type: of a generated class where this program has one imported.

        Raises:
            StatusError: neither this program nor the service knows the type (`TYPE_UNKNOWN`). Its bytes are in
                `event.data.value`.
        """
        if self._message is None:
            if self._class is None:
                text = f"type {self.type!r} is unknown here: import its generated module, or read event.data.value"
                raise StatusError(_NOT_FOUND, "TYPE_UNKNOWN", text)
            self._message = self._class.FromString(self.event.data.value)
        return self._message

    @property
    def type(self) -> str:
        """Full name of the payload's type, for example `lanecast.ai.v1.ConciergeInsight`."""
        return self.event.data.type_url.rpartition("/")[2]

    @property
    def id(self) -> str:
        """Id of the event, unique within its channel for 120 s at least."""
        return self.event.id

    @property
    def source(self) -> str:
        """Name of the service that published it; empty where it gave none."""
        return self.event.source

    @property
    def channel(self) -> str:
        """Channel it was published to."""
        return self._batch.channel

    @property
    def lane(self) -> Priority:
        """Lane it travelled in."""
        return self._batch.lane

    @property
    def epoch(self) -> str:
        """Log epoch of `offset`."""
        return self._batch.epoch

    @property
    def offset(self) -> int:
        """Place in the log; grows within a channel and lane, with holes."""
        return self.event.offset

    @property
    def position(self) -> Position:
        """Epoch and offset as one value: what to resume after."""
        return Position(self._batch.epoch, self.event.offset)

    @property
    def key(self) -> Key:
        """Channel and lane: what the position belongs to."""
        return self._batch.channel, self._batch.lane

    @property
    def replayed(self) -> bool:
        """True where it was read from the log to bring this subscriber up to date."""
        return self._batch.replayed

    async def commit(self) -> None:
        """Save that this event and all before it in its channel and lane have been handled.

        Raises:
            LanecastError: the cursor store failed; the position is saved with the next commit.
        """
        await self._commit(self)

    def __repr__(self) -> str:
        return f"<Delivery {self.channel} {self.lane.name} {self.offset} {self.type} {self.id}>"
