"""What one peer of a connection may use. Read by `connection` and by the shells that own sockets and calls."""

from __future__ import annotations

from dataclasses import dataclass

from lanecast.core.http2 import frames


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may use."""

    max_message_bytes: int = 4 * 1024 * 1024
    """Largest gRPC message that is taken."""
    stream_window_bytes: int = 256 * 1024
    """Bytes of a stream that may wait for its reader."""
    connection_window_bytes: int = 4 * 1024 * 1024
    """Bytes on the way for all streams."""
    max_frame_bytes: int = 64 * 1024
    """Largest payload of a frame that is taken; most messages fit into one."""
    max_header_bytes: int = 16 * 1024
    """Headers of a call, uncompressed."""
    max_streams: int = 128
    """Calls that a client may have open on a connection."""

    def __post_init__(self) -> None:
        for window in (self.stream_window_bytes, self.connection_window_bytes):
            # A peer may send so much before it has read our settings, and be right.
            if not frames.DEFAULT_WINDOW <= window <= frames.MAX_WINDOW:
                raise ValueError(f"a window of {window} bytes: use {frames.DEFAULT_WINDOW} to {frames.MAX_WINDOW}")
        if not frames.MIN_FRAME_BYTES <= self.max_frame_bytes <= frames.MAX_FRAME_BYTES:
            raise ValueError(
                f"frames of {self.max_frame_bytes} bytes: use {frames.MIN_FRAME_BYTES} to {frames.MAX_FRAME_BYTES}"
            )
