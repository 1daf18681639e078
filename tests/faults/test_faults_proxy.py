"""The proxy carries bytes as they are, unless told otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from faults.proxy import DOWN, UP, Proxy


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that answers with what it is sent."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    made = Proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", Random(1))
    await made.start()
    yield made
    await made.close()
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = proxy.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_bytes_pass_both_ways_and_so_does_the_end(proxy: Proxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"hello" * 10_000)
        writer.write_eof()
        assert await reader.read(-1) == b"hello" * 10_000


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_what_a_partition_holds_back_comes_when_it_heals(proxy: Proxy, direction: str) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        proxy.hold(direction)
        writer.write(b"meanwhile")
        answer = asyncio.create_task(reader.readexactly(9))
        done, _ = await asyncio.wait([answer], timeout=0.05)
        assert not done
        proxy.heal()
        assert await answer == b"meanwhile"


async def test_a_cut_resets_connections_and_lets_new_ones_in(proxy: Proxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
    async with connected(proxy) as (reader, writer):
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
    assert proxy.accepted == 2


async def test_an_orphaned_connection_stays_open_and_silent(proxy: Proxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.orphan()
        writer.write(b"y")
        answer = asyncio.create_task(reader.read(1))
        done, _ = await asyncio.wait([answer], timeout=0.05)
        assert not done
        answer.cancel()


async def test_bits_flip_about_as_often_as_asked_and_the_same_by_the_same_seed() -> None:
    def flipped(seed: int) -> list[int]:
        proxy = Proxy("127.0.0.1:1", Random(seed))
        proxy.weather.flip_every_bytes = 1_000
        damaged = b"".join(proxy.damage(bytes(777)) for _ in range(200))
        return [at for at, byte in enumerate(damaged) if byte]

    once, again, other = flipped(5), flipped(5), flipped(6)
    assert once == again != other
    assert 100 < len(once) < 250


async def test_without_weather_nothing_is_damaged() -> None:
    assert Proxy("127.0.0.1:1", Random(1)).damage(b"abc") == b"abc"
