"""AsyncPublisher against a real publisher_svc, and against services that misbehave."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sdk_services import Honest, ServiceProcess, open_stream, running, scripted

from lanecast import (
    Ack,
    AsyncPublisher,
    BufferFullError,
    ConfigError,
    NotAcknowledgedError,
    Priority,
    PublisherClosedError,
    PublishError,
    PublisherSettings,
    Start,
    StatusError,
    Subscriber,
    UnavailableError,
)
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import EventError

HIGH = Priority.HIGH


def insight(text: object = "x") -> ConciergeInsight:
    return ConciergeInsight(text=str(text))


async def test_an_event_is_acknowledged_with_its_position_and_once(address: str) -> None:
    async with AsyncPublisher(address, source="tests") as publisher:
        first = await publisher.publish("agent:42", insight(), priority=HIGH, id="one")
        again = await publisher.publish("agent:42", insight(), priority=HIGH, id="one")
        other = await publisher.publish("agent:42", insight(), priority=HIGH)
    assert isinstance(first, Ack)
    assert (first.id, first.channel, first.duplicate) == ("one", "agent:42", False)
    assert (again.position, again.duplicate) == (first.position, True)
    assert other.offset > first.offset
    assert len(other.id) == 36
    statistics = publisher.statistics()
    assert (statistics.published, statistics.acknowledged, statistics.duplicates, statistics.failed) == (3, 3, 1, 0)


async def test_events_handed_over_together_share_messages(address: str) -> None:
    async with AsyncPublisher(address) as publisher:
        futures = [publisher.publish_nowait("agent:42", insight(number), priority=HIGH) for number in range(1_000)]
        acks = await asyncio.gather(*futures)
        assert "connected to" in repr(publisher)
    assert [ack.offset for ack in acks] == sorted(ack.offset for ack in acks)
    assert publisher.statistics().messages < 100
    assert "closed" in repr(publisher)


async def test_a_refused_event_fails_alone_and_flush_names_it(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with AsyncPublisher(address) as publisher:
        good = publisher.publish_nowait("a", insight(), priority=HIGH)
        bad = [publisher.publish_nowait("a", Timestamp(), priority=HIGH, id=name) for name in ("b1", "b2")]
        with pytest.raises(NotAcknowledgedError, match="2 events failed") as caught:
            await publisher.flush()
        assert caught.value.event_ids == ("b1", "b2")
        assert good.result().offset > 0
        error = bad[0].exception()
        assert isinstance(error, PublishError)
        assert (error.reason, error.event_id, error.channel) == ("TYPE_UNKNOWN", "b1", "a")
        await publisher.flush()  # what was reported is not reported again
        with pytest.raises(PublishError):
            await publisher.publish("a", Timestamp(), priority=HIGH)
        await publisher.flush()  # what was raised already neither
    assert len([record for record in caplog.records if "TYPE_UNKNOWN" in record.getMessage()]) == 1


async def test_failures_that_nobody_asks_for_are_raised_at_the_end_and_not_printed(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NotAcknowledgedError):
        async with AsyncPublisher(address) as publisher:
            publisher.publish_nowait("a", Timestamp(), priority=HIGH)
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_an_error_of_the_block_is_not_replaced(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        async with AsyncPublisher(address) as publisher:
            publisher.publish_nowait("a", Timestamp(), priority=HIGH)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert "1 events failed" in caplog.text


@pytest.mark.parametrize(
    ("channel", "priority", "message", "reason"),
    [
        ("a*", HIGH, insight(), "CHANNEL_INVALID"),
        ("a", 9, insight(), "LANE_UNKNOWN"),
        ("a", HIGH, insight("x" * 70_000), "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_a_malformed_event_is_refused_without_the_service(
    address: str, channel: str, priority: Priority, message: ConciergeInsight, reason: str
) -> None:
    async with AsyncPublisher(address) as publisher:
        with pytest.raises(PublishError) as caught:
            publisher.publish_nowait(channel, message, priority=priority)
        assert caught.value.reason == reason
        with pytest.raises(PublishError):
            await publisher.publish(channel, message, priority=priority)
        assert publisher.statistics().published == 0


async def test_a_full_buffer_refuses_nowait_and_lets_publish_wait_in_turn() -> None:
    honest = Honest()
    honest.may_answer.clear()
    async with scripted(honest) as (target, _):
        settings = PublisherSettings(max_events=2)
        async with AsyncPublisher(target, settings=settings) as publisher:
            for name in "12":
                publisher.publish_nowait("a", insight(), priority=HIGH, id=name)
            with pytest.raises(BufferFullError, match="2 events are waiting"):
                publisher.publish_nowait("a", insight(), priority=HIGH)
            waiting = [
                asyncio.create_task(publisher.publish("a", insight(), priority=HIGH, id=name)) for name in "3456"
            ]
            await asyncio.sleep(0)
            waiting[1].cancel()
            honest.may_answer.set()
            done = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(done.pop(1), asyncio.CancelledError)
        assert all(isinstance(ack, Ack) for ack in done)
    assert honest.ids == ["1", "2", "3", "5", "6"]


async def test_closing_fails_who_waits_and_says_what_is_unanswered() -> None:
    honest = Honest()
    honest.may_answer.clear()
    async with scripted(honest) as (target, _):
        publisher = AsyncPublisher(target, settings=PublisherSettings(max_events=1))
        await publisher.connect()
        future = publisher.publish_nowait("a", insight(), priority=HIGH, id="1")
        waiting = [asyncio.create_task(publisher.publish("a", insight(), priority=HIGH)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(NotAcknowledgedError, match="may or may not be stored") as caught:
            await publisher.close(timeout=0)
        assert caught.value.event_ids == ("1",)
        assert isinstance(future.exception(), PublisherClosedError)
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, PublisherClosedError)
        await publisher.close()
        honest.may_answer.set()
    with pytest.raises(PublisherClosedError):
        publisher.publish_nowait("a", insight(), priority=HIGH)
    with pytest.raises(PublisherClosedError):
        await publisher.connect()


async def test_a_publisher_that_is_not_open_says_so(address: str) -> None:
    publisher = AsyncPublisher(address)
    with pytest.raises(PublisherClosedError, match="async with"):
        publisher.publish_nowait("a", insight(), priority=HIGH)
    await publisher.close()


async def test_an_unreachable_service_is_named_with_what_to_do() -> None:
    targets = ["127.0.0.1:1", "127.0.0.1:2"]
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1, 127\.0\.0\.1:2 within 0\.3 s.*lanecast up"):
        async with AsyncPublisher(targets, settings=PublisherSettings(connect_timeout=0.3)):
            pass


@pytest.mark.parametrize("targets", ["", [], "localhost", "host:port"])
def test_a_malformed_target_is_refused(targets: str | list[str]) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        AsyncPublisher(targets)


def test_a_long_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="128 bytes"):
        AsyncPublisher(source="x" * 129)


async def test_a_service_that_refuses_the_publisher_is_not_asked_again() -> None:
    async def refuse(requests: AsyncIterator[pb.PublishEventStreamRequest], _: Any) -> None:
        await anext(requests)
        raise StatusError(7, "SOURCE_FORBIDDEN", "use another source")

    async with scripted(refuse) as (target, service):
        with pytest.raises(StatusError, match="use another source") as caught:
            async with AsyncPublisher(target):
                pass
        assert caught.value.reason == "SOURCE_FORBIDDEN"
        assert service.streams == 1


async def test_events_of_a_lost_stream_go_again_under_their_ids_and_in_order() -> None:
    seen: list[str] = []

    async def vanish(requests: AsyncIterator[pb.PublishEventStreamRequest], context: Any) -> None:
        await open_stream(requests, context)
        request = await anext(requests)
        seen.extend(event.id for event in request.publish.events)

    honest = Honest()
    async with scripted(vanish, honest) as (target, service), AsyncPublisher(target) as publisher:
        for name in "123":
            publisher.publish_nowait("a", insight(), priority=HIGH, id=name)
        await publisher.flush()
        assert service.streams == 2
    assert seen == ["1", "2", "3"]
    assert honest.ids == ["1", "2", "3"]
    assert publisher.statistics().resent == 3


async def test_a_service_that_answers_nonsense_is_left() -> None:
    async def nonsense(requests: AsyncIterator[pb.PublishEventStreamRequest], context: Any) -> None:
        await open_stream(requests, context)
        await anext(requests)
        acks = pb.PublishAcks(first_sequence=99, results=[pb.PublishResult(offset=1)])
        await context.write(pb.PublishEventStreamResponse(acks=acks))
        await anext(requests, None)

    honest = Honest()
    async with scripted(nonsense, honest) as (target, _), AsyncPublisher(target) as publisher:
        assert (await publisher.publish("a", insight(), priority=HIGH)).offset == 1


async def test_a_refusal_for_the_moment_is_retried_in_order() -> None:
    received: list[str] = []
    honest = Honest()

    async def busy(requests: AsyncIterator[pb.PublishEventStreamRequest], context: Any) -> None:
        await open_stream(requests, context)
        request = await anext(requests)
        received.extend(event.id for event in request.publish.events)
        later = pb.PublishResult(error=EventError(code=8, reason="OVERLOADED", message="later", retry_delay_millis=1))
        behind = pb.PublishResult(error=EventError(code=10, reason="OUT_OF_ORDER", message="", retry_delay_millis=1))
        acks = pb.PublishAcks(epoch="e", first_sequence=1, results=[later, behind])
        await context.write(pb.PublishEventStreamResponse(acks=acks))
        again = (await anext(requests)).publish
        received.extend(event.id for event in again.events)
        results = [pb.PublishResult(offset=number) for number in range(1, len(again.events) + 1)]
        acks = pb.PublishAcks(epoch="e", first_sequence=again.first_sequence, results=results)
        await context.write(pb.PublishEventStreamResponse(acks=acks))
        await anext(requests, None)

    async with scripted(busy, honest) as (target, _), AsyncPublisher(target) as publisher:
        futures = [publisher.publish_nowait("a", insight(), priority=HIGH, id=name) for name in "12"]
        assert [ack.offset for ack in await asyncio.gather(*futures)] == [1, 2]
    assert received == ["1", "2", "1", "2"]


async def test_a_draining_service_is_left_for_another_once_all_is_answered() -> None:
    async def drain(requests: AsyncIterator[pb.PublishEventStreamRequest], context: Any) -> None:
        await open_stream(requests, context)
        message = (await anext(requests)).publish
        await context.write(pb.PublishEventStreamResponse(drain=pb.DrainNotice(grace_millis=1_000)))
        acks = pb.PublishAcks(epoch="e", first_sequence=message.first_sequence, results=[pb.PublishResult(offset=1)])
        await context.write(pb.PublishEventStreamResponse(acks=acks))
        assert await anext(requests, None) is None

    honest = Honest()
    async with (
        scripted(drain) as (first, _),
        scripted(honest) as (second, _),
        AsyncPublisher([first, second]) as publisher,
    ):
        await publisher.publish("a", insight(), priority=HIGH, id="1")
        await publisher.publish("a", insight(), priority=HIGH, id="2")
        assert publisher.statistics().target == second
    assert honest.ids == ["2"]
    assert publisher.statistics().resent == 0


async def test_an_event_that_gets_no_answer_fails_in_time() -> None:
    honest = Honest()
    honest.may_answer.clear()
    async with scripted(honest) as (target, _):
        settings = PublisherSettings(delivery_seconds=0.05)
        async with AsyncPublisher(target, settings=settings) as publisher:
            with pytest.raises(PublishError, match="may or may not be stored") as caught:
                await publisher.publish("a", insight(), priority=HIGH)
            assert caught.value.reason == "UNCONFIRMED"
            honest.may_answer.set()


async def test_a_killed_service_loses_and_doubles_nothing(process: ServiceProcess) -> None:
    async with AsyncPublisher(process.address) as publisher:
        await publisher.publish("a", insight("first"), priority=HIGH, id="first")
        futures: list[asyncio.Future[Ack]] = []
        for number in range(3_000):
            if number % 1_000 == 500:
                process.end()
                await asyncio.to_thread(process.start)
                await futures[-1]
            futures.append(publisher.publish_nowait("a", insight(number), priority=HIGH, id=str(number)))
            if number % 50 == 0:
                await asyncio.sleep(0)
        acks = await asyncio.gather(*futures)
        assert publisher.statistics().connections == 4
    offsets = [ack.offset for ack in acks]
    assert offsets == sorted(set(offsets))
    async with Subscriber(process.address) as subscriber:
        stream = subscriber.events("a", start=Start.EARLIEST)
        ids = [(await anext(stream)).id for _ in range(3_001)]
    assert ids == ["first", *map(str, range(3_000))]


async def test_a_publisher_belongs_to_one_loop(address: str) -> None:
    async def elsewhere(publisher: AsyncPublisher) -> None:
        publisher.publish_nowait("a", insight(), priority=HIGH)

    async with AsyncPublisher(address) as publisher:
        with pytest.raises(PublisherClosedError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, elsewhere(publisher))


async def test_two_services_on_one_list_are_both_usable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with running(tmp_path / "one") as one, AsyncPublisher(["127.0.0.1:1", one]) as publisher:
        assert (await publisher.publish("a", insight(), priority=HIGH)).offset == 1
        assert publisher.statistics().target == one
