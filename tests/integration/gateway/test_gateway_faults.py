"""What happens when the publisher, a client or the gateway itself goes away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_publisher import FakePublisher, fake_publisher
from gateway_client import JSON, Running, running_gateway
from websockets.exceptions import ConnectionClosed

from gateway_svc.core.session import Session
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core import codes
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import GAP_REASON_AHEAD, GAP_REASON_EXPIRED, GAP_REASON_SHED, LanePosition
from lanecast.v1.gateway_pb2 import ClientFrame, Pong, RefreshToken, Subscribe
from lanecast.v1.publisher_pb2 import START_EARLIEST

CRITICAL, HIGH, NORMAL, LOW = Priority.CRITICAL, Priority.HIGH, Priority.NORMAL, Priority.LOW


@pytest.fixture
async def publisher() -> AsyncIterator[FakePublisher]:
    async with fake_publisher() as made:
        yield made


@pytest.fixture
async def gateway(tmp_path: Path, publisher: FakePublisher) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path, [publisher.target]) as made:
        yield made


def only_session(gateway: Running) -> Session:
    (connection,) = gateway.gateway.edge.connections
    assert connection.session is not None
    return connection.session


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def closed_with(client: Any, offsets: list[int] | None = None) -> int:
    """Read until the connection is closed; return the code, and the offsets of the events before it."""
    try:
        while True:
            frame = await client.receive()
            if offsets is not None:
                offsets += [event.offset for event in frame.events.events]
    except ConnectionClosed as closed:
        return int(closed.rcvd.code) if closed.rcvd else 0


# The publisher


async def test_a_broken_stream_is_resumed_without_the_client_noticing(
    gateway: Running, publisher: FakePublisher
) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42")
        publisher.publish("agent:42", HIGH, "one")
        assert await client.events(1) == [1]
        publisher.cut_streams()
        publisher.publish("agent:42", HIGH, "two", "three")
        assert await client.events(2) == [2, 3]


async def test_a_restarted_publisher_is_found_again(tmp_path: Path, publisher: FakePublisher, gateway: Running) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42")
        publisher.publish("agent:42", HIGH, "one")
        assert await client.events(1) == [1]
        port = int(publisher.target.rpartition(":")[2])
        await publisher.stop()
        await until(lambda: not gateway.gateway.upstream.connected)
        answer = await gateway.request(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503")
        publisher.publish("agent:42", HIGH, "two")
        await publisher.start(port)
        assert await client.events(1) == [2]


async def test_another_publisher_takes_over_by_position(tmp_path: Path) -> None:
    async with fake_publisher() as one, fake_publisher() as two:
        two.log = one.log
        async with (
            running_gateway(tmp_path, [one.target, two.target]) as gateway,
            gateway.client() as client,
        ):
            await client.subscribe("agent:42")
            one.publish("agent:42", HIGH, "one")
            assert await client.events(1) == [1]
            await one.stop()
            two.offset = one.offset
            two.publish("agent:42", HIGH, "two")
            assert await client.events(1) == [2]


async def test_a_log_that_lost_its_end_is_announced(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42", lanes=[HIGH.wire_value])
        publisher.publish("agent:42", HIGH, "one", "two", "three")
        assert await client.events(3) == [1, 2, 3]
        publisher.cut_streams()
        publisher.log["agent:42", int(HIGH)] = publisher.log["agent:42", int(HIGH)][:1]
        publisher.offset = 1
        gap = (await client.expect("gap")).gap
        assert (gap.from_offset, gap.to_offset, gap.reason) == (3, 1, GAP_REASON_AHEAD)
        publisher.publish("agent:42", HIGH, "another two")
        assert await client.events(1) == [2]


async def test_gaps_of_the_stream_are_passed_on_in_order(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42", lanes=[NORMAL.wire_value])
        publisher.publish("agent:42", NORMAL, "one")
        publisher.withheld = True
        lost, kept = publisher.publish("agent:42", NORMAL, "expires", "stays")
        publisher.gap("agent:42", NORMAL, 1, 2, GAP_REASON_EXPIRED)
        kept.prev_offset = lost.offset
        publisher.stream_out("agent:42", NORMAL, [kept])
        assert await client.events(1) == [1]
        gap = (await client.expect("gap")).gap
        assert (gap.from_offset, gap.to_offset, gap.reason) == (1, 2, GAP_REASON_EXPIRED)
        assert await client.events(1) == [3]


async def test_an_event_the_stream_left_out_is_read_from_the_log(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42")
        publisher.withheld = True
        publisher.publish("agent:42", CRITICAL, "left out")
        publisher.withheld = False
        publisher.publish("agent:42", CRITICAL, "streamed")
        assert await client.events(2) == [1, 2]


async def test_live_events_during_a_replay_come_once_and_in_order(gateway: Running, publisher: FakePublisher) -> None:
    publisher.publish("agent:42", NORMAL, *(f"n{number}" for number in range(300)))
    publisher.reading.clear()
    async with gateway.client() as client:
        start = Subscribe(channel="agent:42", lanes=[NORMAL.wire_value], start=START_EARLIEST)
        await client.send(ClientFrame(subscribe=start))
        await until(lambda: bool(publisher.reads))
        publisher.publish("agent:42", NORMAL, "while the page is read")
        await until_streamed(gateway, NORMAL, 301)
        publisher.reading.set()
        await client.expect("subscribed")
        assert await client.events(301) == list(range(1, 302))


async def test_credit_is_granted_for_what_was_dispatched(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42")
        express = next(stream for stream in publisher.streams if int(HIGH) in stream.lanes)
        before = dict(express.credit)
        for _ in range(20):
            publisher.publish("agent:42", HIGH, "x" * 30_000)
        await client.events(20)
        await until(lambda: express.credit[int(HIGH)] > before[int(HIGH)])
        assert express.credit[int(CRITICAL)] == before[int(CRITICAL)]


async def test_a_refused_channel_is_an_error_to_its_subscriber(gateway: Running, publisher: FakePublisher) -> None:
    publisher.refuse.add("secret")
    async with gateway.client(JSON) as client:
        error = await client.ask({"subscribe": {"channel": "secret"}}, "error")
        assert (error["reason"], error["channel"], error["fatal"]) == ("CHANNEL_UNAVAILABLE", "secret", False)
        await client.ask({"subscribe": {"channel": "agent:42"}}, "subscribed")


async def test_a_channel_whose_log_cannot_be_read_is_an_error(gateway: Running) -> None:
    async with gateway.client(JSON) as client:
        error = await client.ask({"subscribe": {"channel": "broken:1", "start": "EARLIEST"}}, "error")
        assert error["reason"] == "CHANNEL_UNAVAILABLE"


# Slow clients


async def fill(gateway: Running, publisher: FakePublisher, lane: Priority, count: int) -> None:
    """Publish more than the sockets between here and a client that reads nothing can hold."""
    for number in range(count):
        publisher.publish("agent:42", lane, ConciergeInsight(text=f"{number:06d}" * 5_000))
        await asyncio.sleep(0)


async def until_streamed(gateway: Running, lane: Priority, offset: int) -> None:
    feed = gateway.gateway.hub.channels["agent:42"].feeds[lane]
    await until(lambda: feed.tail >= offset)


@pytest.mark.parametrize("lane", [CRITICAL, HIGH])
async def test_a_slow_client_of_an_express_lane_is_closed_to_resume(
    gateway: Running, publisher: FakePublisher, lane: Priority
) -> None:
    async with gateway.client(max_queue=1) as client:
        await client.subscribe("agent:42", lanes=[lane.wire_value])
        await fill(gateway, publisher, lane, 300)
        await until_streamed(gateway, lane, 300)
        offsets: list[int] = []
        assert await closed_with(client, offsets) == codes.SLOW_CONSUMER.number
        assert offsets == list(range(1, len(offsets) + 1))
        position = LanePosition(lane=lane.wire_value, epoch="A", offset=len(offsets))
    async with gateway.client() as client:
        await client.subscribe("agent:42", lanes=[lane.wire_value], positions=[position])
        assert await client.events(300 - position.offset) == list(range(position.offset + 1, 301))


async def test_a_slow_client_of_the_normal_lane_goes_on_from_the_log(
    gateway: Running, publisher: FakePublisher
) -> None:
    async with gateway.client(max_queue=1) as client:
        await client.subscribe("agent:42", lanes=[NORMAL.wire_value])
        await fill(gateway, publisher, NORMAL, 300)
        await until_streamed(gateway, NORMAL, 300)
        assert only_session(gateway).spooled
        assert await client.events(300) == list(range(1, 301))
        publisher.publish("agent:42", NORMAL, "live again")
        assert await client.events(1) == [301]


async def test_a_slow_client_of_the_low_lane_gets_one_gap_for_what_was_dropped(
    gateway: Running, publisher: FakePublisher
) -> None:
    async with gateway.client(max_queue=1) as client:
        await client.subscribe("agent:42", lanes=[LOW.wire_value])
        await fill(gateway, publisher, LOW, 300)
        await until_streamed(gateway, LOW, 300)
        cursor, gaps = 0, []
        while cursor < 300:
            frame = await client.receive()
            if frame.WhichOneof("frame") == "gap":
                assert (frame.gap.from_offset, frame.gap.reason) == (cursor, GAP_REASON_SHED)
                assert frame.gap.count == frame.gap.to_offset - frame.gap.from_offset
                gaps.append(frame.gap)
                cursor = frame.gap.to_offset
            else:
                assert frame.events.events[0].offset == cursor + 1
                cursor = frame.events.events[-1].offset
        assert len(gaps) == 1


async def test_critical_overtakes_what_waits_in_low(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client(max_queue=1) as client:
        await client.subscribe("agent:42", lanes=[CRITICAL.wire_value, LOW.wire_value])
        await fill(gateway, publisher, LOW, 200)
        await until_streamed(gateway, LOW, 200)
        assert not only_session(gateway).outbox.clear
        (urgent,) = publisher.publish("agent:42", CRITICAL, "urgent")
        await until_streamed(gateway, CRITICAL, urgent.offset)
        publisher.publish("agent:42", LOW, "later")
        order: list[int] = []
        while not order or order[-1] != urgent.offset + 1:
            frame = await client.receive()
            if frame.WhichOneof("frame") == "events":
                order += [event.offset for event in frame.events.events]
        assert order.index(urgent.offset) < len(order) - 2


# The gateway


async def test_drain_gives_each_session_a_slot_and_closes_it(tmp_path: Path, publisher: FakePublisher) -> None:
    async with (
        running_gateway(tmp_path, [publisher.target], drain_seconds=2.0) as gateway,
        gateway.client() as one,
        gateway.client() as two,
    ):
        draining = asyncio.create_task(gateway.gateway.drain())
        slots = [(await client.expect("drain")).drain.reconnect_after_millis for client in (one, two)]
        assert sorted(slots) == [0, 1000]
        for client in (one, two):
            assert await closed_with(client) == 1001
        await draining


async def test_a_gateway_that_shares_its_port_serves_each_session_up_to_its_slot(
    tmp_path: Path, publisher: FakePublisher
) -> None:
    """The client that leaves first lets the other one be served up to its own slot, long before the drain is over."""
    async with (
        running_gateway(tmp_path, [publisher.target], drain_seconds=60.0, reuse_port=True) as gateway,
        gateway.client() as one,
        gateway.client() as two,
    ):
        await one.subscribe("agent:42")
        await two.subscribe("agent:42")
        draining = asyncio.create_task(gateway.gateway.drain())
        slots = {}
        for client in (one, two):
            slots[(await client.expect("drain")).drain.reconnect_after_millis] = client
        assert sorted(slots) == [0, 30_000]
        assert await closed_with(slots[0]) == 1001
        publisher.publish("agent:42", HIGH, "still here")
        assert await slots[30_000].events(1) == [1]
        await slots[30_000].connection.close()
        await draining


async def test_connections_that_the_kernel_has_accepted_are_served_by_a_gateway_that_shares_its_port(
    tmp_path: Path, publisher: FakePublisher
) -> None:
    async with running_gateway(tmp_path, [publisher.target], reuse_port=True) as gateway:
        host, _, port = gateway.address.rpartition(":")
        # The loop has no turn before the drain begins: these wait in the listener.
        sockets = [socket.create_connection((host, int(port))) for _ in range(20)]
        draining = asyncio.create_task(gateway.gateway.drain())
        for each in sockets:
            reader, writer = await asyncio.open_connection(sock=each)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
        await draining


async def test_a_draining_gateway_refuses_new_connections(gateway: Running) -> None:
    gateway.gateway.edge.draining = True
    for path in (b"/v1/ws", b"/readyz"):
        answer = await gateway.request(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503"), answer


async def test_pings_carry_the_times_of_the_exchange_before(tmp_path: Path, publisher: FakePublisher) -> None:
    async with (
        running_gateway(tmp_path, [publisher.target], heartbeat_seconds=0.25) as gateway,
        gateway.client() as client,
    ):
        first = (await client.receive()).ping
        assert (first.sequence, first.previous_server_send_time_unix_nano) == (1, 0)
        pong = Pong(sequence=1, client_receive_time_unix_nano=77, client_send_time_unix_nano=88)
        await client.send(ClientFrame(pong=pong))
        second = (await client.receive()).ping
        assert second.sequence == 2
        assert second.previous_server_send_time_unix_nano == first.server_send_time_unix_nano
        assert second.previous_client_receive_time_unix_nano == 77
        assert second.previous_client_send_time_unix_nano == 88
        assert second.previous_server_receive_time_unix_nano > first.server_send_time_unix_nano


async def test_a_client_that_answers_no_ping_is_closed(tmp_path: Path, publisher: FakePublisher) -> None:
    async with (
        running_gateway(tmp_path, [publisher.target], heartbeat_seconds=0.25) as gateway,
        gateway.client() as client,
    ):
        assert await closed_with(client) == codes.HEARTBEAT_MISSED.number


async def test_a_token_can_be_replaced_on_the_open_connection(gateway: Running) -> None:
    async with gateway.client() as client:
        await client.subscribe("agent:42")
        token = gateway.token("bots:*", ttl_seconds=600)
        await client.send(ClientFrame(refresh_token=RefreshToken(token=token)))
        assert (await client.expect("token_refreshed")).token_refreshed.token_expires_unix > 0
        error = (await client.expect("error")).error
        assert (error.reason, error.channel) == ("CHANNEL_FORBIDDEN", "agent:42")
