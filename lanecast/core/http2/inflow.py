"""What a peer may send, and the messages it consists of.

Owns both levels of flow control of the way in (RFC 9113, sections 5.2 and 6.9). The connection's window opens again as
bytes come, a stream's as its messages are taken: a reader that stands still stops its own stream and no other. Used by
`connection`. Pure.
"""

from __future__ import annotations

from lanecast.core.http2 import frames
from lanecast.core.http2.events import Event, MessageReceived, MessageTooLarge
from lanecast.core.http2.frames import ErrorCode, Http2Error
from lanecast.core.http2.limits import Limits
from lanecast.core.http2.outflow import Outflow
from lanecast.core.http2.stream import PREFIX_BYTES, Stream, TooLargeError


class Inflow:
    """The way in of a connection."""

    __slots__ = ("_max_message_bytes", "_outflow", "_window", "_window_bytes")

    def __init__(self, limits: Limits, outflow: Outflow) -> None:
        self._max_message_bytes = limits.max_message_bytes
        self._window = self._window_bytes = limits.connection_window_bytes
        self._outflow = outflow
        if self._window > frames.DEFAULT_WINDOW:
            outflow.add(frames.window_update(0, self._window - frames.DEFAULT_WINDOW))

    def count(self, stream: Stream | None, size: int) -> None:
        """Count the payload of a DATA frame; None where nobody knows its stream any more.

        Raises:
            Http2Error: a window does not allow it.
        """
        left = self._window - size
        if left < 0:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window allows")
        if left * 2 <= self._window_bytes:
            self._outflow.add(frames.window_update(0, self._window_bytes - left))
            left = self._window_bytes
        self._window = left
        if stream is None:
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window allows")

    def messages(self, stream: Stream, data: bytes) -> list[Event]:
        """Take data of a stream; return what it completes."""
        too_large = 0
        try:
            messages = stream.feed(data, self._max_message_bytes)
        except TooLargeError as error:
            messages, too_large = error.before, error.size
        events: list[Event] = [MessageReceived(stream.id, message, compressed) for message, compressed in messages]
        if too_large:
            events.append(MessageTooLarge(stream.id, too_large))
        return events

    def consumed(self, stream: Stream, size: int) -> None:
        """Know that a message of `size` bytes was taken."""
        stream.held -= size + PREFIX_BYTES
        self.grant(stream)

    def grant(self, stream: Stream) -> None:
        """Open the window of a stream again, as far as that is worth a frame."""
        more = stream.owed()
        if more:
            stream.receive_window += more
            self._outflow.add(frames.window_update(stream.id, more))
