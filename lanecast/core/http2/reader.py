"""From bytes to frames: the preface, the first SETTINGS, sizes, and what of a frame has not come yet.

Owns the bytes of a frame that is not complete, which are at most one frame. Used by `connection`, which knows what
frames mean. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from lanecast.core.http2 import frames
from lanecast.core.http2.frames import ErrorCode, Http2Error


class FrameReader:
    """Takes bytes as they come and calls `on_frame` with kind, flags, stream and payload of each whole frame."""

    __slots__ = ("_greeted", "_largest", "_on_frame", "_rest", "settled")

    def __init__(self, largest: int, on_frame: Callable[[int, int, int, bytes], None], *, preface: bool) -> None:
        self.settled = False
        """True once the peer has shown that it speaks HTTP/2; whoever takes its first settings says so."""
        self._largest = largest
        self._on_frame = on_frame
        self._greeted = not preface
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take bytes.

        Raises:
            Http2Error: they are no HTTP/2, or a frame is too large.
        """
        buffer = self._rest + data if self._rest else data
        used = 0 if self._greeted else self._greet(buffer)
        if self._greeted:
            used = self._parse(buffer, used)
        self._rest = buffer[used:] if used < len(buffer) else b""

    def _greet(self, data: bytes) -> int:
        if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "this is a gRPC service: speak HTTP/2")
        if len(data) < len(frames.PREFACE):
            return 0
        self._greeted = True
        return len(frames.PREFACE)

    def _parse(self, data: bytes, start: int) -> int:
        """Handle the whole frames of `data` from `start` on; return where the rest begins."""
        unpack = frames.HEADER.unpack_from
        largest = self._largest
        end = len(data)
        while end - start >= frames.HEADER_BYTES:
            high, low, kind, flags, stream_id = unpack(data, start)
            size = high << 8 | low
            if size > largest or not self.settled:
                self._check(size, kind, flags)
            stop = start + frames.HEADER_BYTES + size
            if stop > end:
                break
            self._on_frame(kind, flags, stream_id & frames.MAX_WINDOW, data[start + frames.HEADER_BYTES : stop])
            start = stop
        return start

    def _check(self, size: int, kind: int, flags: int) -> None:
        """Judge a frame by its header, before its payload has come."""
        if not self.settled and (kind != frames.SETTINGS or flags & frames.ACK):
            # Of another protocol, most likely: the header is letters of some greeting.
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "it does not speak HTTP/2: the first frame must be SETTINGS")
        if size > self._largest:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes: send at most {self._largest}")
