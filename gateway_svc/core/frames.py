"""WebSocket frames from the server.

Owns their bytes: an unmasked header (RFC 6455, section 5.2) and a `ServerFrame` as protobuf or as ProtoJSON. Called by
items and sessions. Frames of events are built once and shared; see `gateway_svc.core.items`.
"""

from __future__ import annotations

import json
from struct import Struct

from google.protobuf.json_format import MessageToDict

from lanecast.core import wire
from lanecast.core.codes import Code
from lanecast.v1.event_pb2 import GAP_REASON_AHEAD, GAP_REASON_EPOCH_UNKNOWN
from lanecast.v1.gateway_pb2 import Error, ServerFrame

REWINDING = frozenset({GAP_REASON_AHEAD, GAP_REASON_EPOCH_UNKNOWN})
"""Gap reasons after which a cursor may go back."""

_TEXT, _BINARY, _CLOSE = 0x81, 0x82, 0x88
_HEAD16 = Struct("!BBH").pack
_HEAD64 = Struct("!BBQ").pack
_CLOSE_CODE = Struct("!H").pack
_MAX_CLOSE_REASON = 123


def _head(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return _HEAD16(first, 126, size)
    return _HEAD64(first, 127, size)


def _frame(first: int, payload: bytes) -> bytes:
    return _head(first, len(payload)) + payload


_KEPT = 4096
_heads: dict[int, bytes] = {}


def events(batch: bytes, trailer: bytes = b"") -> bytes:
    """Return the binary frame of a batch, given as its bytes and what to append to them."""
    size = len(batch) + len(trailer)
    return b"".join((_heads.get(size) or _events_head(size), batch, trailer))


def _events_head(size: int) -> bytes:
    """Return what stands before a batch of so many bytes; those of usual sizes are kept."""
    message = wire.frame_events(size)
    head = _head(_BINARY, len(message) + size) + message
    if size < _KEPT:
        _heads[size] = head
    return head


def text(payload: bytes) -> bytes:
    """Return a text frame; `payload` is UTF-8."""
    return _frame(_TEXT, payload)


def close(number: int, reason: str) -> bytes:
    """Return a close frame; a reason longer than a control frame may carry is cut at a character."""
    data = reason.encode()[:_MAX_CLOSE_REASON].decode(errors="ignore").encode()
    return _frame(_CLOSE, _CLOSE_CODE(number) + data)


def encode(message: ServerFrame, *, binary: bool) -> bytes:
    """Return the frame of a message. JSON shows fields at their defaults too, so that small clients need not know."""
    if binary:
        return _frame(_BINARY, message.SerializeToString())
    fields = MessageToDict(message, always_print_fields_with_no_presence=True)
    return _frame(_TEXT, compact(fields))


def compact(value: object) -> bytes:
    """Return JSON without spaces, in UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def error(code: Code, message: str = "", channel: str = "", *, fatal: bool) -> ServerFrame:
    """Return the frame that reports `code`; its advice is the message where none is given."""
    return ServerFrame(
        error=Error(
            code=code.number,
            reason=code.reason,
            message=message or code.advice,
            channel=channel,
            retryable=code.retryable,
            fatal=fatal,
        )
    )
