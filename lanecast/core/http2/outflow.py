"""What a connection sends: frames that wait to be taken, and messages that wait for the peer's windows.

Owns both levels of flow control of the way out (RFC 9113, sections 5.2 and 6.9) and the order in which streams that
wait go on. Used by `connection`, which decides what is sent and what a change of a window means. Pure.
"""

from __future__ import annotations

from lanecast.core.http2 import frames
from lanecast.core.http2.frames import ErrorCode, Http2Error
from lanecast.core.http2.stream import PREFIX_BYTES, Stream

_MAX_FREE_UPDATES = 10_000
"""Window updates that may be saved up by sending."""


class Outflow:
    """The way out of a connection."""

    __slots__ = ("_blocked", "_free_updates", "_out", "_window", "frame_bytes", "initial_window", "late_bytes")

    def __init__(self) -> None:
        self.initial_window = frames.DEFAULT_WINDOW
        """What the peer takes on a new stream, in bytes."""
        self.frame_bytes = frames.MIN_FRAME_BYTES
        """The largest payload the peer takes."""
        self.late_bytes = 0
        """Bytes of messages, since the beginning, that had to wait for a window."""
        self._out: list[bytes | memoryview] = []
        self._window = frames.DEFAULT_WINDOW
        self._blocked: dict[int, Stream] = {}
        self._free_updates = 0

    @property
    def blocked(self) -> int:
        """Streams that wait for a window."""
        return len(self._blocked)

    def take(self) -> bytes:
        """Return what is to be sent."""
        out = self._out
        count = len(out)
        if not count:
            return b""
        # A window may be widened for its stream and for the connection by each frame.
        self._free_updates = min(self._free_updates + 2 * count, _MAX_FREE_UPDATES)
        data = b"".join(out)
        out.clear()
        return data

    def add(self, frame: bytes) -> None:
        """Send a frame that no window holds back."""
        self._out.append(frame)

    def send(self, stream: Stream, data: bytes) -> bool:
        """Send a message. False where some of it waits for a window."""
        size = len(data) + PREFIX_BYTES
        if (
            not stream.outgoing
            and size <= stream.send_window
            and size <= self._window
            and size <= self.frame_bytes
        ):  # fmt: skip
            self._out += (frames.message_start(stream.id, size - PREFIX_BYTES), data)
            stream.send_window -= size
            self._window -= size
            return True
        stream.outgoing.append(memoryview(b"\0" + (size - PREFIX_BYTES).to_bytes(4, "big") + data))
        return self._flush(stream)

    def forget(self, stream: Stream) -> None:
        """Send nothing more of what waits on a stream."""
        self._blocked.pop(stream.id, None)

    def widen(self, stream: Stream, more: int) -> bool:
        """Let a stream send so much more, or less; say whether it waited and waits no longer.

        Raises:
            Http2Error: the window would be larger than any may be.
        """
        stream.send_window += more
        if stream.send_window > frames.MAX_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is too large")
        return stream.id in self._blocked and self._flush(stream)

    def widen_all(self, more: int) -> list[Stream]:
        """Let the connection send so much more; return the streams that wait no longer, longest wait first.

        Raises:
            Http2Error: the window would be larger than any may be.
        """
        self._window += more
        if self._window > frames.MAX_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is too large")
        gone: list[Stream] = []
        for stream in list(self._blocked.values()):
            if self._window <= 0:
                break
            if stream.send_window > 0 and self._flush(stream):
                gone.append(stream)
        return gone

    def update_is_free(self) -> bool:
        """Say whether what was sent accounts for one more window update; the others ask for work for nothing."""
        if self._free_updates <= 0:
            return False
        self._free_updates -= 1
        return True

    def _flush(self, stream: Stream) -> bool:
        """Send what waits on a stream as far as the windows reach; say whether all of it went."""
        outgoing = stream.outgoing
        while outgoing:
            room = min(stream.send_window, self._window, self.frame_bytes)
            if room <= 0:
                self._blocked[stream.id] = stream
                return False
            chunk = outgoing[0]
            if len(chunk) > room:
                outgoing[0] = chunk[room:]  # a view: nothing is copied
                chunk = chunk[:room]
            else:
                outgoing.popleft()
            size = len(chunk)
            self._out += (frames.header(frames.DATA, 0, stream.id, size), chunk)
            stream.send_window -= size
            self._window -= size
            self.late_bytes += size
        self._blocked.pop(stream.id, None)
        return True
