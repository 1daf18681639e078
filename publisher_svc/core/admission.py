"""What an event must be to be accepted.

Owns the checks of a single event and the load limits by lane. Called by the ingest shell for every event. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from google.protobuf.message import DecodeError, Message

from lanecast.core.channel import check_channel, is_reserved
from lanecast.core.limits import (
    MAX_ID_BYTES,
    MAX_KEY_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_SOURCE_BYTES,
    TRACE_CONTEXT_BYTES,
)
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.core.registry import TypeRegistry

_INVALID_ARGUMENT, _ALREADY_EXISTS, _PERMISSION_DENIED, _RESOURCE_EXHAUSTED, _ABORTED = 3, 6, 7, 8, 10
_LANES = {int(lane): lane for lane in LANES}
_check_channel = lru_cache(maxsize=65_536)(check_channel)


class Publication(Protocol):
    """What an event is to be decided on by: an `Event`, or one whose content has been checked as it was read."""

    @property
    def channel(self) -> str:
        """The channel it is published to."""

    @property
    def priority(self) -> int:
        """The number of its lane."""

    @property
    def id(self) -> str:
        """Its id."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event is not accepted; becomes `lanecast.v1.EventError`."""

    code: int
    reason: str
    message: str
    retry_delay_millis: int = 0
    """Above zero: the same event may be accepted after that time."""


def check_event(event: Event, registry: TypeRegistry) -> Refusal | None:
    """Return why an event cannot be accepted whatever the load, or None where it can."""
    problem = _check_channel(event.channel)
    if problem is not None:
        return Refusal(_INVALID_ARGUMENT, "CHANNEL_INVALID", problem)
    if event.priority not in _LANES:
        message = f"lane {event.priority} is unknown: set priority to CRITICAL, HIGH, NORMAL or LOW"
        return Refusal(_INVALID_ARGUMENT, "LANE_UNKNOWN", message)
    event_id = event.id
    # As good as every event has an ordinary id and no other text: the longer way is for the others.
    ordinary = len(event_id) <= MAX_ID_BYTES and event_id.isascii()
    if not ordinary or event.source or event.conflation_key or event.trace_context:
        refusal = _check_sizes(event)
        if refusal is not None:
            return refusal
    data = event.data
    value = data.value
    message_class = registry.find(data.type_url)
    if message_class is not None and len(value) <= MAX_PAYLOAD_BYTES:
        try:
            message_class.FromString(value)
        except DecodeError:
            pass
        else:
            return None
    return _payload_refused(data.type_url, value, message_class)


def _check_sizes(event: Event) -> Refusal | None:
    for name, text, limit in (
        ("id", event.id, MAX_ID_BYTES),
        ("source", event.source, MAX_SOURCE_BYTES),
        ("conflation_key", event.conflation_key, MAX_KEY_BYTES),
    ):
        if len(text) > limit or (not text.isascii() and len(text.encode()) > limit):
            reason = name.upper() + "_TOO_LONG"
            return Refusal(_INVALID_ARGUMENT, reason, f"{name} has more than {limit} bytes: use a shorter one")
    if len(event.trace_context) not in (0, TRACE_CONTEXT_BYTES):
        message = f"trace_context has {len(event.trace_context)} bytes: use {TRACE_CONTEXT_BYTES}, or leave it out"
        return Refusal(_INVALID_ARGUMENT, "TRACE_CONTEXT_INVALID", message)
    return None


def _payload_refused(type_url: str, value: bytes, message_class: type[Message] | None) -> Refusal:
    if len(value) > MAX_PAYLOAD_BYTES:
        message = f"the payload has {len(value)} bytes: send at most {MAX_PAYLOAD_BYTES}, and a reference for more"
        return Refusal(_INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE", message)
    if message_class is None:
        name = type_url.rpartition("/")[2][:200]
        message = (
            f"type {name!r} is not registered: publish one that ListEventTypes names, or have the operator load yours"
            if name
            else "the event has no data: set data to a message packed into google.protobuf.Any"
        )
        return Refusal(_INVALID_ARGUMENT, "TYPE_UNKNOWN", message)
    message = f"the payload is not a valid {message_class.DESCRIPTOR.full_name}: serialise that type, or name yours"
    return Refusal(_INVALID_ARGUMENT, "PAYLOAD_UNPARSABLE", message)


def reserved(event: Publication) -> Refusal | None:
    """Return why a publisher without a token may not publish to the event's channel, or None where it may."""
    if not is_reserved(event.channel):
        return None
    message = "channels that begin with $lanecast: belong to Lanecast itself: publish to one of your own"
    return Refusal(_PERMISSION_DENIED, "CHANNEL_RESERVED", message)


def id_reused(event_id: str) -> Refusal:
    """Return the refusal of an event whose id was used for another payload in the same channel."""
    message = f"id {event_id!r} was used for another payload in this channel: choose a new id for a new event"
    return Refusal(_ALREADY_EXISTS, "ID_REUSED", message)


def not_stored(message: str) -> Refusal:
    """Return the refusal of an event that the log could not store."""
    return Refusal(_RESOURCE_EXHAUSTED, "LOG_UNAVAILABLE", message, retry_delay_millis=500)


def out_of_order() -> Refusal:
    """Return the refusal of an event behind one that was refused for now."""
    message = "an earlier event of this channel and lane was refused for now: send that one again first"
    return Refusal(_ABORTED, "OUT_OF_ORDER", message, retry_delay_millis=1)


FULL_AT = {Priority.CRITICAL: 1.0, Priority.HIGH: 0.95, Priority.NORMAL: 0.85, Priority.LOW: 0.7}
"""Share of the queue at which a lane is refused: LOW first, CRITICAL last."""


_LOW = 0.5
"""Share of the queue below which nobody need ask: what a message may add is less than what is left to LOW's share."""


class LoadLimit:
    """Bounds what waits to be stored, in events and bytes, over all lanes."""

    def __init__(self, max_events: int = 50_000, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.events = 0
        self.bytes = 0

    def refuse(self, lane: Priority) -> Refusal | None:
        """Return the refusal of one more event of a lane, or None where there is room."""
        share = FULL_AT[lane]
        if self.events < self._max_events * share and self.bytes < self._max_bytes * share:
            return None
        message = f"the service is over its limit for lane {lane.name}: send again after the delay, or more slowly"
        return Refusal(_RESOURCE_EXHAUSTED, "OVERLOADED", message, retry_delay_millis=100)

    def is_low(self, events: int) -> bool:
        """Say whether so many more events of any lane would be let in, whatever their size."""
        return self.events + events < self._max_events * _LOW and self.bytes < self._max_bytes * _LOW

    def add(self, size: int, events: int = 1) -> None:
        """Count events that begin to wait, `size` bytes in all."""
        self.events += events
        self.bytes += size

    def remove(self, size: int, events: int = 1) -> None:
        """Count events that no longer wait, `size` bytes in all."""
        self.events -= events
        self.bytes -= size


class ProducerOrder:
    """Keeps one producer's order in each channel and lane across refusals that will be retried.

    After a retryable refusal, later events of the same channel and lane are refused with ABORTED until the refused one
    comes again; otherwise a retry would arrive behind its successors.
    """

    def __init__(self) -> None:
        self.fences: dict[tuple[str, int], str] = {}
        """Channels and lanes in which an event waits to be sent again, with its id."""
        self._held: set[tuple[str, int]] = set()
        """Fences that `hold` has set."""

    def passes(self, event: Publication) -> bool:
        """Say whether an event may be tried now."""
        if not self.fences:
            return True
        key = (event.channel, event.priority)
        fence = self.fences.get(key)
        if fence == event.id:
            # It is tried now, and those behind it with it; should it be refused again, `settle` puts the fence back.
            self._lift(key)
            return True
        return fence is None

    def hold(self, channel: str, lane: int, event_id: str) -> None:
        """Fence off a channel and lane at an event that had been let in and could not be stored.

        It came before a fence that was refused at the door. What could not be stored is told in order: the first such
        event stays the fence.
        """
        key = (channel, lane)
        if key not in self._held:
            self._held.add(key)
            self.fences[key] = event_id

    def settle(self, channel: str, lane: int, event_id: str, refusal: Refusal | None) -> None:
        """Take note of the outcome of an event that was tried."""
        if refusal is not None and refusal.retry_delay_millis:
            self.fences.setdefault((channel, lane), event_id)
        elif self.fences and self.fences.get((channel, lane)) == event_id:
            self._lift((channel, lane))

    def _lift(self, key: tuple[str, int]) -> None:
        del self.fences[key]
        self._held.discard(key)
