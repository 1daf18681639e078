"""How servers and channels begin and end: stopping, going away, TLS, compression, addresses."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from raw_peer import RawPeer
from wire_service import PATH, SHORT, Service, calling, serving

from lanecast.core.http2 import frames
from lanecast.core.http2.frames import ErrorCode
from lanecast.errors import UnavailableError
from lanecast.runtime import status
from lanecast.runtime.wire.channel import WireChannel
from lanecast.runtime.wire.protocol import Patience
from lanecast.runtime.wire.server import WireServer


@pytest.fixture
def service() -> Service:
    return Service()


async def refused(channel: Any) -> grpc.aio.AioRpcError:
    """Return how a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(PATH + "Unary")(b"x")
    return caught.value


# Ends


@pytest.mark.parametrize("engine", ["grpcio", "wire"])
async def test_a_server_that_stops_lets_open_calls_finish(service: Service, engine: str) -> None:
    async with serving("wire", service) as (server, port), calling(engine, port) as channel:
        call = channel.unary_unary(PATH + "Hold")(b"held")
        held = asyncio.ensure_future(call)
        await service.begun.wait()
        stopping = asyncio.create_task(server.stop(20))
        while not server.stopping:
            await asyncio.sleep(0)
        assert (await refused(channel)).code() is grpc.StatusCode.UNAVAILABLE
        async with serving("wire", Service()) as (_, other), calling(engine, other) as elsewhere:
            assert await elsewhere.unary_unary(PATH + "Unary")(b"x") == b"x"
        service.let_go.set()
        assert await held == b"held"
        await stopping
        await server.stop(0)


@pytest.mark.parametrize("engine", ["grpcio", "wire"])
async def test_what_outlasts_the_grace_is_cut(service: Service, engine: str) -> None:
    async with serving("wire", service) as (server, port), calling(engine, port) as channel:
        held = asyncio.ensure_future(channel.unary_unary(PATH + "Hold")(b""))
        await service.begun.wait()
        await server.stop(0.05)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await held
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert service.cancelled.is_set()


async def test_a_channel_makes_its_connection_anew(service: Service) -> None:
    async with serving("wire", service) as (server, port), WireChannel(f"127.0.0.1:{port}") as channel:
        for _ in range(3):
            assert await channel.unary_unary(PATH + "Unary")(b"x") == b"x"
            for connection in list(server._connections):
                connection.abort("a test")
                await connection.wait_closed()
            while channel.ready() is not None:
                await asyncio.sleep(0)
        assert not channel._connections


async def test_a_connection_that_is_full_is_not_forgotten(service: Service) -> None:
    """More calls than a connection takes: the first connection goes once its calls are over."""
    async with serving("wire", service) as (server, port), WireChannel(f"127.0.0.1:{port}") as channel:
        held = [asyncio.ensure_future(channel.unary_unary(PATH + "Hold")(b"")) for _ in range(200)]
        while service.running < 200:
            await asyncio.sleep(0)
        assert len(channel._connections) == len(server._connections) == 2
        service.let_go.set()
        await asyncio.gather(*held)
        while len(server._connections) > 1:
            await asyncio.sleep(0)


async def test_a_call_waits_for_its_connection_no_longer_than_its_deadline() -> None:
    """The port is open, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with WireChannel(f"127.0.0.1:{silent.getsockname()[1]}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(PATH + "Unary")(b"", timeout=0.05)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            call = channel.stream_stream(PATH + "Bidi")()
            writing = asyncio.create_task(call.write(b""))
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await writing
            assert caught.value.code() is grpc.StatusCode.CANCELLED


async def test_a_service_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with WireChannel(f"127.0.0.1:{silent.getsockname()[1]}", patience=SHORT) as channel:
            error = await refused(channel)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "no connection within 0.3 s" in (error.details() or "")


async def test_a_channel_that_closes_while_it_connects_ends_its_calls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        channel = WireChannel(f"127.0.0.1:{silent.getsockname()[1]}")
        asking = asyncio.ensure_future(channel.unary_unary(PATH + "Unary")(b""))
        while channel._attempt is None:
            await asyncio.sleep(0)
        await channel.close()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asking
        assert caught.value.code() is grpc.StatusCode.CANCELLED
        assert (await refused(channel)).code() is grpc.StatusCode.CANCELLED


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with WireChannel(f"127.0.0.1:{port}") as channel:
        error = await refused(channel)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert f"cannot connect to 127.0.0.1:{port}: " in (error.details() or "")


STOPPED = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from wire_service import Service, serving

async def main():
    async with serving("wire", Service()) as (_, port):
        print(port, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_service_that_is_stopped_by_a_signal_is_noticed() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED, str(Path(__file__).parent), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        patience = Patience(keepalive_seconds=0.2, handshake_seconds=0.2)
        async with WireChannel(f"127.0.0.1:{port}", patience=patience) as channel:
            call = channel.stream_stream(PATH + "Bidi")()
            await call.write(b"x")
            assert await call.read() == b"x"
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "has not answered for 0.2 s" in (caught.value.details() or "")
    finally:
        process.kill()
        await process.wait()


# What a service may say


HEADERS_OF_1 = frames.header(frames.HEADERS, frames.END_HEADERS, 1, 0)[3:]


async def answering(answer: bytes) -> tuple[asyncio.Server, int]:
    """Serve one answer to the first call."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frames.settings([]))
        received = b""
        while HEADERS_OF_1 not in received:
            received += await reader.read(65_536)
        writer.write(answer)
        await reader.read(65_536)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


ANSWERS = {
    "refused": (frames.rst_stream(1, ErrorCode.REFUSED_STREAM), grpc.StatusCode.UNAVAILABLE),
    "going away": (frames.goaway(0, ErrorCode.NO_ERROR), grpc.StatusCode.UNAVAILABLE),
    "asked for calm": (frames.goaway(0, ErrorCode.ENHANCE_YOUR_CALM, "slower"), grpc.StatusCode.UNAVAILABLE),
    "reset": (frames.rst_stream(1, ErrorCode.INTERNAL_ERROR), grpc.StatusCode.INTERNAL),
    "against the rules": (frames.window_update(0, 0), grpc.StatusCode.UNAVAILABLE),
    "ended without a word": (frames.frame(frames.HEADERS, 5, 1, b"\x88"), grpc.StatusCode.UNKNOWN),
    "not gRPC": (frames.frame(frames.HEADERS, 4, 1, b"\x8d"), grpc.StatusCode.UNIMPLEMENTED),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_what_a_service_says_becomes_a_status(name: str) -> None:
    answer, code = ANSWERS[name]
    server, port = await answering(answer)
    async with server, WireChannel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(PATH + "Bidi")()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is code, caught.value


async def test_another_protocol_is_called_by_its_name() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, WireChannel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as channel:
        error = await refused(channel)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "does not speak HTTP/2" in (error.details() or "")


# TLS


async def test_both_speak_tls(service: Service, contexts: Any) -> None:
    async with serving("wire", service, context=contexts.server) as (_, port):
        async with WireChannel(f"127.0.0.1:{port}", contexts.client) as channel:
            large = bytes(3_000_000)
            assert await channel.unary_unary(PATH + "Unary")(large) == large
        credentials = grpc.ssl_channel_credentials(contexts.ca)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            assert await channel.unary_unary(PATH + "Unary")(b"x") == b"x"


async def test_a_client_shows_its_certificate(service: Service, contexts: Any) -> None:
    async with (
        serving("wire", service, context=contexts.strict) as (_, port),
        WireChannel(f"127.0.0.1:{port}", contexts.known) as channel,
    ):
        assert await channel.unary_unary(PATH + "Unary")(b"x") == b"x"


MISFITS = {
    "wrong authority": ("server", "stranger", "of an authority that is not trusted"),
    "wrong name": ("elsewhere", "client", "not for that name"),
    "no certificate": ("strict", "client", "asks for a certificate"),
    "plain service": (None, "client", "it speaks plain text"),
    "plain client": ("server", None, "LANECAST_TLS_CA"),
}


@pytest.mark.parametrize("name", MISFITS)
async def test_tls_that_does_not_fit_is_explained(
    service: Service, contexts: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    of_server, of_client, sentence = MISFITS[name]
    context: ssl.SSLContext | None = getattr(contexts, of_server) if of_server else None
    shown: ssl.SSLContext | None = getattr(contexts, of_client) if of_client else None
    async with (
        serving("wire", service, context=context) as (_, port),
        WireChannel(f"127.0.0.1:{port}", shown, patience=SHORT) as channel,
    ):
        error = status.from_rpc_error(await refused(channel))
    assert isinstance(error, UnavailableError)
    assert sentence in str(error)
    assert not [record for record in caplog.records if record.exc_info]


# Compression, addresses


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_client_may_compress(service: Service, compression: grpc.Compression) -> None:
    async with serving("wire", service) as (_, port), calling("grpcio", port, compression=compression) as channel:
        large = b"compressible " * 100_000
        assert await channel.unary_unary(PATH + "Unary")(large) == large


async def test_a_port_has_one_server(service: Service) -> None:
    async with serving("wire", service) as (_, port):
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            await WireServer().listen("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_all_addresses_means_both_families(service: Service) -> None:
    server = WireServer()
    server.add_generic_rpc_handlers((service.handlers(),))
    port = await server.listen("[::]", 0)
    for target in (f"127.0.0.1:{port}", f"[::1]:{port}"):
        async with WireChannel(target) as channel:
            assert await channel.unary_unary(PATH + "Unary")(b"x") == b"x"
    await server.stop(0)


async def test_a_connection_as_the_server_stops_is_closed(service: Service) -> None:
    async with serving("wire", service) as (server, port), RawPeer(port) as peer:
        await server.stop(0)
        await peer.closed()
