"""What the ends of a connection tell each other about themselves (RFC 9113, section 6.5).

Owns which settings are sent and which values may be received. Used by `connection`, which heeds them. Pure.
"""

from __future__ import annotations

from lanecast.core.http2 import frames
from lanecast.core.http2.frames import ErrorCode, Http2Error
from lanecast.core.http2.limits import Limits


def ours(limits: Limits, *, client: bool) -> bytes:
    """Return the SETTINGS frame of one end."""
    values = [
        (frames.INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
        (frames.FRAME_SIZE, limits.max_frame_bytes),
        (frames.MAX_HEADER_LIST_SIZE, limits.max_header_bytes),
        (frames.ENABLE_PUSH, 0) if client else (frames.MAX_CONCURRENT_STREAMS, limits.max_streams),
    ]
    return frames.settings(values)


def read(payload: bytes, *, of_client: bool) -> dict[int, int]:
    """Return what the peer sets in the end: ten thousand changes of a window in one frame cost as much as one.

    Raises:
        Http2Error: a value is out of its range.
    """
    if len(payload) % 6:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "settings have 6 bytes each")
    values = dict(frames.read_settings(payload))
    if values.get(frames.INITIAL_WINDOW_SIZE, 0) > frames.MAX_WINDOW:
        raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the initial window is too large")
    frame_bytes = values.get(frames.FRAME_SIZE, frames.MIN_FRAME_BYTES)
    if not frames.MIN_FRAME_BYTES <= frame_bytes <= frames.MAX_FRAME_BYTES:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the frame size is out of range")
    if values.get(frames.ENABLE_PUSH, 0) > of_client:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0, or 1 from a client")
    return values
