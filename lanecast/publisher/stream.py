"""One publishing stream: a gRPC call and its channel.

Owns opening, reading, writing and closing of a single `PublishEventStream`, and turns gRPC's errors into Lanecast's.
Called by the client, which decides what to write; knows nothing of events.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import grpc

from lanecast.errors import StatusError, UnavailableError
from lanecast.runtime import status
from lanecast.runtime.tls import TlsConfig
from lanecast.transport import open_channel
from lanecast.v1.publisher_pb2 import (
    PublishClose,
    PublishEventStreamRequest,
    PublishEventStreamResponse,
    PublishOpen,
    PublishOpened,
)

_METHOD = "/lanecast.v1.PublisherService/PublishEventStream"
_CLOSE = PublishEventStreamRequest(close=PublishClose()).SerializeToString()


class PublishStream:
    """Use: `async with PublishStream(target) as stream`, then `open`, then `read` and `write`."""

    def __init__(self, target: str, own: TlsConfig | None = None) -> None:
        self.target = target
        self.channel = open_channel(target, own)
        self._call: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()
        await self.channel.close()

    async def open(self, source: str, timeout_seconds: float, token: str = "") -> PublishOpened:
        """Open the stream, with a bearer token where there is one.

        Raises:
            UnavailableError: there is no answer in time, or nobody is there.
            StatusError: the service refuses.
        """
        metadata = (("authorization", f"Bearer {token}"),) if token else None
        self._call = self.channel.stream_stream(_METHOD)(metadata=metadata)
        request = PublishEventStreamRequest(open=PublishOpen(source=source, reads_offsets=True))
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.write(request.SerializeToString())
                response = await self.read()
        except TimeoutError:
            raise UnavailableError(f"{self.target} did not answer within {timeout_seconds:g} s") from None
        if response is None or response.WhichOneof("response") != "opened":
            raise StatusError(status.INTERNAL, "PROTOCOL", f"{self.target} did not answer `open`")
        return response.opened

    async def write(self, message: bytes) -> None:
        """Hand a message to the transport; waits while the transport takes no more.

        Raises:
            LanecastError: the stream has ended.
        """
        try:
            await self._call.write(message)
        except asyncio.InvalidStateError:
            raise await self._ended() from None
        except grpc.RpcError as error:
            raise status.from_rpc_error(error) from error

    async def read(self) -> PublishEventStreamResponse | None:
        """Return the next message, or None where the service has ended the stream.

        Raises:
            LanecastError: the stream has failed.
        """
        try:
            data = await self._call.read()
        except grpc.RpcError as error:
            raise status.from_rpc_error(error) from error
        return None if data is grpc.aio.EOF else PublishEventStreamResponse.FromString(data)

    async def finish(self) -> None:
        """Say that nothing more will be published; the service answers with `closed`."""
        await self.write(_CLOSE)

    async def _ended(self) -> Exception:
        try:
            await self._call.read()  # the call is done: this raises its status where that is an error
        except grpc.RpcError as error:
            return status.from_rpc_error(error)
        code = await self._call.code()
        return UnavailableError(f"{self.target} ended the stream with {code.name}")
