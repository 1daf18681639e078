"""Turns messages into serialised events, and events into serialised stream messages.

Owns the checks that need no service, and the field numbers of `lanecast.v1.Event` and `PublishMessage` that are written
by hand. An event is encoded once, when it is handed over, as the part of a message that it will be: its size is then
known, and sending it, also again, is joining bytes with a stamp between them. What an event has in common with others
is made once: its route for each chain, and what stands before the payload for each type and size. Called by the
publishers; tests hold the bytes against the generated classes. Pure.
"""

from __future__ import annotations

from struct import Struct

from google.protobuf.any_pb2 import Any
from google.protobuf.message import EncodeError, Message

from lanecast.core.channel import check_channel
from lanecast.core.limits import (
    MAX_ID_BYTES,
    MAX_KEY_BYTES,
    MAX_PAYLOAD_BYTES,
    TRACE_CONTEXT_BYTES,
)
from lanecast.core.priority import Priority
from lanecast.core.wire import varint
from lanecast.errors import PublishError

_INVALID_ARGUMENT = 3
_TYPE_PREFIX = "type.googleapis.com/"
_MAX_TTL_MILLIS = 2**32 - 1
_FIXED64 = Struct("<Q").pack

# Tags of lanecast.v1.Event.
_ID, _CHANNEL, _PRIORITY, _CREATE_TIME, _SEND_TIME = b"\x0a", b"\x1a", b"\x20", b"\x29", b"\x31"
_TTL, _KEY, _TRACE, _DATA = b"\x38", b"\x42", b"\x4a", b"\x52"
# Tags of google.protobuf.Any.
_TYPE_URL, _VALUE = b"\x0a", b"\x12"
# Tags of lanecast.v1.PublishEventStreamRequest and PublishMessage.
_PUBLISH, _FIRST_SEQUENCE, _EVENT = b"\x12", b"\x08", b"\x12"

SEND_STAMP_BYTES = 9
"""What the send time adds to an event when it is written."""
_IDS = tuple(_ID + varint(size) for size in range(MAX_ID_BYTES + 1))
"""What stands before an id, by its length."""
_KEPT_HEADS = 4_096
"""Payloads and events of fewer bytes have what stands before them kept, by size: about 100 bytes each."""


def refused(reason: str, message: str, event_id: str = "", channel: str = "") -> PublishError:
    """Return the error of an event that no service would accept."""
    return PublishError(_INVALID_ARGUMENT, reason, message, event_id=event_id, channel=channel)


def check_lane(priority: Priority | int | str) -> Priority:
    """Return the lane that is meant.

    Raises:
        PublishError: there is no such lane (`LANE_UNKNOWN`).
    """
    try:
        return Priority.parse(priority) if isinstance(priority, str) else Priority(priority)
    except ValueError:
        raise refused(
            "LANE_UNKNOWN", f"lane {priority!r} is unknown: use Priority.CRITICAL, HIGH, NORMAL or LOW"
        ) from None


def route_prefix(channel: str, lane: Priority) -> bytes:
    """Return the fields that all events of one channel and lane share, and the tag of the time that follows them.

    Raises:
        PublishError: the channel name is not valid (`CHANNEL_INVALID`).
    """
    problem = check_channel(channel) if isinstance(channel, str) else f"the channel is {channel!r}: give its name"
    if problem is not None:
        raise refused("CHANNEL_INVALID", problem, channel=str(channel))
    data = channel.encode()
    return b"".join((_CHANNEL, varint(len(data)), data, _PRIORITY, varint(lane), _CREATE_TIME))


class _Frames(dict[int, bytes]):
    """What stands before an event in a message, by the event's size without its send time."""

    def __missing__(self, size: int) -> bytes:
        frame = _EVENT + varint(size + SEND_STAMP_BYTES)
        if size < _KEPT_HEADS:
            self[size] = frame
        return frame


_FRAMES = _Frames()


class _Heads(dict[int, bytes]):
    """What stands before the payload of an event, by the payload's size, for one type."""

    def __init__(self, url: str) -> None:
        self._type = _type_field(url)

    def __missing__(self, size: int) -> bytes:
        length = varint(size)
        data_size = len(self._type) + len(_VALUE) + len(length) + size
        head = b"".join((_DATA, varint(data_size), self._type, _VALUE, length))
        if size < _KEPT_HEADS:
            self[size] = head
        return head


class EventEncoder:
    """Serialises events, keeping what does not change from one to the next."""

    def __init__(self, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self.max_payload_bytes = max_payload_bytes
        self._heads: dict[type[Message], _Heads] = {}

    def encode(
        self,
        event_id: str,
        route: bytes,
        message: Message,
        create_time_unix_nano: int,
        ttl: float | None = None,
        conflation_key: str = "",
        trace_context: bytes = b"",
    ) -> bytes:
        """Return an event as `publish_message` takes it; `route` comes from `route_prefix`.

        Raises:
            PublishError: a part is malformed or too large.
        """
        heads = self._heads.get(type(message))
        try:
            if heads is None:
                heads, payload = self._unknown(message)
            else:
                payload = message.SerializeToString()
        except EncodeError as error:
            raise refused("PAYLOAD_UNPARSABLE", f"the payload is incomplete: {error}") from error
        size = len(payload)
        if size > self.max_payload_bytes:
            limit = f"send at most {self.max_payload_bytes}, and a reference for more"
            raise refused("PAYLOAD_TOO_LARGE", f"the payload has {size} bytes: {limit}", event_id)
        identity = event_id.encode()
        if len(identity) > MAX_ID_BYTES:
            raise refused("ID_TOO_LONG", f"id has more than {MAX_ID_BYTES} bytes: use a shorter one")
        created = _FIXED64(create_time_unix_nano)
        if ttl is not None or conflation_key or trace_context:
            created += _options(ttl, conflation_key, trace_context)
        event = b"".join((_IDS[len(identity)], identity, route, created, heads[size], payload))
        return _FRAMES[len(event)] + event

    def _unknown(self, message: Message) -> tuple[_Heads, bytes]:
        """Return what stands before payloads of a type that is not known yet, and the payload."""
        kind = type(message)
        if kind is Any:  # packed already, for example by a program that has no generated class for it
            return _Heads(message.type_url), message.value  # type: ignore[attr-defined]
        if not isinstance(message, Message):
            raise refused("PAYLOAD_UNPARSABLE", f"{kind.__name__!r} is no protobuf message: publish a generated one")
        heads = self._heads[kind] = _Heads(_TYPE_PREFIX + message.DESCRIPTOR.full_name)
        return heads, message.SerializeToString()


def _type_field(url: str) -> bytes:
    data = url.encode()
    return _TYPE_URL + varint(len(data)) + data


def _options(ttl: float | None, conflation_key: str, trace_context: bytes) -> bytes:
    parts: list[bytes] = []
    if ttl is not None:
        millis = round(ttl * 1000)
        if not 0 < millis <= _MAX_TTL_MILLIS:
            raise refused("TTL_INVALID", f"a ttl of {ttl} s is out of range: use 0.001 to 4,294,967 s, or None")
        parts += (_TTL, varint(millis))
    if conflation_key:
        key = conflation_key.encode()
        if len(key) > MAX_KEY_BYTES:
            raise refused("CONFLATION_KEY_TOO_LONG", f"conflation_key has more than {MAX_KEY_BYTES} bytes: shorten it")
        parts += (_KEY, varint(len(key)), key)
    if trace_context:
        if len(trace_context) != TRACE_CONTEXT_BYTES:
            raise refused(
                "TRACE_CONTEXT_INVALID",
                f"trace_context has {len(trace_context)} bytes: use {TRACE_CONTEXT_BYTES}, or leave it out",
            )
        parts += (_TRACE, varint(len(trace_context)), trace_context)
    return b"".join(parts)


def publish_message(first_sequence: int, events: list[bytes], send_time_unix_nano: int) -> bytes:
    """Return the `PublishEventStreamRequest` that publishes `events`, each stamped with the send time."""
    stamp = _SEND_TIME + _FIXED64(send_time_unix_nano)
    first = varint(first_sequence)
    size = len(_FIRST_SEQUENCE) + len(first) + sum(map(len, events)) + SEND_STAMP_BYTES * len(events)
    return b"".join((_PUBLISH, varint(size), _FIRST_SEQUENCE, first, stamp.join(events), stamp))
