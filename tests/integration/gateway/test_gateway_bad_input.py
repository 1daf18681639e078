"""Bad requests and frames: what each gets, and that nobody else notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fake_publisher import fake_publisher
from gateway_client import JSON, PROTO, Running, running_gateway
from websockets.exceptions import ConnectionClosed

from lanecast.core import codes

UPGRADE = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
ORIGIN = "http://localhost:7480"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    async with (
        fake_publisher() as publisher,
        running_gateway(
            tmp_path, [publisher.target], allowed_origins=(ORIGIN,), max_subscriptions=2, max_commands_per_second=20
        ) as made,
    ):
        yield made


def get(path: str, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"GET {path} HTTP/1.1\r\n".encode() + UPGRADE + lines.encode() + b"\r\n"


HANDSHAKES = {
    "good": (get("/v1/ws"), 101),
    "allowed origin": (get("/v1/ws", f"Origin: {ORIGIN}"), 101),
    "foreign origin": (get("/v1/ws", "Origin: http://evil.example"), 403),
    "null origin": (get("/v1/ws", "Origin: null"), 403),
    "look-alike origin": (get("/v1/ws", f"Origin: {ORIGIN}.evil.example"), 403),
    "origin in capitals": (get("/v1/ws", f"Origin: {ORIGIN.upper()}"), 403),
    "two origins": (get("/v1/ws", f"Origin: {ORIGIN}", "Origin: http://evil.example"), 400),
    "POST": (b"POST /v1/ws HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 405),
    "OPTIONS": (b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "unknown path": (get("/nothing"), 404),
    "no upgrade": (b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n", 426),
    "wrong version": (get("/v1/ws").replace(b"Version: 13", b"Version: 12"), 400),
    "bad key": (get("/v1/ws").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
    "unknown subprotocol": (get("/v1/ws", "Sec-WebSocket-Protocol: chat"), 400),
    "token in the query": (get("/v1/ws?access_token=abc"), 400),
    "long URI": (get("/v1/ws?" + "x" * 5_000), 414),
    "long URI without an end": (b"GET /" + b"x" * 20_000, 414),
    "large headers": (get("/v1/ws", "X: " + "x" * 9_000), 431),
    "many headers": (get("/v1/ws", *(f"X-{n}: 1" for n in range(100))), 431),
    "garbage": (b"\x00\x01garbage\r\n\r\n", None),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", None),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_handshake_gets(gateway: Running, name: str) -> None:
    raw, status = HANDSHAKES[name]
    host, _, port = gateway.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    line = await reader.readline()
    if status is None:
        assert line == b""
    else:
        assert line.split(b" ")[1] == str(status).encode(), line
    writer.close()
    await writer.wait_closed()


async def test_health_is_told(gateway: Running) -> None:
    for path in (b"/healthz", b"/readyz"):
        answer = await gateway.request(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK"), answer


async def test_a_request_in_pieces_is_understood(gateway: Running) -> None:
    host, _, port = gateway.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for byte in get("/v1/ws"):
        writer.write(bytes((byte,)))
        await writer.drain()
    assert (await reader.readline()).split(b" ")[1] == b"101"
    writer.close()
    await writer.wait_closed()


async def test_over_the_connection_cap_429(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, ["127.0.0.1:1"], max_connections=1, wait=False) as gateway:
        async with gateway.client():
            answer = await gateway.request(get("/v1/ws"))
            assert answer.startswith(b"HTTP/1.1 429")
        answer = await gateway.request(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"no publisher" in answer


# Frames


def masked(first: int, payload: bytes, *, mask: bool = True, size: bytes | None = None) -> bytes:
    length = size if size is not None else bytes((len(payload) | (0x80 if mask else 0),))
    return bytes((first,)) + length + (b"\0\0\0\0" if mask else b"") + payload


HELLO = b'{"hello": {}}'
RAW_FRAMES = {
    "unmasked": (masked(0x81, HELLO, mask=False), 1002),
    "reserved bit": (masked(0xC1, HELLO), 1002),
    "unknown opcode": (masked(0x83, HELLO), 1002),
    "fragmented ping": (masked(0x09, b"x"), 1002),
    "continuation of nothing": (masked(0x80, b"x"), 1002),
    "bad UTF-8": (masked(0x81, b"\xff\xfe"), 1007),
    "declared 2^63": (masked(0x81, b"", size=b"\xff" + (2**63 - 1).to_bytes(8, "big")), 1009),
    "too large in fragments": (
        masked(0x01, b"a" * 100) + masked(0x00, b"", size=b"\xfe\xff\xff") + b"b" * 65_535,
        1009,
    ),
    "binary on JSON": (masked(0x82, HELLO), 1003),
}


@pytest.mark.parametrize("name", RAW_FRAMES)
async def test_a_broken_frame_closes_with(gateway: Running, name: str) -> None:
    raw, code = RAW_FRAMES[name]
    host, _, port = gateway.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(get("/v1/ws", f"Sec-WebSocket-Protocol: {JSON}"))
    await reader.readuntil(b"\r\n\r\n")
    writer.write(raw)
    head = await reader.readexactly(2)
    while head[0] != 0x88:
        size = head[1] if head[1] < 126 else int.from_bytes(await reader.readexactly(2), "big")
        await reader.readexactly(size)
        head = await reader.readexactly(2)
    assert int.from_bytes(await reader.readexactly(2), "big") == code
    writer.close()
    await writer.wait_closed()


async def welcomed(reader: asyncio.StreamReader) -> None:
    head = await reader.readexactly(4)
    assert b'"welcome"' in await reader.readexactly(int.from_bytes(head[2:], "big"))


async def test_messages_in_pieces_of_two_clients_do_not_mix(gateway: Running) -> None:
    """Parsers are shared between connections, but never while anything is half-read."""
    host, _, port = gateway.address.rpartition(":")
    ends = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
    hello = json.dumps({"hello": {"token": gateway.token()}}).encode()
    half = len(hello) // 2
    size = b"\xfe" + half.to_bytes(2, "big")
    rest = b"\xfe" + (len(hello) - half).to_bytes(2, "big")
    message = masked(0x01, hello[:half], size=size) + masked(0x80, hello[half:], size=rest)
    for reader, writer in ends:
        writer.write(get("/v1/ws"))
        await reader.readuntil(b"\r\n\r\n")
    # The first stops behind the header of a frame; the second sends everything meanwhile.
    ends[0][1].write(message[:4])
    await ends[0][1].drain()
    for byte in message:
        ends[1][1].write(bytes((byte,)))
        await ends[1][1].drain()
    await welcomed(ends[1][0])
    ends[0][1].write(message[4:])
    await welcomed(ends[0][0])
    for _, writer in ends:
        writer.close()
        await writer.wait_closed()


async def test_text_on_the_binary_protocol_1003(gateway: Running) -> None:
    async with gateway.client(PROTO, hello=False) as client:
        await client.connection.send("text")
        assert await close_code(client) == 1003


async def test_an_oversized_message_1009(gateway: Running) -> None:
    async with gateway.client(PROTO) as client:
        await client.connection.send(b"x" * 70_000)
        assert await close_code(client) == 1009


FIRST_FRAMES: dict[str, tuple[Any, codes.Code]] = {
    "subscribe before hello": ({"subscribe": {"channel": "a"}}, codes.UNAUTHENTICATED),
    "no token": ({"hello": {}}, codes.UNAUTHENTICATED),
    "foreign token": ({"hello": {"token": "a.b.c"}}, codes.UNAUTHENTICATED),
    "long token": ({"hello": {"token": "x" * 5_000}}, codes.UNAUTHENTICATED),
    "not a command": ({"hallo": {}}, codes.MALFORMED_FRAME),
    "a list": ([1, 2], codes.MALFORMED_FRAME),
    "wrong type": ({"hello": {"token": 7}}, codes.MALFORMED_FRAME),
    "deep": (json.loads("[" * 500 + "]" * 500), codes.MALFORMED_FRAME),
}


@pytest.mark.parametrize("name", FIRST_FRAMES)
async def test_a_bad_first_frame_closes_with(gateway: Running, name: str) -> None:
    command, code = FIRST_FRAMES[name]
    async with gateway.client(JSON, hello=False) as client:
        await client.send(command)
        error = await client.expect("error")
        assert (error["code"], error["fatal"], error["retryable"]) == (code.number, True, code.retryable)
        assert "Traceback" not in error["message"]
        assert await close_code(client) == code.number


COMMANDS: dict[str, tuple[Any, codes.Code]] = {
    "empty channel": ({"subscribe": {"channel": ""}}, codes.BAD_CHANNEL),
    "wildcard": ({"subscribe": {"channel": "agent:*"}}, codes.BAD_CHANNEL),
    "long channel": ({"subscribe": {"channel": "x" * 256}}, codes.BAD_CHANNEL),
    "lastN 0": ({"subscribe": {"channel": "a", "start": "LAST_N"}}, codes.BAD_START),
    "lastN 1001": ({"subscribe": {"channel": "a", "start": "LAST_N", "lastN": 1001}}, codes.BAD_START),
    "unknown lane": ({"subscribe": {"channel": "a", "lanes": [9]}}, codes.BAD_START),
    "two positions": (
        {"subscribe": {"channel": "a", "positions": [{"lane": "LOW"}, {"lane": "LOW"}]}},
        codes.BAD_START,
    ),
    "not subscribed": ({"unsubscribe": {"channel": "a"}}, codes.NOT_SUBSCRIBED),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_bad_command_is_answered_and_the_connection_lives(gateway: Running, name: str) -> None:
    command, code = COMMANDS[name]
    async with gateway.client(JSON) as client:
        error = await client.ask(command, "error")
        assert (error["reason"], error["fatal"]) == (code.reason, False)
        await client.ask({"subscribe": {"channel": "agent:42"}}, "subscribed")


async def test_a_channel_or_lane_that_is_not_granted_is_refused(gateway: Running) -> None:
    async with gateway.client(JSON, hello=False) as client:
        await client.hello(gateway.token("agent:*"))
        error = await client.ask({"subscribe": {"channel": "bots:handoffs"}}, "error")
        assert error["reason"] == "CHANNEL_FORBIDDEN"


async def test_too_many_subscriptions_are_refused(gateway: Running) -> None:
    async with gateway.client(JSON) as client:
        for name in ("a", "b"):
            await client.ask({"subscribe": {"channel": name}}, "subscribed")
        error = await client.ask({"subscribe": {"channel": "c"}}, "error")
        assert error["reason"] == "TOO_MANY_SUBSCRIPTIONS"
        await client.ask({"subscribe": {"channel": "a"}}, "subscribed")


async def test_too_many_commands_close_the_connection(gateway: Running) -> None:
    async with gateway.client(JSON) as client:
        for _ in range(45):
            await client.send({"unsubscribe": {"channel": "a"}})
        assert await close_code(client) == codes.TOO_MANY_COMMANDS.number


async def test_a_library_ping_is_answered(gateway: Running) -> None:
    async with gateway.client() as client:
        await (await client.connection.ping())


async def close_code(client: Any) -> int:
    try:
        while True:
            await client.connection.recv()
    except ConnectionClosed as closed:
        return int(closed.rcvd.code) if closed.rcvd else 0
