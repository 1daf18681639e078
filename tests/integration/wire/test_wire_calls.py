"""Calls between the two engines in every combination: what goes over one goes over the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from wire_service import PATH, Service, calling, serving

from lanecast.runtime import status

ENGINES = [("wire", "grpcio"), ("grpcio", "wire"), ("wire", "wire")]
pytestmark = pytest.mark.parametrize("engines", ENGINES, ids=lambda pair: f"{pair[1]}-to-{pair[0]}")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def channel(engines: tuple[str, str], service: Service) -> AsyncIterator[Any]:
    async with serving(engines[0], service) as (_, port), calling(engines[1], port) as opened:
        yield opened


async def test_a_unary_call_with_metadata(channel: Any, service: Service) -> None:
    metadata = (("x-text", "a b"), ("x-raw-bin", bytes(range(256))), ("x-text", "again"))
    answer = await channel.unary_unary(PATH + "Unary")(b"question", metadata=metadata, timeout=20)
    assert answer == b"question"
    assert sorted(pair for pair in service.metadata if pair[0].startswith("x-")) == sorted(metadata)
    assert service.remaining is not None
    assert 0 < service.remaining < 21  # grpcio rounds up


async def test_empty_and_large_messages(channel: Any, engines: tuple[str, str]) -> None:
    call = channel.unary_unary(PATH + "Unary")
    assert await call(b"") == b""
    large = bytes(range(256)) * (4 * 1024 * 4 - 1)  # 4 MiB less a little
    assert await call(large) == large


async def test_a_message_beyond_the_limit_is_refused_either_way(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(PATH + "Unary")(bytes(4 * 1024 * 1024 + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    call = channel.unary_stream(PATH + "Flood")(b"%d" % (5 * 1024 * 1024))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_stream_of_answers(channel: Any) -> None:
    found = [int(each) async for each in channel.unary_stream(PATH + "Count")(b"1000")]
    assert found == list(range(1_000))
    assert [each async for each in channel.unary_stream(PATH + "Count")(b"0")] == []


async def test_both_ways_at_once(channel: Any) -> None:
    call = channel.stream_stream(PATH + "Bidi")()

    async def write() -> None:
        for number in range(300):
            await call.write(bytes((number % 256,)) * (number * 50))
        await call.done_writing()

    writer = asyncio.create_task(write())
    for number in range(300):
        assert await call.read() == bytes((number % 256,)) * (number * 50)
    assert await call.read() is grpc.aio.EOF
    await writer
    assert await call.code() is grpc.StatusCode.OK


async def test_many_calls_at_once(channel: Any) -> None:
    call = channel.unary_unary(PATH + "Unary")
    answers = await asyncio.gather(*[call(b"%d" % number) for number in range(100)])
    assert answers == [b"%d" % number for number in range(100)]


async def test_a_status_with_details(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(PATH + "Fail")(b"")
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == "naïve: 100 %"
    found = rpc_status.from_call(caught.value)
    assert found is not None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert found.details[0].Unpack(info)
    assert found.details[1].Unpack(retry)
    assert info.reason == "RATE_LIMITED"
    error = status.from_rpc_error(caught.value)
    assert getattr(error, "retry_delay_seconds", None) == 2.5


async def test_an_unknown_method(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/wire.Test/" + "Nothing" * 500)(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_handler_that_fails_says_nothing_of_its_inside(channel: Any, engines: tuple[str, str]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(PATH + "Crash")(b"secret")
    if engines[0] == "wire":
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in (caught.value.details() or "")


async def test_a_deadline_ends_the_call_on_both_sides(channel: Any, service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(PATH + "Hold")(b"", timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await service.cancelled.wait()
    assert service.running == 0


async def test_a_deadline_ends_a_stream(channel: Any, service: Service) -> None:
    call = channel.stream_stream(PATH + "Bidi")(timeout=0.2)
    await call.write(b"x")
    assert await call.read() == b"x"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await service.cancelled.wait()


async def test_a_client_that_cancels_ends_the_handler(channel: Any, service: Service) -> None:
    call = channel.stream_stream(PATH + "Bidi")()
    await call.write(b"x")
    assert await call.read() == b"x"
    assert call.cancel()
    await service.cancelled.wait()
    assert not call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_a_caller_that_is_cancelled_ends_the_call(channel: Any, service: Service) -> None:
    async def ask() -> None:
        await channel.unary_unary(PATH + "Hold")(b"")

    task = asyncio.create_task(ask())
    await service.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await service.cancelled.wait()


async def test_a_channel_that_closes_ends_its_calls(channel: Any, service: Service) -> None:
    call = channel.stream_stream(PATH + "Bidi")()
    await call.write(b"x")
    assert await call.read() == b"x"
    await channel.close()
    await service.cancelled.wait()
    assert call.done()


async def test_a_service_may_end_a_call_while_its_client_writes(channel: Any) -> None:
    for _ in range(3):
        call = channel.stream_stream(PATH + "Early")()
        await call.write(b"x")
        assert await call.read() == b"x"
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"more")


async def test_a_reader_that_stands_still_stops_the_writer(channel: Any, service: Service, engines: Any) -> None:
    call = channel.unary_stream(PATH + "Flood")(b"10000")
    answers = call.__aiter__()
    assert len(await anext(answers)) == 10_000
    other = channel.unary_unary(PATH + "Unary")
    before = -1
    while before != service.written:  # until it stands still
        before = service.written
        for _ in range(20):
            assert await other(b"meanwhile") == b"meanwhile"
    if engines == ("wire", "wire"):
        assert service.written * 10_000 < 2 * 256 * 1024 + 64 * 1024
    assert service.written * 10_000 < 20 * 1024 * 1024
    for _ in range(service.written + 10):
        await anext(answers)
    assert service.written * 10_000 > before
    call.cancel()
    await service.cancelled.wait()


async def test_a_service_that_stands_still_stops_the_writer(channel: Any, service: Service) -> None:
    call = channel.stream_stream(PATH + "Deaf")()
    sent = 0
    blocked: asyncio.Task[None] | None = None
    while blocked is None:
        writing = asyncio.create_task(call.write(bytes(50_000)))
        for _ in range(20):
            await channel.unary_unary(PATH + "Unary")(b"")
            if writing.done():
                break
        else:
            blocked = writing
        sent += 50_000
        assert sent < 20 * 1024 * 1024
    service.let_go.set()
    await blocked
    await call.done_writing()
    assert await call.read() == b"%d" % sent
    assert await call.read() is grpc.aio.EOF
