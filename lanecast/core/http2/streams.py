"""The streams of a connection: which are open, which were, and which may be opened (RFC 9113, section 5.1).

Owns numbers and membership. Of streams that are over nothing is kept but that they were. Used by `connection`. Pure.
"""

from __future__ import annotations

from lanecast.core.http2 import frames
from lanecast.core.http2.frames import ErrorCode, Http2Error
from lanecast.core.http2.outflow import Outflow
from lanecast.core.http2.stream import Stream


class Streams:
    """All of them are opened by the client, with odd numbers that grow."""

    __slots__ = ("_next_id", "_outflow", "_window_bytes", "newest_id", "open", "peer_max", "served_id")

    def __init__(self, outflow: Outflow, window_bytes: int) -> None:
        self.open: dict[int, Stream] = {}
        self.newest_id = 0
        """The newest the client has opened, also of those that are not served."""
        self.served_id = 0
        """The newest that was taken, for a server to say so as it goes away."""
        self.peer_max = frames.MAX_WINDOW
        """How many may be open at a time, as the server has it."""
        self._next_id = 1
        self._outflow = outflow
        self._window_bytes = window_bytes

    @property
    def has_room(self) -> bool:
        """True where a client may open another."""
        return len(self.open) < self.peer_max and self._next_id <= frames.MAX_WINDOW

    def begin(self) -> Stream:
        """Open one, as a client."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self.newest_id = stream_id
        return self._add(stream_id, begun_there=False)

    def accept(self, stream_id: int) -> Stream:
        """Take one that the client has opened."""
        return self._add(stream_id, begun_there=True)

    def drop(self, stream_id: int) -> bool:
        """Forget one and what waits on it; say whether it was open."""
        stream = self.open.pop(stream_id, None)
        if stream is None:
            return False
        self._outflow.forget(stream)
        return True

    def drop_if_over(self, stream: Stream) -> None:
        """Forget one that both ends have ended."""
        if stream.ended_here and stream.ended_there:
            self.open.pop(stream.id, None)

    def check_known(self, stream_id: int) -> None:
        """Refuse to hear of one that was never opened.

        Raises:
            Http2Error: it was not.
        """
        if not stream_id % 2 or stream_id > self.newest_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} was never opened")

    def _add(self, stream_id: int, *, begun_there: bool) -> Stream:
        stream = Stream(stream_id, self._outflow.initial_window, self._window_bytes, begun_there=begun_there)
        self.open[stream_id] = stream
        return stream
