"""What TLS itself has to say to a client that reads nothing.

No client of Python can ask for new keys, so the answers are put where OpenSSL puts them.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gateway_svc.secure import ANSWER_BYTES, SecureConnection


class Transport:
    """Keeps what is written to it."""

    def __init__(self, own: socket.socket) -> None:
        self._own = own
        self.aborted = False

    def get_extra_info(self, _name: str) -> socket.socket:
        return self._own

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def connection(sockets: tuple[socket.socket, socket.socket]) -> SecureConnection:
    edge: Any = SimpleNamespace(watch=lambda *_: None)
    transport: Any = Transport(sockets[0])
    made = SecureConnection(edge, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    made.connection_made(transport)
    return made


def test_an_answer_waits_for_room_and_then_goes(
    connection: SecureConnection, sockets: tuple[socket.socket, socket.socket]
) -> None:
    connection.pause_writing()
    connection._outgoing.write(b"answer")
    connection._answer_tls()
    assert connection._outgoing.pending == len(b"answer")

    connection.resume_writing()

    assert sockets[1].recv(100) == b"answer"


def test_too_many_answers_end_the_connection(connection: SecureConnection) -> None:
    connection.pause_writing()
    connection._outgoing.write(b"x" * ANSWER_BYTES)
    connection._answer_tls()
    assert not connection._transport.aborted  # type: ignore[attr-defined]

    connection._outgoing.write(b"x")
    connection._answer_tls()

    assert connection._transport.aborted  # type: ignore[attr-defined]
