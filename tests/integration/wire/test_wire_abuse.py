"""What peers that mean harm get: their own connection closed, while another client goes on and the log has no trace.

Also the cases of h2spec that matter to a gRPC server, against a real socket: the core's rules are tested one by one
beside it (tests/unit/lanecast/core/http2).
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import hpack
import pytest
from raw_peer import GREETING, RawPeer, request
from wire_service import PATH, SHORT, Service, calling, serving

from lanecast.core.http2 import frames
from lanecast.core.http2.frames import ErrorCode
from lanecast.runtime.wire.protocol import Patience

PING = frames.frame(frames.PING, 0, 0, bytes(8))


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def server(service: Service) -> AsyncIterator[tuple[Any, int]]:
    async with serving("wire", service) as made:
        yield made


@pytest.fixture
async def port(server: tuple[Any, int], caplog: pytest.LogCaptureFixture) -> AsyncIterator[int]:
    """The server's port, with a client beside it that must not notice anything."""
    caplog.set_level(logging.INFO)
    async with calling("grpcio", server[1]) as bystander:
        call = bystander.stream_stream(PATH + "Bidi")()
        await call.write(b"before")
        assert await call.read() == b"before"
        yield server[1]
        await call.write(b"after")
        assert await call.read() == b"after"
        assert await bystander.unary_unary(PATH + "Unary")(b"x") == b"x"
        call.cancel()
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.WARNING]


@pytest.mark.parametrize(
    "hello",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes.fromhex("1603010200010001fc0303") + bytes(500),
        os.urandom(1) + b"\x00" + os.urandom(500),
        b"\r\n",
    ],
    ids=["HTTP/1.1", "TLS", "garbage", "blank line"],
)
async def test_another_protocol_is_closed_at_once(port: int, hello: bytes) -> None:
    async with RawPeer(port, hello) as peer:
        await peer.closed()


ABUSE = {
    "pings": PING * 5_000,
    "settings": frames.settings([(frames.INITIAL_WINDOW_SIZE, 9)]) * 5_000,
    "resets": b"".join(
        request(each, PATH + "Hold") + frames.rst_stream(each, ErrorCode.CANCEL) for each in range(1, 6_001, 2)
    ),
    "resets of calls that fail": b"".join(
        request(each, "/none") + frames.rst_stream(each, ErrorCode.CANCEL) for each in range(1, 6_001, 2)
    ),
    "empty data": request(1, PATH + "Deaf") + frames.frame(frames.DATA, 0, 1) * 5_000,
    "continuations": request(1, PATH + "Unary", 0) + frames.frame(frames.CONTINUATION, 0, 1) * 5_000,
    "large continuations": request(1, PATH + "Unary", 0) + frames.frame(frames.CONTINUATION, 0, 1, bytes(16_000)) * 50,
    "window updates": frames.window_update(0, 1) * 5_000,
    "unknown frames": frames.frame(0xEE, 0, 0, bytes(100)) * 5_000,
    "a header bomb": frames.frame(
        frames.HEADERS, frames.END_HEADERS, 1, b"\x40\x01x\x7f\x81\x1e" + b"y" * 4_000 + b"\xbe" * 10_000
    ),
    "a giant frame": frames.header(frames.DATA, 0, 1, 2**24 - 1) + bytes(100_000),
    "headers that cannot be read": frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 50),
    "an interrupted block": request(1, PATH + "Unary", 0) + PING,
    "an even stream": request(2, PATH + "Unary"),
    "data on an idle stream": frames.frame(frames.DATA, 0, 9, b"x"),
    "more than the window": request(1, PATH + "Deaf") + frames.frame(frames.DATA, 0, 1, bytes(60_000)) * 5,
    "empty messages without end": request(1, PATH + "Deaf") + frames.frame(frames.DATA, 0, 1, bytes(60_000)) * 200,
    "a window beyond bounds": frames.window_update(0, 2**31 - 1),
    "a push": request(1, PATH + "Deaf") + frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4)),
}


@pytest.mark.parametrize("name", ABUSE)
async def test_abuse_is_told_so_and_closed(port: int, name: str) -> None:
    async with RawPeer(port, GREETING + ABUSE[name]) as peer:
        await peer.closed()


async def test_the_reason_is_told(port: int) -> None:
    async with RawPeer(port, GREETING + frames.header(frames.DATA, 0, 1, 70_000)) as peer:
        assert await peer.goaway() == (ErrorCode.FRAME_SIZE_ERROR, "a frame of 70000 bytes: send at most 65536")


async def test_the_calls_of_who_is_cut_off_end(server: tuple[Any, int], service: Service) -> None:
    async with RawPeer(
        server[1], GREETING + request(1, PATH + "Hold") + frames.frame(frames.DATA, 1, 1, bytes(5))
    ) as peer:
        await service.begun.wait()
        peer.writer.write(frames.window_update(0, 0))
        await peer.closed()
        await service.cancelled.wait()


async def test_a_peer_that_asks_and_never_reads_is_cut(service: Service) -> None:
    """Its requests are cheap and their answers are not: what waits for it stays within bounds."""
    async with serving("wire", service) as (server, port):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, GREETING)
            largest = 0

            async def ask() -> None:
                nonlocal largest
                flags = frames.END_HEADERS | frames.END_STREAM
                for first in range(1, 2_000_001, 100):
                    # Each of another method, or the table of the headers would shrink the answers to a few bytes.
                    calls = [request(each, f"/{each}{'x' * 190}", flags) for each in range(first, first + 100, 2)]
                    await loop.sock_sendall(sock, b"".join(calls))
                    await asyncio.sleep(0)
                    for connection in server._connections:
                        largest = max(largest, connection._transport.get_write_buffer_size())

            with pytest.raises(ConnectionError):
                await ask()
        assert largest < 1_400_000


async def test_who_is_cut_off_need_not_read_it(service: Service) -> None:
    """What it is told waits behind an answer that it does not read either."""
    room = frames.settings([(frames.INITIAL_WINDOW_SIZE, 2**30)]) + frames.window_update(0, 2**30)
    call = request(1, PATH + "Flood") + frames.frame(frames.DATA, 0, 1, b"\0\0\0\0\x073000000")
    async with serving("wire", service) as (server, port), RawPeer(port, frames.PREFACE + room) as peer:
        peer.writer.transport.pause_reading()
        while not server._connections:
            await asyncio.sleep(0)
        (connection,) = server._connections
        peer.writer.write(call)
        while not connection.paused:
            await asyncio.sleep(0)
        peer.writer.write(frames.window_update(0, 0))
        await connection.wait_closed()


async def test_a_slow_reader_of_large_answers_is_no_abuser(service: Service) -> None:
    """What waits for it are messages that it has asked for and has room for."""
    room = frames.settings([(frames.INITIAL_WINDOW_SIZE, 2**30)]) + frames.window_update(0, 2**30)
    calls = b"".join(
        request(each, PATH + "Flood") + frames.frame(frames.DATA, 1, each, b"\0\0\0\0\x073000000") for each in (1, 3, 5)
    )
    async with serving("wire", service) as (server, port), RawPeer(port, frames.PREFACE + room) as peer:
        while (await peer.frame())[:2] != (frames.SETTINGS, frames.ACK):
            pass
        peer.writer.transport.pause_reading()
        peer.writer.write(calls)
        (connection,) = server._connections
        while not connection.paused or connection._transport.get_write_buffer_size() < 2_000_000:
            await asyncio.sleep(0)
        peer.writer.write(PING)
        peer.writer.transport.resume_reading()
        while (kind := (await peer.frame())[:2]) != (frames.PING, frames.ACK):
            assert kind[0] != frames.GOAWAY


async def test_silence_is_closed(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    async with serving("wire", service, patience=SHORT) as (_, port):
        for hello in (b"", frames.PREFACE[:10], frames.PREFACE, frames.PREFACE + frames.settings([])[:5]):
            async with RawPeer(port, hello) as peer:
                await peer.closed()
        async with RawPeer(port) as peer:  # one that answers no pings
            await peer.closed()
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_preface_by_the_byte_has_only_so_long(service: Service) -> None:
    async with serving("wire", service, patience=SHORT) as (_, port), RawPeer(port, b"") as peer:
        closed = asyncio.create_task(peer.closed())
        for byte in frames.PREFACE:
            if not closed.done():
                peer.writer.write(bytes((byte,)))
                await asyncio.wait((closed,), timeout=0.1)
        assert closed.done()


async def test_a_silent_client_of_tls_has_only_so_long(service: Service, contexts: Any) -> None:
    async with (
        serving("wire", service, context=contexts.server, patience=SHORT) as (_, port),
        RawPeer(port, b"") as peer,
    ):
        await peer.closed()


async def test_a_client_that_stands_still_is_noticed(service: Service) -> None:
    """One that was there, and answers nothing any more; the transport still takes what is sent."""
    async with (
        serving("wire", service, patience=Patience(keepalive_seconds=0.15, handshake_seconds=0.1)) as (_, port),
        RawPeer(port, GREETING + request(1, PATH + "Hold") + frames.frame(frames.DATA, 1, 1, bytes(5))) as peer,
    ):
        await service.begun.wait()
        peer.writer.transport.pause_reading()
        await service.cancelled.wait()


async def test_a_client_that_answers_pings_may_stay(service: Service) -> None:
    patience = Patience(keepalive_seconds=0.05, handshake_seconds=0.05)
    async with serving("wire", service, patience=patience) as (_, port), RawPeer(port) as peer:
        answered = 0
        while answered < 10:
            kind, flags, _, payload = await peer.frame()
            if kind == frames.PING and not flags:
                answered += 1
                peer.writer.write(frames.frame(frames.PING, frames.ACK, 0, payload))


async def test_as_many_calls_as_agreed(service: Service) -> None:
    async with serving("wire", service) as (_, port), RawPeer(port) as peer:
        for each in range(1, 2 * 128 + 3, 2):
            peer.writer.write(request(each, PATH + "Hold") + frames.frame(frames.DATA, 1, each, bytes(5)))
        while True:
            kind, _, stream_id, payload = await peer.frame()
            if kind == frames.RST_STREAM:
                break
        assert (stream_id, frames.read_word(payload)) == (257, ErrorCode.REFUSED_STREAM)
        assert service.running == 128


async def test_no_free_descriptors_do_not_end_the_server(
    service: Service, server: tuple[Any, int], caplog: pytest.LogCaptureFixture
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with calling("wire", server[1]) as channel:
        assert await channel.unary_unary(PATH + "Unary")(b"x") == b"x"
        peers = [socket.socket() for _ in range(3)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (peers[-1].fileno() + 1, before[1]))
            for sock in peers:
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server[1]))
            while not caplog.records:
                assert await channel.unary_unary(PATH + "Unary")(b"x") == b"x"
            assert "cannot be accepted now" in caplog.text
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for sock in peers:
                sock.close()
        async with calling("wire", server[1]) as another:
            assert await another.unary_unary(PATH + "Unary")(b"y") == b"y"
    assert not [record for record in caplog.records if record.exc_info]


async def test_bad_messages_end_their_call_without_a_trace(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Compressed by nothing we know, not whole, or marked so by mistake."""
    for payload, flags in ((b"\1\0\0\0\1x", 0), (b"\0\0\0\0\5x", frames.END_STREAM)):
        async with RawPeer(port) as peer:
            peer.writer.write(request(1, PATH + "Unary") + frames.frame(frames.DATA, flags, 1, payload))
            while True:
                kind, _, _, block = await peer.frame()
                if kind == frames.HEADERS:
                    break
            fields = dict(hpack.Decoder().decode(block, raw=True))
            assert fields[b"grpc-status"] == b"%d" % grpc.StatusCode.INTERNAL.value[0]
