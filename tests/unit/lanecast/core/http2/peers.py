"""The other end of a connection under test: raw frames, and two connections joined by a pipe."""

from __future__ import annotations

from dataclasses import dataclass

import hpack

from lanecast.core.http2 import frames
from lanecast.core.http2.connection import Connection
from lanecast.core.http2.events import ConnectionFailed, Event, Headers
from lanecast.core.http2.guard import Guard
from lanecast.core.http2.limits import Limits

REQUEST: Headers = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/service/Method"),
    (b"content-type", b"application/grpc"),
]
ANSWER: Headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
TRAILERS: Headers = [(b"grpc-status", b"0")]


@dataclass
class Frame:
    """What was sent."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


def read_frames(data: bytes) -> list[Frame]:
    """Return the frames of `data`, all of which must be whole."""
    found: list[Frame] = []
    data = data.removeprefix(frames.PREFACE)
    while data:
        high, low, kind, flags, stream_id = frames.HEADER.unpack_from(data)
        size = high << 8 | low
        payload = data[9 : 9 + size]
        assert len(payload) == size
        found.append(Frame(kind, flags, stream_id, payload))
        data = data[9 + size :]
    return found


def block(headers: Headers) -> bytes:
    """Return headers as a block that no table is needed for."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return encoder.encode(headers)


def headers(stream_id: int, fields: Headers = REQUEST, flags: int = frames.END_HEADERS) -> bytes:
    """Return a HEADERS frame."""
    return frames.frame(frames.HEADERS, flags, stream_id, block(fields))


def data(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    """Return a DATA frame."""
    return frames.frame(frames.DATA, flags, stream_id, payload)


def message(payload: bytes, *, compressed: int = 0) -> bytes:
    """Return a message with its prefix."""
    return bytes((compressed,)) + len(payload).to_bytes(4, "big") + payload


def server(limits: Limits | None = None, guard: Guard | None = None) -> Connection:
    """Return a server that has been greeted."""
    made = Connection(client=False, limits=limits, guard=guard)
    assert made.receive(frames.PREFACE + frames.settings([]), 0.0) == []
    made.take()
    return made


def client(limits: Limits | None = None, guard: Guard | None = None, **settings: int) -> Connection:
    """Return a client that has been greeted."""
    made = Connection(client=True, limits=limits, guard=guard)
    values = [(getattr(frames, name), value) for name, value in settings.items()]
    assert made.receive(frames.settings(values), 0.0) == []
    made.take()
    return made


def failure(events: list[Event]) -> ConnectionFailed:
    """Return the failure that events end with."""
    assert events
    assert isinstance(events[-1], ConnectionFailed)
    return events[-1]
