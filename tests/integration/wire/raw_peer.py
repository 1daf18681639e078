"""A peer of raw bytes on a real socket."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import hpack

from lanecast.core.http2 import frames

GREETING = frames.PREFACE + frames.settings([])


def request(stream_id: int, path: str, flags: int = frames.END_HEADERS) -> bytes:
    """Return the headers of a call."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    fields = [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]  # fmt: skip
    return frames.frame(frames.HEADERS, flags, stream_id, encoder.encode(fields))


class RawPeer:
    """A client; `async with` connects and closes it."""

    def __init__(self, port: int, hello: bytes = GREETING) -> None:
        self._port = port
        self._hello = hello

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.writer.write(self._hello)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    async def frame(self) -> tuple[int, int, int, bytes]:
        """Return kind, flags, stream and payload of the next frame."""
        high, low, kind, flags, stream_id = frames.HEADER.unpack(await self.reader.readexactly(9))
        return kind, flags, stream_id, await self.reader.readexactly(high << 8 | low)

    async def goaway(self) -> tuple[int, str]:
        """Return code and text of the GOAWAY that comes, passing over everything before it."""
        while True:
            kind, _, _, payload = await self.frame()
            if kind == frames.GOAWAY:
                return frames.read_goaway(payload)[1:]

    async def closed(self) -> None:
        """Return once the server has closed the connection."""
        try:
            while await self.reader.read(65_536):
                pass
        except ConnectionError:
            pass  # with what it had not read still unread
