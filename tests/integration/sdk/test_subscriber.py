"""Subscriber against a real publisher_svc."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from sdk_services import ServiceProcess, running

from lanecast import (
    AsyncPublisher,
    ConfigError,
    Delivery,
    EventStream,
    FileCursorStore,
    Gap,
    MemoryCursorStore,
    Position,
    Priority,
    Start,
    StatusError,
    Subscriber,
    SubscriberSettings,
    UnavailableError,
)
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight

HIGH, LOW = Priority.HIGH, Priority.LOW


@pytest.fixture
async def publisher(address: str) -> AsyncIterator[AsyncPublisher]:
    async with AsyncPublisher(address, source="tests") as opened:
        yield opened


async def publish(publisher: AsyncPublisher, *texts: object, channel: str = "a", lane: Priority = HIGH) -> None:
    for text in texts:
        publisher.publish_nowait(channel, ConciergeInsight(text=str(text)), priority=lane, id=str(text))
    await publisher.flush()


async def take(stream: EventStream, count: int) -> list[str]:
    return [(await anext(stream)).id for _ in range(count)]


async def test_live_events_come_typed_with_their_envelope(address: str, publisher: AsyncPublisher) -> None:
    await publish(publisher, "before")
    async with Subscriber(address, name="tests") as subscriber, subscriber.events(["a", "b"]) as stream:
        ack = await publisher.publish("b", ConciergeInsight(text="hello"), priority=LOW, id="1")
        delivery = await anext(stream)
        assert isinstance(delivery, Delivery)
        assert delivery.message == ConciergeInsight(text="hello")
        assert type(delivery.message) is ConciergeInsight
        assert (delivery.channel, delivery.lane, delivery.id, delivery.source) == ("b", LOW, "1", "tests")
        assert (delivery.epoch, delivery.offset) == (ack.epoch, ack.offset)
        assert (delivery.position, delivery.type) == (ack.position, "lanecast.ai.v1.ConciergeInsight")
        assert not delivery.replayed
        assert delivery.event.accept_time_unix_nano >= delivery.event.create_time_unix_nano > 0
        assert "b LOW" in repr(delivery)
        assert "connected to" in repr(stream)


async def test_lanes_and_starts_are_chosen(address: str, publisher: AsyncPublisher) -> None:
    await publish(publisher, 1, 2, 3)
    await publish(publisher, "low", lane=LOW)
    async with Subscriber(address) as subscriber:
        assert await take(subscriber.events("a", lanes=[HIGH], start=Start.EARLIEST), 3) == ["1", "2", "3"]
        assert await take(subscriber.events("a", lanes=[HIGH], start=Start.LAST_N, last_n=2), 2) == ["2", "3"]
    async with Subscriber(address) as subscriber:
        stream = subscriber.events("a", lanes=[LOW], start=Start.EARLIEST)
        delivery = await anext(stream)
        assert (delivery.id, delivery.replayed) == ("low", True)


async def test_a_subscriber_with_a_file_goes_on_where_it_stopped(
    address: str, publisher: AsyncPublisher, tmp_path: Path
) -> None:
    path = tmp_path / "cursors.db"
    async with Subscriber(address, cursors=FileCursorStore(path)) as subscriber, subscriber.events("a"):
        pass  # its place is kept from the moment it subscribed
    await publish(publisher, 1, 2, 3)
    async with Subscriber(address, cursors=FileCursorStore(path)) as subscriber:
        assert await take(subscriber.events("a"), 2) == ["1", "2"]
    async with Subscriber(address, cursors=FileCursorStore(path)) as subscriber:
        stream = subscriber.events("a", start=Start.EARLIEST)
        assert await take(stream, 1) == ["3"]
        await publish(publisher, 4)
        assert await take(stream, 1) == ["4"]


async def test_a_delivery_is_handled_once_the_loop_goes_on_but_not_by_an_exception(
    address: str, publisher: AsyncPublisher
) -> None:
    store = MemoryCursorStore()
    await publish(publisher, 1, 2, 3, 4)

    async def consume(stop_at: str, *, fail: bool) -> list[str]:
        seen = []
        async with Subscriber(address, cursors=store) as subscriber:
            async for delivery in subscriber.events("a", start=Start.EARLIEST):
                seen.append(delivery.id)
                if delivery.id == stop_at and fail:
                    raise ZeroDivisionError
                if delivery.id == stop_at:
                    break
        return seen

    with pytest.raises(ZeroDivisionError):
        await consume("2", fail=True)
    assert await consume("3", fail=False) == ["2", "3"]
    assert await consume("4", fail=False) == ["4"]


async def test_without_auto_commit_only_commits_are_kept(address: str, publisher: AsyncPublisher) -> None:
    store = MemoryCursorStore()
    await publish(publisher, 1, 2, 3)
    async with Subscriber(address, cursors=store) as subscriber:
        stream = subscriber.events("a", start=Start.EARLIEST, auto_commit=False)
        first, second, _ = [await anext(stream) for _ in range(3)]
        await second.commit()
        await first.commit()  # an earlier one changes nothing
        assert store.positions["a", HIGH] == second.position
    assert store.positions["a", HIGH] == second.position
    async with Subscriber(address, cursors=store) as subscriber:
        assert await take(subscriber.events("a"), 1) == ["3"]


async def test_positions_are_saved_in_the_middle_of_a_long_run(address: str, publisher: AsyncPublisher) -> None:
    store = MemoryCursorStore()
    await publish(publisher, *range(10))
    settings = SubscriberSettings(commit_every=4)
    async with Subscriber(address, cursors=store, settings=settings) as subscriber:
        stream = subscriber.events("a", start=Start.EARLIEST)
        deliveries = [await anext(stream) for _ in range(6)]
        assert store.positions["a", HIGH] == deliveries[3].position


async def test_a_store_that_fails_is_reported_and_the_position_kept(address: str, publisher: AsyncPublisher) -> None:
    class Failing(MemoryCursorStore):
        fails = False

        async def save(self, positions: object) -> None:
            if self.fails:
                raise OSError("disk full")
            await super().save(positions)  # type: ignore[arg-type]

    store = Failing()
    await publish(publisher, 1)
    async with Subscriber(address, cursors=store) as subscriber:
        delivery = await anext(subscriber.events("a", start=Start.EARLIEST, auto_commit=False))
        store.fails = True
        with pytest.raises(OSError, match="disk full"):
            await delivery.commit()
        store.fails = False
    assert store.positions["a", HIGH] == delivery.position


async def test_a_gap_is_told_in_its_place(
    address: str, publisher: AsyncPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryCursorStore()
    store.positions["a", HIGH] = Position("another log", 1_000)
    await publish(publisher, 1)
    gaps: list[Gap] = []
    async with Subscriber(address, cursors=store) as subscriber:
        stream = subscriber.events("a", lanes=[HIGH], on_gap=gaps.append)
        assert await take(stream, 1) == ["1"]
        assert stream.statistics().gaps == 1
    assert [(gap.reason, gap.from_offset, gap.to_offset) for gap in gaps] == [("EPOCH_UNKNOWN", 1_000, 0)]
    store.positions["a", HIGH] = Position("another log", 1_000)
    async with Subscriber(address, cursors=store) as subscriber:
        assert await take(subscriber.events("a", lanes=[HIGH]), 1) == ["1"]
    assert "EPOCH_UNKNOWN" in caplog.text


async def test_what_has_expired_is_a_gap_among_the_deliveries(address: str, publisher: AsyncPublisher) -> None:
    first = await publisher.publish("a", ConciergeInsight(text="first"), priority=HIGH)
    short = await publisher.publish("a", ConciergeInsight(text="short"), priority=HIGH, ttl=0.001)
    ended = time.time() + 0.001
    while time.time() <= ended:  # what is waited for is the time itself
        await asyncio.sleep(0.001)
    last = await publisher.publish("a", ConciergeInsight(text="last"), priority=HIGH)
    gaps: list[Gap] = []
    async with Subscriber(address) as subscriber:
        stream = subscriber.events("a", lanes=[HIGH], start=Start.EARLIEST, on_gap=gaps.append)
        assert await take(stream, 2) == [first.id, last.id]
    assert gaps == [Gap("a", HIGH, first.epoch, first.offset, short.offset, "EXPIRED", 1)]


async def test_a_slow_loop_bounds_what_is_buffered_and_misses_nothing(address: str, publisher: AsyncPublisher) -> None:
    settings = SubscriberSettings(window_bytes=4_096)
    async with Subscriber(address, settings=settings) as subscriber, subscriber.events("a", lanes=[HIGH]) as stream:
        await publish(publisher, *range(2_000))
        seen = []
        most = 0
        for _ in range(2_000):
            seen.append((await anext(stream)).id)
            most = max(most, stream.statistics().buffered)
        statistics = stream.statistics()
    assert seen == [str(number) for number in range(2_000)]
    assert most < 500
    assert (statistics.duplicates, statistics.recoveries, statistics.delivered) == (0, 0, 2_000)


async def test_a_killed_service_is_resumed_without_loss_or_repetition(process: ServiceProcess) -> None:
    async with (
        AsyncPublisher(process.address) as publisher,
        Subscriber(process.address) as subscriber,
        subscriber.events("a") as stream,
    ):
        seen = []
        for number in range(300):
            if number in {100, 200}:
                process.end()
                await asyncio.to_thread(process.start)
            await publisher.publish("a", ConciergeInsight(), priority=HIGH, id=str(number))
            if number % 10 == 9:
                seen += await take(stream, 10)
        assert stream.statistics().connections == 3
    assert seen == [str(number) for number in range(300)]


async def test_a_drained_service_is_resumed_too(process: ServiceProcess) -> None:
    async with (
        AsyncPublisher(process.address) as publisher,
        Subscriber(process.address) as subscriber,
        subscriber.events("a") as stream,
    ):
        await publish(publisher, 1)
        await asyncio.to_thread(process.end, 15)
        process.start()
        await publish(publisher, 2)
        assert await take(stream, 2) == ["1", "2"]


async def test_a_refused_channel_ends_the_loop_with_its_reason(address: str) -> None:
    async with Subscriber(address) as subscriber:
        with pytest.raises(StatusError, match="leave them out") as caught:
            await anext(subscriber.events("a*"))
        assert caught.value.reason == "CHANNEL_INVALID"
        with pytest.raises(StatusError):
            await subscriber.events("a*").subscribed()


async def test_closing_ends_a_loop_that_waits(address: str) -> None:
    async with Subscriber(address) as subscriber:
        stream = subscriber.events("a")
        await stream.subscribed()
        loop = asyncio.create_task(take(stream, 1))
        await asyncio.sleep(0)
        await subscriber.close()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        result = await asyncio.gather(loop, return_exceptions=True)
        assert isinstance(result[0], (StopAsyncIteration, RuntimeError))
        await stream.aclose()
        assert "closed" in repr(stream)


async def test_types_of_the_operator_come_from_the_service(tmp_path: Path) -> None:
    file = FileDescriptorProto(name="operator.proto", package="operator_types", syntax="proto3")
    file.message_type.add(name="Reading").field.add(
        name="text", number=1, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    path = tmp_path / "types.binpb"
    path.write_bytes(FileDescriptorSet(file=[file]).SerializeToString())
    async with (
        running(tmp_path / "data", type_files=(str(path),)) as target,
        AsyncPublisher(target) as publisher,
        Subscriber(target) as subscriber,
        subscriber.events("a") as stream,
    ):
        packed = AnyMessage(type_url="type.googleapis.com/operator_types.Reading", value=b"\x0a\x02hi")
        await publisher.publish("a", packed, priority=HIGH)
        delivery = await anext(stream)
        assert delivery.type == "operator_types.Reading"
        assert str(delivery.message.text) == "hi"  # type: ignore[attr-defined]


async def test_an_unreachable_service_is_named_with_what_to_do() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 within 0\.2 s.*lanecast up"):
        async with Subscriber("127.0.0.1:1", settings=SubscriberSettings(connect_timeout=0.2)):
            pass


async def test_what_makes_no_sense_is_refused_at_once(address: str) -> None:
    subscriber = Subscriber(address)
    with pytest.raises(ConfigError, match="no channel"):
        subscriber.events([])
    with pytest.raises(ConfigError, match="last_n"):
        subscriber.events("a", start=Start.LAST_N)
