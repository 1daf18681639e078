"""Reads the few fields of a batch that every delivery needs, and leaves the rest unparsed.

Owns no layout of its own: it recognises what `wire` writes and says nothing of all else, which is then parsed. That is
most batches: an event travels as its sender's SDK encoded it, followed by what the log knows of it, and most batches of
a busy system have one. To parse such a batch and take a dozen fields out of the message costs five times as much.
tests/unit/lanecast/core/test_scan.py holds every function here against the generated classes.
"""

from __future__ import annotations

from struct import Struct

from lanecast.core import wire

_read_tail = Struct("<HQHQHQH8xB8x").unpack_from
_read_later = Struct("<QxQ").unpack_from
_TAIL_BYTES, _LATER_BYTES = 49, 17
_EVENT, _FLUSH = 4 << 3 | 2, 5 << 3 | 1
_OFFSET, _PREV, _ACCEPT, _STORE = (
    int.from_bytes(wire.varint(field << 3 | 1), "little") for field in (16, 17, 18, 19)
)  # fmt: skip
_LONG, _TOO_LONG = 0x80, 0x4000
"""Events shorter or longer than this have another number of bytes in their length."""

Tail = tuple[int, int, int, int, int, int, int, int]
"""Offset, previous offset and time of acceptance, each after its tag; then two more tags."""


def lone_event(batch: bytes, head: bytes) -> Tail | None:
    """Return position and acceptance of a live batch with this head and one event; None: it must be parsed.

    The event ends with what the log has appended to it: a sender's own fields of these numbers do not get that far.
    """
    at = len(head)
    size = len(batch)
    room = size - at - 3 - wire.FLUSH_TIME_BYTES
    if not _LONG <= room < _TOO_LONG or not batch.startswith(head) or batch[at] != _EVENT:
        return None
    low = batch[at + 1]
    if low + (batch[at + 2] << 7) != room + _LONG or low < _LONG:
        return None
    tail: Tail = _read_tail(batch, size - _TAIL_BYTES)
    offset, _, prev, _, accept, _, store, flush = tail
    if flush != _FLUSH or store != _STORE or accept != _ACCEPT or prev != _PREV or offset != _OFFSET:
        return None
    return tail


def later_stamps(batch: bytes) -> tuple[int, int]:
    """Return when the event of a batch that was recognised was stored, and when the batch was flushed."""
    stored, flushed = _read_later(batch, len(batch) - _LATER_BYTES)
    return stored, flushed


_CREATE, _SEND, _TTL, _KEY, _TRACE, _DATA, _TYPE = 0x29, 0x31, 0x38, 0x42, 0x4A, 0x52, 0x0A
_STAMP_BYTES = 9
_read_stamps = Struct("<xQxQ").unpack_from

Sender = tuple[bytes, bytes, int]
"""URL of the payload's type, trace context, and where the stamps stand."""


def address(channel: str, lane: int) -> bytes:
    """Return the bytes in an event that say where it goes: the same in all of one channel and lane."""
    return wire.text_field(b"\x1a", channel) + b"\x20" + wire.varint(lane)


def sender(batch: bytes, where: bytes, start: int) -> Sender | None:
    """Return what the sender of the event said that begins at `start`, `where` being its address; None: parse it.

    An id that contains the address is not told from it: what is returned is then wrong, and never out of the batch.
    """
    at = batch.find(where, start)
    if at < 0:
        return None
    stamps = at = at + len(where)
    try:
        if batch[at] != _CREATE or batch[at + _STAMP_BYTES] != _SEND:
            return None
        at += 2 * _STAMP_BYTES
        trace = b""
        tag = batch[at]
        if tag != _DATA:
            if tag == _TTL:
                at += 2
                while batch[at - 1] > 0x7F:
                    at += 1
                tag = batch[at]
            if tag == _KEY:
                at += 2 + batch[at + 1]
                tag = batch[at]
            if tag == _TRACE:
                end = at + 2 + batch[at + 1]
                trace = batch[at + 2 : end]
                at = end
                tag = batch[at]
            if tag != _DATA:
                return None
        at += 2
        while batch[at - 1] > 0x7F:
            at += 1
        if batch[at] != _TYPE:
            return None
        at += 2
        return batch[at : at + batch[at - 1]], trace, stamps
    except IndexError:
        return None


def stamps(batch: bytes, at: int) -> tuple[int, int]:
    """Return when the application made the event and when its SDK sent it; `at` comes from `sender`."""
    created, sent = _read_stamps(batch, at)
    return created, sent
