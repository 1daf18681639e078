"""Services and programs of neighbouring versions of the contract work together, in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from contracts import FUTURE_VALUE, following, previous
from doors import serving
from websockets.asyncio.client import connect

from gateway_svc.app import Gateway
from gateway_svc.config import GatewayConfig
from lanecast import AsyncPublisher, Gap, Priority, Subscriber
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.runtime import status
from lanecast.runtime.channels import CHANNEL_OPTIONS
from lanecast.runtime.grpc_server import GrpcServer
from lanecast.runtime.tokens import issue, load_or_create_key
from lanecast.v1 import publisher_pb2 as pb

CHANNEL = "agent:42"
HIGH = Priority.HIGH.wire_value

versions = pytest.mark.parametrize("version", [previous(), following()], ids=["previous", "following"])


def told(message: Any) -> Any:
    """Fill in the field that only the following version has."""
    if "from_the_future" in message.DESCRIPTOR.fields_by_name:
        message.from_the_future = "something"
    return message


def an_event(version: Any, event_id: str, priority: int = HIGH) -> Any:
    event = told(version.Event(id=event_id, channel=CHANNEL, priority=priority))
    event.data.type_url = "type.googleapis.com/lanecast.ai.v1.ConciergeInsight"
    event.data.value = ConciergeInsight(text=event_id).SerializeToString()
    return event


# Programs of another version, services of this one


@versions
async def test_a_program_of_another_version_publishes_and_receives(version: Any, tmp_path: Path) -> None:
    async with serving(tmp_path) as target, grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        subscribing: Any = channel.stream_stream("/lanecast.v1.PublisherService/StreamEvents")()
        opening = told(version.StreamEventsRequest(open=told(version.StreamOpen(lanes=[HIGH]))))
        await subscribing.write(opening.SerializeToString())
        start = told(version.ChannelStart(channel=CHANNEL))
        await subscribing.write(
            version.StreamEventsRequest(add=version.AddChannels(channels=[start])).SerializeToString()
        )
        while not version.StreamEventsResponse.FromString(await subscribing.read()).added:
            continue
        publishing: Any = channel.stream_stream("/lanecast.v1.PublisherService/PublishEventStream")()
        request = told(version.PublishEventStreamRequest(open=told(version.PublishOpen(source="test"))))
        await publishing.write(request.SerializeToString())
        opened = version.PublishEventStreamResponse.FromString(await publishing.read()).opened
        assert opened.credit_bytes > 0
        events = [an_event(version, "one"), an_event(version, "two", FUTURE_VALUE), an_event(version, "three")]
        message = told(version.PublishMessage(first_sequence=1, events=events))
        await publishing.write(version.PublishEventStreamRequest(publish=message).SerializeToString())
        results: list[Any] = []
        while len(results) < 3:
            results += version.PublishEventStreamResponse.FromString(await publishing.read()).acks.results
        assert [result.error.code for result in results] == [0, status.INVALID_ARGUMENT, 0]
        received: list[Any] = []
        while len(received) < 2:
            for batch in version.StreamEventsResponse.FromString(await subscribing.read()).batches:
                received += batch.events
        assert [event.id for event in received] == ["one", "three"]
        for event in received:
            # What this version does not know is kept for those who do.
            assert getattr(event, "from_the_future", "") == getattr(events[0], "from_the_future", "")
        subscribing.cancel()
        publishing.cancel()


async def test_a_kind_of_message_that_the_service_does_not_know_is_answered(tmp_path: Path) -> None:
    """A stream must not go on as if such a message had not been: a program uses one where the service announces it."""
    version = following()
    async with serving(tmp_path) as target, grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        call: Any = channel.stream_stream("/lanecast.v1.PublisherService/PublishEventStream")()
        for request in (
            version.PublishEventStreamRequest(open=version.PublishOpen()),
            version.PublishEventStreamRequest(future_kind="please"),
        ):
            await call.write(request.SerializeToString())
        await call.read()
        with pytest.raises(grpc.RpcError):
            await call.read()
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION


@versions
async def test_a_browser_of_another_version_is_served(version: Any, tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        gateway = Gateway(GatewayConfig(port=0, data_dir=tmp_path, publisher_targets=(target,), drain_seconds=0.1))
        address = (await gateway.start())["address"]
        token = issue(load_or_create_key(tmp_path), ("*",))
        try:
            async with connect(f"ws://{address}/v1/ws", subprotocols=["lanecast.v1.proto"], proxy=None) as socket:  # type: ignore[list-item]

                async def expect(kind: str) -> Any:
                    while True:
                        frame = version.ServerFrame.FromString(await socket.recv())
                        if frame.WhichOneof("frame") == kind:
                            return frame

                hello = told(version.ClientFrame(hello=told(version.Hello(token=token))))
                await socket.send(hello.SerializeToString())
                await expect("welcome")
                subscribe = told(version.Subscribe(channel=CHANNEL))
                await socket.send(version.ClientFrame(subscribe=subscribe).SerializeToString())
                await expect("subscribed")
                async with AsyncPublisher(target) as publisher:
                    await publisher.publish(CHANNEL, ConciergeInsight(text="x"), priority=Priority.HIGH, id="one")
                assert [event.id for event in (await expect("events")).events.events] == ["one"]
        finally:
            await gateway.drain()


# Services of another version, programs of this one


class OtherService:
    """A publisher service that speaks another version of the contract."""

    def __init__(self, version: Any) -> None:
        self._version = version
        self.events: list[Any] = []

    async def PublishEventStream(self, requests: AsyncIterator[Any], context: Any) -> None:  # noqa: N802
        version, response = self._version, self._version.PublishEventStreamResponse
        async for request in requests:
            kind = request.WhichOneof("request")
            if kind == "open":
                opened = version.PublishOpened(epoch="e", credit_bytes=1 << 20, max_events=1000)
                await context.write(told(response(opened=told(opened))).SerializeToString())
            elif kind == "publish":
                if "future_kind" in response.DESCRIPTOR.fields_by_name:
                    await context.write(response(future_kind="news").SerializeToString())
                self.events += request.publish.events
                results = [told(version.PublishResult(offset=n)) for n, _ in enumerate(request.publish.events, 1)]
                acks = version.PublishAcks(epoch="e", first_sequence=request.publish.first_sequence, results=results)
                await context.write(told(response(acks=told(acks))).SerializeToString())
            else:
                await context.write(response(closed=version.PublishClosed()).SerializeToString())
                return

    async def StreamEvents(self, requests: AsyncIterator[Any], context: Any) -> None:  # noqa: N802
        version = self._version
        async for request in requests:
            if request.HasField("open"):
                opened = told(version.StreamOpened(epoch="e"))
                await context.write(told(version.StreamEventsResponse(opened=opened)).SerializeToString())
            elif request.HasField("add"):
                added = told(version.ChannelAdded(channel=CHANNEL))
                added.positions.add(lane=HIGH, epoch="e", offset=0)
                gap = version.Gap(
                    channel=CHANNEL, lane=HIGH, epoch="e", from_offset=0, to_offset=5, reason=FUTURE_VALUE, count=5
                )
                batch = told(version.EventBatch(channel=CHANNEL, lane=HIGH, epoch="e"))
                event = an_event(version, "one")
                event.offset, event.prev_offset = 6, 0
                batch.events.append(event)
                response = told(version.StreamEventsResponse(added=[added], gaps=[told(gap)], batches=[batch]))
                await context.write(response.SerializeToString())

    async def ListEventTypes(self, request: Any, context: Any) -> Any:  # noqa: N802
        return told(self._version.ListEventTypesResponse(version="v"))

    async def _unused(self, *_: Any) -> None:
        raise NotImplementedError

    PublishEvents = ReadEvents = _unused


@versions
async def test_the_sdk_works_with_a_service_of_another_version(version: Any) -> None:
    server, service = GrpcServer(), OtherService(version)
    server.add(pb.DESCRIPTOR.services_by_name["PublisherService"], service)
    target = f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
    try:
        async with AsyncPublisher(target) as publisher:
            ack = await publisher.publish(CHANNEL, ConciergeInsight(text="x"), priority=Priority.HIGH, id="mine")
            assert (ack.id, ack.offset) == ("mine", 1)
        gaps: list[Gap] = []
        async with (
            Subscriber(target) as subscriber,
            subscriber.events(CHANNEL, lanes=[Priority.HIGH], on_gap=gaps.append) as stream,
        ):
            assert (await anext(stream)).id == "one"
        assert [(gap.to_offset, gap.reason) for gap in gaps] == [(5, f"REASON_{FUTURE_VALUE}")]
    finally:
        await server.stop(0)
