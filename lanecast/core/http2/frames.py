"""The frames of HTTP/2: numbers, flags and layouts (RFC 9113, sections 4, 6 and 7).

Owns how a frame is written, and nothing of when. Used by the modules beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

HEADER_BYTES = 9
MIN_FRAME_BYTES = 16_384
"""The largest payload that everyone takes."""
MAX_FRAME_BYTES = 2**24 - 1
DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

(
    HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, FRAME_SIZE, MAX_HEADER_LIST_SIZE,
) = range(1, 7)  # fmt: skip
"""Identifiers of settings (section 6.5.2)."""


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Http2Error(Exception):
    """The connection cannot go on: the peer broke a rule. `code` is what it is told."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


HEADER = Struct(">HBBBL")
"""Length in two parts, kind, flags, stream."""

_MESSAGE = Struct(">HBBBLBL")
_SETTING = Struct(">HL")
_WORD = Struct(">L")
_GOAWAY = Struct(">LL")


def header(kind: int, flags: int, stream_id: int, size: int) -> bytes:
    """Return what precedes a payload of `size` bytes."""
    return HEADER.pack(size >> 8, size & 255, kind, flags, stream_id)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return header(kind, flags, stream_id, len(payload)) + payload


def message_start(stream_id: int, size: int) -> bytes:
    """Return what precedes a gRPC message of `size` bytes that travels in one DATA frame: its header and prefix."""
    whole = size + 5
    return _MESSAGE.pack(whole >> 8, whole & 255, DATA, 0, stream_id, 0, size)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return the pairs of a SETTINGS frame."""
    return [(key, value) for key, value in _SETTING.iter_unpack(payload)]


def window_update(stream_id: int, size: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, _WORD.pack(size))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _WORD.pack(code))


def goaway(last_id: int, code: ErrorCode, text: str = "") -> bytes:
    """Return a GOAWAY frame: streams above `last_id` will not be served."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_id, code) + text.encode())


def read_goaway(payload: bytes) -> tuple[int, int, str]:
    """Return last stream, code and text of a GOAWAY frame."""
    last_id, code = _GOAWAY.unpack_from(payload)
    return last_id & MAX_WINDOW, code, payload[8:].decode("utf-8", "replace")


def read_word(payload: bytes) -> int:
    """Return the number that a RST_STREAM or WINDOW_UPDATE frame consists of."""
    return int.from_bytes(payload, "big")


def unpadded(payload: bytes) -> bytes:
    """Return the payload of a padded frame without its padding.

    Raises:
        Http2Error: the frame is shorter than its padding.
    """
    padding = payload[0] if payload else 0
    if padding >= len(payload):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame is all padding")
    return payload[1 : len(payload) - padding]


def check_size(payload: bytes, size: int) -> None:
    """Raise unless a payload has the size that its kind of frame always has.

    Raises:
        Http2Error: it has another.
    """
    if len(payload) != size:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, f"the frame has {len(payload)} bytes instead of {size}")
