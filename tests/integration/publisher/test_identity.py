"""Who may publish what, and how much, through real gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.instruments import EVENT_REJECTED
from lanecast.core.priority import Priority
from lanecast.errors import ConfigError
from lanecast.runtime import tokens
from lanecast.runtime.tokens import Rate
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import Event
from lanecast.v1.publisher_pb2_grpc import PublisherServiceStub
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig


class Clock:
    """A monotonic clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Service:
    """A publisher_svc that asks for tokens, and the means to publish to it."""

    def __init__(self, app: PublisherApp, stub: PublisherServiceStub, key: str, clock: Clock) -> None:
        self.app, self.stub, self.key, self.clock = app, stub, key, clock

    def token(self, *channels: str, **claims: Any) -> str:
        return tokens.issue(self.key, [], publish=channels, **{"subject": "bot", **claims})

    async def publish(self, token: str, *events: Event) -> list[pb.PublishResult]:
        response = await self.stub.PublishEvents(pb.PublishEventsRequest(events=events), metadata=bearer(token))
        return list(response.results)

    async def stream(self, token: str) -> Stream:
        call = self.stub.PublishEventStream(metadata=bearer(token))
        await call.write(pb.PublishEventStreamRequest(open=pb.PublishOpen(source="tests")))
        assert (await call.read()).HasField("opened")
        return Stream(call)


class Stream:
    """An open publishing stream."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self._sequence = 1

    async def send(self, *events: Event) -> None:
        message = pb.PublishMessage(first_sequence=self._sequence, events=events)
        self._sequence += len(events)
        await self.call.write(pb.PublishEventStreamRequest(publish=message))

    async def results(self, count: int) -> list[pb.PublishResult]:
        found: list[pb.PublishResult] = []
        while len(found) < count:
            response = await self.call.read()
            assert response is not grpc.aio.EOF
            found += response.acks.results
        return found


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def event(lane: Priority = Priority.NORMAL, channel: str = "agent:42", event_id: str = "") -> Event:
    made = Event(channel=channel, priority=lane.wire_value, id=event_id)
    made.data.Pack(ConciergeInsight(text="x"))
    return made


def reasons(results: list[pb.PublishResult]) -> list[str]:
    return [result.error.reason for result in results]


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[Service]:
    clock = Clock()
    app = PublisherApp(PublisherConfig(data_dir=folder, port=0, drain_seconds=0.2, **options), clock)
    facts = await app.start()
    async with grpc.aio.insecure_channel(facts["address"]) as channel:
        yield Service(app, PublisherServiceStub(channel), tokens.load_or_create_key(folder), clock)
    await app.drain()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with running(tmp_path, publish_auth="token") as started:
        yield started


def refused(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return error.code(), info.reason


@pytest.mark.parametrize(
    ("metadata", "reason", "sentence"),
    [
        ((), "TOKEN_MISSING", "publishing needs a token here"),
        ((("authorization", "Basic eDp5"),), "TOKEN_MALFORMED", "of the form `Bearer …`"),
        ((("authorization", "Bearer "),), "TOKEN_MALFORMED", "the bearer token is empty"),
        ((("authorization", "Bearer a.b.c"),), "TOKEN_MALFORMED", "cannot be accepted"),
        ((("authorization", "Bearer a"), ("authorization", "Bearer b")), "TOKEN_MALFORMED", "one `authorization`"),
        (
            bearer(tokens.issue("another key of enough length for it", [], publish=["*"])),
            "TOKEN_FOREIGN",
            "not signed by",
        ),
    ],
)
async def test_a_token_that_is_missing_or_bad_ends_the_call(
    service: Service, metadata: tuple[tuple[str, str], ...], reason: str, sentence: str
) -> None:
    request = pb.PublishEventsRequest(events=[event()])
    with pytest.raises(grpc.aio.AioRpcError, match=sentence) as unary:
        await service.stub.PublishEvents(request, metadata=metadata)
    assert refused(unary.value) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    call = service.stub.PublishEventStream(metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError, match=sentence) as stream:
        await call.read()
    assert refused(stream.value) == (grpc.StatusCode.UNAUTHENTICATED, reason)


async def test_channels_and_lanes_that_are_not_granted_are_refused_one_by_one(service: Service) -> None:
    token = service.token("agent:*", "news", highest_lane=Priority.NORMAL)
    wanted = [event(), event(Priority.HIGH), event(channel="bots"), event(Priority.LOW, "news"), event(channel="a*")]
    expected = ["", "LANE_FORBIDDEN", "CHANNEL_FORBIDDEN", "", "CHANNEL_FORBIDDEN"]
    results = await service.publish(token, *wanted)
    assert reasons(results) == expected
    assert [result.error.code for result in results] == [0, 7, 7, 0, 7]
    stream = await service.stream(token)
    await stream.send(*wanted)
    assert reasons(await stream.results(5)) == expected
    counts = {
        (dict(key.attributes)["lane"], dict(key.attributes)["reason"]): count
        for key, count in service.app._instruments.take_counters()
        if key.name == EVENT_REJECTED
    }
    assert counts == {("HIGH", "LANE_FORBIDDEN"): 2, ("NORMAL", "CHANNEL_FORBIDDEN"): 4}


async def test_a_token_of_a_browser_publishes_nothing(service: Service) -> None:
    token = tokens.issue(service.key, ["*"])
    assert reasons(await service.publish(token, event())) == ["CHANNEL_FORBIDDEN"]


async def test_all_streams_of_an_identity_share_its_rate_and_low_is_refused_first(service: Service) -> None:
    token = service.token("*", rate=Rate(10.0, 10))
    one, two = await service.stream(token), await service.stream(service.token("*", rate=Rate(10.0, 10)))
    await one.send(*[event(Priority.LOW, "a")] * 6)
    assert reasons(await one.results(6)) == [""] * 6
    await two.send(*[event(Priority.LOW, "b", "low-1")] * 2)
    [last, refusal] = await two.results(2)
    assert (reasons([last]), refusal.error.code) == ([""], 8)
    assert (refusal.error.reason, refusal.error.retry_delay_millis) == ("RATE_LIMITED", 100)
    await two.send(*[event(Priority.CRITICAL)] * 4)
    answers = await two.results(4)
    assert reasons(answers) == ["", "", "", "RATE_LIMITED"]
    other = service.token("*", subject="other", rate=Rate(10.0, 10))
    assert reasons(await service.publish(other, event())) == [""]
    service.clock.now += 0.1
    assert reasons(await service.publish(token, event(Priority.CRITICAL))) == [""]


async def test_leaving_and_coming_back_gains_nothing(service: Service) -> None:
    table = service.app._doorkeeper._buckets
    token = service.token("*", rate=Rate(1.0, 2))
    for expected in ("", "", "RATE_LIMITED"):
        assert reasons(await service.publish(token, event(Priority.CRITICAL))) == [expected]
    assert [use.streams for use in table._entries.values()] == [0], "and what is gone is not counted for ever"


async def test_a_stream_ends_when_its_token_does_and_answers_first(service: Service) -> None:
    stream = await service.stream(service.token("*", ttl_seconds=60))
    await stream.send(event(event_id="a"))
    service.clock.now += 60  # within the leeway for clocks
    await stream.send(event(event_id="b"))
    assert reasons(await stream.results(2)) == ["", ""]
    service.clock.now += tokens.LEEWAY_SECONDS
    await stream.send(event(event_id="c"))
    with pytest.raises(grpc.aio.AioRpcError, match="open a new stream with a fresh one") as caught:
        await stream.call.read()
    assert refused(caught.value) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    token = service.token("*")
    assert [result.duplicate for result in await service.publish(token, event(event_id="b"), event(event_id="c"))] == [
        True,
        False,
    ]


async def test_without_tokens_the_configured_rate_and_lane_hold_for_all_together(tmp_path: Path) -> None:
    options: dict[str, Any] = {"publish_rate": 10.0, "publish_burst": 2, "anonymous_highest_lane": "high"}
    async with running(tmp_path, **options) as service:
        request = pb.PublishEventsRequest(events=[event(Priority.CRITICAL), event(Priority.HIGH)])
        assert reasons((await service.stub.PublishEvents(request)).results) == ["LANE_FORBIDDEN", ""]
        request = pb.PublishEventsRequest(events=[event(Priority.HIGH, name) for name in "ab"])
        assert reasons((await service.stub.PublishEvents(request)).results) == ["RATE_LIMITED"] * 2
        token = service.token("*")  # it has a rate of its own: the default, as its names none
        assert reasons(await service.publish(token, *[event(Priority.CRITICAL)] * 3)) == ["", "", "RATE_LIMITED"]


async def test_a_token_counts_where_none_is_needed(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        assert reasons(await service.publish(service.token("a"), event(channel="b"))) == ["CHANNEL_FORBIDDEN"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.publish("x.y.z", event())
        assert refused(caught.value) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MALFORMED")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"publish_auth": "none"}, "use open or token"),
        ({"publish_rate": -1.0}, "use 0 for unlimited"),
        ({"publish_rate": float("nan")}, "use 0 for unlimited"),
        ({"publish_burst": -1}, "use 0 to"),
        ({"anonymous_highest_lane": "URGENT"}, "unknown lane 'URGENT'"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        PublisherApp(PublisherConfig(data_dir=tmp_path, **options))
