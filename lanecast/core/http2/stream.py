"""One stream of a connection: its windows, the message it is receiving and what waits to be sent.

Owns the reassembly of gRPC messages (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) from DATA frames.
Used by `connection` only, which owns everything that streams share. Pure.
"""

from __future__ import annotations

from collections import deque

from lanecast.core.http2.events import Headers

PREFIX_BYTES = 5
"""A flag, whether the message is compressed, and its length."""

Message = tuple[bytes, bool]


class TooLargeError(Exception):
    """A message is larger than is taken."""

    def __init__(self, size: int, before: list[Message]) -> None:
        super().__init__(f"a message of {size} bytes")
        self.size = size
        self.before = before
        """The messages that were complete before it."""


class Stream:
    """State of one stream."""

    __slots__ = (
        "begun_there", "discarding", "ended_here", "ended_there", "held", "id", "outgoing", "partial", "receive_window",
        "send_window", "trailers", "window",
    )  # fmt: skip

    def __init__(self, stream_id: int, send_window: int, window: int, *, begun_there: bool) -> None:
        self.id = stream_id
        self.send_window = send_window
        """Bytes that the peer takes now."""
        self.window = self.receive_window = window
        """Bytes that the peer may send: at most, and now."""
        self.held = 0
        """Bytes of whole messages, with prefixes, that the owner has not consumed yet."""
        self.partial = bytearray()
        self.outgoing: deque[memoryview] = deque()
        """What waits for the peer's window."""
        self.trailers: Headers | None = None
        """What ends the stream, after `outgoing`; empty for a client, which ends it without a word."""
        self.begun_there = begun_there
        """True once the peer's headers have come: further ones are trailers."""
        self.ended_here = self.ended_there = False
        self.discarding = False

    def feed(self, data: bytes, max_message_bytes: int) -> list[Message]:
        """Take the payload of a DATA frame; return the messages it completes.

        Raises:
            TooLargeError: a message larger than `max_message_bytes` begins.
        """
        if self.discarding:
            return []
        partial = self.partial
        if not partial and len(data) >= PREFIX_BYTES:
            size = int.from_bytes(data[1:PREFIX_BYTES], "big")
            if size + PREFIX_BYTES == len(data) and size <= max_message_bytes:  # nearly always: a frame is a message
                self.held += len(data)
                return [(data[PREFIX_BYTES:], data[0] != 0)]
        partial += data
        messages: list[Message] = []
        start = 0
        while len(partial) - start >= PREFIX_BYTES:
            size = int.from_bytes(partial[start + 1 : start + PREFIX_BYTES], "big")
            if size > max_message_bytes:
                self.discarding = True
                partial.clear()
                raise TooLargeError(size, messages)
            end = start + PREFIX_BYTES + size
            if end > len(partial):
                break
            messages.append((bytes(partial[start + PREFIX_BYTES : end]), partial[start] != 0))
            # Prefixes count: else a peer could send empty messages for ever, and all of them would wait here.
            self.held += end - start
            start = end
        del partial[:start]
        return messages

    def owed(self) -> int:
        """Return how many bytes the peer can be allowed again, once that is worth a frame; else 0."""
        if self.ended_there:
            return 0
        size = self.window - self.receive_window - self.held
        return size if size * 2 >= self.window else 0
