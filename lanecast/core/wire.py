"""Protobuf wire splicing for the hot path.

Owns the field numbers that are written by hand. An event is parsed once, in the publisher; from there on it travels as
bytes, and what a hop knows is appended to them: in protobuf a later field of the same number replaces an earlier one,
and messages that stand one after the other merge (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
tests/unit/lanecast/core/test_wire.py holds every function here against the generated classes.
"""

from __future__ import annotations

from struct import Struct

_FIXED64 = Struct("<Q").pack
_VARINT, _I64, _LEN = 0, 1, 2


def _tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def varint(value: int) -> bytes:
    """Encode a non-negative integer below 2^64 as a base-128 varint."""
    if value < _MADE:
        return _SMALL[value]
    if value < 0x200000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    if value < 0x10000000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14 & 0x7F | 0x80, value >> 21))
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


_MADE = 0x4000
"""Below this, values are looked up: the length of most events is, and making its two bytes costs five times as much."""
_SMALL = tuple(bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80, value >> 7)) for value in range(_MADE))

_EVENT_OFFSET = _tag(16, _I64)
_EVENT_PREV_OFFSET = _tag(17, _I64)
_EVENT_ACCEPT_TIME = _tag(18, _I64)
_FIRST = Struct("<2sQ2sQ").pack
_POSITION = Struct("<2sQ2sQ2sQ").pack
_EVENT_STORE_TIME = _tag(19, _I64)

_BATCH_CHANNEL = _tag(1, _LEN)
_BATCH_LANE = _tag(2, _VARINT)
_BATCH_EPOCH = _tag(3, _LEN)
_BATCH_EVENT = _tag(4, _LEN)
_BATCH_FLUSH_TIME = _tag(5, _I64)
_BATCH_EDGE_RECEIVE_TIME = _tag(6, _I64)
_BATCH_EDGE_SEND_TIME = _tag(7, _I64)
_BATCH_REPLAYED = _tag(8, _VARINT) + b"\x01"
_BATCH_POLICY = _tag(9, _LEN)
_BATCH_ARM = _tag(10, _VARINT)
_BATCH_GENERATION = _tag(11, _VARINT)

_STREAM_BATCH = _tag(4, _LEN)
_FRAME_EVENTS = _tag(3, _LEN)
_EDGE_TIMES = Struct("<BQBQ").pack
_EDGE_RECEIVE_TAG, _EDGE_SEND_TAG = _BATCH_EDGE_RECEIVE_TIME[0], _BATCH_EDGE_SEND_TIME[0]


def text_field(tag: bytes, text: str) -> bytes:
    """Encode a string field."""
    data = text.encode()
    return tag + varint(len(data)) + data


def event_position(offset: int, prev_offset: int, accept_time_unix_nano: int) -> bytes:
    """Return the bytes that give an event its place in the log. The event must not have these fields already.

    Zeros are left out, as protobuf does: the size of a message is then the same however it was made, and credit is
    counted in it.
    """
    if not prev_offset:
        return _FIRST(_EVENT_OFFSET, offset, _EVENT_ACCEPT_TIME, accept_time_unix_nano)
    return _POSITION(_EVENT_OFFSET, offset, _EVENT_PREV_OFFSET, prev_offset, _EVENT_ACCEPT_TIME, accept_time_unix_nano)


def event_store_time(unix_nano: int) -> bytes:
    """Return the bytes that give an event its store time."""
    return _EVENT_STORE_TIME + _FIXED64(unix_nano)


def batch_head(channel: str, lane: int, epoch: str, policy: str = "", arm: int = 0, generation: int = 0) -> bytes:
    """Return the bytes of an `EventBatch` that do not change from batch to batch: keep them per channel and lane."""
    head = text_field(_BATCH_CHANNEL, channel) + _BATCH_LANE + varint(lane) + text_field(_BATCH_EPOCH, epoch)
    if policy:
        head += text_field(_BATCH_POLICY, policy)
    if arm:
        head += _BATCH_ARM + varint(arm)
    return head + _BATCH_GENERATION + varint(generation) if generation else head


def batch(head: bytes, events: list[bytes], flush_time_unix_nano: int) -> bytes:
    """Return a live `EventBatch` of serialised events. `head` comes from `batch_head`."""
    parts = [head]
    for event in events:
        parts += (_BATCH_EVENT, varint(len(event)), event)
    parts += (_BATCH_FLUSH_TIME, _FIXED64(flush_time_unix_nano))
    return b"".join(parts)


def lone_batch(parts: list[bytes], head: bytes, event: bytes, flush_time: bytes) -> int:
    """Append a live batch of one event, as `stream_batch(batch(...))` has it, to `parts`; return the batch's size.

    `flush_time` comes from `batch_flush_time`. The parts of a message are joined once, when it has all its batches.
    """
    length = len(event)
    prefix = _SMALL[length] if length < _MADE else varint(length)
    size = len(head) + len(prefix) + length + _LONE_BYTES
    parts += (
        _STREAM_BATCH, _SMALL[size] if size < _MADE else varint(size), head, _BATCH_EVENT, prefix, event, flush_time,
    )  # fmt: skip
    return size


def batch_flush_time(unix_nano: int) -> bytes:
    """Return the bytes that give a batch its flush time."""
    return _BATCH_FLUSH_TIME + _FIXED64(unix_nano)


FLUSH_TIME_BYTES = len(_BATCH_FLUSH_TIME) + 8
_LONE_BYTES = len(_BATCH_EVENT) + FLUSH_TIME_BYTES


def replayed_batch(head: bytes, events: list[bytes]) -> bytes:
    """Return an `EventBatch` of events that were read from the log."""
    parts = [head]
    for event in events:
        parts += (_BATCH_EVENT, varint(len(event)), event)
    parts.append(_BATCH_REPLAYED)
    return b"".join(parts)


def batch_edge_times(receive_time_unix_nano: int, send_time_unix_nano: int) -> bytes:
    """Return the bytes a gateway appends to a batch that it passes on."""
    return _EDGE_TIMES(_EDGE_RECEIVE_TAG, receive_time_unix_nano, _EDGE_SEND_TAG, send_time_unix_nano)


def stream_batch(data: bytes) -> bytes:
    """Return the `StreamEventsResponse` bytes that carry one batch; several may stand one after the other."""
    return _STREAM_BATCH + varint(len(data)) + data


def frame_events(size: int) -> bytes:
    """Return what stands before a batch of so many bytes in the `ServerFrame` that carries it."""
    return _FRAME_EVENTS + varint(size)
