"""SDKs and gateways with several publishers: one is killed or stopped, and all goes on without gap or duplicate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from doors import Door, doors, serving
from websockets.asyncio.client import connect

from gateway_svc.app import Gateway
from gateway_svc.config import GatewayConfig
from lanecast import (
    AsyncPublisher,
    Delivery,
    NotAcknowledgedError,
    Priority,
    PublisherSettings,
    Start,
    Subscriber,
    SubscriberSettings,
)
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.runtime.tokens import issue, load_or_create_key
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, ServerFrame, Subscribe

CHANNEL = "agent:42"
HEALTH = 0.2
NEVER = 3600.0


def publishing(*targets: str, **changes: Any) -> AsyncPublisher:
    return AsyncPublisher(
        targets, settings=PublisherSettings(**{"health_seconds": HEALTH, "return_seconds": NEVER, **changes})
    )


def subscribing(*targets: str, **changes: Any) -> Subscriber:
    return Subscriber(
        targets, settings=SubscriberSettings(**{"health_seconds": HEALTH, "return_seconds": NEVER, **changes})
    )


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def publish(publisher: AsyncPublisher, first: int, count: int) -> None:
    for number in range(first, first + count):
        publisher.publish_nowait(CHANNEL, ConciergeInsight(text=str(number)), priority=Priority.HIGH, id=f"e{number}")
        await asyncio.sleep(0)


async def stored(target: str) -> list[str]:
    """Return the ids of all events of the channel, in the order of the log."""
    found: list[str] = []
    async with subscribing(target) as subscriber, subscriber.events(CHANNEL, start=Start.EARLIEST) as stream:
        async with publishing(target) as publisher:
            await publisher.publish(CHANNEL, ConciergeInsight(text="end"), priority=Priority.HIGH, id="end")
        async for delivery in stream:
            if delivery.id == "end":
                break
            found.append(delivery.id)
    return found


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    async with serving(tmp_path / "data") as target:
        yield target


@pytest.fixture
async def pair(address: str) -> AsyncIterator[list[Door]]:
    async with doors(address) as made:
        yield made


async def lose(door: Door, how: str) -> None:
    if how == "killed":
        await door.close()
    else:
        door.pause()


ids = [f"e{number}" for number in range(300)]
ways = pytest.mark.parametrize("how", ["killed", "stopped"])


@ways
async def test_a_publisher_goes_on_at_the_next_target(address: str, pair: list[Door], how: str) -> None:
    first, second = pair
    async with publishing(first.address, second.address) as publisher:
        await publish(publisher, 0, 100)
        await publisher.flush()
        assert publisher.statistics().target == first.address
        sending = asyncio.create_task(publish(publisher, 100, 200))
        await asyncio.sleep(0)
        await lose(first, how)
        await sending
        await publisher.flush()
        assert publisher.statistics().target == second.address
        assert publisher.statistics().failed == 0
    assert await stored(address) == ids


@ways
async def test_a_subscriber_goes_on_at_the_next_target(address: str, pair: list[Door], how: str) -> None:
    first, second = pair
    gaps: list[Any] = []
    async with (
        publishing(address) as publisher,
        subscribing(first.address, second.address) as subscriber,
        subscriber.events(CHANNEL, on_gap=gaps.append) as stream,
    ):
        await publish(publisher, 0, 100)
        received = await take(stream, 50)
        assert stream.statistics().target == first.address
        await lose(first, how)
        await publish(publisher, 100, 200)
        received += await take(stream, 250)
        assert received == ids
        assert stream.statistics().target == second.address
        assert (gaps, stream.statistics().recoveries) == ([], 0)


@ways
async def test_a_gateway_goes_on_at_the_next_target(address: str, pair: list[Door], how: str, tmp_path: Path) -> None:
    first, second = pair
    gateway = Gateway(
        GatewayConfig(
            port=0,
            data_dir=tmp_path,
            publisher_targets=(first.address, second.address),
            publisher_health_seconds=HEALTH,
            drain_seconds=0.1,
        )
    )
    facts = await gateway.start()
    try:
        await gateway.upstream.wait_connected()
        async with publishing(address) as publisher, connected(facts["address"], tmp_path) as client:
            await publish(publisher, 0, 100)
            received = await read(client, 100)
            await lose(first, how)
            await publish(publisher, 100, 200)
            received += await read(client, 200)
            assert received == ids
    finally:
        await gateway.drain()


async def test_who_left_a_preferred_target_returns_once_it_serves_again(address: str, pair: list[Door]) -> None:
    first, second = pair
    targets = (first.address, second.address)
    async with (
        publishing(*targets, return_seconds=0.1) as publisher,
        subscribing(*targets, return_seconds=0.1) as subscriber,
        subscriber.events(CHANNEL) as stream,
    ):
        first.pause()
        await until(lambda: publisher.statistics().target == second.address)
        await until(lambda: stream.statistics().target == second.address)
        await publish(publisher, 0, 100)
        received = await take(stream, 100)
        first.resume()
        await until(lambda: publisher.statistics().target == first.address)
        await until(lambda: stream.statistics().target == first.address)
        await publish(publisher, 100, 200)
        received += await take(stream, 200)
        assert received == ids
        assert publisher.statistics().resent == 0


async def test_a_target_with_another_log_is_not_used(
    tmp_path: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with doors(address, 1) as (door,), serving(tmp_path / "other") as other:
        async with publishing(door.address, other) as publisher:
            await publish(publisher, 0, 100)
            await publisher.flush()
            await door.close()
            await publish(publisher, 100, 200)
            await until(lambda: "must share one log" in caplog.text)
            await door.open()
            await publisher.flush()
        assert await stored(other) == []
    assert await stored(address) == ids


async def test_separate_logs_are_used_where_that_is_wanted(tmp_path: Path, address: str) -> None:
    async with doors(address, 1) as (door,), serving(tmp_path / "other") as other:
        async with publishing(door.address, other, any_log=True) as publisher:
            await publish(publisher, 0, 100)
            await publisher.flush()
            await door.close()
            await publish(publisher, 100, 200)
            await publisher.flush()
        assert await stored(other) == ids[100:]


async def test_what_is_unconfirmed_is_not_carried_into_a_log_that_replaces_the_first(tmp_path: Path) -> None:
    """The first log holds what its answer was lost of; publishing it anew would not be recognised."""
    async with serving(tmp_path / "one") as one, serving(tmp_path / "two") as two, doors(one, 1) as (door,):
        async with publishing(door.address, health_seconds=NEVER) as publisher:
            await publish(publisher, 0, 1)
            await publisher.flush()
            door.pause()
            await publish(publisher, 1, 1)
            await until(lambda: publisher.statistics().in_flight_events == 1)
            door._port = int(two.rpartition(":")[2])
            await door.close()
            await until(lambda: not publisher.statistics().target)  # else e2 is sent to the first log, too
            await publish(publisher, 2, 1)
            door.resume()
            await door.open()
            with pytest.raises(NotAcknowledgedError, match="log has been replaced") as caught:
                await publisher.flush()
            assert caught.value.event_ids == ("e1",)
        assert await stored(two) == ["e2"]


async def take(stream: AsyncIterator[Delivery], count: int) -> list[str]:
    return [(await anext(stream)).id for _ in range(count)]


class connected:  # noqa: N801 - used as a function
    """A WebSocket client that is subscribed."""

    def __init__(self, address: str, data_dir: Path) -> None:
        self._token = issue(load_or_create_key(data_dir), ("*",))
        self._connecting = connect(f"ws://{address}/v1/ws", subprotocols=["lanecast.v1.proto"], proxy=None)  # type: ignore[list-item]

    async def __aenter__(self) -> Any:
        client = await self._connecting.__aenter__()
        await client.send(ClientFrame(hello=Hello(token=self._token)).SerializeToString())
        await client.send(ClientFrame(subscribe=Subscribe(channel=CHANNEL)).SerializeToString())
        while ServerFrame.FromString(await client.recv()).WhichOneof("frame") != "subscribed":  # type: ignore[arg-type]
            continue
        return client

    async def __aexit__(self, *reason: object) -> None:
        await self._connecting.__aexit__(*reason)  # type: ignore[arg-type]


async def read(client: Any, count: int) -> list[str]:
    """Return the ids of the next events; nothing else may come but pings."""
    found: list[str] = []
    while len(found) < count:
        frame = ServerFrame.FromString(await client.recv())
        kind = frame.WhichOneof("frame")
        assert kind in {"events", "ping", "advance"}, frame
        found += [event.id for event in frame.events.events]
    return found


async def test_programs_that_share_a_process_leave_a_dead_connection_each_by_itself(address: str) -> None:
    async with doors(address, count=1) as (door,), publishing(door.address) as one, publishing(door.address) as two:
        door.strand()
        for publisher in (one, two):
            ack = await publisher.publish(CHANNEL, ConciergeInsight(text="after"), priority=Priority.HIGH)
            assert ack.offset > 0
        assert [one.statistics().connections, two.statistics().connections] == [2, 2]
