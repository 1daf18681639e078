"""Two publishers over one JetStream, through real gRPC: the same events, in the same order, at the same positions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import nats
import pytest
from nats_servers import NatsCluster, NatsServer

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.priority import Priority
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import Event, LanePosition
from lanecast.v1.publisher_pb2_grpc import PublisherServiceStub
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig
from publisher_svc.log.base import ChannelLane, Page
from publisher_svc.log.jetstream.pages import PageReader

CHANNEL, LANE = "agent:42", Priority.HIGH


@asynccontextmanager
async def running(folder: Path, log: str, stream: str, **options: object) -> AsyncIterator[PublisherServiceStub]:
    config = PublisherConfig(
        data_dir=folder, port=0, drain_seconds=0.2, log=log, log_stream=stream, log_partitions=4,
        retention_bytes=64 * 1024**2, accept_lazy_fsync=True, **options,
    )  # type: ignore[arg-type]  # fmt: skip
    app = PublisherApp(config)
    facts = await app.start()
    async with grpc.aio.insecure_channel(facts["address"]) as channel:
        yield PublisherServiceStub(channel)
    await app.drain()


def event(event_id: str, channel: str = CHANNEL, lane: Priority = LANE) -> Event:
    made = Event(id=event_id, channel=channel, priority=lane.wire_value)
    made.data.Pack(ConciergeInsight(text=event_id))
    return made


async def publish_all(stub: PublisherServiceStub, events: list[Event]) -> None:
    """Publish one after the other, each until it is stored, as the SDKs do."""
    for each in events:
        while True:
            try:
                response = await stub.PublishEvents(pb.PublishEventsRequest(events=[each]), timeout=30)
            except grpc.aio.AioRpcError as error:
                assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}  # noqa: PT017
                continue
            if not response.results[0].HasField("error"):
                break


class Reader:
    """A StreamEvents call that keeps what it was sent."""

    def __init__(self, stub: PublisherServiceStub, *starts: pb.ChannelStart) -> None:
        self._call = stub.StreamEvents()
        self._starts = starts
        self.got: list[tuple[str, int, str, int]] = []
        self.gaps: list[object] = []

    async def open(self) -> None:
        await self._call.write(pb.StreamEventsRequest(open=pb.StreamOpen(subscriber="test")))
        await self._call.write(pb.StreamEventsRequest(add=pb.AddChannels(channels=self._starts)))
        while not self._take(await self._call.read()):
            pass

    async def read(self, count: int) -> None:
        while len(self.got) < count:
            self._take(await self._call.read())

    def _take(self, response: pb.StreamEventsResponse) -> bool:
        self.gaps += response.gaps
        for batch in response.batches:
            self.got += [(batch.channel, batch.lane, each.id, each.offset) for each in batch.events]
        return bool(response.added)

    def of(self, channel: str, lane: Priority) -> list[tuple[str, int]]:
        return [(each[2], each[3]) for each in self.got if each[:2] == (channel, lane.wire_value)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    made = NatsCluster(tmp_path / "nats")
    made.start()
    yield made
    made.stop()


async def test_subscribers_of_both_see_the_same(nats_server: NatsServer, tmp_path: Path) -> None:
    log = nats_server.url
    async with running(tmp_path / "1", log, "BOTH") as one, running(tmp_path / "2", log, "BOTH") as two:
        keys = [(channel, lane) for channel in ("agent:1", "agent:2") for lane in (Priority.CRITICAL, Priority.LOW)]
        starts = [pb.ChannelStart(channel=name) for name in ("agent:1", "agent:2")]
        readers = [Reader(one, *starts), Reader(two, *starts)]
        for reader in readers:
            await reader.open()
        jobs = [
            publish_all(stub, [event(f"{name}-{channel}-{lane}-{n}", channel, lane) for n in range(10)])
            for name, stub in (("one", one), ("two", two))
            for channel, lane in keys
        ]
        await asyncio.gather(*jobs)
        for reader in readers:
            await reader.read(80)
        for key in keys:
            assert readers[0].of(*key) == readers[1].of(*key)
            offsets = [offset for _, offset in readers[0].of(*key)]
            assert offsets == sorted(set(offsets))
            assert len(offsets) == 20
        assert not readers[0].gaps + readers[1].gaps


async def test_a_position_of_one_publisher_is_good_with_another(nats_server: NatsServer, tmp_path: Path) -> None:
    log = nats_server.url
    async with running(tmp_path / "1", log, "MOVE") as one, AsyncExitStack() as stack:
        await publish_all(one, [event(f"{n}") for n in range(5)])
        page = await one.ReadEvents(pb.ReadEventsRequest(channel=CHANNEL, lane=LANE.wire_value))
        two = await stack.enter_async_context(running(tmp_path / "2", log, "MOVE"))
        # Two has just begun to read; positions from before its time count all the same.
        third = page.batch.events[2]
        position = LanePosition(lane=LANE.wire_value, epoch=page.batch.epoch, offset=third.offset)
        reader = Reader(two, pb.ChannelStart(channel=CHANNEL, positions=[position]))
        await reader.open()
        await publish_all(one, [event("5")])
        await reader.read(3)
        assert [each for each, _ in reader.of(CHANNEL, LANE)] == ["3", "4", "5"]
        assert not reader.gaps
        earliest = Reader(two, pb.ChannelStart(channel=CHANNEL, start=pb.START_EARLIEST))
        await earliest.open()
        await earliest.read(6)
        assert [each for each, _ in earliest.of(CHANNEL, LANE)] == [f"{n}" for n in range(6)]
        quiet = Reader(two, pb.ChannelStart(channel="agent:quiet", start=pb.START_EARLIEST))
        await quiet.open()
        await publish_all(one, [event("first", "agent:quiet")])
        await quiet.read(1)


async def test_a_quiet_channel_joins_behind_the_floor(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = nats_server.url
    async with running(tmp_path / "1", log, "JOIN") as one:
        await publish_all(one, [event("old", "agent:quiet"), *(event(f"{n}") for n in range(5))])
        page = await one.ReadEvents(pb.ReadEventsRequest(channel="agent:quiet", lane=LANE.wire_value))
        [old] = page.batch.events
        monkeypatch.setattr("publisher_svc.log.jetstream.log.SETTLING_NS", 0)
        async with running(tmp_path / "2", log, "JOIN") as two:
            position = LanePosition(lane=LANE.wire_value, epoch=page.batch.epoch, offset=old.offset)
            reader = Reader(two, pb.ChannelStart(channel="agent:quiet", positions=[position]))
            pages: list[int] = []
            read = PageReader.read

            async def counted(self: PageReader, key: ChannelLane, after: int, *rest: int) -> Page:
                pages.append(after)
                return await read(self, key, after, *rest)

            monkeypatch.setattr(PageReader, "read", counted)
            await reader.open()
            await publish_all(one, [event(f"later-{n}") for n in range(30)])
            await publish_all(one, [event("new", "agent:quiet")])
            await reader.read(1)
            await publish_all(two, [event("newer", "agent:quiet")])
            await reader.read(2)
            assert [each for each, _ in reader.of("agent:quiet", LANE)] == ["new", "newer"]
            assert not reader.gaps
            assert pages.count(old.offset) <= 1, "read again and again, although there is nothing"


async def test_an_id_with_another_payload_is_refused(nats_server: NatsServer, tmp_path: Path) -> None:
    async with running(tmp_path, nats_server.url, "REUSE") as stub:
        await publish_all(stub, [event("1")])
        other = event("1")
        other.data.Pack(ConciergeInsight(text="something else"))
        response = await stub.PublishEvents(pb.PublishEventsRequest(events=[other, event("1")]))
        assert response.results[0].error.reason == "ID_REUSED"
        assert response.results[1].duplicate


async def test_the_leader_of_three_is_killed(cluster: NatsCluster, tmp_path: Path) -> None:
    log = cluster.urls
    async with (
        running(tmp_path / "1", log, "R3", log_replicas=3) as one,
        running(tmp_path / "2", log, "R3", log_replicas=3) as two,
    ):
        readers = [Reader(one, pb.ChannelStart(channel=CHANNEL)), Reader(two, pb.ChannelStart(channel=CHANNEL))]
        for reader in readers:
            await reader.open()
        jobs = [
            asyncio.create_task(publish_all(stub, [event(f"{name}-{n}") for n in range(150)]))
            for name, stub in (("one", one), ("two", two))
        ]
        await readers[0].read(40)
        client = await nats.connect(cluster.urls.split(","))
        info = json.loads((await client.request("$JS.API.STREAM.INFO.R3", b"", timeout=5)).data)
        await client.close()
        leader = cluster.named(info["cluster"]["leader"])
        await asyncio.to_thread(leader.kill)
        await asyncio.gather(*jobs)
        for reader in readers:
            await reader.read(300)
        seen = readers[0].of(CHANNEL, LANE)
        assert seen == readers[1].of(CHANNEL, LANE)
        for name in ("one", "two"):
            assert [each for each, _ in seen if each.startswith(name)] == [f"{name}-{n}" for n in range(150)]
        assert len(seen) == 300
        assert not readers[0].gaps + readers[1].gaps
