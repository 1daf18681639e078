"""What a connection has to say to its owner; see `connection.Connection.receive`."""

from __future__ import annotations

from dataclasses import dataclass

from lanecast.core.http2.frames import ErrorCode

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True, frozen=True)
class HeadersReceived:
    """The headers of a request or of an answer have come. `ended` where nothing follows on the stream."""

    stream_id: int
    headers: Headers
    ended: bool


@dataclass(slots=True, frozen=True)
class MessageReceived:
    """A whole gRPC message has come. Say `consumed` once it was taken, or the stream stops."""

    stream_id: int
    data: bytes
    compressed: bool


@dataclass(slots=True, frozen=True)
class MessageTooLarge:
    """A message of `size` bytes begins, which is more than is taken. The rest of the stream is thrown away."""

    stream_id: int
    size: int


@dataclass(slots=True, frozen=True)
class Ended:
    """Nothing more comes on the stream. `truncated` where it ended within a message; `trailers` where there are any."""

    stream_id: int
    truncated: bool
    trailers: Headers | None = None


@dataclass(slots=True, frozen=True)
class StreamReset:
    """The stream is gone: the peer has reset it, will not serve it, or has broken a rule on it."""

    stream_id: int
    code: int


@dataclass(slots=True, frozen=True)
class Writable:
    """What waited for the peer's window has gone: the stream takes more."""

    stream_id: int


@dataclass(slots=True, frozen=True)
class Pong:
    """The peer has answered a ping."""


@dataclass(slots=True, frozen=True)
class GoingAway:
    """The peer takes no more streams, and will not answer those above `last_id`."""

    last_id: int
    code: int
    text: str


@dataclass(slots=True, frozen=True)
class ConnectionFailed:
    """The peer broke a rule. What is to be sent says so; close the connection after that."""

    code: ErrorCode
    text: str


Event = (
    HeadersReceived
    | MessageReceived
    | MessageTooLarge
    | Ended
    | StreamReset
    | Writable
    | Pong
    | GoingAway
    | ConnectionFailed
)
