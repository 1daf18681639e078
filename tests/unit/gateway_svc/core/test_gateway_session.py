from __future__ import annotations

import pytest
from gateway_fakes import FakeIdentity, FakeSink, World, subscribe

from gateway_svc.core.frames import close, text
from gateway_svc.core.limits import SessionLimits, TokenBucket
from gateway_svc.core.session import Session
from lanecast.core import codes
from lanecast.core.priority import Priority
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, Ping, Pong, Receipt, ReceiptSample, RefreshToken


@pytest.fixture
def world() -> World:
    return World()


def send(session: Session, **frame: object) -> None:
    session.receive(ClientFrame(**frame).SerializeToString())  # type: ignore[arg-type]


def closed(sink: FakeSink) -> int:
    assert sink.closed is not None
    return sink.closed[0]


def test_welcome_states_the_limits(world: World) -> None:
    session, sink = world.session(hello=False)
    send(session, hello=Hello(token="good", client="test 1.0"))
    welcome = sink.frames()[0].welcome
    assert welcome.session == session.id
    assert welcome.heartbeat_millis == 15_000
    assert welcome.limits.max_outbox_bytes == SessionLimits().outbox_bytes
    assert (session.subject, session.client) == ("someone", "test 1.0")


@pytest.mark.parametrize(
    ("token", "code"), [("old", codes.TOKEN_EXPIRED), ("foreign", codes.UNAUTHENTICATED), ("", codes.UNAUTHENTICATED)]
)
def test_a_bad_token_closes(world: World, token: str, code: codes.Code) -> None:
    session, sink = world.session(hello=False)
    send(session, hello=Hello(token=token))
    error = sink.frames()[0].error
    assert (error.code, error.fatal, error.retryable) == (code.number, True, code.retryable)
    assert closed(sink) == code.number


def test_a_second_hello_closes(world: World) -> None:
    session, sink = world.session()
    send(session, hello=Hello(token="good"))
    assert closed(sink) == codes.MALFORMED_FRAME.number


def test_nothing_is_carried_out_after_the_close(world: World) -> None:
    session, sink = world.session()
    session.end(codes.DISCONNECTED)
    session.end(codes.INTERNAL)
    subscribe(session, "c")
    assert closed(sink) == codes.DISCONNECTED.number
    assert world.publisher.added == []


def test_only_granted_lanes_are_delivered_and_others_refused(world: World) -> None:
    world.tokens["good"] = FakeIdentity(lanes=frozenset({Priority.HIGH, Priority.LOW}), prefix="agent:")
    session, sink = world.session()
    subscribe(session, "agent:42")
    world.position("agent:42")
    assert [each.lane for each in sink.frames()[0].subscribed.positions] == [Priority.HIGH, Priority.LOW]
    subscribe(session, "agent:42", lanes=[Priority.CRITICAL.wire_value])
    assert "CRITICAL" in sink.frames()[0].error.message
    subscribe(session, "bots:1")
    assert sink.frames()[0].error.reason == "CHANNEL_FORBIDDEN"


def test_a_new_token_must_be_of_the_same_subject(world: World) -> None:
    session, sink = world.session()
    world.tokens["other"] = FakeIdentity(subject="somebody else")
    send(session, refresh_token=RefreshToken(token="other"))
    assert closed(sink) == codes.FORBIDDEN.number


def test_two_unanswered_pings_close(world: World) -> None:
    session, sink = world.session()
    session.heartbeat()
    session.heartbeat()
    assert sink.closed is None
    session.heartbeat()
    assert closed(sink) == codes.HEARTBEAT_MISSED.number


def test_a_client_may_ask_for_eight_pings_within_a_heartbeat(world: World) -> None:
    session, sink = world.session()
    send(session, pong=Pong(probe=True))
    for sequence in range(1, 12):
        send(session, pong=Pong(sequence=sequence, probe=True))
    pings = [frame.ping.sequence for frame in sink.frames() if frame.HasField("ping")]
    assert pings == [1, 2, 3, 4, 5, 6, 7, 8]
    session.heartbeat()
    send(session, pong=Pong(sequence=9, probe=True))
    pings = [frame.ping.sequence for frame in sink.frames() if frame.HasField("ping")]
    assert pings[-2:] == [9, 10]
    assert sink.closed is None


def test_a_ping_tells_the_times_of_the_exchange_before_once(world: World) -> None:
    session, sink = world.session()
    world.time = 1.0
    session.heartbeat()
    world.time = 2.0
    send(session, pong=Pong(sequence=1, client_receive_time_unix_nano=7, client_send_time_unix_nano=8))
    world.time = 3.0
    session.heartbeat()
    session.heartbeat()
    _, second, third = (frame.ping for frame in sink.frames())
    assert second == Ping(
        sequence=2,
        server_send_time_unix_nano=3_000_000_001,
        previous_server_send_time_unix_nano=1_000_000_001,
        previous_client_receive_time_unix_nano=7,
        previous_client_send_time_unix_nano=8,
        previous_server_receive_time_unix_nano=2_000_000_001,
    )
    assert third.previous_client_send_time_unix_nano == 0
    assert third.previous_server_send_time_unix_nano == 3_000_000_001


def test_receipts_are_handed_on(world: World) -> None:
    session, _ = world.session()
    send(session, receipt=Receipt(samples=[ReceiptSample(offset=4)]))
    assert world.receipts[0].samples[0].offset == 4


def test_too_many_answers_for_a_stuck_client_close(world: World) -> None:
    session, sink = world.session()
    sink.full = True
    for _ in range(5_000):
        subscribe(session, "")
    assert closed(sink) == codes.SLOW_CONSUMER.number


def test_commands_are_allowed_at_their_rate_with_bursts() -> None:
    bucket = TokenBucket(10, 0.0)
    assert sum(bucket.take(0.0) for _ in range(50)) == 20
    assert sum(bucket.take(1.0) for _ in range(50)) == 10
    assert sum(bucket.take(100.0) for _ in range(50)) == 20


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frame_lengths(size: int) -> None:
    frame = text(b"x" * size)
    head = 2 if size < 126 else 4 if size < 65_536 else 10
    assert len(frame) == head + size
    assert frame[0] == 0x81


def test_a_close_reason_is_cut_at_a_character() -> None:
    frame = close(1000, "ä" * 100)
    assert frame[1] <= 125
    frame[4:].decode()
