"""A standing stream against gRPC servers that come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from lanecast.runtime.standing import StandingStream

METHOD = "/tests.Numbers/Count"


class Numbers:
    """A service that numbers what it is sent, and ends a stream when told to."""

    def __init__(self) -> None:
        self.opened = 0
        self.cancelled = asyncio.Event()
        self.end_after = 0

    async def count(self, requests: AsyncIterator[StringValue], _context: Any) -> AsyncIterator[Int64Value]:
        self.opened += 1
        number = 0
        try:
            async for _ in requests:
                number += 1
                yield Int64Value(value=number)
                if number == self.end_after:
                    return
        finally:
            if number != self.end_after:
                self.cancelled.set()

    async def serve(self, port: int = 0) -> tuple[grpc.aio.Server, int]:
        handler = grpc.stream_stream_rpc_method_handler(
            self.count, StringValue.FromString, Int64Value.SerializeToString
        )
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tests.Numbers", {"Count": handler})])
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        return server, port


class Caller:
    """Writes a word for each number that comes."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._changed = asyncio.Condition()

    async def serve(self, method: Any, alive: Callable[[], None]) -> None:
        call = method()
        try:
            await call.write(StringValue(value="first"))
            while (number := await call.read()) is not grpc.aio.EOF:
                alive()
                async with self._changed:
                    self.numbers.append(number.value)
                    self._changed.notify_all()
                await call.write(StringValue(value="again"))
        finally:
            call.cancel()

    async def until(self, condition: Callable[[list[int]], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self.numbers))


def standing(port: int, caller: Caller) -> StandingStream:
    return StandingStream(f"127.0.0.1:{port}", METHOD, StringValue, Int64Value, caller.serve, lost="nobody can count")


async def test_a_stream_that_ends_is_opened_again_and_closing_cancels_it() -> None:
    numbers, caller = Numbers(), Caller()
    numbers.end_after = 3
    server, port = await numbers.serve()
    stream = standing(port, caller)
    stream.start()
    await caller.until(lambda seen: seen[:6] == [1, 2, 3, 1, 2, 3])
    numbers.end_after = -1
    await caller.until(lambda seen: max(seen) > 3)
    await stream.close()
    await numbers.cancelled.wait()
    await stream.close()
    assert numbers.opened >= 3
    await server.stop(None)


async def test_an_outage_is_told_once_and_a_server_that_is_back_is_found(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    numbers, caller = Numbers(), Caller()
    server, port = await numbers.serve()
    stream = standing(port, caller)
    stream.start()
    for outage in (1, 2):
        await caller.until(lambda seen: len(seen) >= 2)
        await server.stop(None)
        while len(caplog.messages) < outage:
            await asyncio.sleep(0.01)
        for _ in range(3):  # further tries say nothing
            await asyncio.sleep(0.01)
        caller.numbers.clear()
        server, _ = await numbers.serve(port)
    await caller.until(lambda seen: len(seen) >= 2)
    await stream.close()
    await server.stop(None)
    told = [message for message in caplog.messages if message.startswith("nobody can count")]
    assert len(told) == 2
    assert f"no stream to the metrics service at 127.0.0.1:{port}" in told[0]


async def test_closing_before_the_start_is_harmless() -> None:
    stream = standing(1, Caller())
    await stream.close()
    await stream.close()
