"""publisher_svc through real gRPC, in this process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.priority import LANES, Priority
from lanecast.errors import StartError
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import GAP_REASON_AHEAD, GAP_REASON_EPOCH_UNKNOWN, Event, LanePosition
from lanecast.v1.publisher_pb2_grpc import PublisherServiceStub
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig


@asynccontextmanager
async def running(folder: Path, **options: object) -> AsyncIterator[tuple[PublisherApp, grpc.aio.Channel]]:
    app = PublisherApp(PublisherConfig(data_dir=folder, port=0, drain_seconds=0.2, **options))  # type: ignore[arg-type]
    facts = await app.start()
    async with grpc.aio.insecure_channel(facts["address"]) as channel:
        yield app, channel
    await app.drain()


@pytest.fixture(params=["asyncio", "grpcio"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever carries gRPC: the answers are the same."""
    monkeypatch.setenv("LANECAST_GRPC_ENGINE", request.param)


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with running(tmp_path) as (_, opened):
        yield opened


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> PublisherServiceStub:
    return PublisherServiceStub(channel)


def event(text: str, *, channel: str = "agent:42", lane: Priority = Priority.HIGH, event_id: str = "") -> Event:
    made = Event(id=event_id, channel=channel, priority=lane.wire_value)
    made.data.Pack(ConciergeInsight(text=text))
    return made


async def publish(stub: PublisherServiceStub, *events: Event) -> list[pb.PublishResult]:
    response = await stub.PublishEvents(pb.PublishEventsRequest(events=events))
    return list(response.results)


def text_of(made: Event) -> str:
    insight = ConciergeInsight()
    assert made.data.Unpack(insight)
    return insight.text


class Subscription:
    """A StreamEvents call with one channel."""

    def __init__(self, stub: PublisherServiceStub, *lanes: Priority) -> None:
        self.call = stub.StreamEvents()
        self._lanes = [lane.wire_value for lane in lanes]

    async def open(self, start: pb.ChannelStart) -> pb.StreamEventsResponse:
        await self.call.write(pb.StreamEventsRequest(open=pb.StreamOpen(subscriber="test", lanes=self._lanes)))
        await self.call.write(pb.StreamEventsRequest(add=pb.AddChannels(channels=[start])))
        response = await self.call.read()
        while not response.added:
            response = await self.call.read()
        return response

    async def texts(self, count: int) -> list[str]:
        found: list[str] = []
        while len(found) < count:
            response = await self.call.read()
            assert response is not grpc.aio.EOF
            found += [text_of(made) for batch in response.batches for made in batch.events]
        return found


async def test_a_bad_event_fails_alone(stub: PublisherServiceStub) -> None:
    bad = Event(channel="agent:42", priority=Priority.LOW.wire_value)
    results = await publish(stub, event("one"), bad, event("two", channel="a*"), event("three"))
    assert [result.error.reason for result in results] == ["", "TYPE_UNKNOWN", "CHANNEL_INVALID", ""]
    assert [result.offset for result in results] == [1, 0, 0, 2]


async def test_the_same_id_is_one_event_unless_the_payload_differs(stub: PublisherServiceStub) -> None:
    [first] = await publish(stub, event("one", event_id="x"))
    [again] = await publish(stub, event("one", event_id="x"))
    [reused] = await publish(stub, event("two", event_id="x"))
    assert (again.offset, again.duplicate) == (first.offset, True)
    assert (reused.error.code, reused.error.reason) == (6, "ID_REUSED")


async def test_a_stream_acknowledges_every_event_and_closes_when_asked(stub: PublisherServiceStub) -> None:
    call = stub.PublishEventStream()
    await call.write(pb.PublishEventStreamRequest(open=pb.PublishOpen(source="tests")))
    opened = (await call.read()).opened
    assert opened.credit_bytes > 0
    assert opened.dedup_window_seconds == 120
    events = [event(str(number), lane=lane) for number in range(10) for lane in LANES]
    message = pb.PublishMessage(first_sequence=1, events=events)
    await call.write(pb.PublishEventStreamRequest(publish=message))
    message = pb.PublishMessage(first_sequence=41, events=[event("last"), Event()])
    await call.write(pb.PublishEventStreamRequest(publish=message))
    await call.write(pb.PublishEventStreamRequest(close=pb.PublishClose()))
    answers: dict[int, pb.PublishResult] = {}
    while (response := await call.read()).WhichOneof("response") == "acks":
        answers.update(enumerate(response.acks.results, response.acks.first_sequence))
    assert response.WhichOneof("response") == "closed"
    assert await call.read() is grpc.aio.EOF
    assert sorted(answers) == list(range(1, 43))
    assert len({answers[number].offset for number in range(1, 42)}) == 41
    assert [number for number, result in answers.items() if result.HasField("error")] == [42]
    assert answers[42].error.reason == "CHANNEL_INVALID"
    page = await stub.ReadEvents(pb.ReadEventsRequest(channel="agent:42", lane=Priority.LOW.wire_value))
    assert [text_of(made) for made in page.batch.events] == [str(number) for number in range(10)]
    assert {made.source for made in page.batch.events} == {"tests"}


async def test_what_a_publisher_puts_into_our_fields_is_overwritten(stub: PublisherServiceStub) -> None:
    forged = event("x")
    forged.offset, forged.prev_offset, forged.store_time_unix_nano, forged.accept_time_unix_nano = 99, 98, 97, 96
    await publish(stub, forged)
    page = await stub.ReadEvents(pb.ReadEventsRequest(channel="agent:42", lane=Priority.HIGH.wire_value))
    [stored] = page.batch.events
    assert (stored.offset, stored.prev_offset, stored.store_time_unix_nano) == (1, 0, 0)
    assert stored.accept_time_unix_nano > 96
    assert len(stored.id) == 36, "an event without an id gets one"


async def test_live_events_carry_the_stamps_of_their_way(stub: PublisherServiceStub) -> None:
    subscription = Subscription(stub)
    added = (await subscription.open(pb.ChannelStart(channel="agent:42"))).added[0]
    assert [position.lane for position in added.positions] == [lane.wire_value for lane in LANES]
    await publish(stub, event("now"))
    batch = (await subscription.call.read()).batches[0]
    made = batch.events[0]
    stamps = [made.accept_time_unix_nano, made.store_time_unix_nano, batch.flush_time_unix_nano]
    assert stamps == sorted(stamps)
    assert made.accept_time_unix_nano > 0
    assert not batch.replayed


async def test_a_subscriber_resumes_then_goes_on_live(stub: PublisherServiceStub) -> None:
    results = await publish(stub, *(event(str(number)) for number in range(5)))
    position = LanePosition(lane=Priority.HIGH.wire_value, offset=results[1].offset)
    subscription = Subscription(stub, Priority.HIGH)
    await subscription.open(pb.ChannelStart(channel="agent:42", positions=[position]))
    assert await subscription.texts(3) == ["2", "3", "4"]
    await publish(stub, event("live"))
    assert await subscription.texts(1) == ["live"]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (pb.ChannelStart(start=pb.START_EARLIEST), ["0", "1", "2", "live"]),
        (pb.ChannelStart(start=pb.START_LAST_N, last_n=2), ["1", "2", "live"]),
        (pb.ChannelStart(start=pb.START_LATEST), ["live"]),
        (pb.ChannelStart(), ["live"]),
    ],
)
async def test_where_a_subscriber_may_start(
    stub: PublisherServiceStub, start: pb.ChannelStart, expected: list[str]
) -> None:
    await publish(stub, *(event(str(number)) for number in range(3)))
    start.channel = "agent:42"
    subscription = Subscription(stub, Priority.HIGH)
    await subscription.open(start)
    await publish(stub, event("live"))
    assert await subscription.texts(len(expected)) == expected


@pytest.mark.parametrize(
    ("position", "reason", "going_on"),
    [
        (LanePosition(epoch="nobody knows", offset=9), GAP_REASON_EPOCH_UNKNOWN, ["0", "1", "2", "3"]),
        (LanePosition(epoch="", offset=99), GAP_REASON_AHEAD, ["3"]),
    ],
)
async def test_a_position_that_cannot_be_honoured_is_answered_with_a_gap(
    stub: PublisherServiceStub, position: LanePosition, reason: int, going_on: list[str]
) -> None:
    await publish(stub, *(event(str(number)) for number in range(3)))
    position.lane = Priority.HIGH.wire_value
    subscription = Subscription(stub, Priority.HIGH)
    response = await subscription.open(pb.ChannelStart(channel="agent:42", positions=[position]))
    assert [gap.reason for gap in response.gaps] == [reason]
    assert response.added[0].positions[0].offset == response.gaps[0].to_offset
    await publish(stub, event("3"))
    assert await subscription.texts(len(going_on)) == going_on


async def test_a_slow_subscriber_gets_everything_without_a_gap(stub: PublisherServiceStub) -> None:
    subscription = Subscription(stub, Priority.LOW)
    request = pb.StreamOpen(lanes=[Priority.LOW.wire_value])
    request.credit.add(lane=Priority.LOW.wire_value, bytes=1)
    await subscription.call.write(pb.StreamEventsRequest(open=request))
    start = pb.ChannelStart(channel="agent:42")
    await subscription.call.write(pb.StreamEventsRequest(add=pb.AddChannels(channels=[start])))
    while not (await subscription.call.read()).added:
        pass
    big = "x" * 60_000  # together more than the stream's queue: what overflows is read from the log
    for number in range(0, 100, 10):
        await publish(stub, *(event(f"{number + i}{big}", lane=Priority.LOW) for i in range(10)))
    credit = pb.GrantCredit(lanes=[pb.LaneCredit(lane=Priority.LOW.wire_value, bytes=1 << 25)])
    await subscription.call.write(pb.StreamEventsRequest(credit=credit))
    texts = await subscription.texts(100)
    assert [text.rstrip("x") for text in texts] == [str(number) for number in range(100)]


async def test_a_channel_that_cannot_be_added_is_refused_alone(stub: PublisherServiceStub) -> None:
    subscription = Subscription(stub)
    response = await subscription.open(pb.ChannelStart(channel="no>good"))
    assert response.added[0].error.reason == "CHANNEL_INVALID"
    start = pb.ChannelStart(channel="good", start=pb.START_LAST_N)
    await subscription.call.write(pb.StreamEventsRequest(add=pb.AddChannels(channels=[start])))
    assert (await subscription.call.read()).added[0].error.reason == "LAST_N_INVALID"
    remove = pb.RemoveChannels(channels=["never there"])
    await subscription.call.write(pb.StreamEventsRequest(remove=remove))
    start = pb.ChannelStart(channel="good")
    await subscription.call.write(pb.StreamEventsRequest(add=pb.AddChannels(channels=[start])))
    assert (await subscription.call.read()).added[0].channel == "good"


async def test_a_removed_channel_is_silent(stub: PublisherServiceStub) -> None:
    subscription = Subscription(stub)
    await subscription.open(pb.ChannelStart(channel="agent:42"))
    remove = pb.RemoveChannels(channels=["agent:42"])
    await subscription.call.write(pb.StreamEventsRequest(remove=remove))
    add = pb.AddChannels(channels=[pb.ChannelStart(channel="agent:7")])
    await subscription.call.write(pb.StreamEventsRequest(add=add))
    assert (await subscription.call.read()).added
    await publish(stub, event("unheard"), event("heard", channel="agent:7"))
    assert await subscription.texts(1) == ["heard"]


async def failure(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "lanecast"
    return str(info.reason)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.ReadEventsRequest(channel="", lane=1), "CHANNEL_INVALID"),
        (pb.ReadEventsRequest(channel="a"), "LANE_UNKNOWN"),
        (pb.ReadEventsRequest(channel="a", lane=1, limit=1_001), "LIMIT_INVALID"),
        (pb.ReadEventsRequest(channel="a", lane=1, last_n=1_001), "LAST_N_INVALID"),
    ],
)
async def test_a_bad_read_is_refused(stub: PublisherServiceStub, request_: pb.ReadEventsRequest, reason: str) -> None:
    error = await failure(stub.ReadEvents(request_))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_bad_publish_requests(stub: PublisherServiceStub, channel: grpc.aio.Channel) -> None:
    error = await failure(stub.PublishEvents(pb.PublishEventsRequest()))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "EVENT_COUNT")
    raw = channel.unary_unary("/lanecast.v1.PublisherService/PublishEvents")
    error = await failure(raw(b"\xff\xff garbage"))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")
    error = await failure(raw(bytes(5 * 1024 * 1024)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_stream_that_does_not_open_is_refused(stub: PublisherServiceStub) -> None:
    for call, first in (
        (stub.PublishEventStream(), pb.PublishEventStreamRequest(close=pb.PublishClose())),
        (stub.StreamEvents(), pb.StreamEventsRequest(credit=pb.GrantCredit())),
    ):
        await call.write(first)  # type: ignore[arg-type]
        error = await failure(call.read())
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "STREAM_NOT_OPENED")
        assert "`open`" in (error.details() or "")


async def test_types_are_listed_with_their_descriptors(stub: PublisherServiceStub) -> None:
    listed = await stub.ListEventTypes(pb.ListEventTypesRequest())
    assert "lanecast.ai.v1.ShapExplanation" in listed.types
    assert listed.descriptors.file
    again = await stub.ListEventTypes(pb.ListEventTypesRequest(known_version=listed.version))
    assert not again.descriptors.file


async def test_health_and_reflection(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service="lanecast.v1.PublisherService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in (await call.read()).list_services_response.service}
    assert {"lanecast.v1.PublisherService", "grpc.health.v1.Health"} <= names
    call.cancel()


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app = PublisherApp(PublisherConfig(data_dir=tmp_path, port=port, drain_seconds=0))
        with pytest.raises(StartError, match=rf"127\.0\.0\.1:{port}.*choose another port"):
            await app.start()
        await app.drain()


async def test_a_drain_is_announced_and_everything_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as (app, channel):
        stub = PublisherServiceStub(channel)
        subscription = Subscription(stub)
        await subscription.open(pb.ChannelStart(channel="agent:42"))
        await publish(stub, event("before"))
        assert await subscription.texts(1) == ["before"]
        await app.drain()
        response = await subscription.call.read()
        assert response.drain.grace_millis == 200
        app.drain = _done  # type: ignore[method-assign]
    async with running(tmp_path) as (_, channel):
        stub = PublisherServiceStub(channel)
        page = await stub.ReadEvents(pb.ReadEventsRequest(channel="agent:42", lane=Priority.HIGH.wire_value))
        assert [text_of(made) for made in page.batch.events] == ["before"]


async def _done() -> None:
    """The service is drained already."""
