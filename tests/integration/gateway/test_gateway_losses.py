"""Conflation and expiry through real services and sockets: a slow client is told what it does not get, a fast one gets
everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from gateway_client import Client, Running, running_gateway

from gateway_svc.core.subscription import State
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.instruments import EVENT_DROPPED
from lanecast.core.priority import Priority
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import GAP_REASON_CONFLATED, GAP_REASON_EXPIRED, Event, LanePosition
from lanecast.v1.gateway_pb2 import ServerFrame
from lanecast.v1.publisher_pb2_grpc import PublisherServiceStub
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig

NORMAL, LOW, HIGH = Priority.NORMAL, Priority.LOW, Priority.HIGH
CHANNEL = "analytics:valuations"
BIG = "x" * 8_000
TTL_MILLIS = 1_500
"""Long enough for what keeps up to be delivered, on any machine."""


class Services:
    """A publisher and a gateway."""

    def __init__(self, gateway: Running, stub: PublisherServiceStub) -> None:
        self.gateway = gateway
        self.stub = stub

    async def publish(
        self, lane: Priority, text: str, keys: Sequence[str], ttl_millis: int = 0, channel: str = CHANNEL
    ) -> list[int]:
        """Publish an event for each key; return their offsets."""
        events = []
        for key in keys:
            made = Event(channel=channel, priority=lane.wire_value, conflation_key=key, ttl_millis=ttl_millis)
            made.data.Pack(ConciergeInsight(text=text))
            events.append(made)
        answer = await self.stub.PublishEvents(pb.PublishEventsRequest(events=events))
        return [result.offset for result in answer.results]

    async def until_blocked(self, lane: Priority) -> list[int]:
        """Publish until the sockets of slow clients are full; return the offsets."""
        offsets: list[int] = []
        while all(each.session is None or each.session.outbox.clear for each in self.gateway.gateway.edge.connections):
            offsets += await self.publish(lane, BIG, [""] * 4)
            await asyncio.sleep(0)
        return offsets

    async def until_dispatched(self, lane: Priority, offset: int) -> None:
        """Return once the gateway has handed out everything up to an offset."""
        feed = self.gateway.gateway.hub.channels[CHANNEL].feeds[lane]
        while feed.tail < offset or any(reader.cursor < offset for reader in feed.live):
            await asyncio.sleep(0.001)

    def dropped(self, lane: Priority, reason: str) -> int:
        """Return how many events the gateway says it dropped."""
        instruments = self.gateway.gateway.instruments
        instruments.tally()
        return instruments.counter(EVENT_DROPPED, lane=lane.name, reason=reason).value


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    publisher = PublisherApp(PublisherConfig(data_dir=tmp_path, port=0, drain_seconds=0.2))
    address = (await publisher.start())["address"]
    async with grpc.aio.insecure_channel(address) as channel, running_gateway(tmp_path, [address]) as gateway:
        yield Services(gateway, PublisherServiceStub(channel))
    await publisher.drain()


@asynccontextmanager
async def slow_client(services: Services, lane: Priority, **fields: Any) -> AsyncIterator[Client]:
    """A client that reads its socket only when it is asked for a frame."""
    async with services.gateway.client(max_queue=1) as client:
        await client.subscribe(CHANNEL, lanes=[lane.wire_value], **fields)
        yield client


class Seen:
    """What a client got in one lane, checked for holes."""

    def __init__(self, cursor: int = 0) -> None:
        self.cursor = cursor
        self.offsets: list[int] = []
        self.keys: dict[str, int] = {}
        self.gaps: list[tuple[int, int, int, int]] = []
        """From, to, reason, count."""

    def take(self, frame: ServerFrame) -> None:
        if frame.WhichOneof("frame") == "gap":
            gap = frame.gap
            assert gap.from_offset == self.cursor < gap.to_offset
            self.gaps.append((gap.from_offset, gap.to_offset, gap.reason, gap.count))
            self.cursor = gap.to_offset
        for event in frame.events.events:
            assert event.prev_offset <= self.cursor < event.offset
            self.cursor = event.offset
            self.offsets.append(event.offset)
            if event.conflation_key:
                self.keys[event.conflation_key] = event.offset

    async def until(self, client: Client, offset: int) -> None:
        while self.cursor < offset:
            self.take(await client.receive())


@pytest.mark.parametrize("lane", [NORMAL, LOW])
async def test_a_slow_client_gets_the_newest_of_each_key_and_a_fast_one_gets_all(
    services: Services, lane: Priority
) -> None:
    async with slow_client(services, lane) as slow, services.gateway.client() as fast:
        await fast.subscribe(CHANNEL, lanes=[lane.wire_value])
        everything, seen = Seen(), Seen()
        reading = asyncio.create_task(everything.until(fast, 10**9))
        plain = await services.until_blocked(lane)
        keyed = [await services.publish(lane, "a", ["one", "two", "three"]) for _ in range(50)]
        last = keyed[-1][-1]
        await services.until_dispatched(lane, last)
        await seen.until(slow, last)
        while everything.cursor < last:
            await asyncio.sleep(0.001)
        reading.cancel()
        assert seen.offsets == [*plain, *keyed[-1]]
        assert seen.gaps == [(plain[-1], keyed[-2][-1], GAP_REASON_CONFLATED, 49 * 3)]
        assert everything.offsets == [*plain, *(offset for row in keyed for offset in row)]
        assert everything.gaps == []
        assert services.dropped(lane, "conflated") == 49 * 3


async def test_what_normal_reads_again_from_the_log_is_conflated_page_by_page(services: Services) -> None:
    async with slow_client(services, NORMAL) as slow:
        plain = await services.until_blocked(NORMAL)
        session = next(iter(services.gateway.gateway.edge.connections)).session
        assert session is not None
        [reader] = session.subscriptions[CHANNEL].readers
        while reader.state is not State.SPOOLED:
            plain += await services.publish(NORMAL, BIG, [""] * 4)
            await asyncio.sleep(0)
        assert reader.overrun
        keyed = [offset for _ in range(30) for offset in await services.publish(NORMAL, "a", ["one", "two"])]
        seen = Seen()
        await seen.until(slow, keyed[-1])
        assert seen.offsets[: len(plain)] == plain
        assert seen.keys == {"one": keyed[-2], "two": keyed[-1]}
        assert {reason for _, _, reason, _ in seen.gaps} == {GAP_REASON_CONFLATED}
        assert sum(count for *_, count in seen.gaps) + len(seen.offsets) == len(plain) + len(keyed)
        after = await services.publish(NORMAL, "a", ["one", "one"])
        await seen.until(slow, after[-1])
        assert seen.offsets[-2:] == after, "a client that keeps up again gets everything"
        assert not reader.overrun


async def test_history_and_what_a_resumed_client_missed_come_whole(services: Services) -> None:
    stored = [offset for _ in range(5) for offset in await services.publish(NORMAL, "a", ["one", "two"])]
    position = LanePosition(lane=NORMAL.wire_value, epoch="", offset=stored[3])
    for fields, wanted in (
        ({"start": pb.START_EARLIEST}, stored),
        ({"start": pb.START_LAST_N, "last_n": 4}, stored[-4:]),
        ({"positions": [position]}, stored[4:]),
    ):
        async with services.gateway.client() as client:
            await client.subscribe(CHANNEL, lanes=[NORMAL.wire_value], **fields)
            assert await client.events(len(wanted)) == wanted


async def test_what_expires_while_a_client_is_slow_is_named(services: Services) -> None:
    async with slow_client(services, LOW) as slow, services.gateway.client() as fast:
        await fast.subscribe(CHANNEL, lanes=[LOW.wire_value])
        everything = Seen()
        reading = asyncio.create_task(everything.until(fast, 10**9))
        plain = await services.until_blocked(LOW)
        short = await services.publish(LOW, "a", [""] * 5, ttl_millis=TTL_MILLIS)
        [last] = await services.publish(LOW, "b", [""])
        await services.until_dispatched(LOW, last)
        while everything.cursor < last:
            await asyncio.sleep(0.001)
        reading.cancel()
        ended = time.monotonic() + TTL_MILLIS / 1e3
        while time.monotonic() <= ended:  # what is waited for is the time itself
            await asyncio.sleep(0.01)
        seen = Seen()
        await seen.until(slow, last)
        assert seen.offsets == [*plain, last]
        assert seen.gaps == [(plain[-1], short[-1], GAP_REASON_EXPIRED, 5)]
        assert everything.offsets == [*plain, *short, last]
        assert services.dropped(LOW, "expired") == 5


async def test_history_names_what_has_expired_in_its_place(services: Services) -> None:
    """An end in time that is not waited for by the clock alone: the log is asked until it says so."""
    first = await services.publish(HIGH, "a", ["", ""])
    short = await services.publish(HIGH, "b", ["", ""], ttl_millis=1)
    rest = await services.publish(HIGH, "c", [""])
    request = pb.ReadEventsRequest(channel=CHANNEL, lane=HIGH.wire_value, last_n=9)
    while not (page := await services.stub.ReadEvents(request)).gaps or page.gaps[0].count < len(short):
        await asyncio.sleep(0.001)
    assert [event.offset for event in page.batch.events] == first + rest
    gap = (first[-1], short[-1], GAP_REASON_EXPIRED, 2)
    assert [(each.from_offset, each.to_offset, each.reason, each.count) for each in page.gaps] == [gap]
    for offset, offsets in ((first[0], [first[1], *rest]), (first[1], rest)):
        async with services.gateway.client() as client:
            position = LanePosition(lane=HIGH.wire_value, epoch=page.batch.epoch, offset=offset)
            answer = await client.subscribe(CHANNEL, lanes=[HIGH.wire_value], positions=[position])
            assert answer.subscribed.recovered, "the position was honoured"
            assert answer.subscribed.positions[0].offset == offset
            seen = Seen(offset)
            await seen.until(client, rest[-1])
            assert (seen.offsets, seen.gaps) == (offsets, [gap])
    async with services.gateway.client() as client:
        answer = await client.subscribe(CHANNEL, lanes=[HIGH.wire_value], start=pb.START_LAST_N, last_n=3)
        seen = Seen(answer.subscribed.positions[0].offset)
        await seen.until(client, rest[-1])
        assert (seen.offsets, seen.gaps) == (rest, [gap])
