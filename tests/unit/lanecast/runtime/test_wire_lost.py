"""A channel whose service went away can be closed, on either event loop: whoever left it goes on to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import pytest
import uvloop

from lanecast.runtime.wire.channel import WireChannel

SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""The frame with which a service shows that it speaks HTTP/2."""


async def leave_one_that_is_gone() -> None:
    async def greet_and_go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(SETTINGS)
        await writer.drain()
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(greet_and_go, "127.0.0.1", 0) as server:
        channel = WireChannel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        call = channel.stream_stream("/lanecast.v1.PublisherService/StreamEvents")()
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        await channel.close()


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_channel_whose_service_is_gone_can_be_closed(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(leave_one_that_is_gone())
