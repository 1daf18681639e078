"""The gateway behind the real publisher service."""

from __future__ import annotations

from pathlib import Path

from gateway_client import JSON, running_gateway

from lanecast import AsyncPublisher
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import LanePosition
from lanecast.v1.publisher_pb2 import START_EARLIEST
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig

HIGH, LOW = Priority.HIGH, Priority.LOW


async def test_events_of_all_lanes_arrive_once_and_in_order_across_a_restart(tmp_path: Path) -> None:
    publisher = PublisherApp(PublisherConfig(data_dir=tmp_path, port=0, drain_seconds=0.2))
    address = (await publisher.start())["address"]
    async with running_gateway(tmp_path, [address]) as gateway, gateway.client() as client:
        await client.subscribe("agent:42")
        stored = await publish(address, 0, 200)
        seen: dict[int, list[int]] = {}
        await collect(client, seen, 200)
        await publisher.drain()
        port = int(address.rpartition(":")[2])
        publisher = PublisherApp(PublisherConfig(data_dir=tmp_path, port=port, drain_seconds=0.2))
        await publisher.start()
        stored += await publish(address, 200, 200)
        await collect(client, seen, 400)
        assert sorted(offset for offsets in seen.values() for offset in offsets) == sorted(stored)
        assert all(offsets == sorted(offsets) for offsets in seen.values())
    await publisher.drain()


async def test_history_and_positions_of_the_real_log(tmp_path: Path) -> None:
    publisher = PublisherApp(PublisherConfig(data_dir=tmp_path, port=0, drain_seconds=0.2))
    facts = await publisher.start()
    stored = await publish(facts["address"], 0, 40)
    low = [offset for number, offset in enumerate(stored) if number % 4 == 3]
    async with running_gateway(tmp_path, [facts["address"]]) as gateway:
        async with gateway.client(JSON) as client:
            command = {"subscribe": {"channel": "agent:42", "lanes": ["LOW"], "start": "LAST_N", "lastN": 4}}
            assert (await client.ask(command, "subscribed"))["positions"][0]["epoch"] == facts["epoch"]
            batch = await client.expect("events")
            assert [int(each["offset"]) for each in batch["events"]] == low[-4:]
            assert batch["events"][-1]["data"]["text"] == "event 39"
        async with gateway.client() as other:
            await other.subscribe("agent:42", lanes=[LOW.wire_value], start=START_EARLIEST)
            assert await other.events(len(low)) == low
        async with gateway.client() as other:
            position = LanePosition(lane=LOW.wire_value, epoch=facts["epoch"], offset=low[6])
            answer = await other.subscribe("agent:42", lanes=[LOW.wire_value], positions=[position])
            assert answer.subscribed.recovered
            assert await other.events(3) == low[7:]
        async with gateway.client() as other:
            position = LanePosition(lane=HIGH.wire_value, epoch="unknown", offset=7)
            answer = await other.subscribe("agent:42", lanes=[HIGH.wire_value], positions=[position])
            assert not answer.subscribed.recovered
            await other.expect("gap")
    await publisher.drain()


async def publish(address: str, begin: int, count: int) -> list[int]:
    async with AsyncPublisher(address) as publisher:
        lanes = list(Priority)
        acks = [
            publisher.publish_nowait(
                "agent:42", ConciergeInsight(text=f"event {number}"), priority=lanes[number % len(lanes)]
            )
            for number in range(begin, begin + count)
        ]
        return [(await ack).offset for ack in acks]


async def collect(client: object, seen: dict[int, list[int]], until: int) -> None:
    while sum(map(len, seen.values())) < until:
        frame = await client.expect("events")  # type: ignore[attr-defined]
        seen.setdefault(frame.events.lane, []).extend(event.offset for event in frame.events.events)
