"""bench.systems: the subscriber protocols, without a server."""

from __future__ import annotations

import json

import pytest

from bench import systems, websocket
from bench.systems.base import Handshake
from bench.systems.centrifugo import CentrifugoSubscriber, settings
from bench.systems.lanecast import LanecastSubscriber
from bench.systems.nats import NatsSubscriber
from bench.systems.nchan import NchanSubscriber
from bench.systems.socketio import SocketIoSubscriber
from lanecast.v1 import gateway_pb2


def converse(steps: Handshake, answers: list[bytes]) -> list[bytes]:
    """Play a handshake to its end; return what the client said."""
    said = [next(steps), *map(steps.send, answers[:-1])]
    with pytest.raises(StopIteration):
        steps.send(answers[-1])
    return [message for message in said if message]


def test_nats_subscribes_and_waits_for_the_pong() -> None:
    said = converse(NatsSubscriber().handshake("bench3"), [b"INFO {}\r\n", b"INFO {}\r\n", b"PONG\r\n"])
    (command,) = said
    assert command.startswith(b"CONNECT {")
    assert command.endswith(b"SUB bench3 1\r\nPING\r\n")
    assert NatsSubscriber().reply(b"PING\r\n") == b"PONG\r\n"


def test_nats_errors_end_the_handshake() -> None:
    steps = NatsSubscriber().handshake("bench3")
    next(steps)
    steps.send(b"INFO {}\r\n")
    with pytest.raises(websocket.HandshakeError, match="Authorization"):
        steps.send(b"-ERR 'Authorization Violation'\r\n")


def test_nchan_is_subscribed_by_its_path() -> None:
    assert NchanSubscriber().path("bench3") == "/sub/bench3"
    assert list(NchanSubscriber().handshake("bench3")) == []


def test_socketio_joins_its_room_through_pings() -> None:
    answers = [b'0{"sid":"x"}', b'40{"sid":"y"}', b"2", b"431[true]"]
    said = converse(SocketIoSubscriber().handshake("bench3"), answers)
    assert said == [b"40", b'421["join", "bench3"]', b"3"]


def test_centrifugo_connects_and_subscribes_in_one_frame() -> None:
    said = converse(
        CentrifugoSubscriber().handshake("bench3"), [b'{"id":1,"connect":{}}', b'{}\n{"id":2,"subscribe":{}}']
    )
    assert [json.loads(line)["id"] for line in said[0].split(b"\n")] == [1, 2]
    assert CentrifugoSubscriber().reply(b"{}") == b"{}"
    steps = CentrifugoSubscriber().handshake("bench3")
    next(steps)
    with pytest.raises(websocket.HandshakeError, match="permission"):
        steps.send(b'{"id":2,"error":{"code":103,"message":"permission denied"}}')


def test_centrifugo_has_nested_settings_from_version_6_on() -> None:
    assert settings(6, 8000, 10)["http_server"]["port"] == 8000
    assert settings(5, 8000, 10)["port"] == 8000


def test_lanecast_says_hello_then_subscribes_and_answers_pings_meanwhile() -> None:
    frame = gateway_pb2.ServerFrame
    answers = [
        frame(welcome=gateway_pb2.Welcome(session="s")),
        frame(ping=gateway_pb2.Ping(sequence=7)),
        frame(subscribed=gateway_pb2.Subscribed(channel="bench3")),
    ]
    subscriber = LanecastSubscriber("secret")
    said = converse(subscriber.handshake("bench3"), [answer.SerializeToString() for answer in answers])
    hello, subscribe, pong = map(gateway_pb2.ClientFrame.FromString, said)
    assert hello.hello.token == "secret"
    assert subscribe.subscribe.channel == "bench3"
    assert pong.pong.sequence == 7
    assert subscriber.notes()["pings"] == 1


def test_lanecast_gaps_are_counted_and_refusals_raised() -> None:
    subscriber = LanecastSubscriber("secret")
    gap = gateway_pb2.ServerFrame()
    gap.gap.count = 12
    assert subscriber.reply(gap.SerializeToString()) is None
    assert subscriber.notes()["gap_events"] == 12
    steps = subscriber.handshake("bench3")
    next(steps)
    refusal = gateway_pb2.ServerFrame(error=gateway_pb2.Error(reason="TOKEN_EXPIRED", message="fetch a new one"))
    with pytest.raises(websocket.HandshakeError, match="TOKEN_EXPIRED: fetch a new one"):
        steps.send(refusal.SerializeToString())


def test_every_system_has_its_name_and_says_how_to_install_it() -> None:
    for name in (systems.OWN, *systems.PEERS):
        system = systems.get(name)
        assert system.name == name
        assert system.missing() is None or ":" in str(system.missing())
