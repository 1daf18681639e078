"""Events on many channels and somebody who listens to them, so that there is something to measure and to move.

Owns what it publishes and the WebSocket that takes it. Used by the tests of the dashboard.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import page_samples as samples
from websockets.asyncio.client import ClientConnection, connect

from lanecast import AsyncPublisher, Priority
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, Pong, ServerFrame, Subscribe

GATEWAY = {
    "LANECAST_GATEWAY_MAX_SUBSCRIPTIONS": "10000",
    "LANECAST_GATEWAY_MAX_COMMANDS_PER_SECOND": "10000",
}
"""What a gateway needs for such an audience."""
TICK_SECONDS = 0.05
_PING = ServerFrame.PING_FIELD_NUMBER


@asynccontextmanager
async def traffic(
    publisher: AsyncPublisher, gateway: str, token: str, channels: Sequence[str], rate: float
) -> AsyncIterator[None]:
    """Publish `rate` CRITICAL events a second to `channels` in turn, and a sample of each kind each second; listen."""
    async with connect(
        gateway,
        subprotocols=["lanecast.v1.proto"],
        compression=None,
        max_size=None,
        proxy=None,  # type: ignore[list-item]
    ) as socket:
        await socket.send(ClientFrame(hello=Hello(token=token)).SerializeToString())
        for channel in channels:
            await socket.send(ClientFrame(subscribe=Subscribe(channel=channel)).SerializeToString())
        tasks = [
            asyncio.create_task(_listen(socket), name="audience"),
            asyncio.create_task(_publish(publisher, channels, rate), name="traffic"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(socket: ClientConnection) -> None:
    async for data in socket:
        assert isinstance(data, bytes)
        if data[0] >> 3 != _PING:
            continue  # an event: what is in it is the gateway's to measure
        pong = Pong(sequence=ServerFrame.FromString(data).ping.sequence)
        await socket.send(ClientFrame(pong=pong).SerializeToString())


async def _publish(publisher: AsyncPublisher, channels: Sequence[str], rate: float) -> None:
    message = ConciergeInsight(text="Name what is included.")
    loop = asyncio.get_running_loop()
    begin, sent = loop.time(), 0
    while True:
        due = int((loop.time() - begin) * rate)
        acks = [
            publisher.publish_nowait(channels[number % len(channels)], message, priority=Priority.CRITICAL)
            for number in range(sent, due)
        ]
        if due // rate > sent // rate:  # a second has passed
            acks += [
                publisher.publish_nowait(one.channel, one.message, priority=one.lane) for one in samples.one_of_each()
            ]
        await asyncio.gather(*acks)
        sent = due
        await asyncio.sleep(TICK_SECONDS)
