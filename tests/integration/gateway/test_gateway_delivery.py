"""Events from a publisher to real WebSocket clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fake_publisher import FakePublisher, fake_publisher
from gateway_client import JSON, PROTO, Running, running_gateway

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import GAP_REASON_TRUNCATED, LanePosition
from lanecast.v1.gateway_pb2 import ClientFrame, Unsubscribe
from lanecast.v1.publisher_pb2 import START_EARLIEST, START_LAST_N

CRITICAL, HIGH, NORMAL, LOW = Priority.CRITICAL, Priority.HIGH, Priority.NORMAL, Priority.LOW


@pytest.fixture
async def publisher() -> AsyncIterator[FakePublisher]:
    async with fake_publisher() as made:
        yield made


@pytest.fixture
async def gateway(tmp_path: Path, publisher: FakePublisher) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path, [publisher.target]) as made:
        yield made


async def test_live_events_reach_a_protobuf_client_in_every_lane(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client() as client:
        subscribed = (await client.subscribe("agent:42")).subscribed
        assert [(each.lane, each.epoch, each.offset) for each in subscribed.positions] == [
            (int(lane), "A", 0) for lane in Priority
        ]
        for lane in Priority:
            publisher.publish("agent:42", lane, f"in {lane.name}")
            frame = (await client.expect("events")).events
            insight = ConciergeInsight()
            assert frame.events[0].data.Unpack(insight)
            assert insight.text == f"in {lane.name}"
            assert frame.edge_send_time_unix_nano >= frame.edge_receive_time_unix_nano > 0


async def test_live_events_reach_a_json_client_with_their_payload(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client(JSON) as client:
        subscribed = await client.ask({"subscribe": {"channel": "agent:42", "lanes": ["CRITICAL"]}}, "subscribed")
        assert subscribed["positions"] == [{"lane": "PRIORITY_CRITICAL", "epoch": "A", "offset": "0"}]
        publisher.publish("agent:42", CRITICAL, "häuser")
        batch = await client.expect("events")
        assert batch["events"][0]["data"] == {
            "@type": "type.googleapis.com/lanecast.ai.v1.ConciergeInsight",
            "text": "häuser",
        }
        assert batch["events"][0]["offset"] == "1"
        assert batch["lane"] == "PRIORITY_CRITICAL"


async def test_a_client_that_offers_no_subprotocol_speaks_json(gateway: Running) -> None:
    async with gateway.client(None) as client:
        answer = await client.ask({"subscribe": {"channel": "agent:42", "start": "latest"}}, "subscribed")
        assert answer["recovered"] is False


async def test_a_position_is_resumed_across_connections(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42", lanes=[HIGH.wire_value])
        publisher.publish("agent:42", HIGH, "one", "two")
        assert await client.events(2) == [1, 2]
    publisher.publish("agent:42", HIGH, "three", "four")
    async with gateway.client() as client:
        position = LanePosition(lane=HIGH.wire_value, epoch="A", offset=2)
        answer = (await client.subscribe("agent:42", lanes=[HIGH.wire_value], positions=[position])).subscribed
        assert (answer.was_recovering, answer.recovered) == (True, True)
        assert answer.positions[0].offset == 2
        assert await client.events(2) == [3, 4]
        publisher.publish("agent:42", HIGH, "five")
        assert await client.events(1) == [5]


@pytest.mark.parametrize(
    ("fields", "offsets"),
    [({"start": START_LAST_N, "last_n": 3}, [298, 299, 300]), ({"start": START_EARLIEST}, list(range(1, 301)))],
)
async def test_history_comes_before_live_events(
    gateway: Running, publisher: FakePublisher, fields: dict[str, int], offsets: list[int]
) -> None:
    publisher.publish("agent:42", NORMAL, *(f"n{number}" for number in range(300)))
    async with gateway.client() as client:
        answer = (await client.subscribe("agent:42", lanes=[NORMAL.wire_value], **fields)).subscribed
        assert answer.positions[0].offset == offsets[0] - 1
        assert await client.events(len(offsets)) == offsets
        publisher.publish("agent:42", NORMAL, "live")
        assert await client.events(1) == [301]


async def test_sessions_that_missed_the_same_share_its_pages(gateway: Running, publisher: FakePublisher) -> None:
    publisher.publish("agent:42", NORMAL, *(f"n{number}" for number in range(300)))
    publisher.reading.clear()
    async with (
        gateway.client() as one,
        gateway.client() as two,
        gateway.client() as three,
        asyncio.TaskGroup() as group,
    ):
        clients = (one, two, three)
        lanes = [NORMAL.wire_value]
        answers = [
            group.create_task(client.subscribe("agent:42", lanes=lanes, start=START_EARLIEST)) for client in clients
        ]
        while not publisher.reads:
            await asyncio.sleep(0)
        publisher.reading.set()
        for client, answer in zip(clients, answers, strict=True):
            await answer
            assert await client.events(300) == list(range(1, 301))
    full_pages = [read.after.offset for read in publisher.reads if read.after.offset < 256]
    assert sorted(full_pages) == [0, 64, 128, 192]


async def test_a_truncated_position_gets_a_gap_first(gateway: Running, publisher: FakePublisher) -> None:
    publisher.publish("agent:42", LOW, *("abcdef"))
    publisher.trim("agent:42", LOW, 4)
    async with gateway.client() as client:
        position = LanePosition(lane=LOW.wire_value, epoch="A", offset=1)
        answer = (await client.subscribe("agent:42", lanes=[LOW.wire_value], positions=[position])).subscribed
        assert (answer.was_recovering, answer.recovered) == (True, False)
        gap = (await client.expect("gap")).gap
        assert (gap.from_offset, gap.to_offset, gap.reason) == (1, 4, GAP_REASON_TRUNCATED)
        assert await client.events(2) == [5, 6]


async def test_a_replay_that_finds_nothing_moves_the_cursor(gateway: Running, publisher: FakePublisher) -> None:
    publisher.publish("agent:42", LOW, "one")
    publisher.publish("elsewhere", LOW, "two", "three")
    async with gateway.client() as client:
        position = LanePosition(lane=LOW.wire_value, epoch="A", offset=1)
        await client.subscribe("agent:42", lanes=[LOW.wire_value], positions=[position])
        assert (await client.expect("advance")).advance.through_offset == 3


async def test_no_event_follows_unsubscribed(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42")
        await client.subscribe("agent:43")
        await client.send(ClientFrame(unsubscribe=Unsubscribe(channel="agent:42")))
        assert (await client.expect("unsubscribed")).unsubscribed.channel == "agent:42"
        publisher.publish("agent:42", CRITICAL, "not this")
        publisher.publish("agent:43", CRITICAL, "but this")
        assert (await client.expect("events")).events.channel == "agent:43"


async def test_both_encodings_share_a_channel(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client(PROTO) as one, gateway.client(JSON) as two:
        await one.subscribe("agent:42")
        await two.ask({"subscribe": {"channel": "agent:42"}}, "subscribed")
        publisher.publish("agent:42", HIGH, "for both")
        assert await one.events(1) == [1]
        assert (await two.expect("events"))["events"][0]["data"]["text"] == "for both"


async def test_delivery_is_measured(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42")
        publisher.publish("agent:42", HIGH, "measured")
        await client.events(1)
        publisher.publish("agent:42", HIGH, "measured as well")
        await client.events(1)
    instruments = gateway.gateway.instruments
    series = {(key.name, key.attributes) for key, _ in instruments.take_sketches()}
    assert ("lanecast.delivery.duration", (("lane", "HIGH"), ("scope", "server"))) in series
    assert ("lanecast.hop.duration", (("hop", "socket_write"), ("lane", "HIGH"))) in series
    delivered = {key.name: amount for key, amount in instruments.take_counters()}
    assert delivered["lanecast.event.delivered"] == 2
