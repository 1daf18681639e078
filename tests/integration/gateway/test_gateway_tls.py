"""The gateway's WebSocket edge over TLS: the same deliveries, and the same bound on what waits for a slow client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from fake_publisher import FakePublisher, fake_publisher
from gateway_client import Running, running_gateway
from websockets.asyncio.client import connect

from gateway_svc.websocket import Connection
from lanecast.core.priority import Priority

CRITICAL, HIGH, NORMAL, LOW = Priority.CRITICAL, Priority.HIGH, Priority.NORMAL, Priority.LOW
EVENT = "x" * 30_000
SEALED_EVENT = 34_000
"""More than a frame with EVENT has as records."""
MANY = 500
"""So many of them are more than the kernel's buffers of a connection take, which grow to several MiB on both sides."""


class Secure(Running):
    """A gateway that speaks TLS."""

    trusted: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"wss://{self.address}/v1/ws"

    def connect(self, *args: Any, **options: Any) -> connect:
        return super().connect(*args, ssl=self.trusted, **options)

    @property
    def connection(self) -> Connection:
        (connection,) = self.gateway.edge.connections
        return connection


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    made, folder = trustme.CA(), tmp_path_factory.mktemp("authority")
    issued = made.issue_cert("127.0.0.1")
    (folder / "own.pem").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(folder / "own.key")
    return made, folder


@pytest.fixture
async def publisher() -> AsyncIterator[FakePublisher]:
    async with fake_publisher() as made:
        yield made


@pytest.fixture
async def gateway(
    tmp_path: Path,
    publisher: FakePublisher,
    authority: tuple[trustme.CA, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Secure]:
    made, folder = authority
    monkeypatch.setenv("LANECAST_TLS_CERTIFICATE", str(folder / "own.pem"))
    monkeypatch.setenv("LANECAST_TLS_KEY", str(folder / "own.key"))
    async with running_gateway(tmp_path, [publisher.target]) as running:
        secure = Secure(running.gateway, running.address, tmp_path)
        secure.trusted = ssl.create_default_context()
        made.configure_trust(secure.trusted)
        yield secure


async def test_frames_of_all_sizes_arrive_whole(gateway: Secure, publisher: FakePublisher) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42")
        for size in (1, 16_383, 16_384, 16_385, 200_000):
            publisher.publish("agent:42", HIGH, "y" * size)
            assert len(await client.events(1)) == 1


async def test_what_waits_for_a_slow_client_waits_in_the_outbox(gateway: Secure, publisher: FakePublisher) -> None:
    async with gateway.client(max_queue=1) as client:
        await client.subscribe("agent:42", lanes=[CRITICAL.wire_value, LOW.wire_value])
        for _ in range(MANY):
            publisher.publish("agent:42", LOW, EVENT)
            await asyncio.sleep(0)
        feed = gateway.gateway.hub.channels["agent:42"].feeds[LOW]
        while feed.tail < MANY:
            await asyncio.sleep(0.005)
        connection = gateway.connection
        assert connection.session is not None
        assert connection.session.outbox.waiting_bytes > 2 * len(EVENT)
        assert (
            0 < connection._transport.get_write_buffer_size() <= 2 * SEALED_EVENT
        )  # one frame, of two that waited in a window
        publisher.publish("agent:42", CRITICAL, "urgent")
        lanes: list[int] = []
        while not lanes or lanes[-1] != CRITICAL.wire_value:
            frame = await client.receive()
            lanes += [frame.events.lane] if frame.WhichOneof("frame") == "events" else []
        assert len(lanes) < MANY - 10, "the urgent event was overtaken by what waited"
        publisher.publish("agent:42", LOW, "the last")
        while not connection.session.outbox.clear:
            await client.receive()


async def test_a_close_is_a_close_frame_and_an_end_of_tls(gateway: Secure) -> None:
    async with gateway.client() as client:
        await client.connection.close(1000)
        assert client.connection.close_code == 1000
        assert not gateway.gateway.edge.connections or gateway.connection._closing


async def test_a_poll_is_answered_whole(gateway: Secure) -> None:
    host, _, port = gateway.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=gateway.trusted)
    writer.write(
        b"GET /v1/poll?channel=agent:42&wait=0.1 HTTP/1.1\r\nHost: x\r\n"
        b"Authorization: Bearer " + gateway.token().encode() + b"\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"}\n")


@pytest.mark.parametrize(
    "sent", [b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\xff" * 99]
)
async def test_what_is_no_tls_is_turned_away(gateway: Secure, sent: bytes) -> None:
    answer = await gateway.request(sent)
    assert not answer.startswith(b"HTTP/1.1 1")
    assert not gateway.gateway.edge.connections
    while gateway.gateway.edge._deadlines:
        await asyncio.sleep(0.005)
    async with gateway.client():
        assert len(gateway.gateway.edge.connections) == 1


async def test_a_client_that_does_not_trust_the_certificate_is_forgotten(gateway: Secure) -> None:
    host, _, port = gateway.address.rpartition(":")
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(host, int(port), ssl=ssl.create_default_context())
    while gateway.gateway.edge._deadlines:
        await asyncio.sleep(0.005)
    assert not gateway.gateway.edge.connections
