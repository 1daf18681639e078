"""A service for tests of the transport, without a contract: messages are bytes. It runs on either engine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from lanecast.core.http2.limits import Limits
from lanecast.errors import StatusError
from lanecast.runtime import status
from lanecast.runtime.channels import CHANNEL_OPTIONS
from lanecast.runtime.grpc_server import SERVER_OPTIONS
from lanecast.runtime.wire.channel import WireChannel
from lanecast.runtime.wire.protocol import Patience
from lanecast.runtime.wire.server import WireServer

PATH = "/wire.Test/"
SHORT = Patience(connect_seconds=0.3, handshake_seconds=0.3, keepalive_seconds=0.15)
"""For tests of silence; a test that is not about it must not be cut off by it."""


class Service:
    """What its calls have seen."""

    def __init__(self) -> None:
        self.metadata: tuple[Any, ...] = ()
        self.remaining: float | None = None
        self.running = 0
        """Calls of `Hold` and `Flood` that have not ended."""
        self.cancelled = asyncio.Event()
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()
        self.written = 0
        """Messages that `Flood` has written."""
        self.received = 0
        """Messages that `Bidi` has read."""

    def handlers(self) -> grpc.GenericRpcHandler:
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Crash": grpc.unary_unary_rpc_method_handler(self.crash),
            "Hold": grpc.unary_unary_rpc_method_handler(self.hold),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Flood": grpc.unary_stream_rpc_method_handler(self.flood),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
            "Deaf": grpc.stream_stream_rpc_method_handler(self.deaf),
            "Early": grpc.stream_stream_rpc_method_handler(self.early),
        }
        return grpc.method_handlers_generic_handler("wire.Test", methods)

    async def unary(self, request: bytes, context: Any) -> bytes:
        self.metadata = tuple((key, value) for key, value in context.invocation_metadata())
        self.remaining = context.time_remaining()
        await context.send_initial_metadata((("began", "yes"),))
        context.set_trailing_metadata((("seen-bin", b"\0\xfe"), ("seen", "yes")))
        return request

    async def fail(self, request: bytes, context: Any) -> bytes:
        await status.abort(
            context, StatusError(status.RESOURCE_EXHAUSTED, "RATE_LIMITED", "naïve: 100 %", retry_delay_seconds=2.5)
        )
        raise AssertionError

    async def crash(self, request: bytes, context: Any) -> bytes:
        raise KeyError(request)

    async def hold(self, request: bytes, context: Any) -> bytes:
        self.running += 1
        self.begun.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1
        return request

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def flood(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self.running += 1
        try:
            while True:
                yield bytes(int(request))
                self.written += 1
        finally:
            self.running -= 1
            self.cancelled.set()

    async def bidi(self, requests: AsyncIterator[bytes], context: Any) -> None:
        self.begun.set()
        try:
            async for request in requests:
                self.received += 1
                await context.write(request)
        finally:  # in grpc.aio a call that is cancelled may look like one whose requests have ended
            self.cancelled.set()

    async def deaf(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Reads nothing until it may."""
        await context.send_initial_metadata(())
        await self.let_go.wait()
        async for request in requests:
            self.received += len(request)
        await context.write(str(self.received).encode())

    async def early(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Ends the call while its client would still write."""
        async for request in requests:
            await context.write(request)
            return


@asynccontextmanager
async def serving(
    engine: str,
    service: Service,
    *,
    context: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    patience: Patience | None = None,
) -> AsyncIterator[tuple[Any, int]]:
    """Serve on one engine; yield the server and its port."""
    server: Any
    if engine == "wire":
        server = WireServer(limits, patience)
        server.add_generic_rpc_handlers((service.handlers(),))
        port = await server.listen("127.0.0.1", 0, context)
    else:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((service.handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
    try:
        yield server, port
    finally:
        await server.stop(0)


def calling(engine: str, port: int, **options: Any) -> Any:
    """Return a channel of one engine."""
    if engine == "wire":
        return WireChannel(f"127.0.0.1:{port}", **options)
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS, **options)
