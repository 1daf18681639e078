"""bench.receiver: every mark is found, however the frames are cut, and what is no event is answered."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from bench import mark, websocket
from bench.receiver import Receiver, _Opening
from bench.scenario import Load, Scenario
from bench.systems.base import Endpoints

START = 1_790_000_000_000_000_000
SCENARIO = Scenario(
    "test",
    "test",
    sockets=1,
    channels=1,
    loads=(Load(10, {"LOW": 1}),),
    seconds=4,
    warmup_seconds=0,
    payload_bytes=(200, 400),
)


class Silent:
    """A subscriber protocol that answers `hello`."""

    subprotocol = ""
    opcode = websocket.BINARY

    def path(self, channel: str) -> str:
        return channel

    def handshake(self, channel: str) -> Iterator[bytes]:
        yield channel.encode()

    def reply(self, message: bytes) -> bytes | None:
        return b"hi" if message == b"hello" else None

    def notes(self) -> dict[str, int]:
        return {}


def event(sequence: int, size: int = 300) -> bytes:
    return mark.Filler(400).payload(mark.encode(START, START, 0, sequence, 4, 0), size)


def frame(payload: bytes, opcode: int = websocket.BINARY) -> bytes:
    size = len(payload)
    return bytes((0x80 | opcode,)) + (bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + payload


@pytest.fixture
def pair() -> Iterator[tuple[Receiver, socket.socket]]:
    server, client = socket.socketpair()
    receiver = Receiver(SCENARIO, Silent(), Endpoints("", 0, 0), [0])  # type: ignore[arg-type]
    receiver._poll.register(client.fileno(), select.EPOLLIN)
    receiver._subscribed(_Opening(0, client, iter(())))  # type: ignore[arg-type]
    receiver.start(START)
    yield receiver, server
    receiver.close()
    server.close()


WHOLE = frame(event(0)) + frame(event(1) + b"between" + event(2)) + frame(event(3), websocket.TEXT)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 100, 303, 304, 305, 600, len(WHOLE)])
def test_marks_are_found_however_the_frames_are_cut(pair: tuple[Receiver, socket.socket], cut: int) -> None:
    receiver, server = pair
    for part in (WHOLE[:cut], WHOLE[cut:]):
        if part:
            server.sendall(part)
            receiver.read(1, -1)
    receiver.digest()
    assert (receiver.found, receiver.statistics["frames"]) == (4, 3)
    assert receiver._tally.seen[0][0, :4].tolist() == [1, 1, 1, 1]
    assert receiver.statistics["bytes"] == len(WHOLE)


def test_a_frame_without_an_event_is_answered_and_an_end_is_counted(pair: tuple[Receiver, socket.socket]) -> None:
    receiver, server = pair
    server.sendall(frame(b"hello") + frame(b"x", websocket.PING) + frame(event(0)))
    receiver.read(1, -1)
    assert receiver.found == 1
    answers = websocket.frame(b"hi"), websocket.frame(b"x", websocket.PONG)
    assert server.recv(100) == b"".join(answers)
    server.shutdown(socket.SHUT_WR)
    receiver.read(1, -1)
    assert receiver.closed == {"end of stream": 1}


def test_the_control_descriptor_is_told_apart(pair: tuple[Receiver, socket.socket]) -> None:
    receiver, server = pair
    here, there = socket.socketpair()
    receiver.watch(here.fileno())
    server.sendall(frame(event(0)))
    assert not receiver.read(1, here.fileno())
    there.send(b"stop\n")
    assert receiver.read(1, here.fileno())
    here.close()
    there.close()
