"""The connection to NATS: a server that answers nothing is left for another."""

from __future__ import annotations

import asyncio
import json

from nats_servers import NatsServer

from publisher_svc.log.jetstream.link import Link, LinkError
from publisher_svc.log.jetstream.settings import JetStreamSettings, Waits


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a NATS server that lets everybody in, answers pings, and nothing else."""
    info = {"server_id": "deaf", "version": "2.15.0", "proto": 1, "max_payload": 1_048_576, "headers": True}
    writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
    while line := await reader.readline():
        if line.startswith(b"PING"):
            writer.write(b"PONG\r\n")
    writer.close()


async def test_a_server_that_answers_pings_alone_is_left_for_the_next(nats_server: NatsServer) -> None:
    lost = await asyncio.start_server(deaf, "127.0.0.1", 0)
    port = lost.sockets[0].getsockname()[1]
    settings = JetStreamSettings(servers=(f"nats://127.0.0.1:{port}", nats_server.url), waits=Waits(request=0.05))
    link = Link(settings)
    await link.open()
    unanswered = 0
    try:
        while True:
            await link.connected()
            try:
                answer = await link.api("INFO")
                break
            except LinkError:
                unanswered += 1
        assert "limits" in answer
        assert unanswered >= 3
    finally:
        await link.close()
        lost.close()
