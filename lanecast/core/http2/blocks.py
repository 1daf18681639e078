"""Header blocks: how lists of fields become frames and come out of them again (RFC 9113, section 4.3, and RFC 7541).

Owns both HPACK tables of a connection and the block that is being received. A block is decoded even where nobody wants
its fields any more, since the tables must stay the peer's. Used by `connection`. HPACK is `hpack`'s. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

import hpack

from lanecast.core.http2 import frames
from lanecast.core.http2.events import Headers
from lanecast.core.http2.frames import ErrorCode, Http2Error

_TABLE_BYTES = 4_096
"""What either end keeps of fields that were sent before: HTTP/2's default."""
_PRIORITY_BYTES = 5


class HeaderBlocks:
    """The blocks of a connection, of both directions."""

    __slots__ = ("_block", "_decoder", "_encoder", "_ended", "_max_bytes", "pending")

    def __init__(self, max_bytes: int) -> None:
        self.pending = 0
        """The stream whose block is not complete: the next frame must go on with it. 0: none."""
        self._max_bytes = max_bytes
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder(max_header_list_size=max_bytes)
        self._block = bytearray()
        self._ended = False

    def begin(self, flags: int, stream_id: int, payload: bytes) -> tuple[Headers, bool] | None:
        """Take a HEADERS frame without its padding; return fields and whether they end the stream, once complete.

        Raises:
            Http2Error: the block breaks a rule. The tables are of no use after that.
        """
        if flags & frames.WITH_PRIORITY:
            if len(payload) < _PRIORITY_BYTES:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a frame has no room for its priority")
            payload = payload[_PRIORITY_BYTES:]
        self._ended = bool(flags & frames.END_STREAM)
        return self._collect(flags, stream_id, payload)

    def go_on(self, flags: int, stream_id: int, payload: bytes) -> tuple[Headers, bool] | None:
        """Take a CONTINUATION frame; see `begin`."""
        if not self.pending:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a continuation of nothing")
        return self._collect(flags, stream_id, payload)

    def write(self, stream_id: int, headers: Headers, flags: int, largest: int) -> Iterator[bytes]:
        """Yield the frames of a list of fields, with payloads of at most `largest` bytes."""
        block = self._encoder.encode(headers)
        kind = frames.HEADERS
        while len(block) > largest:
            yield frames.frame(kind, flags, stream_id, block[:largest])
            block, kind, flags = block[largest:], frames.CONTINUATION, 0
        yield frames.frame(kind, flags | frames.END_HEADERS, stream_id, block)

    def limit_table(self, size: int) -> None:
        """Heed how large a table the peer keeps for us."""
        self._encoder.header_table_size = min(size, _TABLE_BYTES)

    def _collect(self, flags: int, stream_id: int, payload: bytes) -> tuple[Headers, bool] | None:
        block = self._block
        block += payload
        if len(block) > self._max_bytes:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too long")
        if not flags & frames.END_HEADERS:
            self.pending = stream_id
            return None
        self.pending = 0
        data = bytes(block)
        block.clear()
        try:
            return [(name, value) for name, value in self._decoder.decode(data, raw=True)], self._ended
        except hpack.OversizedHeaderListError as error:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too long") from error
        except hpack.HPACKError as error:
            raise Http2Error(ErrorCode.COMPRESSION_ERROR, "the headers cannot be read") from error
